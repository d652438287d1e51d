package amqpfront

import (
	"encoding/base64"
	"math"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// store has dev1 send n events of a size and waits until they are durable.
func (e *env) store(n, size int) {
	e.t.Helper()
	d, err := e.hub.GetDevice("dev1")
	if err != nil {
		e.t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(string(d.Authentication.SymmetricKey.PrimaryKey))
	if err != nil {
		e.t.Fatal(err)
	}
	now := e.hub.Now()
	p, err := e.hub.Authenticate(now, core.AuthRequest{DeviceID: "dev1", Token: sas.Sign(hostName+"/devices/dev1", key, now.Add(time.Hour), "")})
	if err != nil {
		e.t.Fatal(err)
	}
	a, err := e.hub.Attach(p, "", func(error) {})
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Detach()
	events := make([]core.Event, n)
	for i := range events {
		events[i].Payload = make([]byte, size)
	}
	done := make(chan error, 1)
	if err := a.Ingest(events, func(err error) { done <- err }); err != nil {
		e.t.Fatal(err)
	}
	if err := <-done; err != nil {
		e.t.Fatal(err)
	}
}

// plain connects with the key of a policy.
func (e *env) plain(policy string) *wire { return e.handshake(e.dial(), policy) }

func (e *env) handshake(nc net.Conn, policy string) *wire {
	e.t.Helper()
	w := &wire{e.t, nc}
	w.write([]byte(amqp.HeaderSASL))
	w.read(8)
	if code, _ := w.next(); code != amqp.CodeSASLMechanisms {
		e.t.Fatalf("%#x instead of mechanisms", code)
	}
	b, err := amqp.AppendFrame(nil, amqp.FrameSASL, 0, &amqp.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00" + policy + "\x00" + e.policyKey(policy))})
	if err != nil {
		e.t.Fatal(err)
	}
	w.write(b)
	if code, _ := w.next(); code != amqp.CodeSASLOutcome {
		e.t.Fatalf("%#x instead of an outcome", code)
	}
	w.write([]byte(amqp.HeaderAMQP))
	w.read(8)
	w.send(0, &amqp.Open{ContainerID: "c", MaxFrameSize: maxFrame, ChannelMax: amqp.DefaultChannelMax})
	if code, _ := w.next(); code != amqp.CodeOpen {
		e.t.Fatalf("%#x instead of open", code)
	}
	return w
}

// A receiver that grants a million credits and reads nothing holds no more than its
// connection may, and has WriteTimeout to change its mind; the hub keeps its place
// for nobody.
func TestGreedyReceiverOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		const n = 200 // 3 MiB, more than a connection may hold
		e.store(n, 16<<10)
		w := e.plain("service")
		w.send(0, &amqp.Begin{IncomingWindow: 1 << 20, OutgoingWindow: 10, HandleMax: amqp.DefaultHandleMax})
		w.next()
		at := strconv.Itoa(core.PartitionOf("dev1", e.hub.BuiltIn().Partitions()))
		w.send(0, &amqp.Attach{Name: "r", Role: amqp.RoleReceiver, Source: &amqp.Source{Address: e.hub.BuiltIn().Name() + "/ConsumerGroups/$Default/Partitions/" + at}})
		if code, _ := w.next(); code != amqp.CodeAttach {
			t.Fatalf("%#x instead of attach", code)
		}
		w.send(0, &amqp.Flow{IncomingWindow: 1 << 20, OutgoingWindow: 10, Handle: amqp.Some(uint32(0)), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(1_000_000))})
		synctest.Wait()

		for _, c := range e.front.conns.All() {
			c.mu.Lock()
			if held := len(c.out.buf); held > roomyOut+maxFrame {
				t.Errorf("%d bytes wait for a client that reads nothing", held)
			}
			c.mu.Unlock()
		}
		if len(e.front.conns.All()) != 1 {
			t.Errorf("%d connections", len(e.front.conns.All()))
		}

		<-time.After(defaultWriteTimeout + time.Second)
		synctest.Wait()
		if len(e.front.conns.All()) != 0 {
			t.Error("it is still connected")
		}
		e.front.receivers.mu.Lock()
		if len(e.front.receivers.byKey) != 0 {
			t.Error("it is still a receiver")
		}
		e.front.receivers.mu.Unlock()
	})
}

// Clients may give the largest window and credit that a number can hold, and again
// while events are on their way.
func TestLargestWindowAndCredit(t *testing.T) {
	e := newEnv(t)
	e.store(3, 10)
	w := e.plain("service")
	w.send(0, &amqp.Begin{IncomingWindow: math.MaxUint32, OutgoingWindow: 10, HandleMax: amqp.DefaultHandleMax})
	w.next()
	partition := strconv.Itoa(core.PartitionOf("dev1", e.hub.BuiltIn().Partitions()))
	w.send(0, &amqp.Attach{Name: "r", Role: amqp.RoleReceiver, Source: &amqp.Source{
		Address: e.hub.BuiltIn().Name() + "/ConsumerGroups/$Default/Partitions/" + partition}})
	w.next()
	flow := &amqp.Flow{IncomingWindow: math.MaxUint32, OutgoingWindow: 10, Handle: amqp.Some(uint32(0)),
		NextIncomingID: amqp.Some(uint32(0)), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(math.MaxUint32))}
	for sent := range 4 {
		if sent == 3 {
			e.store(1, 10)
		} else {
			w.send(0, flow) // as if nothing had arrived yet
		}
		if code, _ := w.next(); code != amqp.CodeTransfer {
			t.Fatalf("%#x instead of event %d", code, sent)
		}
	}
}
