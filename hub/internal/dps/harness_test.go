package dps_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
)

// TestMain fails the run when goroutines of this package's making remain.
func TestMain(m *testing.M) { testkit.Main(m, 0, "hub/internal/") }

const scope = "0ne00000001"

// env is a service with hubs in memory, called one.example, two.example and so on.
type env struct {
	*dps.Service
	t     *testing.T
	store *keeper
	cores []*core.Hub
	hubs  []*namedHub
	http  *http.Client
}

// namedHub is a hub of its own among several of one process.
type namedHub struct {
	dps.Hub
	name    string
	weight  int
	latency time.Duration
}

func (h *namedHub) Key() string            { return h.name }
func (h *namedHub) Weight() int            { return h.weight }
func (h *namedHub) Latency() time.Duration { return h.latency }

func newEnv(t *testing.T, hubs int) *env {
	t.Helper()
	e := &env{t: t, store: &keeper{Store: memory.New(nil)}, http: &http.Client{}}
	for i, name := range []string{"one.example", "two.example", "three.example"}[:hubs] {
		h, err := core.New(t.Context(), core.Config{HostName: name}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close(context.Background()) })
		e.cores = append(e.cores, h)
		e.hubs = append(e.hubs, &namedHub{dps.Local(h, func() string { return name }), name, 1, time.Duration(i) * time.Millisecond})
	}
	e.open()
	t.Cleanup(func() { e.close() })
	return e
}

// open starts the service, again after close, on the same storage.
func (e *env) open() {
	e.t.Helper()
	var hubs []dps.Hub
	for _, h := range e.hubs {
		hubs = append(hubs, h)
	}
	s, err := dps.New(e.t.Context(), dps.Config{HostNames: []string{"dps.example"}, IDScope: scope, Storage: e.store, Hubs: hubs, HTTP: e.http})
	if err != nil {
		e.t.Fatal(err)
	}
	e.Service = s
}

func (e *env) close() {
	e.t.Helper()
	if err := e.Service.Close(context.Background()); err != nil {
		e.t.Error(err)
	}
}

// put makes an enrollment of JSON, or changes the one there is.
func (e *env) put(id string, group bool, text string) dps.Enrollment {
	e.t.Helper()
	parsed, err := dps.ParseEnrollment([]byte(text), id, group)
	if err != nil {
		e.t.Fatal(err)
	}
	etag := ""
	if _, err := e.Get(id, group); err == nil {
		etag = core.AnyETag
	}
	made, err := e.Put(e.t.Context(), parsed, etag)
	if err != nil {
		e.t.Fatalf("put %s: %v", text, err)
	}
	return made
}

// token is that of a device whose key is base64.
func token(id, key string) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		panic(err)
	}
	return sas.Sign(scope+"/registrations/"+id, raw, time.Now().Add(time.Hour), "registration")
}

// derived is the key of a device of a group.
func derived(groupKey, id string) string {
	raw, err := base64.StdEncoding.DecodeString(groupKey)
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(id))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (e *env) signUp(c dps.Credential) dps.Registration {
	e.t.Helper()
	if c.IDScope == "" {
		c.IDScope = scope
	}
	r, err := e.SignUp(time.Now(), c)
	if err != nil {
		e.t.Fatalf("sign up %q: %v", c.RegistrationID, err)
	}
	return r
}

// result is what a device learns in the end.
type result struct {
	OperationID       string
	Status            string
	RegistrationState *dps.RegistrationState
}

func decode(t *testing.T, a dps.Answer) result {
	t.Helper()
	var r result
	if err := json.Unmarshal(a.Body, &r); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
	return r
}

// register registers a device and waits for the result, inside a bubble.
func (e *env) register(c dps.Credential, request string) dps.RegistrationState {
	e.t.Helper()
	r := e.signUp(c)
	a, err := r.Register(e.t.Context(), []byte(request))
	if err != nil {
		e.t.Fatalf("register %q: %v", c.RegistrationID, err)
	}
	if first := decode(e.t, a); a.Status != http.StatusAccepted || first.Status != "assigning" || first.OperationID != a.Operation || a.RetryAfter <= 0 {
		e.t.Fatalf("register %q: %+v %s", c.RegistrationID, a, a.Body)
	}
	synctest.Wait()
	a, err = r.Operation(e.t.Context(), a.Operation)
	if err != nil || a.Status != http.StatusOK || a.RetryAfter != 0 {
		e.t.Fatalf("operation of %q: %d %s, %v", c.RegistrationID, a.Status, a.Body, err)
	}
	last := decode(e.t, a)
	if last.Status != last.RegistrationState.Status {
		e.t.Errorf("statuses differ: %s", a.Body)
	}
	return *last.RegistrationState
}

// connects reports whether a hub lets a device in with a key.
func connects(h *core.Hub, deviceID, key string) bool {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return false
	}
	_, err = h.Authenticate(time.Now(), core.AuthRequest{
		DeviceID: deviceID, Token: sas.Sign(sas.Resource(h.HostName(), deviceID, ""), raw, time.Now().Add(time.Hour), ""),
	})
	return err == nil
}

func wantCode(t *testing.T, what string, err error, code int) {
	t.Helper()
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want %d", what, err, code)
	}
}

// cert is a certificate with its key.
type cert struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func (c cert) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// json is the text of the certificate in an enrollment.
func (c cert) json() string {
	text, _ := json.Marshal(c.pem())
	return `{"certificate":` + string(text) + `}`
}

// issue makes a certificate; a zero issuer signs itself.
func issue(t *testing.T, name string, authority bool, issuer cert, valid time.Duration) cert {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		BasicConstraintsValid: true, IsCA: authority,
	}
	if authority {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, signer := template, key
	if issuer.Certificate != nil {
		parent, signer = issuer.Certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert{c, key}
}

// signed is a token with a key in base64.
func signed(t *testing.T, resource, key, policy string, until time.Time) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return sas.Sign(resource, raw, until, policy)
}

// keeper is a storage that can be told not to delete.
type keeper struct {
	*memory.Store
	keeps bool
}

func (k *keeper) Bucket(ctx context.Context, name string) (core.Bucket, error) {
	b, err := k.Store.Bucket(ctx, name)
	return keptBucket{b, k, name}, err
}

type keptBucket struct {
	core.Bucket
	keeper *keeper
	name   string
}

func (b keptBucket) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if b.keeper.keeps && b.name == "dps-registrations" {
		return 0, errors.New("the disk is full")
	}
	return b.Bucket.Delete(ctx, key, rev)
}
