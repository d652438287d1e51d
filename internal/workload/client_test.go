package workload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/workload"
)

func TestMain(m *testing.M) { testkit.Main(m, 5*time.Second, "iothub/internal/workload") }

// onSocket serves h on a socket and returns its URI.
func onSocket(t *testing.T, h http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return "unix://" + path
}

func newClient(t *testing.T, uri string) *workload.Client {
	t.Helper()
	c, err := workload.New(workload.Config{URI: uri, ModuleID: "m#1", GenerationID: "g/1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Over a socket and over HTTP the same requests go out, in the form of the API, and
// the token is one that the hub takes.
func TestSign(t *testing.T) {
	d := &testkit.Daemon{Key: []byte("0123456789abcdef"), Bundle: []byte("PEM")}
	overHTTP := httptest.NewServer(d)
	defer overHTTP.Close()
	for _, uri := range []string{onSocket(t, d), overHTTP.URL} {
		c := newClient(t, uri)
		tok, err := c.Token(t.Context(), "hub.example/devices/d/modules/m%231", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sas.Parse(tok.Value)
		if err != nil || !got.Verify(d.Key) || !got.Covers("hub.example", "d", "m#1") || !got.Expiry.Equal(tok.Expires) {
			t.Errorf("%s: token %v, %v", uri, got, err)
		}
		if life := time.Until(tok.Expires); life < 59*time.Minute || life > time.Hour {
			t.Errorf("%s: valid for %v", uri, life)
		}
		pem, err := c.TrustBundle(t.Context())
		if err != nil || string(pem) != "PEM" {
			t.Errorf("%s: bundle %q, %v", uri, pem, err)
		}
	}
	want := []string{"POST /modules/m%231/genid/g%2F1/sign?api-version=2018-06-28", "GET /trust-bundle?api-version=2018-06-28"}
	for i, got := range d.Seen() {
		if got != want[i%2] {
			t.Errorf("request %q, want %q", got, want[i%2])
		}
	}
}

func TestServerCertificate(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	keyType := "key"
	c := newClient(t, onSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body["commonName"] != "gw" || body["expiration"] != "2030-01-02T03:04:05Z" ||
			!strings.HasSuffix(r.URL.Path, "/certificate/server") {
			t.Errorf("%s %v %v", r.URL, body, err)
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"privateKey":{"type":%q,"bytes":"K"},"certificate":"C","expiration":"2029-01-01T00:00:00Z"}`, keyType)
	})))
	got, err := c.ServerCertificate(t.Context(), "gw", end)
	if err != nil || string(got.Certificate) != "C" || string(got.PrivateKey) != "K" || got.Expires.Year() != 2029 {
		t.Errorf("%+v, %v", got, err)
	}
	keyType = "ref"
	if _, err := c.ServerCertificate(t.Context(), "gw", end); iothub.KindOf(err) != iothub.KindProtocol {
		t.Errorf("a key that stays away: %v", err)
	}
}

// What goes wrong is said in words that help, and may be tried again where that helps.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		kind   iothub.Kind
		retry  bool
		text   string
	}{
		{403, `{"message":"wrong pid"}`, iothub.KindUnauthorized, false, "wrong pid"},
		{404, `{"message":"no module"}`, iothub.KindNotFound, false, "made again"},
		{500, `{"message":"TPM is busy"}`, iothub.KindServer, true, "TPM is busy"},
		{503, `broken`, iothub.KindUnavailable, true, "Unavailable"},
		{200, `{"digest":"AAAA"}`, iothub.KindProtocol, false, "3 bytes"},
		{200, `{"digest":7}`, iothub.KindProtocol, false, "digest"},
		{200, strings.Repeat(" ", 1<<20+1), iothub.KindProtocol, false, "more than"},
		{302, ``, iothub.KindUnknown, false, "Found"},
	} {
		c := newClient(t, onSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		})))
		_, err := c.Sign(t.Context(), []byte("x"))
		if iothub.KindOf(err) != test.kind || iothub.Retryable(err) != test.retry || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%d %.40s: %v", test.status, test.body, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	c := newClient(t, "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	_, err := c.Sign(t.Context(), nil)
	if iothub.KindOf(err) != iothub.KindNetwork || !iothub.Retryable(err) || !strings.Contains(err.Error(), "none.sock") {
		t.Errorf("no socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	c = newClient(t, onSocket(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		close(asked)
		<-r.Context().Done()
	})))
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Sign(ctx, nil); iothub.KindOf(err) != iothub.KindNetwork || ctx.Err() == nil {
		t.Errorf("cancelled: %v", err)
	}
}

func TestURI(t *testing.T) {
	for uri, ok := range map[string]bool{
		"unix:///run/w.sock": true, "http://127.0.0.1:15580": true, "http://[::1]:1/base/": true, "http://daemon": true,
		"": false, "unix://": false, "unix:///": false, "unix://host/path": false, "https://h": false, "/run/w.sock": false, "http://": false, ":": false,
	} {
		_, err := workload.New(workload.Config{URI: uri})
		if (err == nil) != ok || err != nil && iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

// Whatever a daemon answers, the client ends with a digest of the right size or an
// error.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`))
	f.Add(200, []byte(`{"certificate":"C","privateKey":{"type":"key","bytes":"K"},"expiration":"2030-01-01T00:00:00Z"}`))
	f.Add(403, []byte(`{"message":"no"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		c := newClient(t, onSocket(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(min(max(status, 200), 599))
			w.Write(body)
		})))
		if digest, err := c.Sign(t.Context(), nil); err == nil && len(digest) != 32 {
			t.Errorf("a digest of %d bytes", len(digest))
		}
		c.TrustBundle(t.Context())
		c.ServerCertificate(t.Context(), "x", time.Now())
	})
}
