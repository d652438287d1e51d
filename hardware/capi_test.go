package hardware

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/service/dps"
)

// The C library has the key of a device in a TPM.
func TestTPMInC(t *testing.T) {
	s, c := newSite(t), newChip(t)
	dir := t.TempDir()
	run(t, exec.Command("../capi/build.sh", dir))
	bin := filepath.Join(dir, "tpm")
	lib := filepath.Join(dir, "lib")
	run(t, exec.Command("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I"+filepath.Join(dir, "include"), "testdata/tpm.c", "-o", bin,
		"-L"+lib, "-liothub_client", "-Wl,-rpath,"+lib))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ek, err := c.open().EndorsementKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.enroll("tpm-c", dps.TPM(ek))
	program := exec.CommandContext(ctx, bin)
	program.Env = append(os.Environ(), "IOTHUB_TPM_DEVICE="+c.Path, "DPS_HTTPS="+s.https, "ID_SCOPE="+s.IDScope(), "REGISTRATION_ID=tpm-c", "HUB_CA="+string(s.CACertPEM()))
	if out := run(t, program); !strings.Contains(out, "passed") {
		t.Error(out)
	}
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return string(out)
}
