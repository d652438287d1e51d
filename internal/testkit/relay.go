package testkit

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Relay listens for programs that take an address and no dialer, passes what comes on
// to the connections that dial makes, and returns where. It ends with the test, which
// has the connections that are left end before.
func Relay(t testing.TB, dial func(ctx context.Context) (net.Conn, error)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				if far, err := dial(context.Background()); err == nil {
					splice(nc, far)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr()
}

// splice passes bytes both ways until one side ends, and ends both.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	wg.Wait()
}
