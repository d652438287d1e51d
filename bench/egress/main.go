// Egress measures how many events a second consumers read from the hub's Event
// Hubs-compatible endpoint over AMQP and TLS, beside what the same consumers read
// from a server that only pours: their own ceiling. See the README of this module
// for what the columns mean.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/iothub-go/iothub/bench/internal/nullamqp"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

type config struct {
	sizes      []int
	consumers  []int
	rounds     int
	megabytes  float64 // of payload to read from each partition
	dir        string
	hubProfile string
}

// events is how many events of a size there are in a partition.
func (c config) events(size int) int {
	return max(int(c.megabytes*(1<<20))/size, 2*window)
}

func main() {
	hubMain()
	nullamqp.Main()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "egress:", err)
		os.Exit(1)
	}
}

func run() error {
	c := config{}
	asJSON := flag.Bool("json", false, "print a JSON array instead of a table")
	sizes := flag.String("size", "256,4096", "payload sizes in bytes, comma-separated")
	consumers := flag.String("consumers", "1,4", "numbers of consumers, each of a partition of its own, comma-separated")
	cpuProfile := flag.String("cpuprofile", "", "write a CPU profile of the consumers to this `file`")
	flag.IntVar(&c.rounds, "rounds", 5, "interleaved rounds; medians are reported")
	flag.Float64Var(&c.megabytes, "mb", 48, "MiB of payload that a consumer reads in a measurement")
	flag.StringVar(&c.dir, "dir", "", "where to put the hubs' folders; empty is the folder for temporary files")
	flag.StringVar(&c.hubProfile, "hubprofile", "", "write a CPU profile of each hub to this `file` with the payload size behind it")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.rounds < 1 || c.megabytes <= 0 {
		return fmt.Errorf("--rounds is %d (at least 1), --mb %v (more than 0)", c.rounds, c.megabytes)
	}
	var err error
	if c.sizes, err = stats.Numbers(*sizes, 1, 60<<10); err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	if c.consumers, err = stats.Numbers(*consumers, 1, 32); err != nil {
		return fmt.Errorf("--consumers: %w", err)
	}
	stop, err := stats.Profile(*cpuProfile)
	if err != nil {
		return err
	}
	defer stop()
	rows, err := measure(c)
	if err != nil {
		return err
	}
	return print(rows, *asJSON)
}

// row is one line of the report.
type row struct {
	Server       string   `json:"server"`
	Size         int      `json:"size"`
	Consumers    int      `json:"consumers"`
	Rate         float64  `json:"rate"`
	PerConsumer  float64  `json:"per_consumer"`
	MBPerSecond  float64  `json:"mb_per_second"`
	RatioCeiling *float64 `json:"ratio_ceiling"`
}

// cell is what a rate is of.
type cell struct {
	server          string
	size, consumers int
}

const (
	theCeiling = "ceiling"
	theHub     = "hub"
)

func measure(c config) (rows []row, err error) {
	others := stats.WatchOthers()
	dir, err := os.MkdirTemp(c.dir, "egress-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rates := map[cell][]float64{}
	for _, size := range c.sizes {
		if err := c.measureSize(filepath.Join(dir, strconv.Itoa(size)), size, rates); err != nil {
			return nil, fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	for _, size := range c.sizes {
		for _, n := range c.consumers {
			ceiling := stats.Median(rates[cell{theCeiling, size, n}])
			for _, server := range []string{theCeiling, theHub} {
				rate := stats.Median(rates[cell{server, size, n}])
				r := row{Server: server, Size: size, Consumers: n, Rate: stats.Round(rate, 0),
					PerConsumer: stats.Round(rate/float64(n), 0), MBPerSecond: stats.Round(rate*float64(size)/1e6, 1)}
				if ceiling > 0 {
					q := stats.Round(rate/ceiling, 3)
					r.RatioCeiling = &q
				}
				rows = append(rows, r)
			}
		}
	}
	if w := others.Warning(); w != "" {
		fmt.Fprintln(os.Stderr, "egress:", w)
	}
	return rows, nil
}

// measureSize starts both servers for one size, and reads from one after the other
// in each round.
func (c config) measureSize(dir string, size int, rates map[cell][]float64) (err error) {
	h, err := c.startHub(dir, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	null, err := startNull(h.target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, null.close()) }()
	for range c.rounds {
		for _, n := range c.consumers {
			for _, s := range []server{null, h} {
				rate, err := once(s.target, n, c.events(size), size)
				if err != nil {
					return fmt.Errorf("%s, %d consumers: %w", s.name, n, err)
				}
				at := cell{s.name, size, n}
				rates[at] = append(rates[at], rate)
			}
		}
	}
	return nil
}

func (c config) startHub(dir string, size int) (server, error) {
	profile := ""
	if c.hubProfile != "" {
		profile = c.hubProfile + "." + strconv.Itoa(size)
	}
	return startHub(hubConfig{Data: dir, Partitions: slices.Max(c.consumers), Events: c.events(size), Size: size, CPUProfile: profile})
}

func print(rows []row, asJSON bool) error {
	return stats.Print(rows, asJSON, "server\tsize\tconsumers\trate\tper_consumer\tmb_per_second\tratio_ceiling\t", func(r row) string {
		return fmt.Sprintf("%s\t%d\t%d\t%.0f\t%.0f\t%.1f\t%s\t",
			r.Server, r.Size, r.Consumers, r.Rate, r.PerConsumer, r.MBPerSecond, stats.Optional(r.RatioCeiling, 2))
	})
}
