// Package edgehub is the hub role of an IoT Edge device: modules and leaf devices
// connect to it instead of to the hub upstream, it answers them also while the hub
// upstream cannot be reached, and passes on what they sent, in order, as soon as
// it can.
//
// It is a hub.Server with a data folder and a certificate authority of its own,
// and
//
//	mirror     the identities in the scope of the device, with their keys, as the
//	           hub upstream tells them; they are kept for the time without it
//	sessions   a connection upstream for each identity that is connected here or
//	           has something to be passed on, made on behalf of it with the
//	           credential of the device's $edgeHub
//	forwarder  reads the events kept here and sends them upstream, and moves its
//	           mark only behind what was acknowledged there
//	twins      the twin here is a copy of that upstream: desired properties come
//	           down, reported ones go up, merged while there is no connection
package edgehub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
)

// WhenFull says what happens when the events that wait to be passed on have
// reached the limit.
type WhenFull string

const (
	// Refuse takes nothing more in: publishes are not acknowledged, so their
	// senders wait and keep them. Nothing that was acknowledged is lost.
	Refuse WhenFull = "refuse"
	// DropOldest lets the oldest go, which is counted and logged.
	DropOldest WhenFull = "drop-oldest"
)

// Defaults of [Options].
const (
	DefaultStoreLimit = 1 << 30
	DefaultRefresh    = time.Hour
)

const (
	minStoreLimit = 1 << 20
	// maxSessions bounds the connections upstream of identities that are not
	// connected here, which is as many as IoT Edge lets connect.
	maxSessions = 100
)

// Upstream is the hub behind, and how to get there.
type Upstream struct {
	// HostName is the name of the hub, with the port of its MQTT listener where
	// that is not 8883. Tokens and user names are made for it, also by the clients
	// of this hub.
	HostName string
	// HTTPSPort is the port of its REST API; 0 is 443.
	HTTPSPort int
	// DeviceID is the IoT Edge device that this is the hub of.
	DeviceID string
	// Credential proves the module $edgeHub of that device.
	Credential *iothub.Credential
	// TLS is the base of the TLS configuration; nil trusts the authorities of the
	// system.
	TLS *tls.Config
	// Proxy is the proxy to go through; nil connects directly.
	Proxy *iothub.Proxy
	// Dial opens the network connections; nil is a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Retry says how to connect again; nil is iothub.DefaultRetryPolicy. It must
	// not give up.
	Retry *iothub.RetryPolicy
}

// Options say what a [Hub] is like. DataDir, HostNames and Upstream are required.
type Options struct {
	// DataDir is the folder that keeps everything, the certificate authority
	// included. It is created when missing and locked while in use.
	DataDir string
	// HostNames are the names that modules and leaf devices dial, DNS names or IP
	// addresses; the server certificate is for them.
	HostNames []string
	// Upstream is the hub behind.
	Upstream Upstream
	// MQTT and HTTPS are the addresses to listen on, for example "127.0.0.1:8883".
	// HTTPS is for MQTT over WebSockets and for modules that call methods. Empty
	// does not listen.
	MQTT, HTTPS string

	// Routes are those of IoT Edge, FROM … WHERE … INTO …, see hub.Route. The
	// desired properties of $edgeHub replace them once they have some. What no
	// route matches goes upstream.
	Routes []string
	// StoreLimit bounds the bytes of events that wait to be passed on, at least
	// 1 MiB; 0 is DefaultStoreLimit. What desired properties say of it does not count.
	StoreLimit int64
	// WhenFull says what happens at the limit; empty is Refuse.
	WhenFull WhenFull
	// TTL is how long an event waits; older ones are dropped, which is counted and
	// logged. 0 keeps them until they can be passed on. Desired properties of
	// $edgeHub replace it.
	TTL time.Duration
	// Refresh is how often the identities in scope are asked for; 0 is
	// DefaultRefresh.
	Refresh time.Duration

	// Authorities are certificates, in PEM, of authorities for leaf devices and modules
	// that authenticate with a certificate of one.
	Authorities []byte

	// Clock tells the time of events; nil is time.Now.
	Clock func() time.Time
	// Logger takes the log; nil discards it. Secrets are never logged.
	Logger *slog.Logger

	stall, unpark time.Duration // as the constants say, unless a test knows better
}

func (o Options) withDefaults() (Options, error) {
	if o.StoreLimit == 0 {
		o.StoreLimit = DefaultStoreLimit
	}
	if o.WhenFull == "" {
		o.WhenFull = Refuse
	}
	if o.Refresh == 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Upstream.HTTPSPort == 0 {
		o.Upstream.HTTPSPort = 443
	}
	if o.stall == 0 {
		o.stall, o.unpark = stall, unparkEvery
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := (iothub.Identity{DeviceID: o.Upstream.DeviceID}).Validate(); err != nil {
		return o, fmt.Errorf("edge hub: Options.Upstream.DeviceID: %w", errors.Unwrap(err))
	}
	for _, check := range []struct {
		bad  bool
		says string
	}{
		{o.DataDir == "", "DataDir is empty: what is kept for the hub upstream needs a folder"},
		{len(o.HostNames) == 0, "HostNames is empty: the certificate needs the names that clients dial"},
		{link.Host(o.Upstream.HostName) == "", "Upstream.HostName is empty"},
		{o.Upstream.Credential.String() == "none", "Upstream.Credential is empty: it has to prove the module $edgeHub of the device"},
		{o.Upstream.HTTPSPort < 0 || o.Upstream.HTTPSPort > 65535, "Upstream.HTTPSPort must be 1 to 65535"},
		{o.StoreLimit < minStoreLimit, fmt.Sprintf("StoreLimit is %d, the least is %d", o.StoreLimit, minStoreLimit)},
		{o.WhenFull != Refuse && o.WhenFull != DropOldest, fmt.Sprintf("WhenFull is %q, allowed are %q and %q", o.WhenFull, Refuse, DropOldest)},
		{o.TTL < 0, "TTL must be 0 or more"},
		{o.Refresh < time.Second, "Refresh must be 1 s or more"},
	} {
		if check.bad {
			return o, errors.New("edge hub: Options." + check.says)
		}
	}
	return o, nil
}
