package amqpfront

import (
	"bufio"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// BenchmarkEvents is what an event costs on its way out: a receiver over TCP that
// only counts frames reads events of 256 bytes. It is the hub's side of egress, and
// more of it than a real client leaves.
func BenchmarkEvents(b *testing.B) {
	e := newEnv(b)
	const stored = 10_000
	e.store(stored, 256)
	at := e.hub.BuiltIn().Name() + "/ConsumerGroups/$Default/Partitions/" + strconv.Itoa(core.PartitionOf("dev1", e.hub.BuiltIn().Partitions()))
	b.ReportAllocs()
	b.SetBytes(256)
	for left := b.N; left > 0; left -= stored {
		b.StopTimer()
		w := e.handshake(e.dialTCP(), "service")
		w.send(0, &amqp.Begin{IncomingWindow: 1 << 30, OutgoingWindow: 10, HandleMax: amqp.DefaultHandleMax})
		w.next()
		w.send(0, &amqp.Attach{Name: "r", Role: amqp.RoleReceiver, Source: &amqp.Source{Address: at}})
		w.next()
		b.StartTimer()
		w.send(0, &amqp.Flow{IncomingWindow: 1 << 30, OutgoingWindow: 10, Handle: amqp.Some(uint32(0)), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(stored))})
		r := bufio.NewReaderSize(w.nc, 256<<10)
		for n := 0; n < min(left, stored); {
			head, err := r.Peek(4)
			if err != nil {
				b.Fatal(err)
			}
			size := int(binary.BigEndian.Uint32(head))
			if _, err := r.Discard(size); err != nil {
				b.Fatal(err)
			}
			n++
		}
		_ = w.nc.Close()
	}
}

func (e *env) dialTCP() net.Conn {
	e.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	defer l.Close() // resets what is not accepted yet
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = here.Close() })
	there, err := l.Accept()
	if err != nil {
		e.t.Fatal(err)
	}
	go func() { _ = e.front.ServeConn(context.Background(), there, nil) }()
	return here
}
