// Ingest measures how many messages a second the local hub takes durably, over
// MQTT and TLS with QoS 1, beside mosquitto in memory driven by the same
// client on the same machine in the same run; and reads back from the hub's
// event stream that every confirmed message is there. See the README of this
// module for what the columns mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/bench/internal/mosquitto"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

type config struct {
	servers []string
	devices []int
	size    int
	rounds  int
	seconds float64
	warmup  float64
	client  clientKind
	dir     string
	noSync  bool
}

func main() {
	hubMain()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ingest:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		c          config
		asJSON     = flag.Bool("json", false, "print a JSON array instead of a table")
		servers    = flag.String("server", "hub,mosquitto", "servers, comma-separated")
		devices    = flag.String("devices", "1,10,100", "numbers of devices, comma-separated")
		client     = flag.String("client", "device", "device: device.Client; raw: a bare loop, which leaves the server more of the machine")
		cpuProfile = flag.String("cpuprofile", "", "write a CPU profile of the client to this `file`")
	)
	flag.IntVar(&c.size, "size", 256, "payload size in bytes, at least 16")
	flag.IntVar(&c.rounds, "rounds", 3, "interleaved rounds; medians are reported")
	flag.Float64Var(&c.seconds, "seconds", 0.8, "length of a measurement")
	flag.Float64Var(&c.warmup, "warmup", 0.2, "seconds of sending before a measurement")
	flag.StringVar(&c.dir, "dir", "", "where to put the servers' folders, which decides what a sync costs; empty is the folder for temporary files")
	flag.BoolVar(&c.noSync, "nosync", false, "let the hub acknowledge before it syncs")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.rounds < 1 || c.size < headSize || c.size > 256<<10 {
		return fmt.Errorf("--rounds is %d (at least 1), --size %d (%d to %d)", c.rounds, c.size, headSize, 256<<10)
	}
	var err error
	if c.devices, err = stats.Numbers(*devices, 1, 10_000); err != nil {
		return fmt.Errorf("--devices: %w", err)
	}
	c.servers = strings.Split(*servers, ",")
	var ok bool
	if c.client, ok = clients[*client]; !ok {
		return fmt.Errorf("--client %q: there are device and raw", *client)
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
	Server    string  `json:"server"`
	Devices   int     `json:"devices"`
	Size      int     `json:"size"`
	Rate      float64 `json:"rate"`
	Synced    bool    `json:"synced"`
	Confirmed int     `json:"confirmed"`
	// Found is nil where the server keeps nothing to be read back.
	Found          *int     `json:"found"`
	RatioMosquitto *float64 `json:"ratio_mosquitto"`
}

func measure(c config) ([]row, error) {
	running, err := startServers(c)
	if err != nil {
		return nil, err
	}
	others := stats.WatchOthers()
	closed := false
	closeAll := func() error {
		if closed {
			return nil
		}
		closed = true
		var errs []error
		for _, s := range running {
			errs = append(errs, s.close())
		}
		return errors.Join(errs...)
	}
	defer closeAll()

	type cell struct{ server, devices int }
	rates := map[cell][]float64{}
	ledgers := make([]ledger, len(running))
	for round := range c.rounds {
		for d, devices := range c.devices {
			for s, srv := range running {
				run := runID{round, d}
				rate, err := once(c, srv, devices, run, &ledgers[s])
				if err != nil {
					return nil, fmt.Errorf("%s, %d devices: %w", srv.name(), devices, err)
				}
				rates[cell{s, d}] = append(rates[cell{s, d}], rate)
			}
		}
	}
	for s, srv := range running {
		if err := readBack(srv, &ledgers[s]); err != nil {
			return nil, fmt.Errorf("%s: reading back: %w", srv.name(), err)
		}
	}
	var rows []row
	for d, devices := range c.devices {
		for s, srv := range running {
			r := row{Server: srv.name(), Devices: devices, Size: c.size, Synced: srv.synced(),
				Rate: stats.Round(stats.Median(rates[cell{s, d}]), 0)}
			r.Confirmed, r.Found = ledgers[s].sum(d, srv.events != nil)
			rows = append(rows, r)
		}
	}
	for i := range rows {
		for _, m := range rows {
			if m.Server == "mosquitto" && m.Devices == rows[i].Devices && m.Rate > 0 {
				q := stats.Round(rows[i].Rate/m.Rate, 3)
				rows[i].RatioMosquitto = &q
			}
		}
	}
	if err := closeAll(); err != nil {
		return nil, err
	}
	if w := others.Warning(); w != "" {
		fmt.Fprintln(os.Stderr, "ingest:", w)
	}
	return rows, nil
}

// startServers starts what is asked for, except mosquitto where there is none.
func startServers(c config) (running []*server, err error) {
	defer func() {
		if err != nil {
			for _, s := range running {
				_ = s.close()
			}
		}
	}()
	for _, name := range c.servers {
		start := map[string]func(config) (*server, error){"hub": startHub, "mosquitto": startMosquitto}[name]
		if start == nil {
			return running, fmt.Errorf("--server %q: there are hub and mosquitto", name)
		}
		s, err := start(c)
		if errors.Is(err, mosquitto.ErrNotInstalled) {
			fmt.Fprintf(os.Stderr, "ingest: %v: its rows are left out\n", err)
			continue
		}
		if err != nil {
			return running, fmt.Errorf("%s: %w", name, err)
		}
		running = append(running, s)
	}
	if len(running) == 0 {
		return nil, errors.New("no server to measure")
	}
	return running, nil
}

// readBack reads the events of a server that keeps them and notes them in l.
// It ends when everything confirmed is found, or when no more comes.
func readBack(s *server, l *ledger) error {
	if s.events == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), readBackTime)
	defer cancel()
	idle := time.AfterFunc(readBackIdle, cancel)
	defer idle.Stop()
	last := time.Now()
	n := 0
	err := s.events(ctx, func(payload []byte) bool {
		if n++; n%1024 == 0 {
			if now := time.Now(); now.Sub(last) > readBackIdle/10 {
				last = now
				idle.Reset(readBackIdle)
			}
		}
		l.note(payload)
		return !l.complete()
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // what is missing shows in the table
	}
	return err
}

const (
	readBackTime = 30 * time.Second
	readBackIdle = 3 * time.Second
)

func print(rows []row, asJSON bool) error {
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.Server, b.Server) })
	return stats.Print(rows, asJSON, "server\tdevices\tsize\trate\tsynced\tconfirmed\tfound\tratio_mosquitto\t", func(r row) string {
		found := "-"
		if r.Found != nil {
			found = strconv.Itoa(*r.Found)
		}
		return fmt.Sprintf("%s\t%d\t%d\t%.0f\t%t\t%d\t%s\t%s\t",
			r.Server, r.Devices, r.Size, r.Rate, r.Synced, r.Confirmed, found, stats.Optional(r.RatioMosquitto, 2))
	})
}
