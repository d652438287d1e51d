package main

import (
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
