// Package head is what the protocol heads of the hub have in common: their books of
// connections, how a connection is closed so that its client loses nothing, and the
// patterns of paths.
package head

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Conn is a connection of a head. Both methods may be called at any time, and more
// than once.
type Conn interface {
	comparable
	// Drain has the connection end by itself, soon.
	Drain()
	// Kill ends it at once.
	Kill(reason error)
}

// Conns are the connections of a head. The zero value has none. Its methods are safe
// for use by many goroutines.
type Conns[C Conn] struct {
	wg sync.WaitGroup

	mu       sync.Mutex
	all      map[C]struct{}
	draining bool
}

// Enter counts a connection, unless Shutdown was called. It has to Leave.
func (s *Conns[C]) Enter(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	if s.all == nil {
		s.all = make(map[C]struct{})
	}
	s.all[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// Leave ends what Enter has begun.
func (s *Conns[C]) Leave(c C) {
	s.mu.Lock()
	delete(s.all, c)
	s.mu.Unlock()
	s.wg.Done()
}

// Hold has Shutdown wait for a Release, too. It is called for a connection that has
// not left.
func (s *Conns[C]) Hold() { s.wg.Add(1) }

// Release ends what Hold has begun.
func (s *Conns[C]) Release() { s.wg.Done() }

// All returns the connections of this moment.
func (s *Conns[C]) All() []C {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]C, 0, len(s.all))
	for c := range s.all {
		list = append(list, c)
	}
	return list
}

// Shutdown lets nobody in any more, drains the connections there are, and waits for
// them. When ctx ends first it kills the rest with the reason, and returns the error
// of ctx. It returns only when all have left and all that was held is released.
func (s *Conns[C]) Shutdown(ctx context.Context, reason error) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	for _, c := range s.All() {
		c.Drain()
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, c := range s.All() {
		c.Kill(reason)
	}
	<-done
	return ctx.Err()
}

// maxDiscard bounds what Linger reads and drops.
const maxDiscard = 1 << 20

// Linger half-closes a connection and drops what still arrives until the peer has
// closed its side or the timeout has passed: closing a socket with unread bytes resets
// it, and a reset discards what the peer has not read yet. raw is the connection below
// TLS, whose bytes do not matter any more, or nc itself. The caller closes it.
func Linger(nc, raw net.Conn, timeout time.Duration) {
	if nc.SetDeadline(time.Now().Add(timeout)) != nil {
		return
	}
	type halfCloser interface{ CloseWrite() error }
	if half, ok := nc.(halfCloser); ok && nc != raw && half.CloseWrite() != nil {
		return
	}
	if half, ok := raw.(halfCloser); !ok || half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, maxDiscard)
}

// Match reports whether the words of a path fit a pattern of words with slashes
// between them, where * is any word and case does not count.
func Match(pattern string, path []string) bool {
	words := strings.Split(pattern, "/")
	if len(words) != len(path) {
		return false
	}
	for i, word := range words {
		if word != "*" && !strings.EqualFold(word, path[i]) {
			return false
		}
	}
	return true
}
