package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// quantile returns the q-quantile of d in microseconds.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return float64(s[min(int(q*float64(len(s))), len(s)-1)].Nanoseconds()) / 1e3
}

func (res *quickstartResult) print(out io.Writer) {
	fmt.Fprintf(out, "sent        %d\n", res.Sent)
	fmt.Fprintf(out, "confirmed   %d\n", res.Confirmed)
	if res.Lost != nil {
		fmt.Fprintf(out, "lost        %d\n", *res.Lost)
		fmt.Fprintf(out, "duplicated  %d\n", *res.Duplicated)
	}
	fmt.Fprintf(out, "rate        %.0f events/s\n", res.Rate)
	fmt.Fprintf(out, "latency     p50 %s, p99 %s (send to confirmation)\n", micros(res.P50), micros(res.P99))
}

func micros(us float64) string {
	return time.Duration(us * 1e3).Round(10 * time.Microsecond).String()
}

// progressBar shows how far a run is: a bar on a terminal, a line now and then
// elsewhere.
type progressBar struct {
	out      io.Writer
	terminal bool
	total    int

	mu    sync.Mutex
	start time.Time
	last  time.Time
	n     int
}

func newProgressBar(out io.Writer, total int) *progressBar {
	f, ok := out.(*os.File)
	terminal := false
	if ok {
		st, err := f.Stat()
		terminal = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	now := time.Now()
	return &progressBar{out: out, terminal: terminal, total: total, start: now, last: now}
}

// set shows that n are done, unless that was shown a moment ago.
func (b *progressBar) set(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n = n
	every := 5 * time.Second
	if b.terminal {
		every = 100 * time.Millisecond
	}
	if now := time.Now(); now.Sub(b.last) >= every {
		b.last = now
		b.show()
	}
}

func (b *progressBar) show() {
	rate := float64(b.n) / max(time.Since(b.start).Seconds(), 1e-9)
	if !b.terminal {
		fmt.Fprintf(b.out, "%d of %d confirmed, %.0f/s\n", b.n, b.total, rate)
		return
	}
	const width = 40
	full := width * b.n / b.total
	fmt.Fprintf(b.out, "\r[%s%s] %d of %d, %.0f/s ", strings.Repeat("#", full), strings.Repeat(".", width-full), b.n, b.total, rate)
}

// note prints a line of its own.
func (b *progressBar) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
	fmt.Fprintln(b.out, s)
}

// done shows the end.
func (b *progressBar) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.show()
	if b.terminal {
		fmt.Fprintln(b.out)
	}
}
