package stats

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Others measures how busy the machine was with processes that are neither
// this one nor its children, because then no figure means much.
type Others struct {
	start      time.Time
	busy, ours time.Duration
}

// WatchOthers starts to measure.
func WatchOthers() *Others {
	busy, _ := busyTime()
	return &Others{time.Now(), busy, cpuTime() + childrenTime()}
}

// Warning says that more than a tenth of a CPU went elsewhere since the start;
// it is empty if not, or if the platform does not tell. Children count once
// they were waited for.
func (o *Others) Warning() string {
	busy, ok := busyTime()
	if !ok {
		return ""
	}
	elsewhere := (busy - o.busy) - (cpuTime() + childrenTime() - o.ours)
	if cpus := elsewhere.Seconds() / time.Since(o.start).Seconds(); cpus > 0.1 {
		return fmt.Sprintf("other processes used %.1f CPUs meanwhile: run again on a quiet machine", cpus)
	}
	return ""
}

// busyTime is what all CPUs worked since the system started, from the first
// line of /proc/stat: user nice system idle iowait irq softirq steal.
func busyTime() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var t [8]int64
	_, err = fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7])
	if err != nil {
		return 0, false
	}
	ticks := t[0] + t[1] + t[2] + t[5] + t[6] + t[7]
	return time.Duration(ticks) * (10 * time.Millisecond), true
}
