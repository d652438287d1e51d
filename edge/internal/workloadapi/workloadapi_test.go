package workloadapi_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/edge/internal/workloadapi"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/workload"
)

type world struct {
	t   testing.TB
	hub *hub.Server
	cfg workloadapi.Config
}

func newWorld(t testing.TB) *world {
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return &world{t, s, workloadapi.Config{
		Name: "m", GenerationID: "g1", Key: []byte("key"), Secret: []byte("secret"), Bundle: s.CACertPEM, Issue: s.IssueCertificate,
		List: func() []workloadapi.Module {
			return []workloadapi.Module{{Name: "m", State: "running", Started: time.Unix(1700000000, 0)}, {Name: "x", State: "failed", Problem: "boom", ExitCode: 3}}
		},
	}}
}

// do asks and returns status and body.
func (w *world) do(cfg workloadapi.Config, method, path, body string, edit func(*http.Request)) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if edit != nil {
		edit(r)
	}
	rec := httptest.NewRecorder()
	workloadapi.New(cfg).ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

// The client of this module's own gets what it asks for.
func TestClient(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(workloadapi.New(w.cfg))
	defer srv.Close()
	c, err := workload.New(workload.Config{URI: srv.URL, ModuleID: "m", GenerationID: "g1"})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := c.Sign(t.Context(), []byte("text"))
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write([]byte("text"))
	if err != nil || !bytes.Equal(digest, mac.Sum(nil)) {
		t.Errorf("%x, %v", digest, err)
	}
	bundle, err := c.TrustBundle(t.Context())
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(bundle) {
		t.Fatalf("%q, %v", bundle, err)
	}
	made, err := c.ServerCertificate(t.Context(), "gw.example", time.Now().Add(1000*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(made.Certificate, made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gw.example", "m"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Error(err)
		}
	}
	if life := time.Until(made.Expires); life < 89*24*time.Hour || life > 91*24*time.Hour {
		t.Errorf("it lives %v", life)
	}
}

// What a module encrypts only it can decrypt, and not when it was changed.
func TestEncrypt(t *testing.T) {
	w := newWorld(t)
	const own = "/modules/m/genid/g1/"
	seal := func(iv string) string {
		status, body := w.do(w.cfg, "POST", own+"encrypt?api-version=2019-01-30", `{"plaintext":"c2VjcmV0","initializationVector":"`+iv+`"}`, nil)
		var a struct{ Ciphertext string }
		if status != 200 || json.Unmarshal([]byte(body), &a) != nil || a.Ciphertext == "" {
			t.Fatalf("%d %s", status, body)
		}
		return a.Ciphertext
	}
	open := func(cfg workloadapi.Config, path, text, iv string) (int, string) {
		return w.do(cfg, "POST", path+"decrypt?api-version=2019-01-30", `{"ciphertext":"`+text+`","initializationVector":"`+iv+`"}`, nil)
	}
	text := seal("aXY=")
	if status, body := open(w.cfg, own, text, "aXY="); status != 200 || !strings.Contains(body, `"c2VjcmV0"`) {
		t.Errorf("%d %s", status, body)
	}
	if again := seal("aXY="); again == text {
		t.Error("the same text twice: the nonce is used twice")
	}
	other, later := w.cfg, w.cfg
	other.Name, later.GenerationID = "other", "g2"
	for name, try := range map[string]func() (int, string){
		"another vector":     func() (int, string) { return open(w.cfg, own, text, "aXX=") },
		"changed":            func() (int, string) { return open(w.cfg, own, "A"+text[1:], "aXY=") },
		"short":              func() (int, string) { return open(w.cfg, own, "AAAA", "aXY=") },
		"another module":     func() (int, string) { return open(other, "/modules/other/genid/g1/", text, "aXY=") },
		"another generation": func() (int, string) { return open(later, "/modules/m/genid/g2/", text, "aXY=") },
	} {
		if status, body := try(); status != http.StatusBadRequest || strings.Contains(body, "plaintext") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestIdentityCertificateAndModules(t *testing.T) {
	w := newWorld(t)
	status, body := w.do(w.cfg, "POST", "/modules/m/certificate/identity?api-version=2020-07-07", `{}`, nil)
	var a struct {
		PrivateKey  struct{ Type, Bytes string }
		Certificate string
	}
	if status != 201 || json.Unmarshal([]byte(body), &a) != nil || a.PrivateKey.Type != "key" {
		t.Fatalf("%d %s", status, body)
	}
	pair, err := tls.X509KeyPair([]byte(a.Certificate), []byte(a.PrivateKey.Bytes))
	if err != nil || pair.Leaf.Subject.CommonName != "m" || pair.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("%v, %v", pair.Leaf.Subject, err)
	}
	status, body = w.do(w.cfg, "GET", "/modules?api-version=2018-06-28", "", nil)
	const want = `{"modules":[` +
		`{"id":"m","name":"m","type":"process","config":{"settings":{},"env":[]},"status":{"startTime":"2023-11-14T22:13:20Z","runtimeStatus":{"status":"running"}}},` +
		`{"id":"x","name":"x","type":"process","config":{"settings":{},"env":[]},"status":{"exitStatus":{"statusCode":"3"},"runtimeStatus":{"status":"failed","description":"boom"}}}]}`
	if status != 200 || strings.TrimSpace(body) != want {
		t.Errorf("%d %s", status, body)
	}
}

// Each socket works for its own module only, and what is wrong with a request is said.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	tcp := w.cfg
	tcp.LoopbackOnly = true
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	const good = `{"keyId":"primary","algo":"HMACSHA256","data":""}`
	const sign = "/modules/m/genid/g1/sign?api-version=2018-06-28"
	for _, test := range []struct {
		status       int
		cfg          workloadapi.Config
		method, path string
		body         string
		edit         func(*http.Request)
	}{
		{200, w.cfg, "POST", sign, good, nil},
		{200, tcp, "POST", sign, good, host("127.0.0.1:1234")},
		{200, tcp, "POST", sign, good, host("[::1]:1234")},
		{200, tcp, "POST", sign, good, host("localhost")},
		{403, tcp, "POST", sign, good, host("evil.example:1234")},
		{403, tcp, "POST", sign, good, func(r *http.Request) { r.Host = "localhost"; r.Header.Set("Origin", "http://localhost") }},
		{403, w.cfg, "POST", "/modules/other/genid/g1/sign?api-version=2018-06-28", good, nil},
		{403, w.cfg, "POST", "/modules/other/certificate/identity?api-version=2018-06-28", "{}", nil},
		{404, w.cfg, "POST", "/modules/m/genid/g2/sign?api-version=2018-06-28", good, nil},
		{404, w.cfg, "GET", "/nothing?api-version=2018-06-28", "", nil},
		{400, w.cfg, "POST", "/modules/m/genid/g1/sign", good, nil},
		{400, w.cfg, "POST", "/modules/m/genid/g1/sign?api-version=latest", good, nil},
		{400, w.cfg, "POST", sign, `{"keyId":"primary","algo":"MD5","data":""}`, nil},
		{400, w.cfg, "POST", sign, `{"keyId":"x","algo":"HMACSHA256","data":""}`, nil},
		{400, w.cfg, "POST", sign, `{`, nil},
		{400, w.cfg, "POST", sign, strings.Repeat(" ", 2<<20), nil},
		{400, w.cfg, "POST", "/modules/m/genid/g1/certificate/server?api-version=2018-06-28", `{"commonName":"","expiration":"2100-01-01T00:00:00Z"}`, nil},
		{400, w.cfg, "POST", "/modules/m/genid/g1/certificate/server?api-version=2018-06-28", `{"commonName":"a b","expiration":"2100-01-01T00:00:00Z"}`, nil},
		{400, w.cfg, "POST", "/modules/m/genid/g1/certificate/server?api-version=2018-06-28", `{"commonName":"a","expiration":"2000-01-01T00:00:00Z"}`, nil},
	} {
		status, body := w.do(test.cfg, test.method, test.path, test.body, test.edit)
		var a struct{ Message string }
		if status != test.status || status != 200 && (json.Unmarshal([]byte(body), &a) != nil || a.Message == "") {
			t.Errorf("%s %.80s: %d %s, want %d", test.path, test.body, status, body, test.status)
		}
	}
}

// Whatever comes, the answer is JSON, and no success but where the path is the
// module's.
func FuzzRequest(f *testing.F) {
	w := newWorld(f)
	f.Add("POST", "modules/m/genid/g1/sign", `{"keyId":"primary","algo":"HMACSHA256","data":""}`)
	f.Add("POST", "modules/m/genid/g1/decrypt", `{"ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","initializationVector":""}`)
	f.Add("POST", "modules/m/genid/g1/certificate/server", `{"commonName":"a","expiration":"2100-01-01T00:00:00Z"}`)
	f.Add("GET", "modules", "")
	h := workloadapi.New(w.cfg)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://workload/"+path+"?api-version=2018-06-28", strings.NewReader(body))
		if err != nil {
			return
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code < 300 && strings.HasPrefix(r.URL.Path, "/modules/") && !strings.HasPrefix(r.URL.Path, "/modules/m/") {
			t.Errorf("%s %s: %d", method, r.URL, rec.Code)
		}
		if rec.Header().Get("Content-Type") == "application/json" && !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s %s: %s", method, r.URL, rec.Body)
		}
	})
}
