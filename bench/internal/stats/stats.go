// Package stats has the arithmetic that the benchmarks share.
package stats

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Median returns the median, 0 of nothing.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Round rounds to decimal digits, for reports.
func Round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}

// Percentile returns the p-th percentile (nearest rank) of sorted durations.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(p / 100 * float64(len(sorted)))
	return sorted[min(i, len(sorted)-1)]
}

// Usage is what a stretch of the process cost.
type Usage struct {
	Wall    time.Duration
	CPU     time.Duration // user and system, all threads
	Mallocs uint64
}

// Measure runs f and returns what the process used meanwhile. It collects
// garbage first, so that no phase pays for the one before.
func Measure(f func() error) (Usage, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	err := f()
	u := Usage{Wall: time.Since(start), CPU: cpuTime() - cpu}
	runtime.ReadMemStats(&after)
	u.Mallocs = after.Mallocs - before.Mallocs
	return u, err
}

// Heap returns the live heap in bytes after a collection.
func Heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the second empties what sync.Pool kept over the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Numbers reads comma-separated whole numbers from least to most.
func Numbers(list string, least, most int) ([]int, error) {
	var numbers []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("%q: want numbers from %d to %d", s, least, most)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
