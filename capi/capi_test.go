//go:build cgo && linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
)

// built is the folder with the library, as build.sh makes it.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "capi")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if out, err := exec.Command("./build.sh", dir).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build.sh: %v\n%s", err, out)
			return 1
		}
		built = dir
		return m.Run()
	}())
}

// dialects are the ways to compile every program.
var dialects = map[string][]string{
	"c11":   {"gcc", "-std=c11"},
	"c++17": {"g++", "-std=c++17", "-x", "c++"},
	// The static library, with the program's memory watched.
	"asan": {"gcc", "-std=c11", "-fsanitize=address", "-g"},
}

// compile compiles a program of testdata and returns its path.
func compile(t *testing.T, dialect, name string) string {
	t.Helper()
	return compileFile(t, dialect, filepath.Join("testdata", name+".c"))
}

func compileFile(t *testing.T, dialect, file string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	how := dialects[dialect]
	args := append(append([]string(nil), how[1:]...), "-Wall", "-Wextra", "-Werror",
		"-I"+filepath.Join(built, "include"), file, "-x", "none", "-o", bin)
	lib := filepath.Join(built, "lib")
	if dialect == "asan" {
		args = append(args, filepath.Join(lib, "libiothub_client.a"), "-pthread")
	} else {
		args = append(args, "-L"+lib, "-liothub_client", "-Wl,-rpath,"+lib)
	}
	if out, err := exec.CommandContext(t.Context(), how[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", how[0], strings.Join(args, " "), err, out)
	}
	return bin
}

// program is a test program that runs.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer // open until finish
	stderr bytes.Buffer
	lines  chan string
}

// start runs a program. What it says comes out of lines.
func start(t *testing.T, bin string, env ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	p := &program{t: t}
	p.run(exec.CommandContext(ctx, bin), env)
	return p
}

func (p *program) run(cmd *exec.Cmd, env []string) {
	p.t.Helper()
	p.cmd, p.lines = cmd, make(chan string, 100)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
		io.Copy(io.Discard, stdout)
	}()
}

// expect waits until the program says word.
func (p *program) expect(word string) {
	p.t.Helper()
	for line := range p.lines {
		if line == word {
			return
		}
	}
	p.cmd.Wait()
	p.t.Fatalf("the program did not say %q, it ended with %v\n%s", word, p.cmd.ProcessState, p.stderr.String())
}

// finish waits for a program that is to pass. One that reads its standard input is told
// by its end that it may.
func (p *program) finish() {
	p.t.Helper()
	if err := p.stdin.Close(); err != nil {
		p.t.Error(err)
	}
	p.expect("passed")
	for range p.lines { // until it has ended
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr.String())
	}
}

// inDialects runs f for a program in every dialect.
func inDialects(t *testing.T, name string, f func(t *testing.T, bin string)) {
	for dialect := range dialects {
		t.Run(dialect, func(t *testing.T) { f(t, compile(t, dialect, name)) })
	}
}

// world is a hub with a device and a module, on loopback.
type world struct {
	*hub.Server
	env   []string
	https net.Addr // nil for none
}

func newWorld(t *testing.T, o *hub.Options) *world {
	t.Helper()
	s, err := hub.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	w := &world{Server: s}
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateModule(t.Context(), "dev1", "mod1"); err != nil {
		t.Fatal(err)
	}
	device, err := s.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	module, err := s.ModuleConnectionString("dev1", "mod1")
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{"DEVICE_STRING=" + device, "MODULE_STRING=" + module, "HUB_CA=" + string(s.CACertPEM())}
	return w
}

// Every function, with every argument that it refuses.
func TestArguments(t *testing.T) {
	inDialects(t, "arguments", func(t *testing.T, bin string) { start(t, bin).finish() })
}

// The contract of the send, and what arrives of a message at the hub.
func TestSend(t *testing.T) {
	inDialects(t, "send", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		start(t, bin, w.env...).finish()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var many, whole int
		for e, err := range w.Events(ctx, &hub.EventsOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case string(e.Body) == "many":
				many++
			case string(e.Body) == "\x00\x01\x02\xfe\xff":
				whole++
				checkWhole(t, e)
			}
			if many == 1000 && whole == 2 {
				return
			}
		}
	})
}

// checkWhole checks what send.c has set.
func checkWhole(t *testing.T, e *hub.Event) {
	t.Helper()
	want := map[string]string{
		"message-id": "id-1", "correlation-id": "corr-1", "content-type": "application/json", "content-encoding": "utf-8",
		"iothub-creation-time-utc": "2020-07-01T01:00:00.346Z", "dt-subject": "thermostat1",
	}
	for name, value := range want {
		if e.SystemProperties[name] != value {
			t.Errorf("%s is %q, want %q (of %v)", name, e.SystemProperties[name], value, e.SystemProperties)
		}
	}
	if got, want := fmt.Sprint(e.Properties), fmt.Sprint(map[string]string{"a&b": "c=d /?#", "plain": "100%"}); got != want {
		t.Errorf("the application properties are %s, want %s", got, want)
	}
}

// Messages, maps, properties, names of enumerations and the shared utility.
func TestMessages(t *testing.T) {
	inDialects(t, "messages", func(t *testing.T, bin string) { start(t, bin).finish() })
}

// The headers give programs what those of the Azure SDK give them.
func TestIncludes(t *testing.T) {
	inDialects(t, "includes", func(t *testing.T, bin string) { start(t, bin).finish() })
}

// The examples compile and run, as their users would do it.
func TestExamples(t *testing.T) {
	for dialect, file := range map[string]string{"c11": "telemetry.c", "c++17": "telemetry.cpp"} {
		t.Run(file, func(t *testing.T) {
			runExample(t, exec.CommandContext(t.Context(), compileFile(t, dialect, filepath.Join("examples", file))))
		})
	}
}

// runExample runs an example against a hub.
func runExample(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	w := newWorld(t, nil)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, device, _ := strings.Cut(w.env[0], "=")
	cmd.Args = append(cmd.Args, device, ca)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "IOTHUB_CLIENT_CONFIRMATION_OK") {
		t.Errorf("%v\n%s", err, out)
	}
}
