package amqpfront

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
	// Logger takes one line per refused or broken connection, with the reason;
	// nil discards it.
	Logger *slog.Logger
	// ConnectTimeout bounds the time until a client has proved who it is;
	// default 10 s.
	ConnectTimeout time.Duration
	// WriteTimeout is how long a client may leave bytes unread before its
	// connection is closed; default 30 s.
	WriteTimeout time.Duration
}

const (
	defaultConnectTimeout = 10 * time.Second
	defaultWriteTimeout   = 30 * time.Second
)

// ErrClosed is what ServeConn returns once Shutdown has been called.
var ErrClosed = errors.New("amqpfront: shut down")

// Front serves AMQP connections. Its methods are safe for use by many goroutines.
type Front struct {
	cfg Config
	hub *core.Hub
	log *slog.Logger

	conns     head.Conns[*conn]
	receivers receivers // of events
	large     sync.Pool // *[largeBuffer]byte
}

// New returns a Front for the hub of the configuration.
func New(cfg Config) (*Front, error) {
	if cfg.Hub == nil {
		return nil, errors.New("amqpfront: Config.Hub is nil")
	}
	if cfg.ConnectTimeout < 0 || cfg.WriteTimeout < 0 {
		return nil, fmt.Errorf("amqpfront: a limit is negative: ConnectTimeout %v, WriteTimeout %v", cfg.ConnectTimeout, cfg.WriteTimeout)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = defaultConnectTimeout
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	return &Front{cfg: cfg, hub: cfg.Hub, log: cfg.Logger}, nil
}

// ServeConn serves one connection until it ends, and closes it. nc carries AMQP
// bytes: a TLS connection, whose client certificates count as credentials, or any
// other stream. When ctx ends the connection is closed at once.
//
// accepted, which may be nil, is called when the client has proved who it is.
//
// The error says why the connection ended; it is nil when the client closed it.
func (f *Front) ServeConn(ctx context.Context, nc net.Conn, accepted func()) error {
	c := newConn(f, nc, accepted)
	if !f.conns.Enter(c) {
		_ = nc.Close() // nothing was promised to this client
		return ErrClosed
	}
	defer f.conns.Leave(c)
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.Kill(context.Cause(ctx)) })
		defer stop()
	}
	err := c.serve()
	c.logEnd(err)
	if errors.Is(err, errClosedByPeer) {
		return nil
	}
	return err
}

// Shutdown refuses new connections and closes the ones there are, with
// amqp:connection:forced; what they have not settled is in doubt. A client has a
// second to take notice; when ctx ends first, the rest is closed at once and
// Shutdown returns the error of ctx. It returns only when no goroutine of the
// Front is left. The hub must be open until then.
func (f *Front) Shutdown(ctx context.Context) error { return f.conns.Shutdown(ctx, ErrClosed) }
