package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/bench/internal/nullserver"
	"github.com/iothub-go/iothub/bench/internal/stats"
)

const (
	queuedMessages = 100_000
	heapSamples    = 10
)

// memoryRow is what one implementation needs.
type memoryRow struct {
	Impl string `json:"impl"`
	Size int    `json:"size"`
	// Queued is how many messages waited without a connection and
	// BytesPerQueued what each added to the heap, payload included.
	Queued         int      `json:"queued"`
	BytesPerQueued *float64 `json:"bytes_per_queued"`
	// HeapBytes is the live heap at even steps of Sent messages, less that
	// before the first.
	Sent      int     `json:"sent"`
	HeapBytes []int64 `json:"heap_bytes"`
}

func runMemory(c config, server *nullserver.Server, asJSON bool) error {
	var rows []memoryRow
	t := target{addr: server.Addr, roots: server.Roots, size: c.sizes[0]}
	for _, impl := range c.impls {
		r := memoryRow{Impl: impl.name, Size: t.size}
		if impl.openOffline != nil {
			b, err := queuedBytes(impl, t)
			if err != nil {
				return fmt.Errorf("%s: %w", impl.name, err)
			}
			r.Queued, r.BytesPerQueued = queuedMessages, &b
		}
		var err error
		if r.Sent, r.HeapBytes, err = heapOver(impl, t, c.millions*1_000_000); err != nil {
			return fmt.Errorf("%s: %w", impl.name, err)
		}
		rows = append(rows, r)
	}
	return stats.Print(rows, asJSON, "impl\tsize\tbytes_per_queued\tsent\theap_KiB at each tenth\t", func(r memoryRow) string {
		heap := ""
		for _, h := range r.HeapBytes {
			heap += fmt.Sprintf("%d ", h>>10)
		}
		return fmt.Sprintf("%s\t%d\t%s\t%d\t%s\t", r.Impl, r.Size, stats.Optional(r.BytesPerQueued, 2), r.Sent, heap)
	})
}

// queuedBytes returns the heap that a message takes while it waits for a
// connection. The client is told an address where nobody listens.
func queuedBytes(impl implementation, t target) (float64, error) {
	t.addr = "127.0.0.1:9" // the discard port: refused at once
	q, err := impl.openOffline(t, queuedMessages)
	if err != nil {
		return 0, err
	}
	defer q.close()
	if err := q.queue(1); err != nil {
		return 0, err
	}
	before := stats.Heap()
	if err := q.queue(queuedMessages - 1); err != nil {
		return 0, err
	}
	return stats.Round(float64(stats.Heap()-before)/(queuedMessages-1), 1), nil
}

// heapOver sends n messages and returns the live heap after every tenth of
// them, with everything confirmed and the client still connected.
func heapOver(impl implementation, t target, n int) (sent int, heap []int64, err error) {
	s, err := impl.open(t)
	if err != nil {
		return 0, nil, err
	}
	defer s.close()
	if _, err := flood(s, 0.2); err != nil { // buffers reach their size
		return 0, nil, err
	}
	before := stats.Heap()
	for i := range heapSamples {
		for goal := n / heapSamples * (i + 1); sent < goal; {
			m, err := floodCount(s, goal-sent)
			if err != nil {
				return sent, heap, err
			}
			if m == 0 {
				return sent, heap, errors.New("nothing was sent")
			}
			sent += m
		}
		heap = append(heap, stats.Heap()-before)
	}
	return sent, heap, nil
}

// floodCount sends about n messages: it floods for short stretches.
func floodCount(s sender, n int) (int, error) {
	var stop atomic.Bool
	d := time.Duration(n) * 2 * time.Microsecond
	return floodUntil(s, &stop, min(max(d, 5*time.Millisecond), 200*time.Millisecond))
}
