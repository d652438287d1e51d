package iothub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Defaults of [ClientOptions].
const (
	DefaultKeepAlive         = 60 * time.Second
	DefaultConnectTimeout    = 30 * time.Second
	DefaultMaxQueuedMessages = 65536
	DefaultMaxQueuedBytes    = 64 << 20
)

// Transport chooses the protocol of a client; mqtt.New makes one. It is
// implemented in this module only.
type Transport interface {
	// String names the protocol.
	String() string
}

// ClientOptions configures a device or module client, of the managed and of
// the poll-driven layer alike. The zero value, or a nil pointer, is the
// documented default. A client copies it when it is made.
type ClientOptions struct {
	// Credential replaces what the connection string holds; it is required
	// for x509=true.
	Credential *Credential

	// Transport is the protocol; nil is MQTT over TLS, port 8883.
	Transport Transport

	// TLS is the base of the client's TLS configuration: own RootCAs,
	// CipherSuites and so on. ServerName defaults to the host dialled, the
	// client certificate comes from the credential, versions below 1.2 are
	// never used.
	TLS *tls.Config

	// Dial opens the network connection that TLS then runs on; nil is a
	// net.Dialer. It must return when ctx ends.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy is the proxy to connect through; nil connects directly. It is
	// asked for the port that the transport uses, so it must let that
	// through: 8883 for MQTT, 443 for MQTT over WebSockets. Dial then opens
	// the connection to the proxy. The environment (HTTPS_PROXY and so on)
	// is never read.
	Proxy *Proxy

	// DialTLS opens a connection that is secure already; if set, TLS and
	// Dial are not used, and Proxy must be nil. It must return when ctx
	// ends.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)

	// KeepAlive is how long an idle connection is silent before the client
	// asks whether the hub is still there; a dead link is found within one
	// and a half of it. 0 is DefaultKeepAlive, negative turns it off. IoT
	// Hub takes at most 1177 s.
	KeepAlive time.Duration

	// ConnectTimeout bounds opening a connection, TLS included; 0 is
	// DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// MessageTimeout bounds the time from acceptance to confirmation of a
	// message; when it passes the message confirms ConfirmMessageTimeout.
	// 0 is no bound: a message waits until it is delivered or the client
	// closed.
	MessageTimeout time.Duration

	// TokenLifetime is how long generated tokens are valid; 0 is
	// DefaultTokenLifetime, at least 5 s. The client reconnects with a new
	// one at 85 % of it, after everything in flight was acknowledged.
	TokenLifetime time.Duration

	// Retry says how to connect again; nil is DefaultRetryPolicy.
	Retry *RetryPolicy

	// MaxQueuedMessages and MaxQueuedBytes bound what is accepted and not
	// yet confirmed, in messages and in encoded bytes; beyond it a send
	// returns ErrQueueFull. 0 is the default.
	MaxQueuedMessages int
	MaxQueuedBytes    int

	// OnConnectionStatus is told of every change of the connection, in
	// order, one at a time, where confirmations run too; nil is nobody.
	OnConnectionStatus func(ConnectionEvent)

	// Logger is told of connections made and lost, refusals, retries,
	// renewals, messages sent again and messages that were not delivered,
	// with device_id and module_id as attributes; never of payloads or
	// secrets. Nil logs nothing and costs nothing. Its handler is called
	// where callbacks run, holding no lock.
	Logger *slog.Logger

	// TwinStateFile remembers, across restarts of the program, which desired
	// properties were delivered, so that the next process is told exactly
	// what changed meanwhile. Empty remembers nothing: each process is told
	// everything once. The file is replaced atomically.
	TwinStateFile string

	// ProductInfo stands before the name of this library in what the
	// client tells the hub of itself.
	ProductInfo string

	// ModelID is the DTMI of the device's Plug and Play model.
	ModelID string
}

// WithDefaults returns a copy of o with every zero field set to its default,
// or an *[Error] of kind [KindInvalidArgument] that names the field and its
// limit. A nil o is all defaults.
func (o *ClientOptions) WithDefaults() (*ClientOptions, error) {
	var c ClientOptions
	if o != nil {
		c = *o
	}
	durations := []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
		min, max time.Duration
	}{
		{"KeepAlive", &c.KeepAlive, DefaultKeepAlive, -1 << 63, 65535 * time.Second},
		{"ConnectTimeout", &c.ConnectTimeout, DefaultConnectTimeout, time.Millisecond, time.Hour},
		{"MessageTimeout", &c.MessageTimeout, 0, 0, 1 << 62},
		{"TokenLifetime", &c.TokenLifetime, DefaultTokenLifetime, 5 * time.Second, 100 * 365 * 24 * time.Hour},
	}
	for _, d := range durations {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		if *d.value < d.min || *d.value > d.max {
			return nil, badOption("%s is %v, it can be %v to %v", d.name, *d.value, max(d.min, 0), d.max)
		}
	}
	counts := []struct {
		name     string
		value    *int
		fallback int
	}{
		{"MaxQueuedMessages", &c.MaxQueuedMessages, DefaultMaxQueuedMessages},
		{"MaxQueuedBytes", &c.MaxQueuedBytes, DefaultMaxQueuedBytes},
	}
	for _, n := range counts {
		if *n.value == 0 {
			*n.value = n.fallback
		}
		if *n.value < 0 {
			return nil, badOption("%s is %d, it must be positive", n.name, *n.value)
		}
	}
	c.KeepAlive = max(c.KeepAlive, 0) // from here on 0 is off
	retry := *DefaultRetryPolicy()
	if c.Retry != nil {
		retry = *c.Retry
	}
	c.Retry = &retry
	if err := c.Retry.validate(); err != nil {
		return nil, err
	}
	if c.Proxy != nil && c.Proxy.URL() == nil {
		return nil, badOption("Proxy is empty: make it with ParseProxy")
	}
	if c.Proxy != nil && c.DialTLS != nil {
		return nil, badOption("Proxy and DialTLS exclude each other: DialTLS opens the whole connection; use Dial for the one to the proxy")
	}
	if c.Credential != nil && c.Credential.String() == "none" {
		return nil, badOption("Credential is empty")
	}
	return &c, nil
}

func (p *RetryPolicy) validate() error {
	switch {
	case p.Strategy > RetryRandom:
		return badOption("Retry.Strategy %d does not exist", p.Strategy)
	case p.InitialDelay < 0 || p.MaxDelay < 0 || p.Limit < 0:
		return badOption("Retry has a negative duration")
	}
	return nil
}

func badOption(format string, args ...any) error {
	return &Error{Op: "options", Kind: KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// ErrNoCredential is the cause when neither connection string nor options say
// how to authenticate.
var ErrNoCredential = errors.New("no credential: the connection string says x509=true, so set ClientOptions.Credential to NewCertificateCredential(…)")
