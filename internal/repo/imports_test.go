package repo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/iothub-go/iothub"

// pkg is what go list says of a package. Deps is everything it is linked with.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// packages returns all packages of the module and all that they are linked
// with, by import path. Tests are not part of it: they may import anything.
var packages = sync.OnceValues(func() (map[string]*pkg, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	all := map[string]*pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = &p
	}
})

func list(t *testing.T) map[string]*pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// in reports whether p is one of the packages: "" is the root, "ll" is ll and
// all below it.
func in(p string, trees ...string) bool {
	rel, ok := strings.CutPrefix(p, module)
	if !ok {
		return false
	}
	rel = strings.TrimPrefix(rel, "/")
	return slices.ContainsFunc(trees, func(tree string) bool {
		return rel == tree || (tree != "" && strings.HasPrefix(rel, tree+"/"))
	})
}

// Who is who.
var (
	clientTrees = []string{"", "device", "module", "ll", "mqtt", "amqp", "http", "provisioning", "pnp",
		"internal/clientlog", "internal/engine", "internal/link", "internal/managed", "internal/receiver", "internal/rest", "internal/setup",
		"internal/transport", "internal/wire", "internal/workload"}
	// What is the clients' own and no business of the hub's.
	clientOnly = []string{"device", "module", "ll", "mqtt", "amqp", "http", "provisioning", "pnp", "service", "edge",
		"internal/clientlog", "internal/managed", "internal/link", "internal/setup", "internal/transport", "internal/workload"}
	// What no device program may be linked with.
	foreign = []string{"nats", "amqp", "paho", "qpid", "cobra", "gorilla/websocket"}
	// The one module beyond the standard library that one may.
	allowed = "github.com/coder/websocket"
)

// A rule says what the packages for which of is true may be linked with.
type rule struct {
	name string
	of   func(p string) bool
	bad  func(all map[string]*pkg, dep string) bool
}

var rules = []rule{
	{"clients do not reach the hub or the service client",
		func(p string) bool { return in(p, clientTrees...) },
		func(_ map[string]*pkg, dep string) bool { return in(dep, "hub", "hubtest", "edge", "service", "cmd") }},
	{"clients are linked with no broker and no one else's protocol",
		func(p string) bool { return in(p, clientTrees...) },
		func(all map[string]*pkg, dep string) bool {
			return !all[dep].Standard && !in(dep, clientTrees...) &&
				slices.ContainsFunc(foreign, func(f string) bool { return strings.Contains(strings.ToLower(dep), f) })
		}},
	// Those that have their key in a TPM choose another library by importing a package.
	{"a device program is linked with the standard library only",
		func(p string) bool { return in(p, clientTrees...) && !in(p, "provisioning/tpm") },
		func(all map[string]*pkg, dep string) bool {
			return !all[dep].Standard && !strings.HasPrefix(dep, module) && dep != allowed && !strings.HasPrefix(dep, allowed+"/")
		}},
	{"the hub imports no client",
		func(p string) bool { return in(p, "hub", "hubtest") },
		func(_ map[string]*pkg, dep string) bool { return in(dep, clientOnly...) }},
	{"the service client is linked with no device client and no hub",
		func(p string) bool { return in(p, "service") },
		func(_ map[string]*pkg, dep string) bool {
			return in(dep, "device", "module", "ll", "mqtt", "provisioning", "hub", "hubtest", "cmd", "internal/engine", "internal/managed")
		}},
	{"protocol heads do not touch the store",
		func(p string) bool {
			return in(p, "hub/internal") && strings.HasSuffix(firstBelow(p, "hub/internal"), "front")
		},
		func(_ map[string]*pkg, dep string) bool {
			return in(dep, "hub/internal/store") || strings.Contains(dep, "nats")
		}},
	{"the root imports the standard library only",
		func(p string) bool { return p == module },
		func(all map[string]*pkg, dep string) bool { return !all[dep].Standard }},
	{"the codecs import the standard library only",
		func(p string) bool { return in(p, "internal/wire") },
		func(all map[string]*pkg, dep string) bool { return !all[dep].Standard && !in(dep, "internal/wire") }},
	{"the engine does no I/O",
		func(p string) bool { return in(p, "internal/engine") },
		func(_ map[string]*pkg, dep string) bool { return in(dep, "internal/link", "internal/managed") }},
}

// firstBelow returns the folder of p right below tree.
func firstBelow(p, tree string) string {
	rest := strings.TrimPrefix(p, path.Join(module, tree)+"/")
	first, _, _ := strings.Cut(rest, "/")
	return first
}

func TestImports(t *testing.T) {
	all := list(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			checked := 0
			for _, p := range all {
				if !r.of(p.ImportPath) {
					continue
				}
				checked++
				for _, dep := range p.Deps {
					if all[dep] != nil && r.bad(all, dep) {
						t.Errorf("%s reaches %s%s", p.ImportPath, dep, chain(all, p.ImportPath, dep))
					}
				}
			}
			if checked == 0 {
				t.Error("no package is subject to the rule: it proves nothing")
			}
		})
	}
}

// chain returns how from comes to import to.
func chain(all map[string]*pkg, from, to string) string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range all[queue[0]].Imports {
			if _, seen := before[next]; seen || all[next] == nil {
				continue
			}
			before[next] = queue[0]
			queue = append(queue, next)
		}
	}
	s := ""
	for p := before[to]; p != "" && p != from; p = before[p] {
		s = " via " + p + s
	}
	return s
}

// The rules catch what they are there for.
func TestImportRulesCatch(t *testing.T) {
	all := map[string]*pkg{}
	for _, p := range []string{"net", "github.com/nats-io/nats.go", "github.com/Azure/go-amqp", "github.com/eclipse/paho.mqtt.golang",
		"github.com/spf13/cobra", "github.com/coder/websocket", "example.com/x", module, module + "/hub", module + "/hub/internal/store/memory",
		module + "/device", module + "/internal/link", module + "/internal/wire/amqp"} {
		all[p] = &pkg{ImportPath: p, Standard: p == "net"}
	}
	for _, test := range []struct {
		p, dep string
		want   bool
	}{
		{"/device", "github.com/nats-io/nats.go", true}, {"/ll", "github.com/Azure/go-amqp", true},
		{"/mqtt", "github.com/eclipse/paho.mqtt.golang", true}, {"/internal/engine", "github.com/spf13/cobra", true},
		{"/module", module + "/hub", true}, {"/module", "example.com/x", true}, {"/module", "github.com/coder/websocket", false},
		{"/module", module + "/internal/wire/amqp", false}, {"/device", "net", false},
		{"/hub", module + "/device", true}, {"/hub/internal/core", module + "/internal/link", true}, {"/hub", "github.com/nats-io/nats.go", false},
		{"/hub/internal/mqttfront", module + "/hub/internal/store/memory", true}, {"/hub/internal/core", module + "/hub/internal/store/memory", false},
		{"", "github.com/coder/websocket", true}, {"", module + "/device", true}, {"/internal/wire/mqtt", module, true},
	} {
		got := slices.ContainsFunc(rules, func(r rule) bool { return r.of(module+test.p) && r.bad(all, test.dep) })
		if got != test.want {
			t.Errorf("%s importing %s: caught %v, want %v", test.p, test.dep, got, test.want)
		}
	}
}
