// Package jetstream keeps a hub's data in a NATS JetStream server that runs
// inside the process: no port, no second process, one data folder.
//
// The telemetry of each partition is a stream of its own, every collection a
// key-value bucket. Unless told otherwise the server syncs each write to disk
// before it acknowledges it.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Config says where and how carefully to keep the data.
type Config struct {
	// Dir is the data folder; it is created when missing and locked while open.
	Dir string
	// Relaxed acknowledges writes before they are synced. A crash of the process
	// then loses nothing, a crash of the machine up to about a second.
	Relaxed bool
	// Logger takes the warnings and errors of the server; nil discards them.
	Logger *slog.Logger
}

const (
	maxPayload   = 8 << 20 // of one record or document
	startTimeout = 30 * time.Second
	// callTimeout bounds calls whose context has no end of its own. Disks stall
	// for seconds; giving up earlier only leaves an outcome unknown.
	callTimeout = time.Minute
)

// Store is a [core.Storage] on an embedded server. It is safe for use by many
// goroutines.
type Store struct {
	srv     *server.Server
	writing *nats.Conn
	reading *nats.Conn // apart, so that large answers do not delay acknowledgements
	js      jetstream.JetStream
	unlock  func()

	closeOnce sync.Once
}

var _ core.Storage = (*Store)(nil)

// Open starts the server on the folder. Close ends it.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("jetstream: Config.Dir is empty")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("jetstream: create the data folder: %w", err)
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{unlock: unlock}
	if err := s.start(cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) start(cfg Config) error {
	opts := &server.Options{
		ServerName:      "iothub",
		DontListen:      true,
		JetStream:       true,
		StoreDir:        cfg.Dir,
		SyncAlways:      !cfg.Relaxed,
		MaxPayload:      maxPayload,
		MaxPending:      256 << 20,
		NoSigs:          true,
		NoSystemAccount: true,
	}
	if cfg.Relaxed {
		opts.SyncInterval = time.Second
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	s.srv = srv
	logger := &serverLog{log: cfg.Logger}
	if cfg.Logger == nil {
		logger.log = slog.New(slog.DiscardHandler)
	}
	srv.SetLoggerV2(logger, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) || !srv.JetStreamEnabled() {
		return fmt.Errorf("jetstream: the server did not start on %s: %s", cfg.Dir, logger.lastError())
	}
	if s.writing, err = s.connect("writing"); err != nil {
		return err
	}
	if s.reading, err = s.connect("reading"); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.writing, jetstream.WithDefaultTimeout(callTimeout))
	return err
}

func (s *Store) connect(name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s.srv), nats.Name(name),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.NoCallbacksAfterClientClose())
	if err != nil {
		return nil, fmt.Errorf("jetstream: connect in process: %w", err)
	}
	return nc, nil
}

// Close stops the server; what was acknowledged is on disk. The hub on it must be
// closed before.
func (s *Store) Close() {
	s.closeOnce.Do(func() {
		for _, nc := range []*nats.Conn{s.writing, s.reading} {
			if nc != nil {
				nc.Close()
			}
		}
		if s.srv != nil {
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
		}
		s.unlock()
	})
}

// bounded gives ctx an end when it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// serverLog passes the server's log on. Its notices are about a server nobody
// sees, hence debug.
type serverLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string
}

func (l *serverLog) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return "no reason given"
	}
	return l.last
}

func (l *serverLog) keep(format string, v []any) string {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = text
	return text
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(l.keep(format, v)) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.log.Error(l.keep(format, v)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(l.keep(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Tracef(string, ...any)           {}
