package registration

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/provisioning"
)

// program is a Host; its functions are those of calls, by their number.
type program struct {
	mu    sync.Mutex
	calls map[uintptr]func(r *Record)
	logs  []string
	told  []string
}

func (p *program) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, fmt.Sprintf(format, args...))
}

// seen returns what was told, and logged.
func (p *program) seen() (told, logs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told), slices.Clone(p.logs)
}

func (p *program) Dispatch(r *Record) {
	p.mu.Lock()
	f := p.calls[r.Func]
	p.mu.Unlock()
	f(r)
}

// Thread takes a goroutine for a thread.
func (p *program) Thread() uintptr {
	var buf [64]byte
	var n uintptr
	fmt.Sscanf(string(buf[:runtime.Stack(buf[:], false)]), "goroutine %d ", &n)
	return n
}

func (p *program) Log(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logs = append(p.logs, err.Error())
}

const assigned = `{"operationId":"o","status":"assigned","registrationState":{"assignedHub":"hub.example","deviceId":"dev1","payload":{"a":1}}}`

func secret(cert, key string) (*provisioning.Attestation, string, error) {
	a, err := provisioning.NewKeyAttestation("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	return a, "reg1", err
}

// run runs f with a client of a scripted service, in virtual time: what stays behind is a
// failure.
func run(t *testing.T, threaded bool, f func(t *testing.T, p *program, c *Client, s *simhub.Provisioning)) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(nil)
		s := &simhub.Provisioning{Script: []simhub.Reply{{Status: 202, Wait: "3", Body: `{"operationId":"o","status":"assigning"}`}, {Status: 200, Body: assigned}}}
		go s.Serve(n)
		p := &program{calls: map[uintptr]func(*Record){}}
		c, err := New(p, "dps.example", "0ne1", provisioning.MQTT, threaded)
		if err != nil {
			t.Fatal(err)
		}
		c.Set(func(s *Settings) error {
			s.Options.DialTLS = func(ctx context.Context, network, address string) (net.Conn, error) {
				return n.Dial(ctx, network, address)
			}
			return nil
		})
		f(t, p, c, s)
		c.Destroy()
		n.Close()
		s.Wait()
	})
}

// What a registration tells: in DoWork, or by a thread of its own.
func TestRegister(t *testing.T) {
	for _, threaded := range []bool{false, true} {
		run(t, threaded, func(t *testing.T, p *program, c *Client, s *simhub.Provisioning) {
			p.calls[1] = func(r *Record) { p.tell("done %d %s %s %d", r.Result, r.Hub, r.Device, r.Context) }
			p.calls[2] = func(r *Record) { p.tell("status %d", r.Status) }
			if r := c.Register(secret, Callback{1, 7}, Callback{2, 8}); r != OK {
				t.Fatal(r)
			}
			if r := c.Register(secret, Callback{1, 7}, Callback{}); r != Failed {
				t.Errorf("a second one: %v", r)
			}
			for range 10 {
				<-time.After(time.Second)
				synctest.Wait()
				if told, _ := p.seen(); !threaded && len(told) > 0 {
					t.Errorf("told outside of DoWork: %v", told)
				}
			}
			c.DoWork()
			synctest.Wait()
			if told, _ := p.seen(); fmt.Sprint(told) != "[status 0 status 2 done 0 hub.example dev1 7]" {
				t.Errorf("threaded %v: %v", threaded, told)
			}
			if text := c.Payload(); text == nil || *text != `{"a":1}` {
				t.Errorf("payload %v", text)
			}
		})
	}
}

// Inside a callback the client may register again, and be destroyed; then nobody is
// called any more.
func TestInsideCallbacks(t *testing.T) {
	for _, threaded := range []bool{false, true} {
		run(t, threaded, func(t *testing.T, p *program, c *Client, s *simhub.Provisioning) {
			p.calls[1] = func(*Record) {
				p.tell("called")
				if told, _ := p.seen(); len(told) == 3 {
					c.Destroy()
					return
				}
				c.DoWork() // does nothing here
				if r := c.Register(secret, Callback{Func: 1}, Callback{}); r != OK {
					t.Errorf("again: %v", r)
				}
			}
			c.Register(secret, Callback{Func: 1}, Callback{})
			for range 20 {
				<-time.After(time.Second)
				synctest.Wait()
				c.DoWork()
			}
			if told, _ := p.seen(); len(told) != 3 {
				t.Errorf("%d calls", len(told))
			}
			if r := c.Register(secret, Callback{Func: 1}, Callback{}); r != Failed {
				t.Errorf("after Destroy: %v", r)
			}
		})
	}
}

// Destroy waits for a callback that runs on another thread, and not for the service.
func TestDestroy(t *testing.T) {
	run(t, true, func(t *testing.T, p *program, c *Client, s *simhub.Provisioning) {
		p.calls[2] = func(*Record) {
			<-time.After(time.Minute)
			p.tell("out")
		}
		p.calls[1] = func(*Record) { t.Error("told after Destroy") }
		c.Register(secret, Callback{Func: 1}, Callback{Func: 2})
		synctest.Wait()
		c.Destroy()
		if told, _ := p.seen(); len(told) == 0 {
			t.Error("a callback was still running")
		}
	})
	run(t, false, func(t *testing.T, p *program, c *Client, s *simhub.Provisioning) {
		s.Say(simhub.Reply{})
		c.Register(secret, Callback{Func: 1}, Callback{})
		synctest.Wait()
		begun := time.Now()
		c.Destroy()
		c.DoWork()
		if time.Since(begun) > 0 {
			t.Error("it waited for the service")
		}
	})
}

// How registrations end.
func TestResults(t *testing.T) {
	failed := func(code int) simhub.Reply {
		return simhub.Reply{Status: 200, Body: fmt.Sprintf(`{"status":"failed","registrationState":{"errorCode":%d,"errorMessage":"m"}}`, code)}
	}
	for _, test := range []struct {
		reply simhub.Reply
		want  Result
	}{
		{simhub.Reply{Status: 401, Body: `{"errorCode":401002,"message":"Unauthorized"}`}, DevAuthError},
		{simhub.Reply{Status: 200, Body: `{"status":"disabled"}`}, Disabled},
		{failed(400208), HubNotSpecified},
		{failed(400209), Unauthorized},
		{failed(400999), Failed},
		{simhub.Reply{Status: 200, Body: "x"}, Parsing},
		{simhub.Reply{Status: 503, Body: "x"}, Transport},
		{simhub.Reply{Status: -1}, Transport},
	} {
		run(t, true, func(t *testing.T, p *program, c *Client, s *simhub.Provisioning) {
			s.Say(test.reply)
			p.calls[1] = func(r *Record) { p.tell("%d", r.Result) }
			c.Register(secret, Callback{Func: 1}, Callback{})
			<-time.After(5 * time.Minute)
			synctest.Wait()
			if told, logs := p.seen(); fmt.Sprint(told) != fmt.Sprint([]Result{test.want}) || len(logs) != 1 || strings.Contains(logs[0], "AAEC") {
				t.Errorf("%+v: %v, log %q", test.reply, told, logs)
			}
			// With a time-out what may pass is waited for as long as that.
			s.Say(simhub.Reply{Status: 503})
			c.Set(func(s *Settings) error { s.Timeout = 10 * time.Minute; return nil })
			c.Register(secret, Callback{Func: 1}, Callback{})
			<-time.After(9 * time.Minute)
			synctest.Wait()
			if told, _ := p.seen(); len(told) != 1 {
				t.Errorf("it ended before its time: %v", told)
			}
			<-time.After(2 * time.Minute)
			synctest.Wait()
			if told, _ := p.seen(); fmt.Sprint(told) != fmt.Sprint([]Result{test.want, TimedOut}) {
				t.Errorf("after the time: %v", told)
			}
		})
	}
}
