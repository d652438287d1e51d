package main

import (
	"os"
	"runtime"
	"testing"
)

func TestMain(m *testing.M) {
	hubMain()
	os.Exit(m.Run())
}

// All connections are open when the memory is looked at.
func TestConnectionsAreMeasured(t *testing.T) {
	rows, err := measure(config{servers: []string{"hub"}, connections: 40, dialers: 4, rounds: 1, dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || rows[0].Rate <= 0 || rows[0].RatioMosquitto != nil || (rows[0].KiB == nil && runtime.GOOS == "linux") {
		t.Errorf("%+v", rows)
	}
}
