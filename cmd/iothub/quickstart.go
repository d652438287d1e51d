package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/module"
)

// The identity that quickstart registers in its own hub.
const (
	quickstartDevice = "quickstart-device"
	quickstartModule = "quickstart-module"
)

type quickstartOptions struct {
	events           int
	size             int
	rate             float64
	json             bool
	connectionString string
	ca               string
}

func newQuickstartCommand() *cobra.Command {
	var o quickstartOptions
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Start a hub, send events to it and read them back",
		Long: `quickstart starts a hub in this process on free loopback ports, with its data
in a temporary folder, registers a device and a module, sends events as the
module over MQTT and TLS, reads all of them back from the hub's event stream
and compares them. The exit status is 0 only when every event was confirmed
exactly once and read back with its content.

With --connection-string it sends to an existing hub instead; nothing is
started and nothing read back then.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return runQuickstart(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.events, "events", 10_000, "events to send")
	f.IntVar(&o.size, "size", 256, "payload of an event in bytes")
	f.Float64Var(&o.rate, "rate", 0, "events a second at most; 0 is as fast as possible")
	f.BoolVar(&o.json, "json", false, "print the result as one JSON object")
	f.StringVar(&o.connectionString, "connection-string", "", "of a device or module of an existing hub to send to")
	f.StringVar(&o.ca, "ca", "", "PEM `file` of the authority to trust, with --connection-string")
	return cmd
}

func (o *quickstartOptions) validate() error {
	switch {
	case o.events < 1 || o.events > 10_000_000:
		return fmt.Errorf("--events is %d, it can be 1 to 10000000", o.events)
	case o.size < 0 || o.size > iothub.MaxMessageSize-64:
		return fmt.Errorf("--size is %d, it can be 0 to %d: an event has at most %d bytes with its properties",
			o.size, iothub.MaxMessageSize-64, iothub.MaxMessageSize)
	case o.rate < 0:
		return fmt.Errorf("--rate is %v, it must not be negative", o.rate)
	case o.ca != "" && o.connectionString == "":
		return errors.New("--ca goes with --connection-string: without it quickstart trusts the hub it starts")
	}
	return nil
}

// sender is what quickstart needs of a client.
type sender interface {
	SendEventAsync(*iothub.Message, iothub.ConfirmFunc) error
	Close(context.Context) error
}

func runQuickstart(ctx context.Context, o quickstartOptions, out, progress io.Writer) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	var server *hub.Server
	opts := &iothub.ClientOptions{}
	cs := o.connectionString
	if cs == "" {
		var cleanUp func()
		if server, cs, cleanUp, err = startHub(ctx, progress); err != nil {
			return err
		}
		defer cleanUp()
		opts.TLS = &tls.Config{RootCAs: server.CertPool()}
	} else if opts.TLS, err = trust(o.ca); err != nil {
		return err
	}
	run := newQuickstartRun(o, progress)
	opts.OnConnectionStatus = run.status
	client, err := openSender(cs, opts)
	if err != nil {
		return err
	}
	if err := run.send(ctx, client); err != nil {
		return err
	}
	if server != nil {
		if err := run.readBack(ctx, server); err != nil {
			return err
		}
	}
	return run.report(out, server != nil)
}

// startHub starts a hub of its own on free ports and returns the connection
// string of the module to send as.
func startHub(ctx context.Context, progress io.Writer) (s *hub.Server, cs string, cleanUp func(), err error) {
	start := time.Now()
	dir, err := os.MkdirTemp("", "iothub-quickstart-")
	if err != nil {
		return nil, "", nil, err
	}
	removeDir := func() { os.RemoveAll(dir) }
	s, err = hub.New(&hub.Options{DataDir: dir})
	if err != nil {
		removeDir()
		return nil, "", nil, err
	}
	cleanUp = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		removeDir()
	}
	defer func() {
		if err != nil {
			cleanUp()
		}
	}()
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	if _, err = s.CreateModule(ctx, quickstartDevice, quickstartModule); err != nil {
		return nil, "", nil, err
	}
	if cs, err = s.ModuleConnectionString(quickstartDevice, quickstartModule); err != nil {
		return nil, "", nil, err
	}
	fmt.Fprintf(progress, "hub ready on %s (MQTT over TLS) after %v; module %s/%s registered\n",
		addr, time.Since(start).Round(time.Millisecond), quickstartDevice, quickstartModule)
	return s, cs, cleanUp, nil
}

func openSender(cs string, o *iothub.ClientOptions) (sender, error) {
	parsed, err := iothub.ParseConnectionString(cs)
	if err != nil {
		return nil, err
	}
	if parsed.ModuleID != "" {
		return module.NewClientFromConnectionString(cs, o)
	}
	return device.NewClientFromConnectionString(cs, o)
}

// quickstartRun is one sending and what became of each event.
type quickstartRun struct {
	o   quickstartOptions
	id  string // tells the events of this run from others in the same hub
	bar *progressBar

	sentAt    []time.Time     // by event
	latency   []time.Duration // by event, once confirmed
	times     []int32         // confirmations by event
	confirmed atomic.Int64    // with ConfirmOK
	answered  atomic.Int64    // with any result
	moved     chan struct{}   // an event was answered
	elapsed   time.Duration   // first send to last confirmation

	mu      sync.Mutex
	failure error // of the first event that was not confirmed OK
	trouble error // the last trouble with the connection
	lost    int
	doubled int
	wrong   int
}

func newQuickstartRun(o quickstartOptions, progress io.Writer) *quickstartRun {
	return &quickstartRun{
		o: o, id: strconv.FormatInt(time.Now().UnixNano(), 36), bar: newProgressBar(progress, o.events),
		sentAt: make([]time.Time, o.events), latency: make([]time.Duration, o.events), times: make([]int32, o.events),
		moved: make(chan struct{}, 1),
	}
}

// status notes what the user should hear about if no event gets through.
func (r *quickstartRun) status(e iothub.ConnectionEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Err != nil {
		r.trouble = e.Err
		r.bar.note("connection: " + e.Err.Error())
	}
}

// payload is event i's content, which reading back must find again.
func (r *quickstartRun) payload(buf []byte, i int) []byte {
	buf = append(buf[:0], "event "...)
	buf = strconv.AppendInt(buf, int64(i), 10)
	for n := 0; len(buf) < r.o.size; n++ {
		buf = append(buf, byte('a'+(i+n)%26))
	}
	return buf[:r.o.size]
}

func (r *quickstartRun) send(ctx context.Context, c sender) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	}()
	start := time.Now()
	m := &iothub.Message{Properties: map[string]string{"run": r.id}}
	for i := range r.o.events {
		if err := r.pace(ctx, start, i); err != nil {
			return r.interrupted(err)
		}
		m.Payload = r.payload(m.Payload, i)
		m.Properties["event"] = strconv.Itoa(i)
		r.sentAt[i] = time.Now()
		if err := r.accept(ctx, c, m, i); err != nil {
			return err
		}
	}
	for r.answered.Load() < int64(r.o.events) {
		if err := r.wait(ctx); err != nil {
			return r.interrupted(err)
		}
	}
	r.elapsed = time.Since(start)
	r.bar.done()
	return nil
}

// pace holds event i back until the rate allows it.
func (r *quickstartRun) pace(ctx context.Context, start time.Time, i int) error {
	if r.o.rate <= 0 {
		return nil
	}
	due := start.Add(time.Duration(float64(i) / r.o.rate * float64(time.Second)))
	if d := time.Until(due); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// accept gets the message accepted, waiting for room where there is none.
func (r *quickstartRun) accept(ctx context.Context, c sender, m *iothub.Message, i int) error {
	for {
		err := c.SendEventAsync(m, func(c iothub.Confirmation) { r.confirm(i, c) })
		if !errors.Is(err, iothub.ErrQueueFull) {
			return err
		}
		if err := r.wait(ctx); err != nil {
			return r.interrupted(err)
		}
	}
}

func (r *quickstartRun) wait(ctx context.Context) error {
	select {
	case <-r.moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *quickstartRun) interrupted(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil {
		err = fmt.Errorf("%w; the connection's last trouble: %w", err, r.trouble)
	}
	return fmt.Errorf("%d of %d events confirmed: %w", r.confirmed.Load(), r.o.events, err)
}

func (r *quickstartRun) confirm(i int, c iothub.Confirmation) {
	r.latency[i] = time.Since(r.sentAt[i])
	r.times[i]++
	n := r.answered.Add(1)
	if c.Result == iothub.ConfirmOK {
		r.confirmed.Add(1)
	} else {
		r.mu.Lock()
		if r.failure == nil {
			r.failure = fmt.Errorf("event %d was confirmed %v: %w", i, c.Result, c.Err)
		}
		r.mu.Unlock()
	}
	r.bar.set(int(n))
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// readBack compares what the hub stored with what was sent.
func (r *quickstartRun) readBack(ctx context.Context, s *hub.Server) error {
	found := make([]int, r.o.events)
	var want []byte
	for e, err := range s.Events(ctx, &hub.EventsOptions{NoWait: true, DeviceID: quickstartDevice}) {
		if err != nil {
			return fmt.Errorf("reading the events back: %w", err)
		}
		i, err := strconv.Atoi(e.Properties["event"])
		if e.Properties["run"] != r.id || err != nil || i < 0 || i >= r.o.events {
			r.wrong++
			continue
		}
		want = r.payload(want, i)
		if string(e.Body) != string(want) || e.ModuleID != quickstartModule {
			r.wrong++
		}
		found[i]++
	}
	for _, n := range found {
		if n == 0 {
			r.lost++
		} else {
			r.doubled += n - 1
		}
	}
	return nil
}

// quickstartResult is what --json prints. Lost and Duplicated are absent when
// nothing was read back.
type quickstartResult struct {
	Sent       int     `json:"sent"`
	Confirmed  int     `json:"confirmed"`
	Lost       *int    `json:"lost,omitempty"`
	Duplicated *int    `json:"duplicated,omitempty"`
	Rate       float64 `json:"rate"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
}

func (r *quickstartRun) report(out io.Writer, readBack bool) error {
	res := quickstartResult{
		Sent: r.o.events, Confirmed: int(r.confirmed.Load()),
		Rate: float64(r.o.events) / r.elapsed.Seconds(),
		P50:  quantile(r.latency, 0.50), P99: quantile(r.latency, 0.99),
	}
	if readBack {
		res.Lost, res.Duplicated = &r.lost, &r.doubled
	}
	if r.o.json {
		if err := json.NewEncoder(out).Encode(res); err != nil {
			return err
		}
	} else {
		res.print(out)
	}
	return r.verdict()
}

// verdict is nil when every event was confirmed once and, if read back, found.
func (r *quickstartRun) verdict() error {
	for i, n := range r.times {
		if n != 1 {
			return fmt.Errorf("event %d was confirmed %d times", i, n)
		}
	}
	switch {
	case r.failure != nil:
		return r.failure
	case r.lost > 0:
		return fmt.Errorf("%d confirmed events were not found in the hub", r.lost)
	case r.wrong > 0:
		return fmt.Errorf("%d events were read back with other content than was sent", r.wrong)
	}
	return nil
}
