package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	hubMain()
	os.Exit(m.Run())
}

// With either client everything the hub confirmed is found after it was killed.
func TestConfirmedIsFound(t *testing.T) {
	for name, kind := range clients {
		t.Run(name, func(t *testing.T) {
			rows, err := measure(config{servers: []string{"hub"}, devices: []int{1, 3}, size: 64,
				rounds: 1, seconds: 0.05, warmup: 0.02, client: kind, dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Confirmed == 0 || r.Found == nil || *r.Found != r.Confirmed {
					t.Errorf("%d devices: confirmed %d, found %v", r.Devices, r.Confirmed, r.Found)
				}
			}
		})
	}
}

func TestLedgerCountsEachMessageOnce(t *testing.T) {
	var l ledger
	l.confirm(runID{2, 1}, 7, 2)
	p := make([]byte, headSize)
	for _, seq := range []uint64{0, 0, 2} { // twice, and one never confirmed
		putHead(p, runID{2, 1}, 7, seq)
		l.note(p)
	}
	if confirmed, found := l.sum(1, true); confirmed != 2 || *found != 1 || l.complete() {
		t.Errorf("confirmed %d, found %d, complete %v", confirmed, *found, l.complete())
	}
	putHead(p, runID{2, 1}, 7, 1)
	if l.note(p); !l.complete() {
		t.Error("not complete with everything found")
	}
}
