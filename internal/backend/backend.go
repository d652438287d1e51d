// Package backend is what the clients of back ends have in common, whichever
// service they call: options, tokens, and the answers of REST APIs, page by page
// too.
package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/rest"
)

// Defaults of [Options].
const (
	DefaultConnectTimeout = 30 * time.Second
	DefaultRequestTimeout = 60 * time.Second
)

// Options has the fields of service.ClientOptions, which documents them, so that
// one converts to the other.
type Options struct {
	TLS            *tls.Config
	Dial           func(ctx context.Context, network, address string) (net.Conn, error)
	Proxy          *iothub.Proxy
	HTTPTransport  http.RoundTripper
	WebSocket      bool
	AMQPPort       int
	ConnectTimeout time.Duration
	RequestTimeout time.Duration
	TokenLifetime  time.Duration
	Retry          *iothub.RetryPolicy
	Logger         *slog.Logger
	ProductInfo    string
}

// WithDefaults returns a checked copy with every zero field set; o may be nil.
func (o *Options) WithDefaults() (*Options, error) {
	var c Options
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

func badOption(format string, args ...any) error { return Invalid("options", format, args...) }

// Invalid returns the error for what a caller got wrong.
func Invalid(op, format string, args ...any) error {
	return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// Link returns the options of the package that dials.
func (o *Options) Link() *iothub.ClientOptions {
	return &iothub.ClientOptions{TLS: o.TLS, Dial: o.Dial, Proxy: o.Proxy, ConnectTimeout: o.ConnectTimeout, Logger: o.Logger}
}

// UserAgent is name behind that of the program.
func (o *Options) UserAgent(name string) string {
	if o.ProductInfo != "" {
		return o.ProductInfo + " " + name
	}
	return name
}

// Service is the REST API that a client calls.
type Service struct {
	// Host is what was configured, Name the host without the port, Port that
	// of HTTPS.
	Host, Name, Port string
	// Options are with defaults, Auth has the token of the moment.
	Options *Options
	Auth    *Authorizer
	// REST calls the API.
	REST *rest.Client
}

// Config says which service a client calls and as whom.
type Config struct {
	// Host is the host name, with a port where that is not 443.
	Host string
	// APIVersion is that of the requests, UserAgent the name of the client.
	APIVersion, UserAgent string
	// Credential signs, or Source gives tokens for Scope.
	Credential *iothub.Credential
	Source     func(ctx context.Context, scope string) (iothub.Token, error)
	Scope      string
	// Options are the caller's; nil is the defaults.
	Options *Options
}

// FromConnectionString sets host and credential from a service connection string.
func (c *Config) FromConnectionString(connectionString string) error {
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		return err
	}
	if cs.DeviceID != "" || cs.Credential() == nil {
		return Invalid("connection string", "it is that of a device; a back end needs one with SharedAccessKeyName")
	}
	c.Host, c.Credential = cs.HostName, cs.Credential()
	return nil
}

// New returns what c says. It does no I/O.
func New(c Config) (*Service, error) {
	if c.Host == "" || strings.ContainsAny(c.Host, "/ ;") {
		return nil, badOption("%q is no host name: no scheme, path or space", c.Host)
	}
	opts, err := c.Options.WithDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{Host: c.Host, Options: opts}
	s.Name, s.Port = hostPort(c.Host)
	s.Auth = newAuthorizer(s.Name, opts.TokenLifetime, &c)
	transport := opts.HTTPTransport
	if transport == nil {
		d, err := link.NewDialer(s.Name, nil, opts.Link(), link.Path{Port: s.Port})
		if err != nil {
			return nil, err
		}
		transport = &http.Transport{
			DialTLSContext:      func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx) },
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     90 * time.Second,
		}
	}
	s.REST = rest.New(rest.Config{
		Host: c.Host, APIVersion: c.APIVersion, UserAgent: opts.UserAgent(c.UserAgent), Authorize: s.Auth.header,
		Transport: transport, Timeout: opts.RequestTimeout, Retry: *opts.Retry, Logger: opts.Logger,
	})
	return s, nil
}
