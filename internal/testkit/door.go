package testkit

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ErrShut is what a [Door] answers where nobody is behind it.
var ErrShut = errors.New("testkit: nobody is there")

// Door is the way to servers that are started again while a test runs. They take a new
// port each time: one that was given back may be somebody else's when it is wanted
// again. The zero value leads to the addresses that are dialled. It is safe for use by
// many goroutines.
type Door struct {
	mu sync.Mutex
	to map[string]string
}

// Lead has those who dial from reach to; nobody when to is empty.
func (d *Door) Lead(from, to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to == nil {
		d.to = make(map[string]string)
	}
	d.to[from] = to
}

// Dial is for the Dial of a client's options.
func (d *Door) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	to, ok := d.to[address]
	d.mu.Unlock()
	switch {
	case !ok:
		to = address
	case to == "":
		return nil, &net.OpError{Op: "dial", Net: network, Err: ErrShut}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}
