package crash_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/module"
)

// The test binary is the hub, too, when this is set.
const envData = "IOTHUB_CRASH_DATA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envData); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is a hub until somebody kills it.
func serve(dir string) error {
	s, err := hub.New(&hub.Options{DataDir: dir, HostNames: []string{"127.0.0.1"}})
	if err != nil {
		return err
	}
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("ready", addr)
	select {}
}

// child is a hub in a process of its own.
type child struct {
	cmd  *exec.Cmd
	door *testkit.Door
}

// mqtt is what clients dial, from where the door leads to the hub of the moment.
const mqtt = "127.0.0.1:8883"

func start(t *testing.T, dir string, door *testkit.Door) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envData+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ready {
		t.Fatalf("the hub said %q, %v", line, err)
	}
	door.Lead(mqtt, addr)
	return &child{cmd, door}
}

// kill is SIGKILL: no signal handler, no deferred call, no flush.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.door.Lead(mqtt, "")
	c.cmd.Wait()
}

// load sends numbered events and keeps the books.
type load struct {
	client *module.Client
	stop   chan struct{}
	done   chan struct{}
	room   chan struct{}

	mu        sync.Mutex
	sent      int
	confirmed map[int]int // event → confirmations with OK
	other     map[int]iothub.Confirmation
}

func (l *load) run(t *testing.T) {
	defer close(l.done)
	for i := 0; ; i++ {
		m := &iothub.Message{Payload: []byte("event " + strconv.Itoa(i)), Properties: map[string]string{"n": strconv.Itoa(i)}}
		for {
			err := l.client.SendEventAsync(m, func(c iothub.Confirmation) { l.confirm(i, c) })
			if err == nil {
				break
			}
			if !errors.Is(err, iothub.ErrQueueFull) {
				t.Error(err)
				return
			}
			select {
			case <-l.room:
			case <-l.stop:
				return
			}
		}
		l.mu.Lock()
		l.sent = i + 1
		l.mu.Unlock()
		select {
		case <-l.stop:
			return
		default:
		}
	}
}

func (l *load) confirm(i int, c iothub.Confirmation) {
	l.mu.Lock()
	if c.Result == iothub.ConfirmOK {
		l.confirmed[i]++
	} else {
		l.other[i] = c
	}
	l.mu.Unlock()
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// snapshot returns the events confirmed so far.
func (l *load) snapshot() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s []int
	for i := range l.confirmed {
		s = append(s, i)
	}
	return s
}

// stored opens the data folder that the killed hub left behind and returns
// what is in it, by event.
func stored(t *testing.T, dir string) map[int]int {
	t.Helper()
	s, err := hub.New(&hub.Options{DataDir: dir})
	if err != nil {
		t.Fatalf("opening the data of a killed hub: %v", err)
	}
	defer s.Shutdown(context.Background())
	found := map[int]int{}
	for e, err := range s.Events(context.Background(), &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			t.Fatal(err)
		}
		i, err := strconv.Atoi(e.Properties["n"])
		if err != nil || string(e.Body) != "event "+e.Properties["n"] {
			t.Fatalf("event %d/%s is damaged: %q", e.Partition, e.Offset, e.Body)
		}
		found[i]++
	}
	return found
}

// A hub is killed with SIGKILL twenty times under load, at random moments.
// After each, every confirmed event is in what it left behind; in the end every
// accepted one is confirmed exactly once.
func TestKilledHubLosesNothingConfirmed(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills twenty processes")
	}
	const kills = 20
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	cs, pool := prepare(t, dir)

	var door testkit.Door
	first := start(t, dir, &door)
	client, err := module.NewClientFromConnectionString(cs, &module.ClientOptions{
		TLS:               &tls.Config{RootCAs: pool},
		Dial:              door.Dial,
		MaxQueuedMessages: 2000,
		Retry:             &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 20 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &load{client: client, stop: make(chan struct{}), done: make(chan struct{}), room: make(chan struct{}, 1),
		confirmed: map[int]int{}, other: map[int]iothub.Confirmation{}}
	go l.run(t)

	hubProcess := first
	for k := range kills {
		<-time.After(time.Duration(random.IntN(300)) * time.Millisecond)
		hubProcess.kill()
		confirmed := l.snapshot()
		found := stored(t, dir)
		for _, i := range confirmed {
			if found[i] == 0 {
				t.Fatalf("kill %d: event %d was confirmed and is not there (%d confirmed, %d found)", k, i, len(confirmed), len(found))
			}
		}
		hubProcess = start(t, dir, &door)
	}
	close(l.stop)
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := client.Close(ctx); err != nil {
		t.Fatalf("closing: %v; %+v", err, client.Stats())
	}
	hubProcess.kill()
	l.check(t, stored(t, dir))
	t.Logf("%d events, %+v", l.sent, client.Stats())
}

func (l *load) check(t *testing.T, found map[int]int) {
	if len(l.other) > 0 {
		t.Errorf("%d events were not confirmed OK, such as %v", len(l.other), l.other)
	}
	for i := range l.sent {
		if l.confirmed[i] != 1 {
			t.Errorf("event %d was confirmed %d times", i, l.confirmed[i])
		}
		if found[i] == 0 {
			t.Errorf("event %d is not in the hub", i)
		}
	}
	if l.sent < 1000 {
		t.Errorf("only %d events were sent: the test proves little", l.sent)
	}
}
