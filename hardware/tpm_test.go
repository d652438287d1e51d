package hardware

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/provisioning/tpm"
	"github.com/iothub-go/iothub/service/dps"
)

// chip is a TPM that runs as a process.
type chip struct {
	*testing.T
	dir string
	cmd *exec.Cmd
}

func newChip(t *testing.T) *chip {
	t.Helper()
	c := &chip{T: t, dir: t.TempDir()}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func (c *chip) path() string { return filepath.Join(c.dir, "tpm.sock") }

func (c *chip) start() {
	c.Helper()
	c.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--server", "type=unixio,path="+c.path(), "--flags", "not-need-init,startup-clear")
	if err := c.cmd.Start(); err != nil {
		c.Fatalf("%v: apt-get install swtpm", err)
	}
	until(c.T, "swtpm", func() bool {
		conn, err := net.Dial("unix", c.path())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (c *chip) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // was killed
}

func (c *chip) open(o *tpm.Options) *tpm.TPM {
	c.Helper()
	t, err := tpm.Open(c.path(), o)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { t.Close() })
	return t
}

// clean checks that nothing temporary stays in the TPM.
func (c *chip) clean() {
	c.Helper()
	way, err := linuxudstpm.Open(c.path())
	if err != nil {
		c.Fatal(err)
	}
	defer way.Close()
	for what, first := range map[string]uint32{"objects": 0x80000000, "sessions": 0x02000000, "policy sessions": 0x03000000} {
		r, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 10}.Execute(way)
		if err != nil {
			c.Fatal(err)
		}
		list, err := r.CapabilityData.Data.Handles()
		if err != nil {
			c.Fatal(err)
		}
		for _, h := range list.Handle {
			if uint32(h)>>24 == first>>24 {
				c.Errorf("%s are left: %#x", what, uint32(h))
			}
		}
	}
}

// A device with a TPM registers, connects with what was sealed to it, also after a restart
// of the TPM and of the program, and registers again.
func TestTPM(t *testing.T) {
	s, c := newSite(t), newChip(t)
	chip := c.open(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := chip.Sign(ctx, []byte("x")); iothub.KindOf(err) != iothub.KindUnauthorized || !strings.Contains(err.Error(), "register") {
		t.Errorf("signing without a key: %v", err)
	}
	ek, err := chip.EndorsementKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.enroll("tpm-1", dps.TPM(ek))
	cfg := s.config("tpm-1", provisioning.NewTPMAttestation(chip), provisioning.HTTPS)
	a, err := provisioning.Register(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.works(a)
	c.clean()

	c.stop()
	c.start()
	again := c.open(nil)
	if same, err := again.EndorsementKey(ctx); err != nil || string(same) != string(ek) {
		t.Errorf("another endorsement key after a restart, %v", err)
	}
	cfg.Attestation = provisioning.NewTPMAttestation(again)
	kept, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := cfg.Restore(kept)
	if err != nil {
		t.Fatal(err)
	}
	s.works(restored)

	o := s.options()
	client, err := device.NewClientFromProvisioning(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SendEvent(ctx, &iothub.Message{Payload: []byte("by itself")}); err != nil {
		t.Error(err)
	}
	if err := client.Close(ctx); err != nil {
		t.Error(err)
	}
	c.clean()
}

// What goes wrong says what to do, and leaves nothing behind.
func TestTPMErrors(t *testing.T) {
	s, c, other := newSite(t), newChip(t), newChip(t)
	chip := c.open(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	// A TPM that is not enrolled is refused, whatever it opens.
	_, err := provisioning.Register(ctx, s.config("nobody", provisioning.NewTPMAttestation(chip), provisioning.HTTPS))
	if iothub.KindOf(err) != iothub.KindUnauthorized || !strings.Contains(err.Error(), "endorsement key") {
		t.Errorf("not enrolled: %v", err)
	}
	// What was sealed to one TPM cannot be opened by another.
	spy := &recorder{TPM: chip}
	if _, err := provisioning.Register(ctx, s.config("nobody", provisioning.NewTPMAttestation(spy), provisioning.HTTPS)); err == nil || spy.sealed == nil {
		t.Fatalf("%v", err)
	}
	if err := other.open(nil).Activate(ctx, spy.sealed); iothub.KindOf(err) != iothub.KindUnauthorized || !strings.Contains(err.Error(), "another TPM") {
		t.Errorf("sealed to another TPM: %v", err)
	}
	if err := chip.Activate(ctx, spy.sealed); err != nil {
		t.Errorf("its own: %v", err)
	}
	for i := range spy.sealed {
		broken := append([]byte(nil), spy.sealed...)
		broken[i] ^= 1
		if i%16 == 0 && chip.Activate(ctx, broken) == nil && i < len(broken)-2 { // the end is no part of it
			t.Errorf("a blob with byte %d changed is taken", i)
		}
	}
	before, err := chip.Sign(ctx, []byte("x"))
	if err != nil || len(before) != 32 {
		t.Errorf("%x, %v", before, err)
	}
	if _, err := chip.Sign(ctx, make([]byte, 2000)); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("a long text: %v", err)
	}
	// Where something else is, nothing is overwritten.
	if err := c.open(&tpm.Options{KeyHandle: 0x81000002}).Activate(ctx, spy.sealed); err != nil {
		t.Errorf("at another handle: %v", err)
	}
	if _, err := tpm.Open(c.path(), &tpm.Options{KeyHandle: 0x81000001}); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("at the place of the storage root key: %v", err)
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	if _, err := chip.StorageRootKey(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	c.clean()
	other.clean()

	c.setOwnerPassword("secret")
	c.stop()
	c.start()
	if err := chip.Activate(ctx, spy.sealed); iothub.KindOf(err) != iothub.KindForbidden || strings.Contains(err.Error(), "secret") {
		t.Errorf("without the password: %v", err)
	}
	if err := c.open(&tpm.Options{OwnerPassword: "secret"}).Activate(ctx, spy.sealed); err != nil {
		t.Errorf("with the password: %v", err)
	}
	c.clean()
	c.stop()
	if _, err := chip.EndorsementKey(ctx); iothub.KindOf(err) != iothub.KindUnavailable && iothub.KindOf(err) != iothub.KindNotFound {
		t.Errorf("a TPM that is gone: %v", err)
	}
	chip.Close()
	if _, err := chip.Sign(ctx, nil); !errors.Is(err, iothub.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := tpm.Open(filepath.Join(c.dir, "nowhere"), nil); iothub.KindOf(err) != iothub.KindNotFound {
		t.Errorf("no TPM: %v", err)
	}
}

func (c *chip) setOwnerPassword(password string) {
	c.Helper()
	way, err := linuxudstpm.Open(c.path())
	if err != nil {
		c.Fatal(err)
	}
	defer way.Close()
	if _, err := (tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NewAuth: tpm2.TPM2BAuth{Buffer: []byte(password)},
	}).Execute(way); err != nil {
		c.Fatal(err)
	}
}

// recorder keeps what is sealed to a TPM.
type recorder struct {
	provisioning.TPM
	sealed []byte
}

func (r *recorder) Activate(ctx context.Context, sealed []byte) error {
	r.sealed = sealed
	return r.TPM.Activate(ctx, sealed)
}

// Several programs may use one TPM, each at its own pace.
func TestTPMConcurrently(t *testing.T) {
	s, c := newSite(t), newChip(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	chip := c.open(nil)
	ek, err := chip.EndorsementKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.enroll("tpm-1", dps.TPM(ek))
	a, err := provisioning.Register(ctx, s.config("tpm-1", provisioning.NewTPMAttestation(chip), provisioning.HTTPS))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 5 {
				if _, e := a.Credential().Token(ctx, "hub/devices/"+base64.RawURLEncoding.EncodeToString([]byte(a.DeviceID)), time.Now(), time.Hour); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	c.clean()
}
