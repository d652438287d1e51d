// Package supervisor runs the programs of modules: it starts them again when they
// end, keeps what they print, and ends them.
package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Restart says when a program that has ended is started again.
type Restart string

// The policies, with the names that IoT Edge has for them.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure"
	Never     Restart = "never"
)

// State is what a program is doing, in the words of IoT Edge.
type State string

// The states.
const (
	Running State = "running"
	Backoff State = "backoff" // it has ended, and waits to be started again
	Stopped State = "stopped" // it has ended well, or was ended
	Failed  State = "failed"  // it has ended otherwise, or could not be started
)

// Defaults of [Config].
const (
	DefaultGrace   = 10 * time.Second
	DefaultBackoff = time.Second
	maxBackoff     = time.Minute
	// stable is how long a program has to run for the waits to begin anew.
	stable = time.Minute
	// drain is how long the output of a program that has ended may still come, from
	// what it has left behind.
	drain = time.Second
)

// Status is what became of a program so far.
type Status struct {
	State    State
	PID      int // of the one that runs, 0 for none
	ExitCode int // of the last one that ended; -1 when a signal ended it
	Problem  string
	Restarts int
	Started  time.Time // zero for never
	Exited   time.Time // zero for never
}

// Config says what to run.
type Config struct {
	// Name stands in the log.
	Name string
	// Command is the program and its arguments.
	Command []string
	// Env is its whole environment, Dir its working directory, empty for this
	// process's.
	Env []string
	Dir string
	// Restart is the policy; empty is Always.
	Restart Restart
	// Grace is how long the program has to end when it is asked to; Backoff is the
	// wait before the second start, which doubles up to a minute.
	Grace, Backoff time.Duration
	// Log takes what it prints.
	Log *Log
	// Changed is called after each change of the status, from one goroutine.
	Changed func()
	Logger  *slog.Logger
}

// Program is a program that is kept running. Its methods are safe for use by many
// goroutines.
type Program struct {
	cfg     Config
	stop    chan struct{}
	once    sync.Once
	restart chan struct{} // capacity 1
	done    chan struct{}

	mu     sync.Mutex
	status Status
}

// Start starts a program. A program that cannot be started is tried again, as one
// that has failed. It has to be ended by Stop.
func Start(cfg Config) *Program {
	cfg.Restart = cmp.Or(cfg.Restart, Always)
	cfg.Grace = cmp.Or(cfg.Grace, DefaultGrace)
	cfg.Backoff = cmp.Or(cfg.Backoff, DefaultBackoff)
	p := &Program{cfg: cfg, stop: make(chan struct{}), restart: make(chan struct{}, 1), done: make(chan struct{})}
	go p.run()
	return p
}

// Status returns what became of the program so far.
func (p *Program) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Restart ends the program, if it runs, and starts it at once. It does not wait.
func (p *Program) Restart() {
	select {
	case p.restart <- struct{}{}:
	default: // it is about to
	}
}

// Stop asks the program to end, makes it when the grace has passed, and waits until
// it has. When ctx ends first the error is that of ctx, and the rest goes on.
func (p *Program) Stop(ctx context.Context) error {
	p.once.Do(func() { close(p.stop) })
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outcome says why a program does not run any more.
type outcome int

const (
	ended     outcome = iota // by itself
	stopped                  // by Stop
	restarted                // by Restart
)

func (p *Program) run() {
	// The program is to end with this process, and what the kernel looks at for that
	// is the thread that has started it.
	runtime.LockOSThread()
	defer close(p.done)
	wait := p.cfg.Backoff
	for {
		began := time.Now()
		why := p.runOnce()
		if time.Since(began) >= stable {
			wait = p.cfg.Backoff
		}
		if why == ended {
			why = p.pause(wait)
			wait = min(2*wait, maxBackoff)
		}
		if why == stopped {
			return
		}
		p.change(func(s *Status) { s.Restarts++ })
	}
}

// pause waits for the time of the next start. ended is that it has come.
func (p *Program) pause(wait time.Duration) outcome {
	again := p.cfg.Restart == Always || p.cfg.Restart == OnFailure && p.Status().State == Failed
	var due <-chan time.Time
	if again {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
		p.change(func(s *Status) { s.State = Backoff })
		p.cfg.Logger.Info("the module will be started again", "module", p.cfg.Name, "in", wait)
	}
	select {
	case <-due:
		return ended
	case <-p.restart:
		return restarted
	case <-p.stop:
		p.change(func(s *Status) { s.State = Stopped })
		return stopped
	}
}

// runOnce runs the program until it ends, or is made to.
func (p *Program) runOnce() outcome {
	select {
	case <-p.stop:
		return stopped
	default:
	}
	cmd := exec.Command(p.cfg.Command[0], p.cfg.Command[1:]...)
	cmd.Env, cmd.Dir = p.cfg.Env, p.cfg.Dir
	apart(cmd)
	printed, err := p.start(cmd)
	if err != nil {
		p.cfg.Logger.Error("the module cannot be started", "module", p.cfg.Name, "error", err)
		p.change(func(s *Status) { s.State, s.Problem, s.ExitCode, s.Exited = Failed, err.Error(), -1, time.Now() })
		return ended
	}
	p.cfg.Logger.Info("the module was started", "module", p.cfg.Name, "pid", cmd.Process.Pid)
	p.change(func(s *Status) { s.State, s.Problem, s.PID, s.Started = Running, "", cmd.Process.Pid, time.Now() })
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	why := ended
	select {
	case err = <-exited:
	case <-p.stop:
		why = stopped
		err = p.end(cmd, exited)
	case <-p.restart:
		why = restarted
		err = p.end(cmd, exited)
	}
	kill(cmd) // what it has left behind
	printed()
	p.exited(cmd.ProcessState.ExitCode(), err, why)
	return why
}

// start starts the program. It returns what takes the rest of its output.
func (p *Program) start(cmd *exec.Cmd) (printed func(), err error) {
	var pipes []*os.File
	defer func() {
		if err != nil {
			for _, f := range pipes {
				_ = f.Close() // the first error counts
			}
		}
	}()
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		pipes = append(pipes, r, w)
	}
	// Files and not writers, or Wait would wait for all that the program has started.
	cmd.Stdout, cmd.Stderr = pipes[1], pipes[3]
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for i, r := range []*os.File{pipes[0], pipes[2]} {
		_ = pipes[2*i+1].Close() // the program's
		wg.Go(func() {
			s := p.cfg.Log.stream(i == 1)
			_, _ = io.Copy(s, r) // until nobody has the other end, or this one is closed
			s.flush()
		})
	}
	return func() {
		late := time.AfterFunc(drain, func() {
			_ = pipes[0].Close()
			_ = pipes[2].Close()
		})
		wg.Wait()
		if late.Stop() {
			_ = pipes[0].Close()
			_ = pipes[2].Close()
		}
	}, nil
}

func (p *Program) exited(code int, err error, why outcome) {
	state, problem := Stopped, ""
	if err != nil && why == ended {
		state, problem = Failed, err.Error()
	}
	p.cfg.Logger.Info("the module has ended", "module", p.cfg.Name, "code", code)
	p.change(func(s *Status) { s.State, s.Problem, s.PID, s.ExitCode, s.Exited = state, problem, 0, code, time.Now() })
}

// end asks the program, and what it has started, to end, and makes them when the grace
// has passed. A shell ends before what it runs.
func (p *Program) end(cmd *exec.Cmd, exited <-chan error) error {
	ask(cmd)
	timer := time.NewTimer(p.cfg.Grace)
	defer timer.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var err error
	for over := false; !over || left(cmd); {
		select {
		case err = <-exited:
			over = true
		case <-tick.C:
		case <-timer.C:
			p.cfg.Logger.Warn("the module does not end and is killed", "module", p.cfg.Name, "grace", p.cfg.Grace)
			kill(cmd)
			if !over {
				err = <-exited
			}
			return err
		}
	}
	return err
}

func (p *Program) change(f func(*Status)) {
	p.mu.Lock()
	f(&p.status)
	p.mu.Unlock()
	if p.cfg.Changed != nil {
		p.cfg.Changed()
	}
}

// Check says what is wrong with a policy that a user has given.
func (r Restart) Check() error {
	switch r {
	case "", Always, OnFailure, Never:
		return nil
	}
	return fmt.Errorf("the restart policy %q is none of %s, %s, %s", string(r), Always, OnFailure, Never)
}
