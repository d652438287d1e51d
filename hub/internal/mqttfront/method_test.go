package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// called is what a call of a method comes to.
type called struct {
	result core.MethodResult
	err    error
	after  time.Duration
}

// invoke calls a method in the background.
func (e *env) invoke(id string, c core.MethodCall) <-chan called {
	return e.invokeContext(context.Background(), id, c)
}

func (e *env) invokeContext(ctx context.Context, id string, c core.MethodCall) <-chan called {
	device, module, _ := strings.Cut(id, "/")
	done := make(chan called, 1)
	go func() {
		start := time.Now()
		r, err := e.hub.InvokeMethod(ctx, device, module, c)
		done <- called{r, err, time.Since(start)}
	}()
	return done
}

// request reads a method request and returns its name and request id.
func (c *client) request() (name, rid, payload string) {
	c.t.Helper()
	p := c.message()
	rest, ok := strings.CutPrefix(string(p.Topic), "$iothub/methods/POST/")
	name, rid, ok2 := strings.Cut(rest, "/?$rid=")
	if !ok || !ok2 || p.Dup {
		c.t.Fatalf("the topic of the request is %q, dup %v", p.Topic, p.Dup)
	}
	if p.QoS > 0 {
		c.ack(p)
	}
	return name, rid, string(p.Payload)
}

func wantFailed(t *testing.T, got called, code int, after time.Duration) {
	t.Helper()
	if !errors.Is(got.err, &core.Error{Code: code}) || got.after != after {
		t.Errorf("got %v after %v, want %d after %v", got.err, got.after, code, after)
	}
}

func TestMethods(t *testing.T) {
	for _, tt := range []struct {
		name     string
		id       string
		qos      byte
		payload  string
		status   string
		query    string // behind the request id
		response string
		want     core.MethodResult
		code     int
	}{
		{"usual", "dev1", 0, `{"delay":5}`, "200", "", `{"ok":true}`, core.MethodResult{Status: 200, Payload: []byte(`{"ok":true}`)}, 0},
		{"QoS 1", "dev1", 1, `1`, "200", "", `2`, core.MethodResult{Status: 200, Payload: []byte(`2`)}, 0},
		{"module", "dev1/mod1", 0, "", "200", "", "", core.MethodResult{Status: 200}, 0},
		{"error of the device", "dev1", 0, "null", "501", "", `"no"`, core.MethodResult{Status: 501, Payload: []byte(`"no"`)}, 0},
		{"negative status", "dev1", 0, "", "-1", "", " ", core.MethodResult{Status: -1}, 0},
		{"more parameters", "dev1", 0, "", "0", "&a=b", "", core.MethodResult{}, 0},
		{"no status", "dev1", 0, "", "fine", "", "", core.MethodResult{}, 400000},
		{"no JSON", "dev1", 0, "", "200", "", "fine", core.MethodResult{}, 502000},
		{"too large", "dev1", 0, "", "200", "", `"` + strings.Repeat("x", 128<<10) + `"`, core.MethodResult{}, 502000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				c := e.connect(tt.id)
				c.subscribe(methodsTopic, tt.qos)
				done := e.invoke(tt.id, core.MethodCall{Name: "reboot", Payload: []byte(tt.payload)})
				name, rid, payload := c.request()
				if name != "reboot" || payload != tt.payload {
					t.Errorf("the request is %s(%s)", name, payload)
				}
				c.write(publish("$iothub/methods/res/"+tt.status+"/?$rid="+rid+tt.query, tt.response, tt.qos, 9*uint16(tt.qos)))
				if tt.qos > 0 && c.puback() != 9 {
					t.Error("the response is not acknowledged")
				}
				got := <-done
				if tt.code != 0 {
					if !errors.Is(got.err, &core.Error{Code: tt.code}) {
						t.Errorf("error %v, want %d", got.err, tt.code)
					}
				} else if got.err != nil || got.result.Status != tt.want.Status || string(got.result.Payload) != string(tt.want.Payload) {
					t.Errorf("got %d %s, %v", got.result.Status, got.result.Payload, got.err)
				}
			})
		})
	}
}

func TestMethodArguments(t *testing.T) {
	good := core.MethodCall{Name: "m", ResponseTimeout: 5 * time.Second}
	for _, tt := range []struct {
		name string
		id   string
		edit func(*core.MethodCall)
		code int
	}{
		{"good, offline", "dev1", func(*core.MethodCall) {}, 404103},
		{"no name", "dev1", func(c *core.MethodCall) { c.Name = "" }, 400005},
		{"100 characters", "dev1", func(c *core.MethodCall) { c.Name = strings.Repeat("x", 100) }, 404103},
		{"101 characters", "dev1", func(c *core.MethodCall) { c.Name = strings.Repeat("x", 101) }, 400004},
		{"a slash", "dev1", func(c *core.MethodCall) { c.Name = "a/b" }, 400004},
		{"a wildcard", "dev1", func(c *core.MethodCall) { c.Name = "a#" }, 400004},
		{"odd but good", "dev1", func(c *core.MethodCall) { c.Name = "ä b?$rid=1" }, 404103},
		{"response at once", "dev1", func(c *core.MethodCall) { c.ResponseTimeout = 4 * time.Second }, 400004},
		{"response 300 s", "dev1", func(c *core.MethodCall) { c.ResponseTimeout = 300 * time.Second }, 404103},
		{"response 301 s", "dev1", func(c *core.MethodCall) { c.ResponseTimeout = 301 * time.Second }, 400004},
		{"connect before", "dev1", func(c *core.MethodCall) { c.ConnectTimeout = -1 }, 400004},
		{"connect 301 s", "dev1", func(c *core.MethodCall) { c.ConnectTimeout = 301 * time.Second }, 400004},
		{"128 KiB", "dev1", func(c *core.MethodCall) { c.Payload = []byte(`"` + strings.Repeat("x", 128<<10-2) + `"`) }, 404103},
		{"more", "dev1", func(c *core.MethodCall) { c.Payload = []byte(`"` + strings.Repeat("x", 128<<10-1) + `"`) }, 413001},
		{"no JSON", "dev1", func(c *core.MethodCall) { c.Payload = []byte(`{`) }, 400004},
		{"unknown device", "nobody", func(*core.MethodCall) {}, 404001},
		{"unknown module", "dev1/nobody", func(*core.MethodCall) {}, 404010},
		{"disabled device", "off", func(*core.MethodCall) {}, 404001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				if _, err := e.hub.CreateDevice(t.Context(), core.Device{DeviceID: "off", Status: core.StatusDisabled}); err != nil {
					t.Fatal(err)
				}
				call := good
				tt.edit(&call)
				wantFailed(t, <-e.invoke(tt.id, call), tt.code, 0)
			})
		})
	}
}

func TestMethodTimeouts(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		call := core.MethodCall{Name: "m", ConnectTimeout: 10 * time.Second, ResponseTimeout: 7 * time.Second}
		wantFailed(t, <-e.invoke("dev1", call), 404103, 10*time.Second)

		c := e.connect("dev1") // connected is not enough
		wantFailed(t, <-e.invoke("dev1", call), 404103, 10*time.Second)
		wantFailed(t, <-e.invoke("dev1", core.MethodCall{Name: "m"}), 404103, 0)

		c.subscribe(methodsTopic, 0)
		done := e.invoke("dev1", call)
		_, rid, _ := c.request()
		wantFailed(t, <-done, 504101, 7*time.Second)
		// Too late, twice, or never asked: acknowledged all the same (B.4).
		for i, late := range []string{rid, rid, "nonsense"} {
			c.write(publish("$iothub/methods/res/200/?$rid="+late, "", 1, uint16(i+1)))
			if id := c.puback(); id != uint16(i+1) {
				t.Errorf("PUBACK of %d", id)
			}
		}
		c.write(publish("$iothub/methods/res/200/", "", 1, 9))
		c.puback()
		done = e.invoke("dev1", core.MethodCall{Name: "m"})
		c.request()
		wantFailed(t, <-done, 504101, 30*time.Second) // the default

		c.unsubscribe(methodsTopic)
		wantFailed(t, <-e.invoke("dev1", call), 404103, 10*time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := <-e.invokeContext(ctx, "dev1", call); !errors.Is(got.err, context.DeadlineExceeded) || got.after != time.Second {
			t.Errorf("got %v after %v, want the error of the context", got.err, got.after)
		}
	})
}

// TestMethodWaitsForTheDevice connects and subscribes within the timeout.
func TestMethodWaitsForTheDevice(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		done := e.invoke("dev1", core.MethodCall{Name: "m", ConnectTimeout: 10 * time.Second})
		advance(4 * time.Second)
		c := e.connect("dev1")
		advance(4 * time.Second)
		c.nothing()
		c.subscribe(methodsTopic, 0)
		_, rid, _ := c.request()
		c.write(publish("$iothub/methods/res/200/?$rid="+rid, "1", 0, 0))
		if got := <-done; got.err != nil || string(got.result.Payload) != "1" {
			t.Errorf("got %s, %v", got.result.Payload, got.err)
		}
	})
}

// TestMethodRememberedSubscription serves methods before any SUBSCRIBE.
func TestMethodRememberedSubscription(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c, _ := e.persistent("dev1")
		c.subscribe(methodsTopic, 0)
		c.disconnect()
		synctest.Wait()
		wantFailed(t, <-e.invoke("dev1", core.MethodCall{Name: "m"}), 404103, 0) // never queued (B.6)
		c, _ = e.persistent("dev1")
		done := e.invoke("dev1", core.MethodCall{Name: "m"})
		_, rid, _ := c.request()
		c.write(publish("$iothub/methods/res/200/?$rid="+rid, "", 0, 0))
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
		c = e.connect("dev1") // clean: forgotten
		wantFailed(t, <-e.invoke("dev1", core.MethodCall{Name: "m"}), 404103, 0)
		c.nothing()
	})
}

// TestMethodAnswerOnANewConnection is about a device that reconnects while it works.
func TestMethodAnswerOnANewConnection(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(methodsTopic, 0)
		done := e.invoke("dev1", core.MethodCall{Name: "m"})
		_, rid, _ := c.request()
		c.disconnect()
		other := e.connect("dev2") // nobody answers for another
		other.write(publish("$iothub/methods/res/500/?$rid="+rid, "", 1, 1))
		other.puback()
		c = e.connect("dev1")
		c.write(publish("$iothub/methods/res/201/?$rid="+rid, "", 0, 0))
		if got := <-done; got.err != nil || got.result.Status != 201 {
			t.Errorf("got %d, %v", got.result.Status, got.err)
		}
	})
}

// TestMethodsConcurrently answers out of order, up to the limit of calls.
func TestMethodsConcurrently(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(methodsTopic, 0)
		var calls []<-chan called
		var rids []string
		for i := range 100 {
			calls = append(calls, e.invoke("dev1", core.MethodCall{Name: fmt.Sprint("m", i)}))
			name, rid, _ := c.request()
			if name != fmt.Sprint("m", i) {
				t.Fatalf("request of %s", name)
			}
			rids = append(rids, rid)
		}
		wantFailed(t, <-e.invoke("dev1", core.MethodCall{Name: "m"}), 403800, 0)
		var all []byte
		for i := range rids {
			k := len(rids) - 1 - i
			all = append(all, publish(fmt.Sprintf("$iothub/methods/res/%d/?$rid=%s", k, rids[k]), "", 0, 0)...)
		}
		c.write(all)
		for i, call := range calls {
			if got := <-call; got.err != nil || got.result.Status != i {
				t.Errorf("call %d: %d, %v", i, got.result.Status, got.err)
			}
		}
	})
}

// TestMethodPubackIsInOrder holds the acknowledgement of a response back until
// the telemetry before it is durable. [MQTT-4.6.0-2]
func TestMethodPubackIsInOrder(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		open := e.gate.close()
		defer open()
		c.write(append(publish(telemetry1, "x", 1, 1), publish("$iothub/methods/res/200/?$rid=1", "", 1, 2)...))
		c.write(publish(telemetry1, "y", 1, 3))
		c.nothing()
		open()
		for want := range uint16(3) {
			if id := c.puback(); id != want+1 {
				t.Errorf("PUBACK of %d, want %d", id, want+1)
			}
		}
	})
}

// TestMethodOfASlowClient does not gather requests without bound.
func TestMethodOfASlowClient(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(methodsTopic, 0)
		payload := []byte(`"` + strings.Repeat("x", 120<<10) + `"`)
		var calls []<-chan called
		for range 20 {
			calls = append(calls, e.invoke("dev1", core.MethodCall{Name: "m", Payload: payload, ResponseTimeout: 10 * time.Second}))
		}
		offline, late := 0, 0
		for _, call := range calls {
			switch err := (<-call).err; {
			case errors.Is(err, &core.Error{Code: core.CodeDeviceNotOnline}):
				offline++
			case errors.Is(err, &core.Error{Code: core.CodeGatewayTimeout}):
				late++
			}
		}
		if offline == 0 || late == 0 || offline+late != 20 {
			t.Errorf("%d calls found nobody and %d no answer", offline, late)
		}
	})
}

// TestShutdownEndsMethods answers the callers that wait.
func TestShutdownEndsMethods(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		waiting := e.invoke("dev2", core.MethodCall{Name: "m", ConnectTimeout: time.Minute})
		c := e.connect("dev1")
		c.subscribe(methodsTopic, 0)
		asked := e.invoke("dev1", core.MethodCall{Name: "m"})
		c.request()
		go func() { _ = c.closed() }()
		e.close()
		for _, done := range []<-chan called{waiting, asked} {
			wantFailed(t, <-done, core.CodeServiceUnavailable, 0)
		}
	})
}
