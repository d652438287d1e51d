package service

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
)

// Defaults of [ClientOptions].
const (
	DefaultConnectTimeout = backend.DefaultConnectTimeout
	DefaultRequestTimeout = backend.DefaultRequestTimeout
)

// ClientOptions configures a [Client]. The zero value, or a nil pointer, is the
// documented default. A client copies it when it is made.
type ClientOptions struct {
	// TLS is the base of the TLS configuration: own RootCAs and so on.
	// ServerName defaults to the host; versions below 1.2 are never used.
	TLS *tls.Config

	// Dial opens the network connections that TLS then runs on; nil is a
	// net.Dialer. It must return when ctx ends. It does not serve events over
	// AMQP without WebSocket, whose library dials by itself.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy is the proxy to connect through; nil connects directly. It has to
	// let port 443 through, and 5671 unless WebSocket is set; events need
	// WebSocket to use it. The environment (HTTPS_PROXY and so on) is never
	// read.
	Proxy *iothub.Proxy

	// HTTPTransport sends the REST requests; nil is one of the client's own,
	// made from the options above, which it then leaves alone.
	HTTPTransport http.RoundTripper

	// WebSocket carries AMQP over WebSockets, port 443, where 5671 does not
	// get through.
	WebSocket bool

	// AMQPPort is the port of AMQP without WebSocket; 0 is 5671. A local hub
	// may have another one.
	AMQPPort int

	// ConnectTimeout bounds opening a connection, TLS included; 0 is
	// DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// RequestTimeout bounds each attempt of a request, beyond what the hub was
	// asked to wait for a device; 0 is DefaultRequestTimeout. The context of a
	// call bounds all its attempts together.
	RequestTimeout time.Duration

	// TokenLifetime is how long generated tokens are valid; 0 is
	// iothub.DefaultTokenLifetime, at least 5 s. They are replaced at 85 % of
	// it.
	TokenLifetime time.Duration

	// Retry says how attempts of a request follow each other; nil is
	// exponential with full jitter from 500 ms to 20 s, for a minute. What the
	// hub says in Retry-After is waited at least. A request that may have had
	// its effect is sent again only when twice is as good as once. A policy
	// with the strategy iothub.RetryNone sends everything once.
	Retry *iothub.RetryPolicy

	// Logger is told of requests that are sent again and connections made and
	// lost; never of payloads or secrets. Nil logs nothing.
	Logger *slog.Logger

	// ProductInfo stands before the name of this library in what the client
	// tells the hub of itself.
	ProductInfo string
}
