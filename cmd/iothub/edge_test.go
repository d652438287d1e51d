package main

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// One command runs a hub, a runtime and a module, whose output comes behind its name
// and which is $edgeAgent's to report.
func TestEdgeWithHub(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the module of this test is a script for sh")
	}
	t.Setenv("IOTHUB_EDGE_CONNECTION_STRING", "secret")
	c := begin(t, "edge", "--with-hub", "--json", "--data", t.TempDir(), "--mqtt-port", "0", "--https-port", "0",
		"--module", `m=echo "$IOTEDGE_DEVICEID/$IOTEDGE_MODULEID" "$IOTHUB_EDGE_CONNECTION_STRING"; test -S "${IOTEDGE_WORKLOADURI#unix://}" && echo socket; sleep 1000`)
	// The modules are started before the report is written, so the lines of both come
	// in any order.
	var report edgeReport
	var seen []string
	for len(seen) < 2 || report.DeviceID == "" {
		line := c.line()
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &report); err != nil {
				t.Fatal(err)
			}
			continue
		}
		seen = append(seen, line)
	}
	if want := []string{"m | edge1/m ", "m | socket"}; !slices.Equal(seen, want) {
		t.Errorf("printed %q", seen)
	}
	if report.DeviceID != "edge1" || len(report.Listeners) != 2 || !slices.Equal(report.Modules, []string{"m"}) {
		t.Errorf("%+v", report)
	}
	code, out, errs := once(t, "twin", "show", "edge1/$edgeAgent", "--ca", report.UpstreamCAFile, "--connection-string", report.ServiceConnectionString)
	if code != exitOK || !strings.Contains(out, "edge1") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code := c.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, c.stderr)
	}
	if strings.Contains(c.stderr.String(), "SharedAccessKey") {
		t.Error("the log holds a key")
	}
}

// What a user has to change is said, with the exit code for it.
func TestEdgeErrors(t *testing.T) {
	_, r := beginHub(t, t.TempDir())
	const some = "HostName=127.0.0.1:1;DeviceId=d;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	var https string
	for _, l := range r.Listeners {
		if l.Protocol == hub.HTTPS {
			https = l.Address[strings.LastIndexByte(l.Address, ':')+1:]
		}
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "--connection-string"},
		{[]string{"--with-hub", "--connection-string", some}, exitUsage, "--with-hub"},
		{[]string{"--connection-string", "x"}, exitUsage, "connection string"},
		{[]string{"--connection-string", some, "--module", "nothing"}, exitUsage, "NAME=COMMAND"},
		{[]string{"--connection-string", some, "--module", "$edgeHub=x"}, exitUsage, "dollar"},
		{[]string{"--connection-string", some, "--restart", "sometimes", "--module", "a=b"}, exitUsage, "sometimes"},
		{[]string{"--connection-string", some, "--store-limit", "much"}, exitUsage, "--store-limit"},
		{[]string{"--connection-string", some, "--listen", "here"}, exitUsage, "--listen"},
		{[]string{"--connection-string", some, "--log-level", "loud"}, exitUsage, "--log-level"},
		{[]string{"--connection-string", some, "--ca", "/no/such/file"}, exitFailure, "--ca"},
		{[]string{"--connection-string", some, "--upstream-https-port", "1"}, exitFailure, "refused"},
		{[]string{"--connection-string", r.Devices[0].ConnectionString, "--upstream-https-port", https}, exitFailure, "--ca"},
		{[]string{"--connection-string", r.Devices[0].ConnectionString, "--upstream-https-port", https, "--ca", r.CAFile}, exitRefused, "--edge"},
		{[]string{"--connection-string", some, "--https-port", https}, exitFailure, "--https-port"},
	} {
		args := []string{"edge", "--data", t.TempDir(), "--mqtt-port", "0"}
		if !slices.Contains(test.args, "--https-port") {
			args = append(args, "--https-port", "0")
		}
		code, _, errs := once(t, append(args, test.args...)...)
		if code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%q: exit code %d: %s", test.args, code, errs)
		}
		if strings.Contains(errs, "AAECAwQF") {
			t.Errorf("%q: the error shows the key", test.args)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1024": 1024, "1KiB": 1 << 10, "3 MiB": 3 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "GiB", "1MB", "9223372036854775807KiB", "1.5GiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cmd has no exec")
	}
	for command, want := range map[string]string{
		"sleep 1": "exec sleep 1", `sh -c "x"`: `exec sh -c "x"`, "cd / && sleep 1": "cd / && sleep 1", "sleep 1; sleep 2": "sleep 1; sleep 2",
		"A=1 sleep 1": "A=1 sleep 1", "no-such-program x": "no-such-program x", "sleep $(cat x)": "sleep $(cat x)",
	} {
		if got := shell(command); got[2] != want {
			t.Errorf("%q: %q, want %q", command, got[2], want)
		}
	}
}
