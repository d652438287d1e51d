package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTierFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--tier", "S9"}, `--tier "S9" is none of F1, B1, B2, B3, S1, S2, S3`},
		{[]string{"--units", "2"}, "--units 2 needs a --tier"},
		{[]string{"--tier", "S1", "--units", "-1"}, "--units -1 needs"},
	} {
		code, _, errs := once(t, append([]string{"hub", "--data", t.TempDir()}, tt.args...)...)
		if code != exitUsage || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit code %d: %s", tt.args, code, errs)
		}
	}
	h, r := beginHub(t, t.TempDir(), "--tier", "s3", "--units", "2")
	send(t, r, "one")
	if code := h.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, h.stderr)
	}
}

// Faults are for tests on this machine: who opens the hub to others has to ask
// for them.
func TestFaultInjectionFlag(t *testing.T) {
	for _, tt := range []struct {
		args []string
		on   bool
	}{
		{nil, true},
		{[]string{"--fault-injection=false"}, false},
		{[]string{"--listen", "0.0.0.0"}, false},
		{[]string{"--listen", "0.0.0.0", "--fault-injection"}, true},
	} {
		h, _ := beginHub(t, t.TempDir(), tt.args...)
		if code := h.stop(); code != exitOK {
			t.Errorf("%v: exit code %d: %s", tt.args, code, h.stderr)
		}
		if on := strings.Contains(h.stderr.String(), "fault injection is on"); on != tt.on {
			t.Errorf("%v: on is %v: %s", tt.args, on, h.stderr)
		}
	}
}

// The id scope can be chosen, stays otherwise, and the service can be left out.
func TestProvisioningFlags(t *testing.T) {
	data := t.TempDir()
	run := func(args ...string) hubReport {
		t.Helper()
		h, r := beginHub(t, data, args...)
		if code := h.stop(); code != exitOK {
			t.Fatalf("%v: exit code %d: %s", args, code, h.stderr)
		}
		return r
	}
	made := run()
	if !strings.HasPrefix(made.IDScope, "0ne") || !strings.Contains(made.ProvisioningConnectionString, "SharedAccessKeyName=provisioningserviceowner") {
		t.Errorf("%q, %q", made.IDScope, made.ProvisioningConnectionString)
	}
	if r := run("--id-scope", "0neTEST", "--linked-hub", "HostName=other.example;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA;AllocationWeight=3"); r.IDScope != "0neTEST" {
		t.Errorf("the id scope is %q", r.IDScope)
	}
	run("--device-authority", filepath.Join(data, "ca.pem"))
	if r := run(); r.IDScope != made.IDScope {
		t.Errorf("the id scope was %q, is %q", made.IDScope, r.IDScope)
	}
	if r := run("--no-provisioning"); r.IDScope != "" || r.ProvisioningConnectionString != "" {
		t.Errorf("%q, %q", r.IDScope, r.ProvisioningConnectionString)
	}
	for _, args := range [][]string{
		{"--id-scope", "0ne/1"}, {"--linked-hub", "HostName=x;DeviceId=d;SharedAccessKey=AAAA"}, {"--linked-hub", "AllocationWeight=200"},
		{"--no-provisioning", "--id-scope", "0ne1"}, {"--device-authority", "nowhere.pem"}, {"--device-authority", "hublimits_test.go"},
	} {
		if code, _, errs := once(t, append([]string{"hub", "--data", data}, args...)...); code == exitOK || strings.Contains(errs, "AAAA") {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
}
