package chip

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hardware/internal/swtpm"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/provisioning/tpm"
)

func TestMain(m *testing.M) {
	testkit.Main(m, 10*time.Second, "iothub-go/iothub/provisioning")
}

// chip is a TPM, and the way to it that tests watch and break.
type chip struct {
	*tpm.TPM
	process *swtpm.TPM
	way     *way
}

// way is a transport that can fail.
type way struct {
	transport.TPM
	sent   int
	broken int         // the command that is not sent, counted from 1
	before func(n int) // if not nil, runs before each command
}

var errBroken = errors.New("broken on purpose")

func (w *way) Send(command []byte) ([]byte, error) {
	w.sent++
	if w.before != nil {
		w.before(w.sent)
	}
	if w.sent == w.broken {
		return nil, errBroken
	}
	return w.TPM.Send(command)
}

// dialed sends each command over a connection to the simulator.
type dialed struct{ net.Conn }

func (d dialed) Send(command []byte) ([]byte, error) {
	return transport.FromReadWriter(d.Conn).Send(command)
}

func newChip(t *testing.T, o *tpm.Options) *chip {
	t.Helper()
	c := &chip{process: swtpm.New(t)}
	c.connect(t, o)
	return c
}

func (c *chip) connect(t *testing.T, o *tpm.Options) {
	t.Helper()
	nc, err := net.Dial("unix", c.process.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c.way = &way{TPM: dialed{nc}}
	if c.TPM, err = tpm.New(c.way, o); err != nil {
		t.Fatal(err)
	}
}

// handles returns the handles from first that are in use.
func (c *chip) handles(t *testing.T, first uint32) []tpm2.TPMHandle {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 32}.Execute(c.way.TPM)
	if err != nil {
		t.Fatal(err)
	}
	h, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	return h.Handle
}

// clean checks that no temporary handle and no session is left.
func (c *chip) clean(t *testing.T, when string) {
	t.Helper()
	for kind, first := range map[string]uint32{"object": 0x80000000, "session": 0x02000000, "saved session": 0x03000000} {
		if left := c.handles(t, first); len(left) > 0 {
			t.Errorf("%s: a temporary %s is left: %x", when, kind, left)
		}
	}
}

// keys are the public parts that the service asks for.
func (c *chip) keys(t *testing.T) (ek, srk []byte) {
	t.Helper()
	ek, err := c.EndorsementKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if srk, err = c.StorageRootKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ek, srk
}

// site is the service that seals keys to TPMs: a hub's, spoken to without any client.
type site struct {
	*hub.Server
	url    string
	client *http.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}}
	t.Cleanup(client.CloseIdleConnections)
	return &site{s, "https://" + addr.String(), client}
}

// seal has the service seal a key to a TPM, as it does for everybody who asks.
func (s *site) seal(t *testing.T, ek, srk []byte) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"registrationId": "sensor-1", "tpm": map[string][]byte{"endorsementKey": ek, "storageRootKey": srk}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
		s.url+"/"+s.IDScope()+"/registrations/sensor-1/register?api-version=2021-06-01", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var challenge struct {
		AuthenticationKey []byte `json:"authenticationKey"`
	}
	if err := json.Unmarshal(text, &challenge); err != nil || len(challenge.AuthenticationKey) == 0 {
		t.Fatalf("%s %s: %v", resp.Status, text, err)
	}
	return challenge.AuthenticationKey
}

// sign signs a text of n bytes.
func (c *chip) sign(t *testing.T, n int) string {
	t.Helper()
	mac, err := c.Sign(t.Context(), bytes.Repeat([]byte("x"), n))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(mac)
}

// The keys are made once, from the templates, and are the same after a restart, where the
// key that was activated signs, too.
func TestRestart(t *testing.T) {
	s, c := newSite(t), newChip(t, nil)
	ek, srk := c.keys(t)
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	c.clean(t, "after an activation")
	short, long := c.sign(t, 100), c.sign(t, 5000)
	c.clean(t, "after signing")
	want := []tpm2.TPMHandle{0x81000001, 0x81000100, 0x81010001}
	if got := c.handles(t, 0x81000000); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("persistent handles %x, want %x", got, want)
	}

	c.process.Kill()
	if _, err := c.Sign(t.Context(), nil); iothub.KindOf(err) != iothub.KindUnavailable || !iothub.Retryable(err) {
		t.Errorf("without a TPM: %v", err)
	}
	c.process.Start()
	c.connect(t, nil)
	if a, b := c.keys(t); !bytes.Equal(a, ek) || !bytes.Equal(b, srk) {
		t.Error("the keys are others after a restart")
	}
	if c.sign(t, 100) != short || c.sign(t, 5000) != long {
		t.Error("the signatures are others after a restart")
	}

	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	if c.sign(t, 100) == short {
		t.Error("the key is still the one before")
	}
	c.clean(t, "after another activation")
}

// Open dials a simulator for each operation, so that a restart does not disturb it.
func TestOpen(t *testing.T) {
	s, c := newSite(t), &chip{process: swtpm.New(t)}
	var err error
	if c.TPM, err = tpm.Open(c.process.Path, nil); err != nil {
		t.Fatal(err)
	}
	ek, srk := c.keys(t)
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	before := c.sign(t, 100)
	c.process.Kill()
	c.process.Start()
	if c.sign(t, 100) != before {
		t.Error("the signature is another one after a restart")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Sign(t.Context(), nil); !errors.Is(err, iothub.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Whatever fails, and whenever the context ends: no handle is left, and a key signs, the
// one before or the next, unless the failure is between the two.
func TestEachCommandFails(t *testing.T) {
	s, c := newSite(t), newChip(t, nil)
	ek, srk := c.keys(t)
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	next := s.seal(t, ek, srk)
	operations := map[string]func(ctx context.Context) error{
		"activate": func(ctx context.Context) error { return c.Activate(ctx, next) },
		"sign":     func(ctx context.Context) error { _, err := c.Sign(ctx, make([]byte, 100)); return err },
		"sign much": func(ctx context.Context) error {
			_, err := c.Sign(ctx, make([]byte, 3000))
			return err
		},
	}
	for name, run := range operations {
		*c.way = way{TPM: c.way.TPM}
		if err := run(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := c.way.sent
		for n := 1; n <= all; n++ {
			when := fmt.Sprintf("%s, command %d of %d ends the context", name, n, all)
			ctx, cancel := context.WithCancel(t.Context())
			*c.way = way{TPM: c.way.TPM, before: func(sent int) {
				if sent == n {
					cancel()
				}
			}}
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", when, err)
			}
			cancel()
			c.clean(t, when)
			c.sign(t, 10)
		}
		for n := 1; n <= all; n++ {
			when := fmt.Sprintf("%s, command %d of %d is not answered", name, n, all)
			*c.way = way{TPM: c.way.TPM, broken: n}
			err := run(t.Context())
			if err != nil && (!errors.Is(err, errBroken) || iothub.KindOf(err) != iothub.KindUnavailable) {
				t.Errorf("%s: %v", when, err)
			}
			c.flushed(t, when, err)
			*c.way = way{TPM: c.way.TPM}
			if err := c.Activate(t.Context(), next); err != nil {
				t.Errorf("%s, and once more: %v", when, err)
			}
		}
	}
}

// flushed is clean, for when what was not answered may have been the flush itself.
func (c *chip) flushed(t *testing.T, when string, err error) {
	t.Helper()
	if err != nil {
		c.clean(t, when)
		return
	}
	for _, first := range []uint32{0x80000000, 0x02000000} {
		for _, h := range c.handles(t, first) {
			if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(c.way.TPM); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What was sealed to another TPM does not open, and leaves the key that there is.
func TestRefused(t *testing.T) {
	s, c, other := newSite(t), newChip(t, nil), newChip(t, nil)
	ek, srk := c.keys(t)
	theirEK, theirSRK := other.keys(t)
	if _, err := c.Sign(t.Context(), nil); iothub.KindOf(err) != iothub.KindUnauthorized || !strings.Contains(err.Error(), "register") {
		t.Errorf("without a key: %v", err)
	}
	right := s.seal(t, ek, srk)
	if err := c.Activate(t.Context(), right); err != nil {
		t.Fatal(err)
	}
	before := c.sign(t, 100)
	for _, test := range []struct {
		name   string
		sealed []byte
		kind   iothub.Kind
	}{
		{"another TPM", s.seal(t, theirEK, theirSRK), iothub.KindUnauthorized},
		{"another endorsement key", s.seal(t, theirEK, srk), iothub.KindUnauthorized},
		{"another storage root key", s.seal(t, ek, theirSRK), iothub.KindUnauthorized},
		{"a changed credential", flip(right, 20), iothub.KindUnauthorized},
		{"a changed key", flip(right, 2+int(right[0])<<8+int(right[1])+2+256+2+40), iothub.KindUnauthorized},
		{"nothing", nil, iothub.KindProtocol},
		{"the half", right[:len(right)/2], iothub.KindProtocol},
		{"far too much", make([]byte, 1<<20), iothub.KindProtocol},
	} {
		err := c.Activate(t.Context(), test.sealed)
		if iothub.KindOf(err) != test.kind || iothub.ActionOf(err) == iothub.ActionNone {
			t.Errorf("%s: %v", test.name, err)
		}
		c.clean(t, test.name)
	}
	if c.sign(t, 100) != before {
		t.Error("the key is another one after activations that failed")
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// Passwords that others have set are asked for by name; one that is right does.
func TestPasswords(t *testing.T) {
	s, c := newSite(t), newChip(t, nil)
	for _, h := range []tpm2.TPMHandle{tpm2.TPMRHOwner, tpm2.TPMRHEndorsement} {
		if _, err := (tpm2.HierarchyChangeAuth{
			AuthHandle: tpm2.AuthHandle{Handle: h, Auth: tpm2.PasswordAuth(nil)}, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")},
		}).Execute(c.way.TPM); err != nil {
			t.Fatal(err)
		}
	}
	for _, find := range []func(context.Context) ([]byte, error){c.EndorsementKey, c.StorageRootKey} {
		if _, err := find(t.Context()); iothub.KindOf(err) != iothub.KindForbidden || !strings.Contains(err.Error(), "Options") {
			t.Errorf("without the password: %v", err)
		}
		c.clean(t, "without the password")
	}
	o := &tpm.Options{OwnerPassword: "secret", EndorsementPassword: "secret", KeyHandle: 0x81000200}
	t2, err := tpm.New(c.way, o)
	if err != nil {
		t.Fatal(err)
	}
	first := c.TPM
	c.TPM = t2
	ek, srk := c.keys(t)
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	c.sign(t, 10)
	// It is in the place that was asked for, and the default one is free.
	if _, err := first.Sign(t.Context(), nil); iothub.KindOf(err) != iothub.KindUnauthorized {
		t.Errorf("at the default handle: %v", err)
	}
	if err := first.Activate(t.Context(), s.seal(t, ek, srk)); iothub.KindOf(err) != iothub.KindForbidden {
		t.Errorf("the endorsement key without the password: %v", err)
	}
	c.clean(t, "the endorsement key without the password")
	for _, text := range []string{fmt.Sprint(*o), fmt.Sprintf("%+v %#v", o, o), fmt.Sprint(t2), fmt.Sprintf("%+v %#v", t2, t2)} {
		if strings.Contains(text, "secret") || strings.Contains(text, fmt.Sprintf("%x", "secret")) {
			t.Errorf("prints %s", text)
		}
	}
}

// What is not the key of a device is not replaced.
func TestOccupied(t *testing.T) {
	s, c := newSite(t), newChip(t, nil)
	ek, srk := c.keys(t)
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(c.way.TPM)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
		PersistentHandle: tpm.DefaultKeyHandle,
	}).Execute(c.way.TPM); err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(c.way.TPM); err != nil {
		t.Fatal(err)
	}
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); iothub.KindOf(err) != iothub.KindConflict || !strings.Contains(err.Error(), "activate") {
		t.Errorf("activate: %v", err)
	}
	if _, err := c.Sign(t.Context(), nil); iothub.KindOf(err) != iothub.KindConflict {
		t.Errorf("sign: %v", err)
	}
	c.clean(t, "occupied")
}

// Many goroutines share a TPM; one that waits goes when its context ends.
func TestShared(t *testing.T) {
	s, c := newSite(t), newChip(t, nil)
	ek, srk := c.keys(t)
	if err := c.Activate(t.Context(), s.seal(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	want := c.sign(t, 2000)
	results := make(chan error)
	for range 8 {
		go func() {
			mac, err := c.Sign(t.Context(), bytes.Repeat([]byte("x"), 2000))
			if err == nil && base64.StdEncoding.EncodeToString(mac) != want {
				err = errors.New("another signature")
			}
			results <- err
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	c.way.before = func(int) {
		c.way.before = nil
		close(entered)
		<-leave
	}
	go func() {
		_, err := c.Sign(t.Context(), nil)
		results <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Sign(ctx, nil); iothub.KindOf(err) != iothub.KindTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another one is at it: %v", err)
	}
	close(leave)
	if err := <-results; err != nil {
		t.Error(err)
	}
}

// What is not there, or cannot be, is said at once.
func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]iothub.Kind{filepath.Join(dir, "none"): iothub.KindNotFound, file: iothub.KindUnavailable} {
		if _, err := tpm.Open(path, nil); iothub.KindOf(err) != kind || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := tpm.New(nil, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Error(err)
	}
	for _, h := range []uint32{1, 0x80000000, 0x81000001, 0x81010001 + 0x800000} {
		if _, err := tpm.Open("", &tpm.Options{KeyHandle: h}); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%#x: %v", h, err)
		}
	}
}
