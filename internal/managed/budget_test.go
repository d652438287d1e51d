package managed_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/module"
)

// What an idle connected client may cost (DESIGN.md, budgets), here without
// TLS.
const (
	maxIdleGoroutines = 3
	maxIdleHeap       = 100 << 10
)

// frugalDial connects to a hub that holds next to nothing, over a connection
// that holds nothing: what is measured is the client.
func frugalDial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go frugal(server)
	return client, nil
}

// frugal acknowledges what comes on c and keeps nothing.
func frugal(c net.Conn) {
	defer c.Close()
	buf, have := make([]byte, 16<<10), 0
	var out []byte
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		out = out[:0]
		rest := buf[:have]
		for {
			size, err := mqtt.Frame(rest, len(buf))
			if err != nil {
				return
			}
			if size == 0 || size > len(rest) {
				break
			}
			switch mqtt.PacketType(rest) {
			case mqtt.TypeConnect:
				out = mqtt.AppendConnack(out, false, 0)
			case mqtt.TypePublish:
				p, err := mqtt.DecodePublish(rest[:size])
				if err != nil {
					return
				}
				out = mqtt.AppendAck(out, mqtt.TypePuback, p.PacketID)
			case mqtt.TypeDisconnect:
				return
			}
			rest = rest[size:]
		}
		have = copy(buf, rest)
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

func TestIdleClientIsWithinBudget(t *testing.T) {
	for name, burst := range map[string]int{"fresh": 0, "after a burst": 2000, "after a flood": 20_000} {
		t.Run(name, func(t *testing.T) { idleClients(t, burst) })
	}
}

func idleClients(t *testing.T, burst int) {
	clients := 10
	if burst > 10_000 {
		clients = 2 // it takes its time
	}
	before := heap()
	var open []*module.Client
	for range clients {
		connected := make(chan struct{}, 1)
		c, err := module.NewClientFromConnectionString(moduleString, &module.ClientOptions{
			DialTLS:            frugalDial,
			OnConnectionStatus: func(iothub.ConnectionEvent) { connected <- struct{}{} },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ended())
		open = append(open, c)
		c.Open()
		<-connected
		if burst > 0 { // having been busy must not cost for ever
			msgs := make([]*iothub.Message, burst)
			m := &iothub.Message{Payload: make([]byte, 256)}
			for i := range msgs {
				msgs[i] = m
			}
			if err := c.SendEventBatch(within(t, time.Minute), msgs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if per := (heap() - before) / int64(clients); per > maxIdleHeap {
		t.Errorf("an idle client holds %d bytes, the budget is %d", per, maxIdleHeap)
	} else {
		t.Logf("an idle client holds %d bytes", per)
	}
	if got := ownGoroutines(); got > clients*maxIdleGoroutines {
		t.Errorf("%d idle clients have %d goroutines, the budget is %d each", clients, got, maxIdleGoroutines)
	}
	runtime.KeepAlive(open)
}

// heap returns what is in use after a collection, which takes two rounds to
// empty pools.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// ownGoroutines counts the goroutines that run the clients' code.
func ownGoroutines() (n int) {
	buf := make([]byte, 1<<20)
	for {
		k := runtime.Stack(buf, true)
		if k < len(buf) {
			buf = buf[:k]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "iothub/internal/managed.(*") {
			n++
		}
	}
	return n
}

// A client that is closed leaves nothing behind.
func TestClosedClientLeavesNoGoroutine(t *testing.T) {
	before := ownGoroutines()
	for i := range 20 {
		c, err := module.NewClientFromConnectionString(moduleString, &module.ClientOptions{DialTLS: frugalDial})
		if err != nil {
			t.Fatal(err)
		}
		for j := range i {
			if err := c.SendEventAsync(msg(fmt.Sprint(j)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if got := ownGoroutines(); got > before {
		t.Errorf("%d goroutines are left of closed clients", got-before)
	}
}
