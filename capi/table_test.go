//go:build cgo && linux

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of docs/c-compatibility.md")

const (
	guide      = "../docs/c-compatibility.md"
	tableBegin = "<!-- functions: begin, written by go test ./capi -run TestFunctionsAreDocumented -update -->\n"
	tableEnd   = "<!-- functions: end -->\n"
)

// wanting says why functions that are there do not do what their headers say,
// by a part of their names; and of what the Azure SDK has beside them, why it is
// not there.
var wanting = []struct{ part, why string }{
	{"CreateWithTransport", "always `NULL`: MQTT cannot share a connection"},
	{"IoTHubTransport_", "always `NULL`: MQTT cannot share a connection"},
	{"iothub_security_interface", "always `NULL`: there is no table of functions for hardware"},
	{"Prov_Device_HTTP_Protocol", ""},
	{"Prov_Device_AMQP", "names a transport that clients cannot be created with yet"},
	{"AMQP_Protocol", "names a transport that clients cannot be created with yet"},
	{"HTTP_Protocol", "names a transport that clients cannot be created with yet"},
}

// absent are functions of the Azure SDK that no header here declares, by how their
// names begin.
var absent = []struct {
	prefixes []string
	why      string
}{
	{[]string{"IoTHubClientCore_"}, "what the clients of that SDK are made of, never documented for programs: use `IoTHubDeviceClient_…`"},
	{[]string{
		"IoTHubServiceClient", "IoTHubRegistryManager_", "IoTHubDeviceTwin_", "IoTHubDeviceMethod_", "IoTHubMessaging_",
		"IoTHubDeviceConfiguration_", "prov_sc_",
	}, "the service clients: what a back end does is package `service`, in Go"},
	{[]string{"Map_ToJSON", "STRING_", "BUFFER_", "VECTOR_"}, "the rest of the shared utility is not a client's API"},
}

// alias is a function that another header has under another name.
var alias = regexp.MustCompile(`(?m)^#define (IoTHubClient_[A-Za-z_]+) (IoTHubDeviceClient_[A-Za-z_]+)$`)

var prototype = regexp.MustCompile(`(?m)^[A-Za-z_][A-Za-z0-9_ ]*[ *]+([A-Za-z][A-Za-z0-9_]*)\([^;{]*\);$`)

// functions returns the functions that each header declares.
func functions(t *testing.T) (headers []string, byHeader map[string][]string) {
	t.Helper()
	byHeader = map[string][]string{}
	err := filepath.WalkDir("include", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel("include", path)
		if err != nil {
			return err
		}
		for _, m := range prototype.FindAllStringSubmatch(string(b), -1) {
			if !strings.HasPrefix(m[0], "typedef ") {
				byHeader[name] = append(byHeader[name], m[1])
			}
		}
		if len(byHeader[name]) > 0 {
			headers = append(headers, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(headers); len(headers) < 10 {
		t.Fatalf("only %d headers declare functions", len(headers))
	}
	return headers, byHeader
}

// aliases returns the other names that a header gives to functions.
func aliases(t *testing.T, header string) [][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("include", header))
	if err != nil {
		t.Fatal(err)
	}
	return alias.FindAllStringSubmatch(string(b), -1)
}

func shortcoming(function string) string {
	for _, w := range wanting {
		if strings.Contains(function, w.part) {
			return w.why
		}
	}
	return ""
}

func table(t *testing.T) string {
	headers, byHeader := functions(t)
	var b strings.Builder
	b.WriteString("| function | |\n|---|---|\n")
	for _, h := range headers {
		fmt.Fprintf(&b, "| **`%s`** | |\n", h)
		for _, f := range byHeader[h] {
			fmt.Fprintf(&b, "| `%s` | %s |\n", f, shortcoming(f))
		}
		for _, a := range aliases(t, h) {
			fmt.Fprintf(&b, "| `%s` | another name of `%s` |\n", a[1], a[2])
		}
	}
	b.WriteString("| **not there** | |\n")
	for _, a := range absent {
		fmt.Fprintf(&b, "| `%s…` | %s |\n", strings.Join(a.prefixes, "…`, `"), a.why)
	}
	return b.String()
}

// The table in the guide is that of the headers.
func TestFunctionsAreDocumented(t *testing.T) {
	b, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", guide)
	}
	want := table(t)
	if old == want {
		return
	}
	if !*update {
		t.Fatalf("the table of functions in %s is not that of the headers: go test ./capi -run TestFunctionsAreDocumented -update", guide)
	}
	if err := os.WriteFile(guide, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every function that a header declares is in the shared library.
func TestEverythingIsExported(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "nm", "-D", "--defined-only", filepath.Join(built, "lib", "libiothub_client.so")).Output()
	if err != nil {
		t.Fatal(err)
	}
	exported := strings.Fields(string(out))
	headers, byHeader := functions(t)
	for _, h := range headers {
		for _, f := range byHeader[h] {
			if !slices.Contains(exported, f) {
				t.Errorf("%s declares %s, which the library does not have", h, f)
			}
		}
	}
}

// Every function that the Azure SDK documents is declared here, or the table says
// why not, and not both.
func TestNothingIsForgotten(t *testing.T) {
	declared := map[string]bool{}
	headers, byHeader := functions(t)
	for _, h := range headers {
		for _, f := range byHeader[h] {
			declared[f] = true
		}
		for _, a := range aliases(t, h) {
			declared[a[1]] = true
		}
	}
	b, err := os.ReadFile(filepath.Join("testdata", "documented.txt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		f := strings.TrimSpace(line)
		if f == "" || strings.HasPrefix(f, "#") {
			continue
		}
		n++
		if explained := isAbsent(f); declared[f] == explained {
			t.Errorf("%s: declared %v, in the table of what is not there %v", f, declared[f], explained)
		}
	}
	if n < 250 {
		t.Errorf("only %d functions are documented", n)
	}
}

func isAbsent(function string) bool {
	for _, a := range absent {
		if slices.ContainsFunc(a.prefixes, func(p string) bool { return strings.HasPrefix(function, p) }) {
			return true
		}
	}
	return false
}
