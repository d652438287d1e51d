// Package link is the one place of the clients that touches the network: it
// dials, does TLS and starts goroutines, which are counted.
package link

import "sync"

// Gate counts goroutines and refuses new ones once it is closed. The zero
// value is open.
type Gate struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// Go runs f on a goroutine of its own, unless the gate is closed; it reports
// whether it did.
func (g *Gate) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// Close refuses further goroutines.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// Wait returns when all goroutines have ended.
func (g *Gate) Wait() { g.wg.Wait() }
