//go:build unix

package supervisor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iothub-go/iothub/edge/internal/supervisor"
	"github.com/iothub-go/iothub/internal/testkit"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "--parent" {
		parent()
	}
	testkit.Main(m, 5*time.Second, "iothub/edge/internal/supervisor")
}

// run is a program under test, whose lines come by a channel.
type run struct {
	*supervisor.Program
	lines chan string
	log   *supervisor.Log
}

func start(t *testing.T, script string, edit func(*supervisor.Config)) *run {
	t.Helper()
	r := &run{lines: make(chan string, 10_000)}
	r.log = &supervisor.Log{Show: func(l supervisor.Line) { r.lines <- l.Text }}
	cfg := supervisor.Config{
		Name: "m", Command: []string{"sh", "-c", script}, Env: os.Environ(), Backoff: time.Millisecond,
		Log: r.log, Logger: slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&cfg)
	}
	r.Program = supervisor.Start(cfg)
	t.Cleanup(func() { r.end(t) })
	return r
}

func (r *run) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (r *run) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-r.lines:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("the program prints nothing")
		return ""
	}
}

func (r *run) until(t *testing.T, what string, true func(supervisor.Status) bool) supervisor.Status {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); ; {
		if s := r.Status(); true(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it never came true: %s: %+v", what, r.Status())
		}
	}
}

// A program that ends is started again, as the policy says, and its status tells.
func TestRestart(t *testing.T) {
	r := start(t, "echo out; echo err >&2; exit 3", nil)
	s := r.until(t, "three restarts", func(s supervisor.Status) bool { return s.Restarts >= 3 })
	if s.ExitCode != 3 || s.Started.IsZero() || s.Exited.IsZero() {
		t.Errorf("%+v", s)
	}
	r.end(t)
	out, errs := 0, 0
	for _, l := range r.log.Lines() {
		switch {
		case l.Text == "out" && !l.Error:
			out++
		case l.Text == "err" && l.Error:
			errs++
		default:
			t.Errorf("line %+v", l)
		}
	}
	if out < 3 || errs < 3 {
		t.Errorf("%d and %d lines", out, errs)
	}

	for _, test := range []struct {
		code    int
		restart supervisor.Restart
		state   supervisor.State
	}{
		{0, supervisor.OnFailure, supervisor.Stopped}, {0, supervisor.Never, supervisor.Stopped}, {1, supervisor.Never, supervisor.Failed},
	} {
		r := start(t, fmt.Sprint("echo x; exit ", test.code), func(c *supervisor.Config) { c.Restart = test.restart })
		if s := r.until(t, "ended", func(s supervisor.Status) bool { return !s.Exited.IsZero() }); s.State != test.state || s.ExitCode != test.code {
			t.Errorf("%+v: %+v", test, s)
		}
		r.line(t)
		r.Restart() // by hand works with every policy
		r.line(t)
	}
}

// Restart ends the one that runs and starts another; Stop ends it for good.
func TestEnd(t *testing.T) {
	r := start(t, "exec 2>/dev/null; trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done", nil)
	r.line(t)
	first := r.Status().PID
	r.Restart()
	if got := r.line(t); got != "bye" {
		t.Errorf("printed %q", got)
	}
	if got := r.line(t); got != "up" || r.Status().PID == first {
		t.Errorf("printed %q, %+v", got, r.Status())
	}
	r.end(t)
	if got := r.line(t); got != "bye" {
		t.Errorf("printed %q", got)
	}
	if s := r.Status(); s.State != supervisor.Stopped || s.PID != 0 || s.Restarts != 1 {
		t.Errorf("%+v", s)
	}
}

// What a shell runs has the grace too, though the shell ends at once.
func TestEndBelowShell(t *testing.T) {
	r := start(t, "sh -c 'exec 2>/dev/null; trap \"sleep 0.2; echo bye; exit\" TERM; echo up; while :; do sleep 0.01; done'; exit 3", nil)
	r.line(t)
	r.end(t)
	if got := r.line(t); got != "bye" {
		t.Errorf("printed %q", got)
	}
}

// A program that does not want to end is killed when the grace has passed, and what
// it has started goes with it.
func TestKill(t *testing.T) {
	r := start(t, "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done", func(c *supervisor.Config) { c.Grace = 10 * time.Millisecond })
	var child int
	fmt.Sscan(r.line(t), &child)
	r.end(t)
	if s := r.Status(); s.ExitCode != -1 {
		t.Errorf("%+v", s)
	}
	gone(t, child)
}

// gone waits for a process that is no child of this one.
func gone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); alive(pid); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("process %d is left", pid)
		}
	}
}

// alive reports whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsPermission(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCannotStart(t *testing.T) {
	r := start(t, "", func(c *supervisor.Config) { c.Command = []string{"/no/such/program"} })
	if s := r.until(t, "two tries", func(s supervisor.Status) bool { return s.Restarts >= 2 }); !strings.Contains(s.Problem, "no such file") {
		t.Errorf("%+v", s)
	}
}

// Lines without an end, or very long ones, and more of them than are kept.
func TestLines(t *testing.T) {
	r := start(t, `head -c 40000 /dev/zero | tr '\0' x; echo; printf 'a\r\nend'`, func(c *supervisor.Config) { c.Restart = supervisor.Never })
	for i, want := range []int{16 << 10, 16 << 10, 40000 - 32<<10, 1, 3} {
		if got := r.line(t); len(got) != want {
			t.Errorf("line %d has %d bytes, want %d", i, len(got), want)
		}
	}
	r = start(t, `i=0; while [ $i -lt 6000 ]; do echo $i; i=$((i+1)); done`, func(c *supervisor.Config) { c.Restart = supervisor.Never })
	r.until(t, "ended", func(s supervisor.Status) bool { return !s.Exited.IsZero() })
	if lines := r.log.Lines(); len(lines) != 5000 || lines[len(lines)-1].Text != "5999" {
		t.Errorf("%d lines are kept", len(lines))
	}
}

// parent supervises a program until it is killed.
func parent() {
	supervisor.Start(supervisor.Config{
		Name: "m", Command: []string{"sh", "-c", "echo $$; exec sleep 1000"}, Env: os.Environ(),
		Log: &supervisor.Log{Show: func(l supervisor.Line) { fmt.Println(l.Text) }}, Logger: slog.New(slog.DiscardHandler),
	})
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// When the supervising process is killed its programs do not stay, where the kernel
// sees to that.
func TestEndsWithParent(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux ends the children of a process that is killed")
	}
	cmd := exec.Command(os.Args[0], "--parent")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	var child int
	fmt.Sscan(lines.Text(), &child)
	if child == 0 || !alive(child) {
		t.Fatalf("no child: %q", lines.Text())
	}
	cmd.Process.Kill()
	cmd.Wait()
	gone(t, child)
}
