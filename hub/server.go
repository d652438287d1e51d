package hub

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/amqpfront"
	"github.com/iothub-go/iothub/hub/internal/blobfront"
	"github.com/iothub-go/iothub/hub/internal/blobs"
	"github.com/iothub-go/iothub/hub/internal/blobstore"
	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/delivery"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/httpfront"
	"github.com/iothub-go/iothub/hub/internal/mqttfront"
	"github.com/iothub-go/iothub/hub/internal/page"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// ErrServerClosed is what every method returns once Shutdown has been called.
var ErrServerClosed = errors.New("hub: server closed")

// Server is one IoT Hub. Its methods are safe for use by many goroutines.
type Server struct {
	opts  Options
	log   *slog.Logger
	hub   *core.Hub
	store func() // closes the storage
	mqtt  *mqttfront.Front
	amqp  *amqpfront.Front
	http  *http.Server
	blobs *blobs.Client // of import and export jobs
	dps   *dps.Service  // nil: devices are not provisioned

	uploads      core.UploadTarget // nil: none
	blobStore    *blobstore.Store  // of the hub's own endpoint; nil without one
	blobEndpoint *blobfront.Front  // the same

	tls         *tlsFiles
	authorities []*x509.Certificate // of Options.DeviceAuthorities
	slots       chan struct{}       // one for each connection that has not proved who it is

	// ctx ends when the server begins to close: it is for what is not worth
	// waiting for.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loops and handshakes

	mu        sync.Mutex
	listeners map[net.Listener]Protocol
	addrs     map[Protocol]net.Addr // of the first listener of each
	closed    chan struct{}         // made by the first Shutdown, closed by its end
	closeErr  error
}

// New opens a hub: it creates what the data folder lacks and reads the rest. The
// server serves nobody before Listen or Serve. It has to be ended by Shutdown.
func New(o *Options) (*Server, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, log: opts.Logger,
		slots:     make(chan struct{}, opts.MaxUnauthenticated),
		listeners: make(map[net.Listener]Protocol),
		addrs:     make(map[Protocol]net.Addr),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// open builds the parts from the storage up.
func (s *Server) open() (err error) {
	routes, err := parseRoutes(s.opts.Routes)
	if err != nil {
		return err
	}
	storage, err := s.openStorage()
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if s.tls, err = loadTLS(s.opts.DataDir, s.opts.HostNames, s.log); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if s.authorities, err = dps.ParseAuthorities(s.opts.DeviceAuthorities); err != nil {
		return fmt.Errorf("hub: Options.DeviceAuthorities: %w", err)
	}
	s.blobs = blobs.New(s.newHTTPClient())
	if err := s.openUploads(); err != nil {
		return err
	}
	names := s.opts.HostNames[1:]
	if g := s.opts.Gateway; g != nil {
		names = append(slices.Clone(names), g.UpstreamHostName)
	}
	s.hub, err = core.New(s.ctx, core.Config{
		HostName: s.opts.HostNames[0], Names: names, Gateway: s.opts.Gateway.core(), Clock: s.opts.Clock,
		Authorities: s.vouches,
		Partitions:  s.opts.Partitions, Retention: s.opts.Retention, RetentionBytes: s.opts.RetentionBytes,
		MaxDevices: s.opts.MaxDevices, Logger: s.log,
		MessageTTL: s.opts.MessageTTL, MaxDeliveryCount: s.opts.MaxDeliveryCount, Routes: routes,
		Tier: s.opts.Tier, Units: s.opts.Units, FaultInjection: s.opts.FaultInjection,
		Blobs: s.blobs, Uploads: s.uploads,
		EventHubName: s.opts.EventHubName, ConsumerGroups: s.opts.ConsumerGroups,
		Routing: s.opts.Routing, Deliver: delivery.Config{HubName: s.opts.HostNames[0]}.New,
	}, storage)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	s.openBlobEndpoint()
	if err := s.openProvisioning(storage); err != nil {
		return err
	}
	s.mqtt, err = mqttfront.New(mqttfront.Config{
		Hub: s.hub, Provisioning: s.provisioning(), Logger: s.log, ConnectTimeout: s.opts.HandshakeTimeout, MaxUnacked: s.opts.MaxUnacked,
	})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	s.amqp, err = amqpfront.New(amqpfront.Config{Hub: s.hub, Provisioning: s.provisioning(), Logger: s.log, ConnectTimeout: s.opts.HandshakeTimeout})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	s.http = s.newHTTPServer()
	if s.opts.FaultInjection {
		s.log.Info("fault injection is on: devices may ask for faults of their connections")
	}
	return nil
}

func (s *Server) openStorage() (core.Storage, error) {
	if s.opts.DataDir == "" {
		s.store = func() {}
		return memory.New(nil), nil
	}
	store, err := jetstream.Open(jetstream.Config{
		Dir: filepath.Join(s.opts.DataDir, "store"), Relaxed: s.opts.NoSync, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	s.store = store.Close
	return store, nil
}

// abandon undoes what open has done when it did not get to its end.
func (s *Server) abandon() {
	s.cancel()
	if s.dps != nil {
		_ = s.dps.Close(context.Background()) // the same
	}
	if s.hub != nil {
		_ = s.hub.Close(context.Background()) // it has taken nothing in yet
	}
	if s.store != nil {
		s.store()
	}
}

// Shutdown ends the server gracefully: it accepts nothing more, lets the events
// taken in become durable and their acknowledgements go out, and then closes
// every connection and the storage. When ctx ends first, what is left is closed
// at once and the error is that of ctx; events that were acknowledged are kept
// even then. Further calls wait for the same end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if closed := s.closed; closed != nil {
		s.mu.Unlock()
		select {
		case <-closed:
			return s.closeErr
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.closed = make(chan struct{})
	s.cancel() // before the listeners close, so that their loops know why
	for l := range s.listeners {
		_ = l.Close() // ends its accept loop
	}
	s.mu.Unlock()
	s.closeErr = s.shutdown(ctx)
	close(s.closed)
	return s.closeErr
}

func (s *Server) shutdown(ctx context.Context) error {
	drained, closed := make(chan error, 1), make(chan error, 1)
	go func() { drained <- s.http.Shutdown(ctx) }()
	go func() { closed <- s.amqp.Shutdown(ctx) }()
	err := s.mqtt.Shutdown(ctx)
	if e := <-closed; err == nil {
		err = e
	}
	if s.dps != nil {
		if e := s.dps.Close(ctx); err == nil {
			err = e
		}
	}
	// Closing the core answers the requests that wait for the storage and ends
	// the readers of events, which would hold the HTTP server open for ever.
	if e := s.hub.Close(ctx); err == nil {
		err = e
	}
	if e := <-drained; e != nil {
		_ = s.http.Close() // what did not end in time
		if err == nil {
			err = e
		}
	}
	s.wg.Wait()
	s.blobs.Close()
	s.store()
	return err
}

// Done is closed when the server begins to close.
func (s *Server) Done() <-chan struct{} { return s.ctx.Done() }

func (s *Server) isClosed() bool { return s.ctx.Err() != nil }

// newHTTPServer wraps the HTTP head. Timeouts are for what comes before a
// request; how long one may take is for the head to know.
func (s *Server) newHTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.webSockets(s.withPage(s.withBlobs(s.withProvisioning(httpfront.New(s.hub, s.tls.authority().CAPEM(), s.log))))),
		ReadHeaderTimeout: s.opts.HandshakeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// The handler gives the slot of a connection back, so it gets to know it,
		// and all requests.
		ConnContext:                  withConn,
		DisableGeneralOptionsHandler: true,
	}
}

// withPage serves the web page, unless it is left out, and the rest by next.
func (s *Server) withPage(next http.Handler) http.Handler {
	if s.opts.NoPage {
		return next
	}
	p := page.New()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Serves(r.URL.Path) {
			p.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
