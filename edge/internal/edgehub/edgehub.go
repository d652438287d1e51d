package edgehub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/link"
)

// partitions is how many streams events wait in. A device has one of them.
const partitions = 4

// edgeHub is the module that this is.
const edgeHub = "$edgeHub"

// Hub is the hub of an IoT Edge device. Its methods are safe for use by many
// goroutines.
type Hub struct {
	opts   Options
	log    *slog.Logger
	server *hub.Server
	addrs  map[hub.Protocol]net.Addr
	self   iothub.Identity // the module $edgeHub
	host   string          // of the hub upstream, without a port

	mirror   mirror
	sessions sessions
	forward  forwarder
	config   config

	// ctx ends when the hub begins to close.
	ctx    context.Context
	cancel context.CancelFunc
	gate   link.Gate

	once sync.Once
	done chan struct{} // closed when Shutdown is through
	err  error
}

// New opens the hub of an IoT Edge device and begins to listen. It does not wait
// for the hub upstream: with a data folder of its own it serves whom it knew
// before. ctx governs the opening only. It has to be ended by Shutdown.
func New(ctx context.Context, o Options) (*Hub, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		opts: o, log: o.Logger, addrs: make(map[hub.Protocol]net.Addr), done: make(chan struct{}),
		self: iothub.Identity{DeviceID: o.Upstream.DeviceID, ModuleID: edgeHub}, host: link.Host(o.Upstream.HostName),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if err := h.open(ctx); err != nil {
		_ = h.Shutdown(context.WithoutCancel(ctx)) // the first error counts
		return nil, err
	}
	return h, nil
}

func (h *Hub) open(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(h.opts.DataDir, "twins"), 0o700); err != nil {
		return fmt.Errorf("edge hub: %w", err)
	}
	routes, err := h.routes(h.opts.Routes)
	if err != nil {
		return err
	}
	ho := &hub.Options{
		DataDir: h.opts.DataDir, HostNames: h.opts.HostNames, Partitions: partitions, Routes: routes,
		Clock: h.opts.Clock, Logger: h.log, NoPage: true, NoUploads: true, DeviceAuthorities: h.opts.Authorities,
		Gateway: &hub.Gateway{
			UpstreamHostName: h.host, DeviceID: h.opts.Upstream.DeviceID,
			Find: h.find, Connection: h.connectionChanged, Reported: h.reportedChanged, Fresh: h.fresh,
		},
	}
	if h.opts.WhenFull == DropOldest {
		ho.RetentionBytes = h.opts.StoreLimit / partitions
	} else {
		ho.Gateway.StoreLimit = h.opts.StoreLimit
	}
	h.mirror.init()
	h.sessions.init()
	h.config.init(h)
	if h.server, err = hub.New(ho); err != nil {
		return err
	}
	if err := h.forward.open(h); err != nil {
		return err
	}
	if err := h.openSystem(); err != nil {
		return err
	}
	for p, addr := range map[hub.Protocol]string{hub.MQTT: h.opts.MQTT, hub.HTTPS: h.opts.HTTPS} {
		if addr == "" {
			continue
		}
		if h.addrs[p], err = h.server.Listen(p, addr); err != nil {
			return err
		}
	}
	h.gate.Go(h.keepSessions)
	h.gate.Go(h.keepScope)
	h.gate.Go(h.reportClients)
	h.forward.start()
	h.findUnsent()
	return ctx.Err()
}

// Shutdown ends the hub: it takes nothing more in, and lets what was taken in
// become durable. What is not passed on yet waits in the data folder for the next
// New. When ctx ends first, the rest is closed at once and the error is that of
// ctx. Further calls wait for the same end.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.once.Do(func() {
		defer close(h.done)
		h.cancel()
		if h.server != nil {
			h.err = h.server.Shutdown(ctx) // ends what calls here
		}
		h.gate.Close()
		h.closeSessions(ctx)
		h.gate.Wait()
		h.forward.close()
	})
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CACertPEM returns the certificate of the authority that modules and leaf devices
// have to trust.
func (h *Hub) CACertPEM() []byte { return h.server.CACertPEM() }

// CACertFile is the file with that certificate.
func (h *Hub) CACertFile() string { return h.server.CACertFile() }

// IssueCertificate makes a certificate signed by that authority.
func (h *Hub) IssueCertificate(r hub.CertificateRequest) (*hub.Certificate, error) {
	return h.server.IssueCertificate(r)
}

// Addr is where the hub listens; nil for a protocol that it does not listen for.
func (h *Hub) Addr(p hub.Protocol) net.Addr { return h.addrs[p] }

// Identity is the module $edgeHub that this is.
func (h *Hub) Identity() iothub.Identity { return h.self }

// Connected reports whether a module or device is connected here.
func (h *Hub) Connected(id iothub.Identity) bool {
	return h.server.IsConnected(id.DeviceID, id.ModuleID)
}

// Stats counts what became of the events since New.
type Stats struct {
	// Forwarded were acknowledged by the hub upstream. Expired were older than the
	// time to live, Dropped went because the store was full, and Undeliverable are
	// those whose sender is not in scope any more or that the hub upstream cannot
	// take.
	Forwarded, Expired, Dropped, Undeliverable int64
	// Waiting is about how many bytes of events wait, those included that were
	// acknowledged a moment ago.
	Waiting int64
	// Online says that the hub upstream has accepted $edgeHub and the connection
	// holds.
	Online bool
}

// Stats reads the counters.
func (h *Hub) Stats() Stats {
	s := h.forward.stats()
	s.Waiting = h.server.EventsKept()
	s.Online = h.online()
	return s
}

// code is the six-digit code of an error of the hub here or upstream; 0 for none.
func code(err error) int {
	if e, ok := errors.AsType[*iothub.Error](err); ok {
		return e.Code
	}
	return 0
}

// wait waits and reports whether the hub is still open.
func (h *Hub) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}
