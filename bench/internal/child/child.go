// Package child runs a part of a benchmark, mostly its server, in a process of
// its own: the benchmark's own binary started again.
package child

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"
)

const (
	nameVariable   = "IOTHUB_BENCH_CHILD"
	pinVariable    = "IOTHUB_BENCH_PIN"
	pinnedVariable = "IOTHUB_BENCH_PINNED"
)

// startTime bounds how long a child may take to be ready.
const startTime = 60 * time.Second

// Main runs the function and exits if the process is a child of that name;
// otherwise it returns at once. Call it first in main, and in TestMain. config is
// what the parent gave to [Start].
func Main[Config any](name string, run func(config Config) error) {
	if os.Getenv(nameVariable) != name {
		return
	}
	if os.Getenv(pinVariable) != "" {
		pin()
		runtime.GOMAXPROCS(1)
	}
	// An interrupt at the terminal is for the parent, which ends the child.
	signal.Ignore(os.Interrupt)
	var config Config
	err := json.NewDecoder(os.Stdin).Decode(&config)
	if err == nil {
		err = run(config)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Ready tells the parent, from a child, that it may go on, and what it has to
// know.
func Ready(hello any) error { return json.NewEncoder(os.Stdout).Encode(hello) }

// Wait returns, in a child, when the parent has closed it or is gone.
func Wait() {
	// The parent holds the other end: its end, however it comes, is ours.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Command says what to start.
type Command struct {
	Name   string
	Config any  // encodes as JSON
	Pinned bool // to one CPU, the last there is, on Linux
}

// Process is a running child. It is for one goroutine.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended bool
}

// Start starts a child and returns once it is ready; what it said is decoded into
// hello.
func (c Command) Start(hello any) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), nameVariable+"="+c.Name)
	if c.Pinned {
		cmd.Env = append(cmd.Env, pinVariable+"=1")
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, stdin: stdin}
	slow := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	defer slow.Stop()
	err = json.NewEncoder(stdin).Encode(c.Config)
	if err == nil {
		err = json.NewDecoder(stdout).Decode(hello)
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("%s did not start: %w", c.Name, err)
	}
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close ends the process and waits for it.
func (p *Process) Close() error {
	if p.ended {
		return nil
	}
	p.ended = true
	_ = p.stdin.Close()
	kill := time.AfterFunc(2*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	return p.cmd.Wait()
}

// Kill ends the process at once and without notice: nothing it acknowledged may
// need a goodbye.
func (p *Process) Kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // "killed" is no news
}
