package child

import (
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pin runs the process again on one CPU, the last it may use, and does not
// return if that works. Starting anew is what makes it hold for every thread
// of the Go runtime, and makes GOMAXPROCS 1.
func pin() {
	if os.Getenv(pinnedVariable) != "" {
		return
	}
	runtime.LockOSThread()
	var mask unix.CPUSet
	if unix.SchedGetaffinity(0, &mask) != nil {
		return
	}
	last := -1
	for i := range len(mask) * 64 {
		if mask.IsSet(i) {
			last = i
		}
	}
	if last < 0 {
		return
	}
	mask.Zero()
	mask.Set(last)
	if unix.SchedSetaffinity(0, &mask) != nil {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		return
	}
	env := []string{pinnedVariable + "=1"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GOMAXPROCS=") {
			env = append(env, v)
		}
	}
	// On an error the server runs with one pinned thread and is still right.
	_ = syscall.Exec(exe, os.Args, env)
}
