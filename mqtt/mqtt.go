// Package mqtt chooses MQTT 3.1.1 as the transport of a device or module
// client: over TLS, port 8883 unless the host name has one. It is the default,
// so a program needs this package only to change its options:
//
//	o := &module.ClientOptions{Transport: mqtt.New(&mqtt.Options{Window: 256})}
package mqtt

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/transport"
)

// Version is the version of this library, as the hub is told it.
const Version = transport.Version

// Defaults and limits of [Options].
const (
	DefaultWindow      = 8192
	DefaultWindowBytes = 4 << 20
	MaxWindow          = 65535
)

// Options of the MQTT transport. The zero value is the default.
type Options struct {
	// Window is how many messages may be sent and not yet acknowledged, 1
	// to 65535; 0 is DefaultWindow.
	Window int
	// WindowBytes bounds their encoded size; 0 is DefaultWindowBytes. One
	// message is always let through.
	WindowBytes int

	// WebSocket carries MQTT over WebSockets,
	// wss://host:443/$iothub/websocket, for networks that let only HTTPS
	// through; a port in the host name replaces 443.
	WebSocket bool
	// Fallback tries WebSockets when the connection to port 8883 cannot be
	// opened: the name does not resolve, connecting or the TLS handshake
	// breaks or takes more than half of ClientOptions.ConnectTimeout, or a
	// proxy refuses the port. A refused credential or certificate is no
	// reason. The way that worked is the first to be tried by the next
	// connect of the client. It excludes WebSocket.
	Fallback bool
	// WebSocketPort is the port for WebSockets, 1 to 65535. 0 is 443, or,
	// without Fallback, the port in the host name.
	WebSocketPort int
}

// Transport is MQTT 3.1.1 with given options. It is immutable and may be
// shared by many clients.
type Transport struct{ o Options }

// New returns the transport; nil is all defaults. Options out of range are
// reported when a client is made with it.
func New(o *Options) *Transport {
	t := &Transport{}
	if o != nil {
		t.o = *o
	}
	if t.o.Window == 0 {
		t.o.Window = DefaultWindow
	}
	if t.o.WindowBytes == 0 {
		t.o.WindowBytes = DefaultWindowBytes
	}
	return t
}

// String returns "mqtt", or "mqtt over websockets".
func (t *Transport) String() string {
	if t.o.WebSocket {
		return "mqtt over websockets"
	}
	return "mqtt"
}

// Setup makes the transport ready for one client. Only clients of this module
// call it.
func (t *Transport) Setup(p *transport.Params) (*transport.Setup, error) {
	if t.o.Window < 1 || t.o.Window > MaxWindow || t.o.WindowBytes < 1 {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("mqtt.Options: Window is %d (1 to %d), WindowBytes is %d (at least 1)", t.o.Window, MaxWindow, t.o.WindowBytes)}
	}
	if t.o.WebSocket && t.o.Fallback || t.o.WebSocketPort < 0 || t.o.WebSocketPort > 65535 {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("mqtt.Options: WebSocket and Fallback exclude each other, WebSocketPort is %d (1 to 65535, 0 is the default)", t.o.WebSocketPort)}
	}
	o := p.Options
	id := engine.MQTTIdentity{
		Identity: p.Identity, HostName: link.Host(p.HostName),
		ProductInfo: transport.ProductInfo(o.ProductInfo), ModelID: o.ModelID, AuthChain: p.AuthChain,
	}
	if err := id.Validate(); err != nil {
		return nil, err
	}
	peer := p.HostName
	if p.GatewayHostName != "" {
		peer = p.GatewayHostName
	}
	host, port := link.SplitHost(peer)
	d, err := link.NewDialer(host, p.Credential.Certificate(), o, t.paths(port)...)
	if err != nil {
		return nil, err
	}
	d.SetRoots(p.Roots)
	resource := p.Presents().Resource(link.Host(p.HostName))
	return &transport.Setup{
		Encoder: engine.NewMQTTEncoder(p.Identity, p.Reassignable),
		Session: engine.SessionConfig{
			MQTT: engine.MQTTConfig{
				Identity: p.Identity, ClientID: id.ClientID(), Username: id.Username(), KeepAlive: o.KeepAlive,
				Window: t.o.Window, WindowBytes: t.o.WindowBytes,
			},
			Retry: *o.Retry, Random: rand.Float64,
		},
		Dial: func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx) },
		Authenticate: func(ctx context.Context, now time.Time) (engine.Auth, error) {
			tok, err := p.Credential.Token(ctx, resource, now, o.TokenLifetime)
			return engine.Auth{Token: tok, Renewable: p.Credential.Renewable()}, err
		},
	}, nil
}

// paths returns the ways to the hub whose host name has the given port, or
// none, in the order in which they are tried.
func (t *Transport) paths(port string) []link.Path {
	direct := link.Path{Port: cmp.Or(port, "8883")}
	ws := link.Path{Port: "443", WebSocket: &link.WebSocket{Path: "/$iothub/websocket", Subprotocol: "mqtt"}}
	switch {
	case t.o.WebSocketPort != 0:
		ws.Port = strconv.Itoa(t.o.WebSocketPort)
	case port != "" && !t.o.Fallback:
		ws.Port = port
	}
	switch {
	case t.o.WebSocket:
		return []link.Path{ws}
	case t.o.Fallback:
		return []link.Path{direct, ws}
	}
	return []link.Path{direct}
}
