// Cabi measures what crossing from C to Go and back costs: one telemetry program in C,
// through the C library, and the same in Go, against a server that only acknowledges,
// in one interleaved run. See the README of this module for what the columns mean.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/bench/internal/nullserver"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

//go:embed c/program.c
var source []byte

type config struct {
	size    int
	rounds  int
	seconds float64
}

func main() {
	nullserver.Main()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cabi:", err)
		os.Exit(1)
	}
}

func run() error {
	var c config
	asJSON := flag.Bool("json", false, "print a JSON array instead of a table")
	flag.IntVar(&c.size, "size", 256, "payload in bytes")
	flag.IntVar(&c.rounds, "rounds", 5, "interleaved rounds; medians are reported")
	flag.Float64Var(&c.seconds, "seconds", 1.5, "how long a round sends; it warms up for a fifth of that")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.rounds < 1 || c.size < 0 || c.size > 256<<10 || c.seconds <= 0 {
		return fmt.Errorf("--rounds is %d (at least 1), --size %d (at most %d), --seconds %v (more than 0)", c.rounds, c.size, 256<<10, c.seconds)
	}
	rows, err := measure(c)
	if err != nil {
		return err
	}
	return print(rows, *asJSON)
}

// row is one line of the report.
type row struct {
	Impl       string  `json:"impl"`
	Messages   string  `json:"messages"`
	Size       int     `json:"size"`
	Rate       float64 `json:"rate"`
	CPUPer100k float64 `json:"cpu_per_100k"`
	RatioRate  float64 `json:"ratio_rate"`
	RatioCPU   float64 `json:"ratio_cpu"`
}

// sample is what one round gave.
type sample struct{ rate, cpu float64 }

func newSample(messages int, wall, cpu float64) sample {
	return sample{rate: float64(messages) / wall, cpu: cpu / float64(messages) * 100_000}
}

func measure(c config) ([]row, error) {
	dir, err := os.MkdirTemp("", "cabi")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin, err := build(dir)
	if err != nil {
		return nil, err
	}
	others := stats.WatchOthers()
	server, err := nullserver.Start()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	implementations := []struct {
		name, messages string
		run            func() (sample, error)
	}{
		{"ll", "one", func() (sample, error) { return runLL(c, server, false) }},
		{"c", "one", func() (sample, error) { return runC(c, server, bin, false) }},
		{"ll", "each", func() (sample, error) { return runLL(c, server, true) }},
		{"c", "each", func() (sample, error) { return runC(c, server, bin, true) }},
	}
	rates, cpus := make([][]float64, len(implementations)), make([][]float64, len(implementations))
	for range c.rounds {
		for i, impl := range implementations {
			s, err := impl.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", impl.name, err)
			}
			rates[i], cpus[i] = append(rates[i], s.rate), append(cpus[i], s.cpu)
		}
	}
	var rows []row
	for i, impl := range implementations {
		r := row{Impl: impl.name, Messages: impl.messages, Size: c.size, Rate: stats.Median(rates[i]), CPUPer100k: stats.Median(cpus[i])}
		pair := i &^ 1 // each in C stands behind that in Go
		r.RatioRate, r.RatioCPU = stats.Round(r.Rate/stats.Median(rates[pair]), 3), stats.Round(r.CPUPer100k/stats.Median(cpus[pair]), 3)
		r.Rate, r.CPUPer100k = stats.Round(r.Rate, 0), stats.Round(r.CPUPer100k, 4)
		rows = append(rows, r)
	}
	if w := others.Warning(); w != "" {
		fmt.Fprintln(os.Stderr, "cabi:", w)
	}
	return rows, nil
}

// build builds the C library and the program.
func build(dir string) (bin string, err error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/iothub-go/iothub").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	file, bin := filepath.Join(dir, "program.c"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return "", err
	}
	lib := filepath.Join(dir, "lib")
	for _, cmd := range []*exec.Cmd{
		exec.Command(filepath.Join(strings.TrimSpace(string(root)), "capi", "build.sh"), dir),
		exec.Command("cc", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I"+filepath.Join(dir, "include"), file,
			"-L"+lib, "-liothub_client", "-Wl,-rpath,"+lib, "-o", bin),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", cmd.Path, err, out)
		}
	}
	return bin, nil
}

// connectionString names the module; the key is no secret, the null server asks for
// none.
func connectionString(server *nullserver.Server) string {
	return fmt.Sprintf("HostName=%s;DeviceId=bench-device;ModuleId=bench-module;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", server.Addr)
}

func runC(c config, server *nullserver.Server, bin string, each bool) (sample, error) {
	flag := "0"
	if each {
		flag = "1"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(2*c.seconds*float64(time.Second))+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, connectionString(server), string(server.CA), strconv.Itoa(c.size), strconv.FormatFloat(c.seconds, 'f', -1, 64), flag)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, err
	}
	var messages int
	var wall, cpu float64
	if _, err := fmt.Sscan(string(out), &messages, &wall, &cpu); err != nil {
		return sample{}, err
	}
	if messages == 0 {
		return sample{}, errors.New("no message was confirmed")
	}
	return newSample(messages, wall, cpu), nil
}

func print(rows []row, asJSON bool) error {
	return stats.Print(rows, asJSON, "impl\tmessages\tsize\trate\tcpu_per_100k\tratio_rate\tratio_cpu\t", func(r row) string {
		return fmt.Sprintf("%s\t%s\t%d\t%.0f\t%.3f\t%.2f\t%.2f\t", r.Impl, r.Messages, r.Size, r.Rate, r.CPUPer100k, r.RatioRate, r.RatioCPU)
	})
}
