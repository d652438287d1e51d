package edgehub_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
)

// envChild has the test binary be an edge hub, with what it says.
const envChild = "IOTHUB_EDGE_CHILD"

// child is what an edge hub in a process of its own is told.
type child struct {
	Dir, Host, Key, CA string
	HTTPSPort          int
	Later              time.Duration // how far its clock is ahead
	door               *testkit.Door // leads to it
}

// serveChild is an edge hub until somebody kills it.
func serveChild(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	key, err := iothub.ParseSharedAccessKey(c.Key)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.CA))
	e, err := edgehub.New(context.Background(), edgehub.Options{
		DataDir: c.Dir, HostNames: []string{"127.0.0.1"}, MQTT: "127.0.0.1:0", StoreLimit: crashLimit, TTL: 4 * 24 * time.Hour,
		Clock: func() time.Time { return time.Now().Add(c.Later) },
		Upstream: edgehub.Upstream{
			HostName: c.Host, HTTPSPort: c.HTTPSPort, DeviceID: "gw", Credential: iothub.NewKeyCredential(key, ""),
			TLS: &tls.Config{RootCAs: pool}, Retry: quick(),
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready", e.Addr(hub.MQTT))
	select {}
}

const (
	crashLimit   = 64 << 20
	crashDevices = 10
	crashEvents  = 10_000 // of each device
)

// relay leads to an address over a cable.
func relay(t *testing.T, wire *cable, to string) net.Addr {
	t.Helper()
	a := testkit.Relay(t, func(ctx context.Context) (net.Conn, error) { return wire.dial(ctx, "tcp", to) })
	t.Cleanup(func() { wire.set(true) })
	return a
}

// process runs an edge hub.
type process struct {
	cmd  *exec.Cmd
	door *testkit.Door
}

// gateway is what leaf devices dial, from where the door leads to the process of the
// moment.
const gateway = "127.0.0.1:8883"

func (c *child) start(t *testing.T, later time.Duration) *process {
	t.Helper()
	c.Later = later
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, c.door}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ready {
		t.Fatalf("the edge hub said %q, %v", line, err)
	}
	c.door.Lead(gateway, addr)
	return p
}

// kill is SIGKILL: no signal handler, no deferred call, no flush.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.door.Lead(gateway, "")
	_ = p.cmd.Wait()
}

// books are what was confirmed to the devices.
type books struct {
	confirmed atomic.Int64
	bad       atomic.Int64
}

// run sends the numbered events of one device.
func (b *books) run(ctx context.Context, c *device.Client) error {
	room := make(chan struct{}, 1)
	for n := range crashEvents {
		m := &iothub.Message{Payload: []byte("event " + strconv.Itoa(n)), Properties: map[string]string{"n": strconv.Itoa(n)}}
		for {
			err := c.SendEventAsync(m, func(c iothub.Confirmation) {
				if c.Result == iothub.ConfirmOK {
					b.confirmed.Add(1)
				} else {
					b.bad.Add(1)
				}
				select {
				case room <- struct{}{}:
				default:
				}
			})
			if err == nil {
				break
			}
			if !errors.Is(err, iothub.ErrQueueFull) {
				return err
			}
			select {
			case <-room:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// size is how many bytes the files below a folder have.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // gone in between
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The cable upstream is cut for three days, by the clock of the edge hub, while
// 100 000 events come in, and the process is killed with SIGKILL while they do, and
// again while they are passed on. None is lost, and those of each device arrive in
// order, with the time when they were sent.
func TestThreeDaysWithoutUpstream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes, and sends 100 000 events")
	}
	w := newWorld(t)
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	o := w.options()
	var wire cable
	mqtt := relay(t, &wire, net.JoinHostPort("127.0.0.1", portOf(t, o.Upstream.HostName)))
	https := relay(t, &wire, net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Upstream.HTTPSPort)))
	self, err := w.up.CreateModule(t.Context(), "gw", "$edgeHub")
	if err != nil {
		t.Fatal(err)
	}
	c := &child{
		Dir: o.DataDir, door: new(testkit.Door), Host: net.JoinHostPort("localhost", strconv.Itoa(port(mqtt))), Key: self.PrimaryKey,
		CA: string(w.up.CACertPEM()), HTTPSPort: port(https),
	}
	begun := time.Now()
	p := c.start(t, 0)

	ca, err := os.ReadFile(filepath.Join(c.Dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	var clients []*device.Client
	for i := range crashDevices {
		id := "leaf" + strconv.Itoa(i)
		w.create(service.Device{DeviceID: id, Scope: gw.Scope})
		cs := must(t)(w.up.DeviceConnectionString(id)) + ";GatewayHostName=127.0.0.1"
		client, err := device.NewClientFromConnectionString(cs, &iothub.ClientOptions{
			TLS: &tls.Config{RootCAs: pool}, Dial: c.door.Dial, Retry: quick(), MaxQueuedMessages: 500,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.closeClient(client.Close) })
		// It has to be known before the cable is cut.
		if err := client.SendEvent(bound(t), &iothub.Message{Payload: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	w.events(crashDevices)
	wire.set(true)

	var b books
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, client := range clients {
		wg.Go(func() {
			if err := b.run(ctx, client); err != nil {
				t.Error(err)
			}
		})
	}
	const total = crashDevices * crashEvents
	reach := func(n int64) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for b.confirmed.Load() < n {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("%d of %d events were confirmed", b.confirmed.Load(), n)
			}
		}
	}
	for i, later := range []time.Duration{36 * time.Hour, 72 * time.Hour} {
		reach(int64(i+1) * total / 3)
		p.kill()
		p = c.start(t, later)
	}
	reach(total)
	wg.Wait()
	if n := size(t, filepath.Join(c.Dir, "store")); n > crashLimit+crashLimit/2 {
		t.Errorf("the store takes %d bytes, the limit is %d", n, crashLimit)
	}
	t.Logf("%d events wait, in %d bytes, after %v", total, size(t, filepath.Join(c.Dir, "store")), time.Since(begun).Round(time.Millisecond))

	up := &arrivals{t: t, next: make(map[string]int), spent: make(map[string]time.Duration)}
	wire.set(false)
	back := time.Now()
	for e, err := range w.up.Events(ctx, nil) {
		if err != nil {
			t.Fatalf("%d of %d events arrived: %v", up.distinct, total, err)
		}
		if up.take(e, begun); up.distinct == total/2 && !up.killed {
			up.killed = true
			p.kill()
			p = c.start(t, 72*time.Hour)
		}
		if up.distinct == total {
			break
		}
	}
	t.Logf("all arrived in %v, %d twice", time.Since(back).Round(time.Millisecond), up.repeated)
	if b.bad.Load() > 0 {
		t.Errorf("%d events were confirmed as anything but OK", b.bad.Load())
	}
	if len(up.spent) != 3 {
		t.Errorf("the events were sent at %v", up.spent)
	}
	p.kill()

	// What was passed on does not stay.
	w.start(nil)
	until(t, "what was passed on is gone", func() bool { return w.edge.Stats().Waiting < 1<<20 })
}

// arrivals are what comes upstream.
type arrivals struct {
	t                  *testing.T
	next               map[string]int // per device
	spent              map[string]time.Duration
	distinct, repeated int
	killed             bool
}

// take checks one event: it is the next of its device, or one that came before.
func (a *arrivals) take(e *hub.Event, begun time.Time) {
	a.t.Helper()
	if string(e.Body) == "hello" {
		return
	}
	n, err := strconv.Atoi(e.Properties["n"])
	if err != nil || string(e.Body) != "event "+e.Properties["n"] {
		a.t.Fatalf("event %s of %s is damaged: %q", e.Offset, e.DeviceID, e.Body)
	}
	switch next := a.next[e.DeviceID]; {
	case n > next:
		a.t.Fatalf("event %d of %s came where %d was due", n, e.DeviceID, next)
	case n < next:
		a.repeated++
		return
	}
	a.next[e.DeviceID]++
	a.distinct++
	created, err := time.Parse(time.RFC3339, e.SystemProperties["iothub-creation-time-utc"])
	if err != nil {
		a.t.Fatal(err)
	}
	// Which of the three clocks it was stored by.
	day := created.Sub(begun).Round(12 * time.Hour)
	a.spent[day.String()] = day
}

func portOf(t *testing.T, host string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
