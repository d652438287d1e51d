package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/edge/internal/supervisor"
	"github.com/iothub-go/iothub/edge/internal/workloadapi"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/transport"
)

// Runtime is a local IoT Edge runtime for one device. Its methods are safe for use by
// many goroutines.
type Runtime struct {
	opts    *Options
	device  *iothub.ConnectionString
	known   *identities
	offline error
	hub     *edgehub.Hub
	agent   *agent
	modules []*running
	sockets string // the folder; empty for HTTP
	servers []*http.Server
	wg      sync.WaitGroup // of the servers
	output  sync.Mutex
	wake    chan struct{} // room for one: a module has changed

	once sync.Once
	done chan struct{} // closed when Shutdown is through
	err  error
}

// running is a module that was started.
type running struct {
	Module
	log *supervisor.Log

	mu      sync.Mutex
	program *supervisor.Program // nil before the start
}

func (m *running) start(c supervisor.Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.program = supervisor.Start(c)
}

func (m *running) get() *supervisor.Program {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.program
}

// ModuleStatus is what a module is doing.
type ModuleStatus struct {
	// Name is the module's id.
	Name string
	// State is "running", "backoff" (it has ended and will be started again), "stopped"
	// or "failed".
	State string
	// PID is that of the process, 0 when there is none.
	PID int
	// ExitCode is that of the process which ended last, -1 when a signal ended it or it
	// could not be started. Problem says what went wrong then.
	ExitCode int
	// Problem is empty when nothing is wrong.
	Problem string
	// Restarts counts the starts but the first.
	Restarts int
	// Started and Exited are the times of the last start and end, zero for never.
	Started, Exited time.Time
}

// New starts a runtime and its modules. The hub upstream is needed when a module is new
// to the data folder; afterwards it may be away, also at the start. ctx governs the
// start only. What New returns has to be ended by Shutdown. What cannot work is an
// *iothub.Error of kind KindInvalidArgument, what the hub upstream refuses one of its
// kinds.
func New(ctx context.Context, o *Options) (*Runtime, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	rt := &Runtime{opts: opts, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := rt.open(ctx); err != nil {
		_ = rt.Shutdown(context.WithoutCancel(ctx)) // the first error counts
		return nil, err
	}
	return rt, nil
}

func (rt *Runtime) open(ctx context.Context) error {
	var cred *iothub.Credential
	var err error
	if rt.device, cred, err = rt.opts.device(); err != nil {
		return err
	}
	if err := os.MkdirAll(rt.opts.DataDir, 0o700); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	client, err := rt.clientOptions()
	if err != nil {
		return err
	}
	if err := rt.identify(ctx, cred, client); err != nil {
		return err
	}
	if err := rt.openHub(ctx, client); err != nil {
		return err
	}
	if err := rt.startModules(); err != nil {
		return err
	}
	rt.agent, err = newAgent(rt, client)
	return err
}

// clientOptions are those of connections to the hub upstream.
func (rt *Runtime) clientOptions() (*iothub.ClientOptions, error) {
	cfg, err := rt.opts.upstreamTLS()
	if err != nil {
		return nil, err
	}
	return (&iothub.ClientOptions{TLS: cfg, Proxy: rt.opts.Proxy, Dial: rt.opts.Dial, ProductInfo: "iothub-edge"}).WithDefaults()
}

// identify looks the modules up, and makes those that are missing.
func (rt *Runtime) identify(ctx context.Context, cred *iothub.Credential, client *iothub.ClientOptions) error {
	known, err := loadIdentities(rt.opts.DataDir, rt.device)
	if err != nil {
		return err
	}
	names := []string{edgeHub, edgeAgent}
	for _, m := range rt.opts.Modules {
		names = append(names, m.Name)
	}
	g := &registry{&transport.Params{
		Identity: rt.device.Identity(), HostName: rt.device.HostName, Credential: cred, Options: client,
	}, rt.opts.HTTPSPort}
	if rt.offline, err = known.find(ctx, g, names); err != nil {
		return err
	}
	if rt.offline != nil {
		rt.opts.Logger.Warn("the hub upstream cannot be asked for the modules; those known are started", "error", rt.offline)
	} else if err := known.save(rt.opts.DataDir); err != nil {
		return err
	}
	rt.known = known
	return nil
}

// credential proves a module.
func (rt *Runtime) credential(name string) (*iothub.Credential, error) {
	key, err := iothub.ParseSharedAccessKey(base64Text(rt.known.Modules[name].Key))
	if err != nil {
		return nil, err
	}
	return iothub.NewKeyCredential(key, ""), nil
}

func (rt *Runtime) openHub(ctx context.Context, client *iothub.ClientOptions) error {
	cred, err := rt.credential(edgeHub)
	if err != nil {
		return err
	}
	o := edgehub.Options{
		DataDir: filepath.Join(rt.opts.DataDir, "hub"), HostNames: []string{rt.opts.HostName},
		Upstream: edgehub.Upstream{
			HostName: rt.device.HostName, HTTPSPort: rt.opts.HTTPSPort, DeviceID: rt.device.DeviceID, Credential: cred,
			TLS: client.TLS, Proxy: client.Proxy, Dial: client.Dial,
		},
		MQTT: rt.opts.MQTT, HTTPS: rt.opts.HTTPS, Routes: rt.opts.Routes, StoreLimit: rt.opts.StoreLimit, TTL: rt.opts.TimeToLive,
		Authorities: rt.opts.LeafAuthorities, Logger: rt.opts.Logger,
	}
	if rt.opts.DropOldest {
		o.WhenFull = edgehub.DropOldest
	}
	if rt.hub, err = edgehub.New(ctx, o); err != nil {
		return err
	}
	var modules []hub.Identity
	for _, m := range rt.opts.Modules {
		i := rt.known.Modules[m.Name]
		modules = append(modules, hub.Identity{ModuleID: m.Name, PrimaryKey: base64Text(i.Key), SecondaryKey: base64Text(i.Secondary)})
	}
	return rt.hub.Know(ctx, modules...)
}

func (rt *Runtime) startModules() error {
	if !rt.opts.WorkloadHTTP {
		// Not in the data folder: the path of a socket has to be short.
		var err error
		if rt.sockets, err = os.MkdirTemp("", "iothub-edge-"); err != nil { // mode 0700
			return fmt.Errorf("edge: %w", err)
		}
	}
	for _, m := range rt.opts.Modules { // all there before the first may ask for the list
		rt.modules = append(rt.modules, &running{Module: m, log: &supervisor.Log{Show: rt.show(m.Name)}})
	}
	envs := make([][]string, len(rt.modules))
	for i, m := range rt.modules {
		uri, err := rt.serve(i, m)
		if err != nil {
			return err
		}
		envs[i] = rt.environment(m, uri)
	}
	for i, m := range rt.modules {
		m.start(supervisor.Config{
			Name: m.Name, Command: m.Command, Env: envs[i], Dir: m.Dir, Restart: supervisor.Restart(m.Restart),
			Grace: rt.opts.GracePeriod, Log: m.log, Changed: rt.changed, Logger: rt.opts.Logger,
		})
	}
	return nil
}

// serve opens the workload API of a module and returns its URI.
func (rt *Runtime) serve(n int, m *running) (string, error) {
	i := rt.known.Modules[m.Name]
	cfg := workloadapi.Config{
		Name: m.Name, GenerationID: i.GenerationID, Key: i.Key, Secret: rt.known.Secret, LoopbackOnly: rt.opts.WorkloadHTTP,
		Bundle: rt.TrustBundle, Issue: rt.hub.IssueCertificate, List: rt.list,
	}
	var l net.Listener
	var err error
	uri := ""
	if rt.opts.WorkloadHTTP {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			uri = "http://" + l.Addr().String()
		}
	} else {
		path := filepath.Join(rt.sockets, fmt.Sprintf("%d.sock", n))
		l, err = net.Listen("unix", path)
		uri = "unix://" + path
	}
	if err != nil {
		return "", fmt.Errorf("edge: the workload API of module %s: %w", m.Name, err)
	}
	s := &http.Server{Handler: workloadapi.New(cfg), ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	rt.servers = append(rt.servers, s)
	rt.wg.Go(func() { _ = s.Serve(l) }) // until it is closed
	return uri, nil
}

// list is what the workload API tells of the modules.
func (rt *Runtime) list() (all []workloadapi.Module) {
	for _, s := range rt.Status() {
		all = append(all, workloadapi.Module{Name: s.Name, State: s.State, Problem: s.Problem, ExitCode: s.ExitCode, Started: s.Started})
	}
	return all
}

// TrustBundle is whom modules and leaf devices have to trust, in PEM: the authority of
// the edge hub, and Options.Authorities.
func (rt *Runtime) TrustBundle() []byte {
	return append(rt.hub.CACertPEM(), rt.opts.Authorities...)
}

// CACertFile is the file with the authority of the edge hub, for leaf devices.
func (rt *Runtime) CACertFile() string { return rt.hub.CACertFile() }

// GatewayHostName is what modules and leaf devices have as their gateway, with the port
// where that is not 8883.
func (rt *Runtime) GatewayHostName() string {
	addr, ok := rt.hub.Addr(hub.MQTT).(*net.TCPAddr)
	if !ok || addr.Port == hub.MQTT.Port() {
		return rt.opts.HostName
	}
	return net.JoinHostPort(rt.opts.HostName, fmt.Sprint(addr.Port))
}

// Addr is where the edge hub listens; nil for a protocol that it does not listen for.
func (rt *Runtime) Addr(p hub.Protocol) net.Addr { return rt.hub.Addr(p) }

// Offline is why the hub upstream could not be asked for the modules when the runtime
// was started; nil when it could.
func (rt *Runtime) Offline() error { return rt.offline }

// Status returns what the modules are doing, in the order of Options.Modules.
func (rt *Runtime) Status() []ModuleStatus {
	var all []ModuleStatus
	for _, m := range rt.modules {
		s := supervisor.Status{State: supervisor.Stopped}
		if p := m.get(); p != nil {
			s = p.Status()
		}
		all = append(all, ModuleStatus{
			Name: m.Name, State: string(s.State), PID: s.PID, ExitCode: s.ExitCode, Problem: s.Problem,
			Restarts: s.Restarts, Started: s.Started, Exited: s.Exited,
		})
	}
	return all
}

// Restart ends a module, if it runs, and starts it at once; it does not wait. It
// reports whether there is such a module.
func (rt *Runtime) Restart(name string) bool {
	for _, m := range rt.modules {
		if p := m.get(); p != nil && m.Name == name {
			p.Restart()
			return true
		}
	}
	return false
}

// changed has the agent report.
func (rt *Runtime) changed() {
	select {
	case rt.wake <- struct{}{}:
	default:
	}
}

// show prints the lines of a module.
func (rt *Runtime) show(name string) func(supervisor.Line) {
	return func(l supervisor.Line) {
		rt.output.Lock()
		defer rt.output.Unlock()
		_, _ = fmt.Fprintf(rt.opts.Output, "%s | %s\n", name, l.Text) // nobody else to tell
	}
}

// Shutdown ends the modules, each within the grace period, and then the edge hub, which
// keeps what has not gone upstream for the next New. When ctx ends first, the rest goes
// on, and the error is that of ctx. Further calls wait for the same end.
func (rt *Runtime) Shutdown(ctx context.Context) error {
	rt.once.Do(func() {
		go func() { // a module may take its time
			defer close(rt.done)
			rt.err = rt.shutdown(context.WithoutCancel(ctx))
		}()
	})
	select {
	case <-rt.done:
		return rt.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hubTimeout bounds the end of the edge hub.
const hubTimeout = 15 * time.Second

func (rt *Runtime) shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, m := range rt.modules {
		if p := m.get(); p != nil {
			wg.Go(func() { _ = p.Stop(ctx) }) // the grace bounds it
		}
	}
	wg.Wait()
	if rt.agent != nil {
		rt.agent.close()
	}
	var errs []error
	for _, s := range rt.servers {
		errs = append(errs, s.Close())
	}
	rt.wg.Wait()
	if rt.hub != nil {
		ctx, cancel := context.WithTimeout(ctx, hubTimeout)
		defer cancel()
		errs = append(errs, rt.hub.Shutdown(ctx))
	}
	if rt.sockets != "" {
		errs = append(errs, os.RemoveAll(rt.sockets))
	}
	return errors.Join(errs...)
}
