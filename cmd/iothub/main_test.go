package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
)

// command is a running command.
type command struct {
	t      *testing.T
	lines  *bufio.Scanner
	stderr *testkit.Buffer
	stop   func() int // ends it and returns its exit code
}

func begin(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	c := &command{t: t, lines: bufio.NewScanner(r), stderr: &testkit.Buffer{}}
	done := make(chan int, 1)
	go func() {
		code := run(ctx, args, w, c.stderr)
		_ = w.Close()
		done <- code
	}()
	c.stop = sync.OnceValue(func() int {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		return <-done
	})
	t.Cleanup(func() { c.stop() })
	return c
}

// line waits for the next line of output.
func (c *command) line() string {
	c.t.Helper()
	if !c.lines.Scan() {
		c.t.Fatalf("no more output; stderr: %s", c.stderr)
	}
	return c.lines.Text()
}

// beginHub runs "iothub hub" on free ports.
func beginHub(t *testing.T, dir string, args ...string) (*command, hubReport) {
	t.Helper()
	c := begin(t, append([]string{"hub", "--json", "--data", dir, "--mqtt-port", "0", "--https-port", "0", "--amqp-port", "0", "--amqp-plain-port", "0", "--device", "dev1"}, args...)...)
	var report hubReport
	if err := json.Unmarshal([]byte(c.line()), &report); err != nil {
		t.Fatal(err)
	}
	return c, report
}

// send sends one event as the first device of the report.
func send(t *testing.T, r hubReport, body string) {
	t.Helper()
	config, err := trust(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := device.NewClientFromConnectionString(r.Devices[0].ConnectionString, &iothub.ClientOptions{TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m := &iothub.Message{Payload: []byte(body), MessageID: "m-1", Properties: map[string]string{"level": "high"}}
	if err := c.SendEvent(ctx, m); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// once runs a command to its end.
func once(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestHubAndMonitor(t *testing.T) {
	h, r := beginHub(t, t.TempDir(), "--module", "dev1/mod1", "--module", "dev2/mod1")
	if len(r.Devices) != 3 || r.Devices[2].ModuleID != "mod1" || len(r.Listeners) != 4 || len(r.Notes) != 0 {
		t.Errorf("%+v", r)
	}
	for i := range 3 {
		send(t, r, fmt.Sprintf("body %d", i))
	}
	connect := []string{"monitor", "--ca", r.CAFile, "--connection-string", r.ServiceConnectionString}
	monitor := func(args ...string) []string {
		t.Helper()
		code, out, errs := once(t, append(connect, args...)...)
		if code != exitOK || errs != "" {
			t.Fatalf("%v: exit code %d: %s", args, code, errs)
		}
		return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	}
	all := monitor("--no-follow")
	if len(all) != 3 {
		t.Fatalf("%q", all)
	}
	fields := strings.Fields(all[0])
	when, err := time.Parse(time.RFC3339, fields[0])
	if err != nil || time.Since(when).Abs() > time.Minute {
		t.Errorf("%q: %v", all[0], err)
	}
	partition, offset, _ := strings.Cut(fields[2], ":")
	if rest := strings.TrimPrefix(all[0], fields[0]); rest != "  dev1  "+fields[2]+"  message-id=m-1 level=high  body 0" {
		t.Errorf("%q", rest)
	}
	var e watchedEvent
	if err := json.Unmarshal([]byte(monitor("--no-follow", "--json")[2]), &e); err != nil || string(e.Body) != "body 2" {
		t.Errorf("%+v %v", e, err)
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"--from", "start", "--max", "2"}, 2},
		{[]string{"--from", offset, "--partition", partition, "--no-follow"}, 2},
		{[]string{"--from", "2001-01-01T00:00:00Z", "--no-follow", "--device", "dev1"}, 3},
	} {
		if got := monitor(tt.args...); len(got) != tt.want {
			t.Errorf("%v: %q", tt.args, got)
		}
	}
	for _, args := range [][]string{{"--from", "now", "--no-follow"}, {"--no-follow", "--device", "dev9"}} {
		if got := monitor(args...); len(got) != 1 || got[0] != "" {
			t.Errorf("%v: %q", args, got)
		}
	}
	if code := h.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, h.stderr)
	}
}

// key is what the owner signs with.
func key(r hubReport) string {
	_, k, _ := strings.Cut(r.ServiceConnectionString, ";")
	return k
}

// A monitor outlives a restart of the hub and prints nothing twice.
func TestMonitorGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	h, r := beginHub(t, dir)
	send(t, r, "one")
	// The hub has another port after its restart.
	var door testkit.Door
	https := r.Listeners[1].Address
	relay := testkit.Relay(t, func(ctx context.Context) (net.Conn, error) { return door.Dial(ctx, "tcp", https) })
	there := regexp.MustCompile("HostName=[^;]*").ReplaceAllString(r.ServiceConnectionString, "HostName="+relay.String())
	m := begin(t, "monitor", "--ca", r.CAFile, "--connection-string", there, "--from", "start")
	if got := m.line(); !strings.HasSuffix(got, "  one") {
		t.Error(got)
	}
	if code := h.stop(); code != exitOK {
		t.Fatalf("exit code %d: %s", code, h.stderr)
	}
	door.Lead(https, "")
	_, again := beginHub(t, dir)
	door.Lead(https, again.Listeners[1].Address)
	if key(again) != key(r) || again.Devices[0].DeviceID != "dev1" {
		t.Errorf("%+v", again)
	}
	send(t, again, "two")
	if got := m.line(); !strings.HasSuffix(got, "  two") {
		t.Error(got)
	}
	if code := m.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, m.stderr)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Setenv(connectionStringVariable, "")
	_, r := beginHub(t, t.TempDir())
	_, mqttPort, err := net.SplitHostPort(r.Listeners[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	service := r.ServiceConnectionString
	other := strings.Replace(service, "SharedAccessKey=", "SharedAccessKey=AAAA", 1)
	nobody := "HostName=127.0.0.1:1;SharedAccessKeyName=service;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nonsense"}, exitUsage, "unknown command"},
		{[]string{"hub", "--nonsense"}, exitUsage, "iothub hub --help"},
		{[]string{"hub", "extra"}, exitUsage, "iothub hub --help"},
		{[]string{"hub", "--module", "mod1"}, exitUsage, "DEVICE/MODULE"},
		{[]string{"hub", "--listen", "localhost"}, exitUsage, "not an IP address"},
		{[]string{"hub", "--mqtt-port", "70000"}, exitUsage, "not a port"},
		{[]string{"hub", "--log-level", "loud"}, exitUsage, "none of debug"},
		{[]string{"hub", "--data", t.TempDir(), "--retention", "1s"}, exitFailure, "Retention"},
		{[]string{"hub", "--data", r.DataDir}, exitFailure, r.DataDir},
		{[]string{"hub", "--data", t.TempDir(), "--mqtt-port", mqttPort}, exitFailure, "--mqtt-port"},
		{[]string{"hub", "--data", t.TempDir(), "--mqtt-port", "0", "--https-port", mqttPort}, exitFailure, "--https-port"},
		{[]string{"hub", "--data", t.TempDir(), "--mqtt-port", "0", "--https-port", "0", "--amqp-port", "0", "--amqp-plain-port", "0", "--device", "a b"}, exitFailure, "--device a b"},
		{[]string{"monitor"}, exitUsage, connectionStringVariable},
		{[]string{"monitor", "--connection-string", "HostName=x"}, exitUsage, "SharedAccessKey"},
		{[]string{"monitor", "--connection-string", r.Devices[0].ConnectionString}, exitUsage, "service connection string"},
		{[]string{"monitor", "--connection-string", service, "--from", "yesterday"}, exitUsage, "--from"},
		{[]string{"monitor", "--connection-string", service, "--from", "12"}, exitUsage, "--partition"},
		{[]string{"monitor", "--connection-string", service, "--max", "-1"}, exitUsage, "--max"},
		{[]string{"monitor", "--connection-string", service}, exitFailure, "--ca"},
		{[]string{"monitor", "--connection-string", service, "--ca", filepath.Join(t.TempDir(), "none")}, exitFailure, "--ca"},
		{[]string{"monitor", "--connection-string", other, "--ca", r.CAFile}, exitRefused, "connection string"},
		{[]string{"monitor", "--connection-string", service, "--ca", r.CAFile, "--partition", "77"}, exitFailure, "partition 77"},
		{[]string{"monitor", "--connection-string", nobody}, exitFailure, "is the hub running?"},
	} {
		code, _, errs := once(t, tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit code %d, want %d; %q, want %q", tt.args, code, tt.code, errs, tt.want)
		}
		if strings.Contains(errs, "AAAAAAAA") || strings.Contains(errs, service) {
			t.Errorf("%v: a key is printed: %s", tt.args, errs)
		}
	}
	t.Setenv(connectionStringVariable, service)
	if code, _, errs := once(t, "monitor", "--ca", r.CAFile, "--no-follow"); code != exitOK {
		t.Errorf("the environment is not used: %s", errs)
	}
}

// Where 443 cannot be bound the hub says so and takes another port, unless the
// port was asked for.
func TestHTTPSPortFallsBack(t *testing.T) {
	srv, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Shutdown(context.Background()) }()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	f := &hubFlags{listen: "127.0.0.1", httpsPort: busy.Addr().(*net.TCPAddr).Port, fallbackPort: 0}
	var r hubReport
	if err := f.listenAll(srv, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "in use") || !strings.Contains(r.Notes[0], "443") || len(r.Listeners) != 4 {
		t.Errorf("%+v", r)
	}
	f.httpsPort, f.httpsPortSet = busy.Addr().(*net.TCPAddr).Port, true
	if err := f.listenAll(srv, &r); err == nil || !strings.Contains(err.Error(), strconv.Itoa(f.httpsPort)) {
		t.Error(err)
	}
}

func TestPortErrors(t *testing.T) {
	err := portError(&net.OpError{Op: "listen", Err: os.ErrPermission}, 443, "--https-port")
	if text := err.Error(); !strings.Contains(text, "--https-port") || !strings.Contains(text, "ip_unprivileged_port_start") {
		t.Error(text)
	}
	if text := cause(os.ErrPermission); text != "permission denied" {
		t.Error(text)
	}
	if text := cause(errors.New("x")); text != "x" {
		t.Error(text)
	}
}

func TestReportText(t *testing.T) {
	r := hubReport{
		Listeners:               []reportedListener{{hub.MQTT, "127.0.0.1:8883"}, {hub.HTTPS, "127.0.0.1:443"}},
		ServiceConnectionString: "HostName=127.0.0.1;SharedAccessKeyName=iothubowner;SharedAccessKey=S=",
		IDScope:                 "0ne0000000A", ProvisioningConnectionString: "HostName=127.0.0.1;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=P=",
		Devices: []reportedIdentity{
			{"dev1", "", "HostName=127.0.0.1;DeviceId=dev1;SharedAccessKey=D="},
			{"dev1", "mod1", "HostName=127.0.0.1;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=M="},
		},
		CAFile: "/data/ca.pem", DataDir: "/data", Retention: "24h0m0s", Notes: []string{"Something."},
	}
	golden(t, "report.txt", r.text())
}

func TestFormatEvent(t *testing.T) {
	when := time.Date(2026, 1, 31, 12, 34, 56, 789e6, time.UTC)
	var out []byte
	for _, e := range []watchedEvent{
		{DeviceID: "dev1", Body: []byte("hello")},
		{DeviceID: "dev1", ModuleID: "mod1", Partition: 3, Offset: "4097", Body: []byte(`{"temperature":21.5}`),
			Properties:       map[string]string{"level": "high", "empty": "", "with space": "a=b"},
			SystemProperties: map[string]string{"message-id": "m-1", "content-type": "application/json"}},
		{DeviceID: "dev1", Body: []byte("two\nlines \x1b[31mred \"quoted\" ünïcode")},
		{DeviceID: "dev1", Body: []byte{0, 1, 2, 0xff}},
		{DeviceID: "dev1", Body: bytes.Repeat([]byte{0xfe}, 1000)},
		{DeviceID: "dev1", Body: []byte(strings.Repeat("ä", 1000))},
		{DeviceID: "dev1", Properties: map[string]string{"escape\x1b": "\u202e"}},
	} {
		e.EnqueuedTime = when
		out = append(out, formatEvent(&e)...)
	}
	golden(t, "events.txt", out)
}

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file, which -update rewrites.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}
