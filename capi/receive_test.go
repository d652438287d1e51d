//go:build cgo && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

// Everything that a hub sends a device, in both layers.
func TestReceive(t *testing.T) {
	for _, name := range []string{"receive", "receive_managed"} {
		t.Run(name, func(t *testing.T) {
			inDialects(t, name, func(t *testing.T, bin string) {
				w := newWorld(t, nil)
				p := start(t, bin, w.env...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				p.expect("messages")
				sendMessages(ctx, t, w)
				p.expect("methods")
				callMethods(ctx, t, w)
				p.expect("commands")
				w.wantMethod(ctx, t, "dev1", "thermostat1*reboot", `{"delay":3}`, 202, `{"done":true}`)
				w.wantMethod(ctx, t, "dev1", "stop", "", 200, "")
				p.expect("twin")
				w.desire(ctx, t, `{"interval":5}`)
				p.expect("properties")
				w.desire(ctx, t, `{"thermostat1":{"__t":"c","target":21.5}}`)
				p.expect("destroy")
				w.wantMethod(ctx, t, "dev1", "last", "1", 299, "")
				p.expect("destroyed")
				p.finish()
				checkReported(ctx, t, w)
			})
		})
	}
}

func sendMessages(ctx context.Context, t *testing.T, w *world) {
	t.Helper()
	for _, body := range []string{"accept", "reject", "later", "abandon"} {
		err := w.SendC2D(ctx, "dev1", &iothub.Message{
			Payload: []byte(body), MessageID: "m@1", CorrelationID: "c1", Properties: map[string]string{"k 1": "v&1"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func callMethods(ctx context.Context, t *testing.T, w *world) {
	t.Helper()
	w.wantMethod(ctx, t, "dev1", "echo", `{"x":[1,"é"]}`, 200, `{"x":[1,"é"]}`)
	w.wantMethod(ctx, t, "dev1", "not json", "null", 500, "not JSON")
	w.wantMethod(ctx, t, "dev1", "unknown", "1", 404, "")
	w.wantMethod(ctx, t, "dev1", "stop", "", 404, "")
}

// wantMethod calls a method; its answer is want, or has it in it.
func (w *world) wantMethod(ctx context.Context, t *testing.T, device, name, payload string, status int, want string) {
	t.Helper()
	o := &hub.MethodOptions{ConnectTimeout: 10 * time.Second}
	got, answer, err := w.InvokeMethod(ctx, device, "", name, []byte(payload), o)
	if err != nil || got != status || !strings.Contains(string(answer), want) || (want == "" && len(answer) > 0 && string(answer) != "null") {
		t.Errorf("method %s: %d %s, %v; want %d %s", name, got, answer, err, status, want)
	}
}

func (w *world) desire(ctx context.Context, t *testing.T, desired string) {
	t.Helper()
	patch := []byte(`{"properties":{"desired":` + desired + `}}`)
	if _, err := w.UpdateTwin(ctx, "dev1", "", patch, ""); err != nil {
		t.Error(err)
	}
}

// checkReported checks what the program has reported.
func checkReported(ctx context.Context, t *testing.T, w *world) {
	t.Helper()
	twin, err := w.Twin(ctx, "dev1", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(twin)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s %+v", b, twin)
	for _, want := range []string{`red`, `21.5`} {
		if !strings.Contains(text, want) {
			t.Errorf("the twin has no %s: %s", want, text)
		}
	}
}
