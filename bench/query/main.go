// Query measures how long the local hub takes to answer queries over many twins.
// See the README of this module for what the columns mean.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/iothub-go/iothub/bench/internal/stats"
	"github.com/iothub-go/iothub/hub"
)

// budget is what each query may take over 100 000 twins, in milliseconds
// (DESIGN.md section 7).
const budget = 100

// queries are the kinds of questions that have to look at every twin.
var queries = []string{
	"SELECT * FROM devices WHERE tags.room = 'room 7' AND properties.desired.temperature > 29.5",
	"SELECT deviceId FROM devices WHERE tags.floor IN [3] AND startswith(deviceId, 'device-00099')",
	"SELECT TOP 100 deviceId, properties.desired.temperature AS t FROM devices WHERE properties.desired.temperature > 20",
	"SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'",
	"SELECT COUNT() AS n, AVG(properties.desired.temperature) AS t, tags.room FROM devices GROUP BY tags.room",
}

type result struct {
	Query  string  `json:"query"`
	Twins  int     `json:"twins"`
	Rows   int     `json:"rows"`
	Millis float64 `json:"ms"`
	Budget int     `json:"budget_ms"`
}

func main() {
	twins := flag.Int("twins", 100_000, "number of devices")
	rounds := flag.Int("rounds", 7, "runs of each query; medians are reported")
	asJSON := flag.Bool("json", false, "print a JSON array instead of a table")
	flag.Parse()
	results, err := run(context.Background(), *twins, *rounds)
	if err == nil {
		err = print(results, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "query:", err)
		os.Exit(1)
	}
}

func print(results []result, asJSON bool) error {
	return stats.Print(results, asJSON, "twins\trows\tms\tbudget ms\t  query\t", func(r result) string {
		return fmt.Sprintf("%d\t%d\t%.1f\t%d\t  %s\t", r.Twins, r.Rows, r.Millis, r.Budget, r.Query)
	})
}

func run(ctx context.Context, twins, rounds int) ([]result, error) {
	srv, err := hub.New(nil)
	if err != nil {
		return nil, err
	}
	defer srv.Shutdown(ctx)
	if err := fill(ctx, srv, twins); err != nil {
		return nil, err
	}
	var results []result
	for _, text := range queries {
		r := result{Query: text, Twins: twins, Budget: budget}
		var took []float64
		for range rounds {
			rows := 0
			began := time.Now()
			for _, err := range srv.Query(ctx, text) {
				if err != nil {
					return nil, err
				}
				rows++
			}
			took = append(took, float64(time.Since(began).Microseconds())/1000)
			r.Rows = rows
		}
		r.Millis = stats.Median(took)
		results = append(results, r)
	}
	return results, nil
}

// fill makes the devices, each with tags, desired and reported properties.
func fill(ctx context.Context, srv *hub.Server, twins int) error {
	const workers = 64
	var wg sync.WaitGroup
	failed := make(chan error, workers)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < twins; i += workers {
				if err := device(ctx, srv, i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func device(ctx context.Context, srv *hub.Server, i int) error {
	id := fmt.Sprintf("device-%06d", i)
	if _, err := srv.CreateDevice(ctx, id); err != nil {
		return err
	}
	twin := fmt.Sprintf(`{"tags":{"room":"room %d","floor":%d,"plant":"north","owner":{"name":"someone","mail":"someone@example.com"}},
		"properties":{"desired":{"interval":%d,"mode":"auto","limits":{"low":10,"high":30},"temperature":%d.5}}}`, i%20, i%5, i%60, i%31)
	_, err := srv.UpdateTwin(ctx, id, "", []byte(twin), "")
	return err
}
