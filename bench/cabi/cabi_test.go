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

// Both programs send, and all four rows have figures.
func TestBothAreMeasured(t *testing.T) {
	rows, err := measure(config{size: 256, rounds: 1, seconds: 0.05})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if r.Rate <= 0 || r.CPUPer100k <= 0 || r.RatioRate <= 0 {
			t.Errorf("%+v", r)
		}
	}
}
