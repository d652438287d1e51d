package main

import (
	"os"
	"testing"

	"github.com/iothub-go/iothub/bench/internal/nullserver"
)

func TestMain(m *testing.M) {
	nullserver.Main()
	os.Exit(m.Run())
}

// Every implementation, the variants of the ceiling included, still runs.
func TestEveryImplementationRuns(t *testing.T) {
	server, err := nullserver.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := config{impls: implementations, sizes: []int{0, 256, 70_000}, rounds: 1, seconds: 0.02, warmup: 0.01, latency: 0.01}
	rows, err := measure(c, server)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Rate <= 0 || r.P50 <= 0 {
			t.Errorf("%s, %d bytes: rate %v, p50 %v", r.Impl, r.Size, r.Rate, r.P50)
		}
	}
	c.sizes, c.millions = []int{256}, 0
	for _, impl := range implementations {
		if impl.openOffline == nil {
			continue
		}
		b, err := queuedBytes(impl, target{addr: server.Addr, roots: server.Roots, size: 256})
		if err != nil || b < 256 {
			t.Errorf("%s: %v bytes per queued message, %v", impl.name, b, err)
		}
	}
}
