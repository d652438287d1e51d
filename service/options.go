package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/iothub-go/iothub"
)

// Defaults of [ClientOptions].
const (
	DefaultConnectTimeout = 30 * time.Second
	DefaultRequestTimeout = 60 * time.Second
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

// withDefaults returns a checked copy with every zero field set.
func (o *ClientOptions) withDefaults() (*ClientOptions, error) {
	var c ClientOptions
	if o != nil {
		c = *o
	}
	for _, d := range []struct {
		name          string
		value         *time.Duration
		fallback, min time.Duration
	}{
		{"ConnectTimeout", &c.ConnectTimeout, DefaultConnectTimeout, time.Millisecond},
		{"RequestTimeout", &c.RequestTimeout, DefaultRequestTimeout, time.Millisecond},
		{"TokenLifetime", &c.TokenLifetime, iothub.DefaultTokenLifetime, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		if *d.value < d.min {
			return nil, badOption("%s is %v, it must be at least %v", d.name, *d.value, d.min)
		}
	}
	if c.AMQPPort == 0 {
		c.AMQPPort = 5671
	}
	if c.AMQPPort < 0 || c.AMQPPort > 65535 {
		return nil, badOption("AMQPPort is %d, it can be 1 to 65535, 0 is 5671", c.AMQPPort)
	}
	if c.Retry == nil {
		c.Retry = &iothub.RetryPolicy{
			Strategy:     iothub.RetryExponentialBackoffWithJitter,
			InitialDelay: 500 * time.Millisecond, MaxDelay: 20 * time.Second, Limit: time.Minute,
		}
	}
	if c.Retry.InitialDelay < 0 || c.Retry.MaxDelay < 0 || c.Retry.Limit < 0 {
		return nil, badOption("Retry has a negative duration")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &c, nil
}

func badOption(format string, args ...any) error { return invalid("options", format, args...) }

// link returns the options of the package that dials.
func (o *ClientOptions) link() *iothub.ClientOptions {
	return &iothub.ClientOptions{TLS: o.TLS, Dial: o.Dial, Proxy: o.Proxy, ConnectTimeout: o.ConnectTimeout, Logger: o.Logger}
}

func (o *ClientOptions) userAgent() string {
	const name = "iothub-go-service"
	if o.ProductInfo != "" {
		return o.ProductInfo + " " + name
	}
	return name
}

func invalid(op, format string, args ...any) error {
	return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}
