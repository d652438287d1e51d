package main

import (
	"os"
	"testing"

	"github.com/iothub-go/iothub/bench/internal/nullamqp"
)

func TestMain(m *testing.M) {
	hubMain()
	nullamqp.Main()
	os.Exit(m.Run())
}

// Each cell of the table is measured: the consumers themselves check that they get
// as many events as there are, each with its bytes.
func TestEveryCellIsMeasured(t *testing.T) {
	rows, err := measure(config{sizes: []int{64, 4096}, consumers: []int{1, 2}, rounds: 1, megabytes: 0.1, dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if r.Rate <= 0 || r.PerConsumer <= 0 || r.RatioCeiling == nil || *r.RatioCeiling <= 0 {
			t.Errorf("%+v", r)
		}
	}
}
