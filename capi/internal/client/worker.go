package client

import "sync/atomic"

// worker is the thread of a client of the convenience layer.
type worker struct {
	thread atomic.Uintptr // the host's number of it, 0 until it runs
	kick   chan struct{}  // capacity 1
	done   chan struct{}  // closed when it has ended
}

// wake has the thread look for work.
func (w *worker) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}
