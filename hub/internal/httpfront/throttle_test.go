package httpfront_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/httpfront"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
)

// throttled runs a test in virtual time with a hub of one unit of a tier; do
// sends a request as its owner.
func throttled(t *testing.T, tier string, test func(t *testing.T, h *core.Hub, do func(method, path, body string) *httptest.ResponseRecorder)) {
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Tier: tier}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		var key []byte
		for _, p := range h.Policies() {
			if p.Name == "iothubowner" {
				if key, err = base64.StdEncoding.DecodeString(p.PrimaryKey); err != nil {
					t.Fatal(err)
				}
			}
		}
		front := httpfront.New(h, []byte("the CA"), nil)
		test(t, h, func(method, path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			r.Header.Set("Authorization", sas.Sign("hub.example", key, time.Now().Add(time.Hour), "iothubowner"))
			w := httptest.NewRecorder()
			front.ServeHTTP(w, r)
			return w
		})
	})
}

// A hundred operations on the registry a minute go at once, the next wait, and
// what would wait too long gets 429001.
func TestRegistryIsThrottled(t *testing.T) {
	throttled(t, "S1", func(t *testing.T, h *core.Hub, do func(method, path, body string) *httptest.ResponseRecorder) {
		start := time.Now()
		for i := range 100 {
			if w := do("PUT", fmt.Sprintf("/devices/d%d?api-version=1", i), `{}`); w.Code != 200 {
				t.Fatal(w.Code, w.Body)
			}
		}
		if time.Now() != start {
			t.Error("a burst had to wait")
		}
		if w := do("GET", "/devices/d1?api-version=1", ""); w.Code != 200 || time.Since(start) != 600*time.Millisecond {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
		codes := make(chan *httptest.ResponseRecorder)
		for range 20 {
			go func() { codes <- do("GET", "/statistics/devices?api-version=1", "") }()
		}
		count := map[int]int{}
		for range 20 {
			w := <-codes
			count[w.Code]++
			if w.Code != 429 {
				continue
			}
			var e struct{ Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || !strings.HasPrefix(e.Message, "ErrorCode:ThrottlingException;") ||
				w.Header().Get("iothub-errorcode") != "ThrottlingException" || w.Header().Get("Retry-After") != "1" {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
		}
		if count[200] != 16 || count[429] != 4 {
			t.Errorf("%v", count)
		}
		if u := h.Usage().Operations[core.OpRegistry]; u.Accepted != 117 || u.Delayed != 17 || u.Rejected != 4 {
			t.Errorf("%+v", u)
		}
	})
}

func TestQuotaOverREST(t *testing.T) {
	throttled(t, "F1", func(t *testing.T, h *core.Hub, do func(method, path, body string) *httptest.ResponseRecorder) {
		if _, err := h.Reserve(core.OpTwinUpdate, 8000*512); err != nil {
			t.Fatal(err)
		}
		w := do("GET", "/twins/d?api-version=1", "")
		if w.Code != 403 || w.Header().Get("iothub-errorcode") != "IotHubQuotaExceeded" ||
			!strings.Contains(w.Body.String(), "ErrorCode:IotHubQuotaExceeded;the 8000 messages a day of 1 unit of F1 are used up") {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		// The registry is free of charge, and so is what the throttle does not know.
		for _, path := range []string{"/devices?api-version=1", "/ca.pem", "/iothub/events?wait=false&from=start"} {
			if w := do("GET", path, ""); w.Code != 200 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

// Requests that are refused anyway cost nothing.
func TestRefusedRequestsCostNothing(t *testing.T) {
	throttled(t, "S1", func(t *testing.T, h *core.Hub, do func(method, path, body string) *httptest.ResponseRecorder) {
		for _, path := range []string{"/devices/d", "/nothing?api-version=1"} {
			if w := do("GET", path, ""); w.Code == http.StatusOK {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
		for _, u := range h.Usage().Operations {
			if u.Accepted != 0 {
				t.Errorf("%+v", u)
			}
		}
	})
}
