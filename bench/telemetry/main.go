// Telemetry measures how fast clients send telemetry over MQTT and TLS with
// QoS 1, against a server that only acknowledges, in one interleaved run. See
// the README of this module for what the columns mean.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/bench/internal/nullserver"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

type config struct {
	impls    []implementation
	sizes    []int
	rounds   int
	seconds  float64 // throughput phase
	warmup   float64
	latency  float64 // one-at-a-time phase
	millions int
}

func main() {
	nullserver.Main()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "telemetry:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		c          config
		asJSON     = flag.Bool("json", false, "print a JSON array instead of a table")
		impl       = flag.String("impl", "", "implementations, comma-separated, of "+names()+" (default all but the variants of the ceiling)")
		size       = flag.String("size", "256,4096", "payload sizes in bytes, comma-separated")
		memory     = flag.Bool("memory", false, "measure memory instead, at the first size: bytes per queued message, heap over many messages (default module and ll)")
		cpuProfile = flag.String("cpuprofile", "", "write a CPU profile of the throughput phases to this `file`")
	)
	flag.IntVar(&c.rounds, "rounds", 3, "interleaved rounds; medians are reported")
	flag.Float64Var(&c.seconds, "seconds", 1.4, "length of a throughput phase")
	flag.Float64Var(&c.warmup, "warmup", 0.2, "seconds of sending before a throughput phase")
	flag.Float64Var(&c.latency, "latency", 0.25, "length of a one-at-a-time phase in seconds")
	flag.IntVar(&c.millions, "millions", 3, "with --memory: millions of messages for the heap samples")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.rounds < 1 {
		return fmt.Errorf("--rounds is %d, the least is 1", c.rounds)
	}
	var err error
	if c.impls, err = selectImplementations(*impl); err != nil {
		return err
	}
	if c.sizes, err = stats.Numbers(*size, 0, 256<<10); err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	others := stats.WatchOthers()
	server, err := nullserver.Start()
	if err != nil {
		return err
	}
	defer func() {
		_ = server.Close()
		if w := others.Warning(); w != "" {
			fmt.Fprintln(os.Stderr, "telemetry:", w)
		}
	}()
	if *memory {
		if *impl == "" {
			c.impls = slices.DeleteFunc(c.impls, func(i implementation) bool { return i.openOffline == nil })
		}
		return runMemory(c, server, *asJSON)
	}
	stop, err := stats.Profile(*cpuProfile)
	if err != nil {
		return err
	}
	defer stop()
	rows, err := measure(c, server)
	if err != nil {
		return err
	}
	return print(rows, *asJSON)
}

func names() string {
	var s []string
	for _, i := range implementations {
		s = append(s, i.name)
	}
	return strings.Join(s, ",")
}

// order is that of the table, whatever the order of the files.
var order = []string{"ceiling", "module", "ll", "paho"}

func selectImplementations(list string) ([]implementation, error) {
	slices.SortStableFunc(implementations, func(a, b implementation) int {
		return slices.Index(order, a.name) - slices.Index(order, b.name)
	})
	if list == "" {
		return slices.DeleteFunc(slices.Clone(implementations), func(i implementation) bool { return i.extra }), nil
	}
	var chosen []implementation
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(implementations, func(i implementation) bool { return i.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--impl %q: there are %s", name, names())
		}
		chosen = append(chosen, implementations[i])
	}
	return chosen, nil
}

// row is one line of the report.
type row struct {
	Impl         string   `json:"impl"`
	Size         int      `json:"size"`
	Rate         float64  `json:"rate"`
	CPUPer100k   float64  `json:"cpu_per_100k"`
	AllocsPerMsg float64  `json:"allocs_per_msg"`
	RatioCeiling *float64 `json:"ratio_ceiling"`
	RatioPaho    *float64 `json:"ratio_paho"`
	P50          float64  `json:"p50_us"`
	P99          float64  `json:"p99_us"`
}

// sample is what one round of one implementation and size gave.
type sample struct{ rate, cpu, allocs, p50, p99 float64 }

func measure(c config, server *nullserver.Server) ([]row, error) {
	type cell struct{ impl, size int }
	samples := map[cell][]sample{}
	for range c.rounds {
		for s, size := range c.sizes {
			for i, impl := range c.impls {
				got, err := once(c, impl, target{addr: server.Addr, roots: server.Roots, size: size})
				if err != nil {
					return nil, fmt.Errorf("%s, %d bytes: %w", impl.name, size, err)
				}
				samples[cell{i, s}] = append(samples[cell{i, s}], got)
			}
		}
	}
	var rows []row
	for s, size := range c.sizes {
		for i, impl := range c.impls {
			v := samples[cell{i, s}]
			rows = append(rows, row{
				Impl: impl.name, Size: size,
				Rate:         stats.Round(median(v, func(s sample) float64 { return s.rate }), 0),
				CPUPer100k:   stats.Round(median(v, func(s sample) float64 { return s.cpu }), 4),
				AllocsPerMsg: stats.Round(median(v, func(s sample) float64 { return s.allocs }), 3),
				P50:          stats.Round(median(v, func(s sample) float64 { return s.p50 }), 1),
				P99:          stats.Round(median(v, func(s sample) float64 { return s.p99 }), 1),
			})
		}
	}
	for i := range rows {
		rows[i].RatioCeiling = ratio(rows, i, "ceiling")
		rows[i].RatioPaho = ratio(rows, i, "paho")
	}
	return rows, nil
}

// once measures one connection: warm-up, throughput, one at a time.
func once(c config, impl implementation, t target) (sample, error) {
	s, err := impl.open(t)
	if err != nil {
		return sample{}, err
	}
	defer s.close()
	if _, err := flood(s, c.warmup); err != nil {
		return sample{}, err
	}
	n := 0
	used, err := stats.Measure(func() (err error) {
		n, err = flood(s, c.seconds)
		return err
	})
	if err != nil {
		return sample{}, err
	}
	trips, err := oneAtATime(s, c.latency)
	if err != nil {
		return sample{}, err
	}
	return sample{
		rate:   float64(n) / used.Wall.Seconds(),
		cpu:    used.CPU.Seconds() / float64(n) * 100_000,
		allocs: float64(used.Mallocs) / float64(n),
		p50:    float64(stats.Percentile(trips, 50).Nanoseconds()) / 1e3,
		p99:    float64(stats.Percentile(trips, 99).Nanoseconds()) / 1e3,
	}, nil
}

func flood(s sender, seconds float64) (int, error) {
	var stop atomic.Bool
	d := time.Duration(seconds * float64(time.Second))
	return floodUntil(s, &stop, d)
}

// floodUntil sets stop after d and gives up on confirmations that do not come.
func floodUntil(s sender, stop *atomic.Bool, d time.Duration) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := s.flood(stop)
		done <- result{n, err}
	}()
	t := time.AfterFunc(d, func() { stop.Store(true) })
	defer t.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-time.After(d + waitTime):
		return 0, fmt.Errorf("not everything was confirmed %v after the last send", waitTime)
	}
}

// oneAtATime returns the sorted times from send to confirmation.
func oneAtATime(s sender, seconds float64) ([]time.Duration, error) {
	trips := make([]time.Duration, 0, 1<<16)
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for now := time.Now(); now.Before(end); {
		if err := s.one(); err != nil {
			return nil, err
		}
		then := now
		now = time.Now()
		trips = append(trips, now.Sub(then))
	}
	slices.Sort(trips)
	return trips, nil
}

func median(v []sample, f func(sample) float64) float64 {
	var s []float64
	for _, x := range v {
		s = append(s, f(x))
	}
	return stats.Median(s)
}

// ratio is the rate of row i over that of impl with the same size, nil if
// impl did not run.
func ratio(rows []row, i int, impl string) *float64 {
	j := slices.IndexFunc(rows, func(r row) bool { return r.Impl == impl && r.Size == rows[i].Size })
	if j < 0 || rows[j].Rate == 0 {
		return nil
	}
	q := stats.Round(rows[i].Rate/rows[j].Rate, 3)
	return &q
}

func print(rows []row, asJSON bool) error {
	const header = "impl\tsize\trate\tcpu_per_100k\tallocs_per_msg\tratio_ceiling\tratio_paho\tp50_us\tp99_us\t"
	return stats.Print(rows, asJSON, header, func(r row) string {
		return fmt.Sprintf("%s\t%d\t%.0f\t%.3f\t%.2f\t%s\t%s\t%.1f\t%.1f\t", r.Impl, r.Size, r.Rate,
			r.CPUPer100k, r.AllocsPerMsg, stats.Optional(r.RatioCeiling, 2), stats.Optional(r.RatioPaho, 2), r.P50, r.P99)
	})
}
