//go:build unix

package stats

import (
	"syscall"
	"time"
)

func cpuTime() time.Duration { return usage(syscall.RUSAGE_SELF) }

// childrenTime is that of the children that were waited for.
func childrenTime() time.Duration { return usage(syscall.RUSAGE_CHILDREN) }

func usage(who int) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(who, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
