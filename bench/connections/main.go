// Connections measures what an idle connection of MQTT over TLS costs the hub, and
// how many a second it takes, beside mosquitto in the same run. See the README of
// this module for what the columns mean.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/iothub-go/iothub/bench/internal/mosquitto"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

type config struct {
	servers     []string
	connections int
	dialers     int
	rounds      int
	settle      float64 // seconds
	dir         string
}

func main() {
	hubMain()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "connections:", err)
		os.Exit(1)
	}
}

func run() error {
	c := config{}
	asJSON := flag.Bool("json", false, "print a JSON array instead of a table")
	servers := flag.String("server", "hub,mosquitto", "servers, comma-separated")
	flag.IntVar(&c.connections, "connections", 2000, "connections to open; each takes a file descriptor on both sides")
	flag.IntVar(&c.dialers, "dialers", 8, "how many connect at a time")
	flag.IntVar(&c.rounds, "rounds", 3, "interleaved rounds; medians are reported")
	flag.Float64Var(&c.settle, "settle", 2, "seconds between the last connect and the look at the memory")
	flag.StringVar(&c.dir, "dir", "", "where to put the servers' folders; empty is the folder for temporary files")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.rounds < 1 || c.connections < 1 || c.dialers < 1 || c.settle < 0 {
		return fmt.Errorf("--rounds is %d, --connections %d, --dialers %d (each at least 1), --settle %v (at least 0)",
			c.rounds, c.connections, c.dialers, c.settle)
	}
	c.servers = strings.Split(*servers, ",")
	rows, err := measure(c)
	if err != nil {
		return err
	}
	return print(rows, *asJSON)
}

// row is one line of the report.
type row struct {
	Server      string  `json:"server"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"connects_per_second"`
	// KiB is nil where the platform does not tell.
	KiB            *float64 `json:"kib_per_connection"`
	RatioMosquitto *float64 `json:"ratio_mosquitto"`
}

func measure(c config) ([]row, error) {
	others := stats.WatchOthers()
	rates, sizes := map[string][]float64{}, map[string][]float64{}
	var names []string
	for round := range c.rounds {
		for _, name := range c.servers {
			start := map[string]func(config) (*server, error){"hub": startHub, "mosquitto": startMosquitto}[name]
			if start == nil {
				return nil, fmt.Errorf("--server %q: there are hub and mosquitto", name)
			}
			rate, size, err := once(c, start)
			if errors.Is(err, mosquitto.ErrNotInstalled) {
				if round == 0 {
					fmt.Fprintf(os.Stderr, "connections: %v: its row is left out\n", err)
				}
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if round == 0 {
				names = append(names, name)
			}
			rates[name] = append(rates[name], rate)
			if size > 0 {
				sizes[name] = append(sizes[name], size)
			}
		}
	}
	var rows []row
	for _, name := range names {
		r := row{Server: name, Connections: c.connections, Rate: stats.Round(stats.Median(rates[name]), 0)}
		if len(sizes[name]) > 0 {
			kib := stats.Round(stats.Median(sizes[name])/1024, 1)
			r.KiB = &kib
		}
		if m := stats.Median(rates["mosquitto"]); m > 0 {
			q := stats.Round(stats.Median(rates[name])/m, 3)
			r.RatioMosquitto = &q
		}
		rows = append(rows, r)
	}
	if w := others.Warning(); w != "" {
		fmt.Fprintln(os.Stderr, "connections:", w)
	}
	return rows, nil
}

// once starts a server, opens all connections and looks at its memory, in bytes a
// connection; 0 where that cannot be told.
func once(c config, start func(config) (*server, error)) (rate, size float64, err error) {
	s, err := start(c)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before, known := resident(s.pid)
	open, rate, err := s.connectAll(c.dialers)
	defer closeAll(open)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(time.Duration(c.settle * float64(time.Second)))
	if after, ok := resident(s.pid); ok && known {
		size = float64(after-before) / float64(c.connections)
	}
	return rate, size, nil
}

func closeAll(open []net.Conn) {
	for _, c := range open {
		if c != nil {
			_ = c.Close() // the server goes as well
		}
	}
}

func print(rows []row, asJSON bool) error {
	return stats.Print(rows, asJSON, "server\tconnections\tconnects_per_second\tkib_per_connection\tratio_mosquitto\t", func(r row) string {
		return fmt.Sprintf("%s\t%d\t%.0f\t%s\t%s\t", r.Server, r.Connections, r.Rate, stats.Optional(r.KiB, 1), stats.Optional(r.RatioMosquitto, 2))
	})
}
