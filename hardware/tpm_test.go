package hardware

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hardware/internal/swtpm"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/provisioning/tpm"
	"github.com/iothub-go/iothub/service/dps"
)

// chip is a TPM that runs as a process.
type chip struct {
	*testing.T
	*swtpm.TPM
}

func newChip(t *testing.T) *chip {
	t.Helper()
	return &chip{t, swtpm.New(t)}
}

func (c *chip) open() *tpm.TPM {
	c.Helper()
	t, err := tpm.Open(c.Path, nil)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { t.Close() })
	return t
}

// A device with a TPM registers, connects with what was sealed to it, also after a restart
// of the TPM and of the program, and registers again.
func TestTPM(t *testing.T) {
	s, c := newSite(t), newChip(t)
	chip := c.open()
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

	c.Kill()
	c.Start()
	again := c.open()
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
}
