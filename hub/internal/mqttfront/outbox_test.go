package mqttfront

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// An acknowledgement is a promise that the message is durable.
func TestNoPubackBeforeDurable(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		open := e.gate.close()
		defer open()
		c := e.connect("dev1")
		c.write(publish(telemetry1, "x", 1, 1))
		c.nothing()
		c.ping() // the rest of the connection goes on
		c.nothing()
		open()
		if id := c.puback(); id != 1 {
			t.Errorf("PUBACK %d", id)
		}
	})
}

func TestPubacksInOrder(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		const n = 5000
		go func() {
			for i := range n {
				b := publish(telemetry1, "x", 1, uint16(i+1))
				if i%7 == 0 {
					b = append(b, publish(telemetry1, "without", 0, 0)...)
				}
				if c.tryWrite(b) != nil {
					return
				}
			}
		}()
		for i := range n {
			if id := c.puback(); int(id) != i+1 {
				t.Fatalf("PUBACK %d, want %d", id, i+1)
			}
		}
	})
}

// When the storage fails nothing later may be acknowledged either: the client
// has to send it all again, in order, on its next connection.
func TestStorageFails(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(publish(telemetry1, "good", 1, 1))
		c.puback()
		e.gate.fail(errors.New("disk full"))
		c.write(publish(telemetry1, "bad", 1, 2))
		if frame, err := c.next(); err == nil {
			t.Fatalf("got %v", mqtt.PacketType(frame))
		}
		if err := <-c.done; !errors.Is(err, &core.Error{Code: core.CodeServiceUnavailable}) {
			t.Error(err)
		}
		e.gate.fail(nil)
		c = e.connect("dev1")
		c.write(publish(telemetry1, "good again", 1, 2))
		c.puback()
	})
}

func TestBackPressure(t *testing.T) {
	runWith(t, Config{MaxUnacked: 100_000}, core.Config{}, func(t *testing.T, e *env) {
		open := e.gate.close()
		defer open()
		c, other := e.connect("dev1"), e.connect("dev2")
		payload := string(make([]byte, 1000))
		sent := make(chan int, 1)
		go func() {
			n := 0
			for ; n < 1000; n++ {
				if c.tryWrite(publish(telemetry1, payload, 1, uint16(n+1))) != nil {
					break
				}
			}
			sent <- n
		}()
		synctest.Wait()
		select {
		case <-sent:
			t.Fatal("the hub reads on without end")
		default:
		}
		other.ping()
		// A client that is made to wait is not silent.
		advance(20 * time.Minute)
		open()
		for i := range 1000 {
			if id := c.puback(); int(id) != i+1 {
				t.Fatalf("PUBACK %d, want %d", id, i+1)
			}
			if i == 500 {
				select {
				case n := <-sent:
					sent <- n
				default:
				}
			}
		}
		if n := <-sent; n != 1000 {
			t.Errorf("%d were sent", n)
		}
	})
}

// When the hub as a whole has too much in hand, clients wait and lose nothing.
func TestBusyHubMakesClientsWait(t *testing.T) {
	runWith(t, Config{}, core.Config{MaxWaiting: 5000}, func(t *testing.T, e *env) {
		open := e.gate.close()
		defer open()
		c := e.connect("dev1")
		payload := string(make([]byte, 1000))
		go func() {
			for i := range 20 {
				if c.tryWrite(publish(telemetry1, payload, 1, uint16(i+1))) != nil {
					return
				}
			}
		}()
		c.nothing()
		advance(10 * time.Second)
		open()
		for i := range 20 {
			if id := c.puback(); int(id) != i+1 {
				t.Fatalf("PUBACK %d, want %d", id, i+1)
			}
		}
		open = e.gate.close()
		defer open()
		for i := range 20 {
			if c.tryWrite(publish(telemetry1, payload, 1, uint16(i+1))) != nil {
				break
			}
		}
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeServerBusy}) {
			t.Error(err)
		}
	})
}

// A client that does not read its acknowledgements holds up nobody, and is
// given up after a while.
func TestClientThatDoesNotRead(t *testing.T) {
	runWith(t, Config{WriteTimeout: 20 * time.Second}, core.Config{Partitions: 1}, func(t *testing.T, e *env) {
		stuck, other := e.connect("dev1"), e.connect("dev2")
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for i := 0; ; i++ {
				if stuck.tryWrite(publish(telemetry1, "x", 1, uint16(i%65535+1))) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		for i := range 10 {
			other.write(publish("devices/dev2/messages/events/", "y", 1, uint16(i+1)))
			if id := other.puback(); int(id) != i+1 {
				t.Fatalf("PUBACK %d", id)
			}
		}
		start := time.Now()
		<-stop
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("given up after %v", took)
		}
		if err := <-stuck.done; err == nil {
			t.Error("no error")
		}
		other.ping()
	})
}

// Shutdown reads no further, but what it has read it sees through.
func TestShutdownDrains(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		open := e.gate.close()
		defer open()
		c, idle, silent := e.connect("dev1"), e.connect("dev2"), e.dial()
		c.write(publish(telemetry1, "x", 1, 1))
		c.write(publish(telemetry1, "y", 1, 2))
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- e.front.Shutdown(context.Background()) }()
		if err := idle.closed(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := silent.closed(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		c.nothing()
		select {
		case err := <-done:
			t.Fatalf("Shutdown returned %v with messages in hand", err)
		default:
		}
		open()
		if a, b := c.puback(), c.puback(); a != 1 || b != 2 {
			t.Errorf("PUBACK %d, %d", a, b)
		}
		if err := c.closed(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		late := e.dial()
		if _, err := late.next(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		<-late.done
	})
}

func TestShutdownIsBounded(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		open := e.gate.close()
		defer open()
		c := e.connect("dev1")
		c.write(publish(telemetry1, "x", 1, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := e.front.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err := c.closed(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// What came before DISCONNECT is acknowledged before the hub closes.
func TestDisconnectAfterPublish(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(append(publish(telemetry1, "x", 1, 3), mqtt.AppendEmpty(nil, mqtt.TypeDisconnect)...))
		if id := c.puback(); id != 3 {
			t.Errorf("PUBACK %d", id)
		}
		if err := c.closed(); err != nil {
			t.Error(err)
		}
	})
}

func TestContextEndsConnection(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		_ = c // the connection of another, which stays
		ctx, cancel := context.WithCancel(context.Background())
		d := e.dialContext(ctx)
		d.write(connectBytes(t, e.connectPacket("dev2")))
		d.connack()
		cancel()
		if err := d.closed(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		c.ping()
	})
}

// A connection that was busy gives its large buffer back.
func TestIdleConnectionKeepsLittle(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(publish(telemetry1, string(make([]byte, 200_000)), 1, 1))
		c.puback()
		advance(time.Second)
		synctest.Wait()
		for _, conn := range e.front.conns.All() {
			// The reader is blocked in Read, so its fields hold still.
			if len(conn.in.buf) != smallBuffer || cap(conn.out.pending) > outboxSize {
				t.Errorf("it keeps %d bytes to read and %d to write", len(conn.in.buf), cap(conn.out.pending))
			}
		}
	})
}
