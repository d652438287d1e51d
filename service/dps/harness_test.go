package dps_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service/dps"
)

// TestMain fails when a test leaves a goroutine of the client behind.
func TestMain(m *testing.M) { testkit.Main(m, 10*time.Second, "iothub-go/iothub") }

const (
	keyA = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	keyB = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

func closeAtEnd(t *testing.T, c *dps.Client) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// double returns a client of a server that answers what handler does.
func double(t *testing.T, handler http.HandlerFunc) *dps.Client {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	c, err := dps.NewClientFromConnectionString("HostName="+strings.TrimPrefix(s.URL, "https://")+
		";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey="+keyA, &dps.ClientOptions{HTTPTransport: s.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	return c
}

// answer is what a server says to one request.
type answer struct {
	request string // method, path with query, If-Match, body
	status  int    // 0 is 200
	header  [2]string
	body    string
}

// script returns a client of a server that expects these requests, one after the
// other.
func script(t *testing.T, answers ...answer) *dps.Client {
	t.Helper()
	turn := make(chan int, 1)
	turn <- 0
	c := double(t, func(w http.ResponseWriter, r *http.Request) {
		n := <-turn
		defer func() { turn <- n + 1 }()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got := r.Method + " " + r.URL.RequestURI()
		for _, name := range []string{"If-Match", "X-Ms-Max-Item-Count", "X-Ms-Continuation"} {
			if v := r.Header.Get(name); v != "" {
				got += " " + name + ":" + v
			}
		}
		if len(body) > 0 {
			got += " " + string(body)
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedAccessSignature sr=127.0.0.1&") {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		if n >= len(answers) {
			t.Errorf("one too many: %s", got)
			return
		}
		a := answers[n]
		if got != a.request {
			t.Errorf("sent\n%s\nwant\n%s", got, a.request)
		}
		if a.header[0] != "" {
			w.Header().Set(a.header[0], a.header[1])
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		fmt.Fprint(w, a.body)
	})
	t.Cleanup(func() {
		if n := <-turn; n != len(answers) {
			t.Errorf("%d requests, want %d", n, len(answers))
		}
	})
	return c
}

// wantKind checks the kind and the code of an error.
func wantKind(t *testing.T, err error, kind iothub.Kind, code int) {
	t.Helper()
	e, ok := errors.AsType[*iothub.Error](err)
	if !ok || e.Kind != kind || e.Code != code {
		t.Errorf("error %v, want %v (%d)", err, kind, code)
	}
}
