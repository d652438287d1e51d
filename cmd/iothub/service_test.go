package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
)

// verbs runs commands on one hub.
type verbs struct {
	t       *testing.T
	connect []string
}

func (v *verbs) run(args ...string) (code int, stdout, stderr string) {
	v.t.Helper()
	return once(v.t, append(args, v.connect...)...)
}

// ok runs a command that succeeds and returns what it prints.
func (v *verbs) ok(args ...string) string {
	v.t.Helper()
	code, out, errs := v.run(args...)
	if code != exitOK || errs != "" {
		v.t.Fatalf("%q: exit code %d: %s", args, code, errs)
	}
	return out
}

// fails runs a command that fails with an exit code and a text.
func (v *verbs) fails(code int, want string, args ...string) {
	v.t.Helper()
	got, out, errs := v.run(args...)
	if got != code || !strings.Contains(errs, want) || out != "" {
		v.t.Errorf("%q: exit code %d, want %d; %q, want %q; output %q", args, got, code, errs, want, out)
	}
}

// field returns the value of a line "name  value".
func (v *verbs) field(out, name string) string {
	v.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `  +(.*)$`).FindStringSubmatch(out)
	if m == nil {
		v.t.Fatalf("no %s in %q", name, out)
	}
	return m[1]
}

func beginVerbs(t *testing.T) (*verbs, hubReport) {
	t.Helper()
	_, r := beginHub(t, t.TempDir())
	return &verbs{t, []string{"--connection-string", r.ServiceConnectionString, "--ca", r.CAFile}}, r
}

func TestDeviceVerbs(t *testing.T) {
	v, _ := beginVerbs(t)
	out := v.ok("device", "create", "dev2", "--reason", "new\x1b[31m", "--disabled")
	cs, err := iothub.ParseConnectionString(v.field(out, "connection string"))
	if err != nil || cs.DeviceID != "dev2" || cs.HostName != "127.0.0.1" || v.field(out, "status") != "disabled" || strings.Contains(out, "\x1b") {
		t.Errorf("%q %v", out, err)
	}
	if out = v.ok("device", "show", "dev2"); strings.Contains(out, "connection string") || v.field(out, "authentication") != "sas" {
		t.Error(out)
	}
	out = v.ok("device", "update", "dev2", "--status", "enabled", "--reason", "found")
	if v.field(out, "status") != "enabled" || v.field(out, "reason") != "found" {
		t.Error(out)
	}
	v.fails(exitFailure, "precondition", "device", "update", "dev2", "--status", "disabled", "--etag", "old")
	v.fails(exitFailure, "conflict", "device", "create", "dev2")
	v.fails(exitFailure, "404001", "device", "show", "nobody")
	v.fails(exitUsage, "--thumbprint", "device", "create", "dev3", "--auth", "selfSigned")
	v.fails(exitUsage, "--auth", "device", "create", "dev3", "--auth", "magic")
	v.fails(exitUsage, "--output", "device", "list", "--output", "xml")
	v.fails(exitUsage, "--help", "device", "show")
	v.fails(exitUsage, "iothub device --help", "device", "paint")
	if out = v.ok("device", "list"); !regexp.MustCompile(`(?m)\ADEVICE +STATUS +CONNECTION +LAST ACTIVITY +MESSAGES\ndev1 +enabled +Disconnected +never +0\ndev2 `).MatchString(out) {
		t.Error(out)
	}
	var list []struct{ DeviceID string }
	if err := json.Unmarshal([]byte(v.ok("device", "list", "-o", "json", "--top", "1")), &list); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	before := v.ok("device", "keys", "dev2")
	after := v.ok("device", "keys", "dev2", "--swap")
	if v.field(before, "primary") != v.field(after, "secondary") || v.field(before, "secondary") != v.field(after, "primary") {
		t.Errorf("%s%s", before, after)
	}
	if fresh := v.ok("device", "keys", "dev2", "--regenerate", "primary"); v.field(fresh, "primary") == v.field(after, "primary") || v.field(fresh, "secondary") != v.field(after, "secondary") {
		t.Errorf("%s%s", after, fresh)
	}
	v.fails(exitUsage, "--regenerate", "device", "keys", "dev2", "--regenerate", "third")
	out = v.ok("device", "create", "dev4", "--auth", "selfSigned", "--thumbprint", strings.Repeat("AB", 20))
	if v.field(out, "authentication") != "selfSigned" || strings.Contains(out, "connection string") {
		t.Error(out)
	}
	v.fails(exitFailure, "no symmetric keys", "device", "keys", "dev4")
	if out = v.ok("device", "delete", "dev4"); out != "" {
		t.Error(out)
	}
	out = v.ok("statistics")
	if v.field(out, "devices") != "2" || v.field(out, "connected") != "0" {
		t.Error(out)
	}
}

func TestDeviceBelowEdge(t *testing.T) {
	v, _ := beginVerbs(t)
	scope := func(args ...string) (d struct {
		DeviceScope  string
		ParentScopes []string
	}) {
		t.Helper()
		if err := json.Unmarshal([]byte(v.ok(append([]string{"device", "create", "-o", "json"}, args...)...)), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	top := scope("top", "--edge").DeviceScope
	if top == "" {
		t.Fatal("an IoT Edge device has no scope")
	}
	if leaf := scope("leaf", "--parent", "top"); leaf.DeviceScope != top {
		t.Errorf("%+v, want %s", leaf, top)
	}
	if low := scope("low", "--edge", "--parent", "top"); low.DeviceScope == top || len(low.ParentScopes) != 1 || low.ParentScopes[0] != top {
		t.Errorf("%+v, want below %s", low, top)
	}
	v.fails(exitFailure, "no IoT Edge device", "device", "create", "x", "--parent", "leaf")
	v.fails(exitFailure, "--parent", "device", "create", "x", "--parent", "nobody")
}

func TestModuleVerbs(t *testing.T) {
	v, _ := beginVerbs(t)
	if cs := v.field(v.ok("module", "create", "dev1/m1"), "connection string"); !strings.Contains(cs, ";ModuleId=m1;") {
		t.Error(cs)
	}
	v.ok("module", "show", "dev1/m1")
	if out := v.ok("module", "list", "dev1"); !strings.Contains(out, "\nm1  ") {
		t.Error(out)
	}
	v.ok("module", "keys", "dev1/m1", "--swap")
	v.fails(exitUsage, "DEVICE/MODULE", "module", "keys", "dev1")
	v.fails(exitUsage, "DEVICE/MODULE", "module", "delete", "dev1")
	v.ok("module", "delete", "dev1/m1")
	v.fails(exitFailure, "404010", "module", "show", "dev1/m1")
}

func TestTwinAndMethodVerbs(t *testing.T) {
	v, r := beginVerbs(t)
	file := filepath.Join(t.TempDir(), "tags.json")
	if err := os.WriteFile(file, []byte(`{"site":"north"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := v.ok("twin", "update", "dev1", "--tags", "@"+file, "--desired", `{"interval":30}`)
	if v.field(out, "tags") != `{"site":"north"}` || v.field(out, "desired") != `{"interval":30}` || v.field(out, "desired version") != "2" {
		t.Error(out)
	}
	etag := v.field(out, "etag")
	out = v.ok("twin", "replace", "dev1", "--desired", `{"on":true}`, "--etag", etag)
	if v.field(out, "desired") != `{"on":true}` {
		t.Error(out)
	}
	v.fails(exitFailure, "precondition", "twin", "update", "dev1", "--tags", "{}", "--etag", etag)
	v.fails(exitUsage, "nothing to change", "twin", "update", "dev1")
	v.fails(exitUsage, "--tags is not JSON", "twin", "update", "dev1", "--tags", "{")
	v.fails(exitUsage, "--desired is not a JSON object", "twin", "update", "dev1", "--desired", "5")
	var twin struct {
		Properties struct{ Desired map[string]any }
	}
	if err := json.Unmarshal([]byte(v.ok("twin", "show", "dev1", "-o", "json")), &twin); err != nil || twin.Properties.Desired["on"] != true || twin.Properties.Desired["$version"] != 3.0 {
		t.Errorf("%+v %v", twin, err)
	}
	v.fails(exitFailure, "404103", "method", "invoke", "dev1", "reboot")
	config, err := trust(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.NewClientFromConnectionString(r.Devices[0].ConnectionString, &iothub.ClientOptions{TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(t.Context()) }()
	d.HandleMethod("echo", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 201, Payload: r.Payload}
	})
	out = v.ok("method", "invoke", "dev1", "echo", `{"a":1}`, "--connect-timeout", "20s")
	if v.field(out, "status") != "201" || v.field(out, "payload") != `{"a":1}` {
		t.Error(out)
	}
	if out = v.ok("method", "invoke", "dev1", "echo", "-o", "json"); out != "{\n  \"status\": 201,\n  \"payload\": null\n}\n" {
		t.Error(out)
	}
	v.fails(exitUsage, "the payload is not JSON", "method", "invoke", "dev1", "echo", "hello")
}

// The exit codes of commands that get no further than the door.
func TestServiceVerbErrors(t *testing.T) {
	t.Setenv(connectionStringVariable, "")
	v, r := beginVerbs(t)
	if code, _, errs := once(t, "device", "list"); code != exitUsage || !strings.Contains(errs, connectionStringVariable) {
		t.Error(code, errs)
	}
	if code, _, errs := once(t, "device", "list", "--connection-string", r.ServiceConnectionString); code != exitFailure || !strings.Contains(errs, "--ca") {
		t.Error(code, errs)
	}
	other := strings.Replace(r.ServiceConnectionString, "SharedAccessKey=", "SharedAccessKey=AAAA", 1)
	if code, _, errs := once(t, "device", "list", "--ca", r.CAFile, "--connection-string", other); code != exitRefused || strings.Contains(errs, "AAAA") {
		t.Error(code, errs)
	}
	v.connect = []string{"--connection-string", r.Devices[0].ConnectionString}
	v.fails(exitUsage, "service connection string", "twin", "show", "dev1")
	t.Setenv(connectionStringVariable, r.ServiceConnectionString)
	v.connect = []string{"--ca", r.CAFile}
	v.ok("device", "list")
}

// scripted runs commands on a hub that answers as given, and checks the requests.
func scripted(t *testing.T, answer func(request string, h http.Header) string) *verbs {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		path, _, _ := strings.Cut(r.URL.RequestURI(), "?")
		fmt.Fprint(w, answer(r.Method+" "+path+" "+string(body), w.Header()))
	}))
	s.TLS = &tls.Config{}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &verbs{t, []string{"--ca", ca, "--connection-string", "HostName=" + strings.TrimPrefix(s.URL, "https://") +
		";SharedAccessKeyName=service;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
}

func TestQueryVerb(t *testing.T) {
	v := scripted(t, func(request string, h http.Header) string {
		switch {
		case strings.Contains(request, "COUNT"):
			return `[{"n":3,"status":"enabled"},{"n":1}]`
		case strings.Contains(request, "FROM devices"):
			return `[{"deviceId":"d1","deviceEtag":"x","etag":"y","status":"enabled","connectionState":"Connected","lastActivityTime":"2026-01-31T12:00:00Z","version":3,"tags":{"a":1},"properties":{}}]`
		}
		return "[]"
	})
	golden(t, "query.txt", []byte(v.ok("query", "SELECT COUNT() AS n, status FROM devices GROUP BY status")+
		v.ok("query", "SELECT * FROM devices")+
		v.ok("query", "SELECT COUNT() …", "--output", "json")+
		v.ok("query", "nothing")))
}

func TestJobVerbs(t *testing.T) {
	const job = `{"jobId":"j1","queryCondition":"*","startTime":"2026-01-01T00:00:00Z","endTime":"0001-01-01T00:00:00","type":"scheduleUpdateTwin","status":"completed","deviceJobStatistics":{"deviceCount":3,"failedCount":1,"succeededCount":2,"runningCount":0,"pendingCount":0}}`
	var requests []string
	v := scripted(t, func(request string, h http.Header) string {
		requests = append(requests, request)
		switch {
		case strings.HasPrefix(request, "GET /jobs/v2/query"):
			return "[" + job + "]"
		case strings.HasPrefix(request, "POST /devices/query"):
			return `[{"deviceId":"d1","jobId":"j1","status":"completed","endTimeUtc":"2026-01-01T00:00:01Z","outcome":{"deviceMethodResponse":{"status":200,"payload":"ok"}}},{"deviceId":"d2","moduleId":"m","status":"failed","error":{"code":404103,"description":"not online"}}]`
		case strings.Contains(request, `"failing"`) || strings.HasSuffix(request, "/failing "):
			return strings.Replace(strings.Replace(job, "completed", "failed", 1), "j1", "failing", 1)
		}
		return job
	})
	golden(t, "jobs.txt", []byte(v.ok("job", "schedule-twin", "j1", "--query", "*", "--tags", `{"a":1}`, "--start", "2026-01-01T00:00:00Z")+
		v.ok("job", "schedule-method", "j1", "reboot", `"now"`, "--query", "*", "--start", "2026-01-01T00:00:00Z", "--wait")+
		v.ok("job", "list")+v.ok("job", "show", "j1")+v.ok("job", "show", "j1", "--results")+v.ok("job", "cancel", "j1")+
		strings.Join(requests, "\n")+"\n"))
	v.fails(exitFailure, "failed", "job", "schedule-twin", "failing", "--query", "*", "--tags", "{}", "--wait")
	v.fails(exitUsage, "query", "job", "schedule-twin", "j1", "--tags", "{}")
	v.fails(exitUsage, "--start", "job", "schedule-twin", "j1", "--query", "*", "--tags", "{}", "--start", "noon")
}

func TestConfigurationVerbs(t *testing.T) {
	const configuration = `{"id":"c1","content":{"deviceContent":{"properties.desired.x":1}},"targetCondition":"*","priority":5,"systemMetrics":{"results":{"targetedCount":3,"appliedCount":2}},"metrics":{"results":{"b":2,"a":1}},"etag":"MQ=="}`
	var requests []string
	v := scripted(t, func(request string, h http.Header) string {
		requests = append(requests, request)
		switch {
		case strings.HasPrefix(request, "GET /configurations "):
			return "[" + configuration + "]"
		case strings.HasPrefix(request, "DELETE"):
			return ""
		}
		return configuration
	})
	golden(t, "configurations.txt", []byte(v.ok("configuration", "create", "c1", "--content", `{"deviceContent":{"properties.desired.x":1}}`, "--target", "*",
		"--priority", "5", "--label", "app=x", "--metric", "a=SELECT deviceId FROM devices")+
		v.ok("configuration", "list")+v.ok("configuration", "show", "c1")+v.ok("configuration", "delete", "c1")+
		strings.Join(requests, "\n")+"\n"))
	v.fails(exitUsage, "--content", "configuration", "create", "c1", "--content", "{}")
	v.fails(exitUsage, "--label", "configuration", "create", "c1", "--content", `{"deviceContent":{}}`, "--label", "x")
}

// What AMQP would be needed for is refused before anything is dialled.
func TestC2DAndEventsUsage(t *testing.T) {
	v := &verbs{t, []string{"--connection-string", "HostName=127.0.0.1:1;SharedAccessKeyName=service;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
	v.fails(exitUsage, "--ack", "c2d", "send", "dev1", "x", "--ack", "maybe")
	v.fails(exitUsage, "--property", "c2d", "send", "dev1", "x", "-p", "level")
	v.fails(exitUsage, "--expires", "c2d", "send", "dev1", "x", "--expires", "-1s")
	v.fails(exitFailure, "65536", "c2d", "send", "dev1", strings.Repeat("x", 70000))
	v.fails(exitUsage, "--from", "events", "--from", "yesterday")
	v.fails(exitUsage, "--partition", "events", "--from", "12")
	v.fails(exitUsage, "--max", "events", "--max", "-1")
	v.fails(exitUsage, "Event Hubs", "events", "--event-hub-connection-string", "HostName=x")
}

func TestC2DVerbs(t *testing.T) {
	v, _ := beginVerbs(t)
	if out := v.ok("c2d", "purge", "dev1"); out != "0 messages deleted\n" {
		t.Error(out)
	}
	v.ok("c2d", "send", "dev1", "hello", "--websocket", "-p", "level=high", "--message-id", "m1")
	v.fails(exitFailure, "404001", "c2d", "send", "nobody", "hello", "--websocket")
	if out := v.ok("c2d", "purge", "dev1"); out != "1 messages deleted\n" {
		t.Error(out)
	}
	if out := v.ok("c2d", "purge", "dev1", "-o", "json"); out != "{\n  \"purged\": 0\n}\n" {
		t.Error(out)
	}
}

// Shells complete the verbs.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := once(t, "completion", shell); code != exitOK || len(out) < 1000 {
			t.Errorf("%s: exit code %d", shell, code)
		}
	}
	if _, out, _ := once(t, "__complete", "device", ""); !strings.Contains(out, "create\t") || !strings.Contains(out, "keys\t") {
		t.Error(out)
	}
	if _, out, _ := once(t, "__complete", "device", "list", "--output", ""); !strings.Contains(out, "json") {
		t.Error(out)
	}
}
