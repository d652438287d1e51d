// Package mqttfront is the MQTT 3.1.1 head of the hub: it turns the bytes of a
// connection into operations of package core and their outcome back into bytes.
// It decides nothing about identities and telemetry, and never sees the storage.
//
// What a connection costs follows from how it is used. Idle, it is one goroutine
// (the reader) and a buffer of a kilobyte. Busy, the reader borrows a large
// buffer and hands all messages found in one read to the hub at once; their
// acknowledgements are collected by whoever commits them and written by a
// goroutine that exists only while there is something to write, so that a client
// that does not read can never hold up a commit.
package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/head"
)

// Config is what a [Front] needs. Zero fields other than Hub have the default
// given with them.
type Config struct {
	// Hub is what the connections are served from. It is required.
	Hub *core.Hub
	// Provisioning serves devices that are to be provisioned; nil refuses them.
	Provisioning dps.Provisioning
	// Logger takes one line per refused or broken connection, with the
	// reason; nil discards it.
	Logger *slog.Logger
	// ConnectTimeout bounds the wait for the CONNECT packet; default 10 s.
	ConnectTimeout time.Duration
	// WriteTimeout is how long a client may leave bytes unread before its
	// connection is closed; default 30 s.
	WriteTimeout time.Duration
	// MaxUnacked is how many bytes of messages of one connection may wait
	// for the storage before the connection is no longer read; default 1 MiB.
	MaxUnacked int
	// MaxSessions bounds the identities whose subscriptions are remembered
	// for clients that connect without clean session; default 100,000.
	MaxSessions int
}

const (
	defaultConnectTimeout = 10 * time.Second
	defaultWriteTimeout   = 30 * time.Second
	defaultMaxUnacked     = 1 << 20
	defaultMaxSessions    = 100_000
)

// ErrClosed is what ServeConn returns once Shutdown has been called.
var ErrClosed = errors.New("mqttfront: shut down")

// Front serves MQTT connections. Its methods are safe for use by many
// goroutines.
type Front struct {
	cfg      Config
	log      *slog.Logger
	buffers  buffers
	batches  sync.Pool // *batch
	scratch  sync.Pool // *[]core.Event
	sessions sessions

	// What the hub does to events beside storing them; read-only after New.
	throttled, faults, gateway bool

	conns head.Conns[*conn] // and their writers
}

// New returns a Front for the hub of the configuration.
func New(cfg Config) (*Front, error) {
	if cfg.Hub == nil {
		return nil, errors.New("mqttfront: Config.Hub is nil")
	}
	if cfg.ConnectTimeout < 0 || cfg.WriteTimeout < 0 || cfg.MaxUnacked < 0 || cfg.MaxSessions < 0 {
		return nil, fmt.Errorf("mqttfront: a limit is negative: ConnectTimeout %v, WriteTimeout %v, MaxUnacked %d, MaxSessions %d",
			cfg.ConnectTimeout, cfg.WriteTimeout, cfg.MaxUnacked, cfg.MaxSessions)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.ConnectTimeout = orDefault(cfg.ConnectTimeout, defaultConnectTimeout)
	cfg.WriteTimeout = orDefault(cfg.WriteTimeout, defaultWriteTimeout)
	cfg.MaxUnacked = orDefault(cfg.MaxUnacked, defaultMaxUnacked)
	cfg.MaxSessions = orDefault(cfg.MaxSessions, defaultMaxSessions)
	f := &Front{cfg: cfg, log: cfg.Logger}
	f.sessions.max = cfg.MaxSessions
	f.throttled, f.faults, f.gateway = cfg.Hub.Throttled(), cfg.Hub.FaultInjection(), cfg.Hub.IsGateway()
	return f, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// ServeConn serves one connection until it ends, and closes it. nc carries MQTT
// bytes: a TLS connection, whose client certificates count as credentials, or
// any other stream. When ctx ends the connection is closed at once.
//
// accepted, which may be nil, is called when the client has proved who it is.
//
// The error says why the connection ended; it is nil when the client sent
// DISCONNECT.
func (f *Front) ServeConn(ctx context.Context, nc net.Conn, accepted func()) error {
	c := newConn(f, nc)
	if !f.conns.Enter(c) {
		_ = nc.Close() // nothing was promised to this client
		return ErrClosed
	}
	defer f.conns.Leave(c)
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.Kill(context.Cause(ctx)) })
		defer stop()
	}
	err := c.serve(accepted)
	c.logEnd(err)
	if errors.Is(err, errDisconnected) {
		return nil
	}
	return err
}

// Shutdown refuses new connections and ends the ones there are: each is read no
// further, and closed when the events accepted from it are durable and their
// acknowledgements written. When ctx ends first the rest is closed at once, and
// Shutdown returns the error of ctx. It returns only when no goroutine of the
// Front is left. The hub must be open until then.
func (f *Front) Shutdown(ctx context.Context) error { return f.conns.Shutdown(ctx, ErrClosed) }
