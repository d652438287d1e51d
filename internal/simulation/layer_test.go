package simulation_test

import (
	"context"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/module"
)

const (
	deviceString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	moduleString = "HostName=hub.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// client is what every client can do, as the simulation needs it.
type client interface {
	send(m *iothub.Message, confirm iothub.ConfirmFunc) error
	inside(m *iothub.Message, confirm iothub.ConfirmFunc) error // from inside a callback
	closeInside()                                               // from inside a callback
	// close waits for what is left until ctx ends; an error means that it
	// did not wait to the end.
	close(ctx context.Context) error
	stats() (st iothub.Stats, ok bool)
}

// waiter is a client with SendEvent.
type waiter interface {
	wait(m *iothub.Message, timeout time.Duration) error
}

// layer is a client under test.
type layer struct {
	name         string
	device, modu string // its identity
	open         func(w *world, o *iothub.ClientOptions) (client, error)
}

var layers = []layer{
	{"ll", "dev1", "mod1", func(w *world, o *iothub.ClientOptions) (client, error) {
		c, err := ll.NewModuleClientFromConnectionString(moduleString, o)
		if err != nil {
			return nil, err
		}
		return newPump(w, c), nil
	}},
	{"module", "dev1", "mod1", func(w *world, o *iothub.ClientOptions) (client, error) {
		c, err := module.NewClientFromConnectionString(moduleString, o)
		return managedClient{c}, err
	}},
	{"device", "dev1", "", func(w *world, o *iothub.ClientOptions) (client, error) {
		c, err := device.NewClientFromConnectionString(deviceString, o)
		return managedClient{c}, err
	}},
}

type managed interface {
	SendEventAsync(*iothub.Message, iothub.ConfirmFunc) error
	SendEvent(context.Context, *iothub.Message) error
	Close(context.Context) error
	Stats() iothub.Stats
}

type managedClient struct{ c managed }

func (m managedClient) send(msg *iothub.Message, f iothub.ConfirmFunc) error {
	return m.c.SendEventAsync(msg, f)
}

func (m managedClient) inside(msg *iothub.Message, f iothub.ConfirmFunc) error {
	return m.c.SendEventAsync(msg, f)
}

func (m managedClient) wait(msg *iothub.Message, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return m.c.SendEvent(ctx, msg)
}

func (m managedClient) closeInside()                    { m.c.Close(context.Background()) }
func (m managedClient) close(ctx context.Context) error { return m.c.Close(ctx) }
func (m managedClient) stats() (iothub.Stats, bool)     { return m.c.Stats(), true }

// pump owns a poll-driven client: one goroutine makes every call on it, as the
// LL contract asks.
type pump struct {
	w     *world
	c     *ll.ModuleClient
	calls chan func()
	done  chan struct{}
}

func newPump(w *world, c *ll.ModuleClient) *pump {
	p := &pump{w: w, c: c, calls: make(chan func()), done: make(chan struct{})}
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.done)
	last, spins := time.Now(), 0
	for {
		began := time.Now()
		next, err := p.c.DoWork()
		if err != nil {
			return
		}
		now := time.Now()
		if d := now.Sub(began); d != 0 && !p.w.sc.slowCallbacks {
			p.w.violation("DoWork took %v", d)
		}
		if spins++; !now.Equal(last) {
			last, spins = now, 0
		}
		if spins == 100_000 {
			p.w.violation("DoWork was called %d times at one instant", spins)
			p.c.Destroy()
			return
		}
		t := time.NewTimer(time.Until(next))
		select {
		case f := <-p.calls:
			f()
		case <-p.c.Wakeup():
		case <-t.C:
		}
		t.Stop()
	}
}

// call runs f where the client lives, or says that the client has ended.
func (p *pump) call(f func()) bool {
	returned := make(chan struct{})
	select {
	case p.calls <- func() { f(); close(returned) }:
		<-returned
		return true
	case <-p.done:
		return false
	}
}

// send is called with world.order held, while a callback that runs on the
// pump's goroutine may wait for it: sends go there under no lock of ours, so
// the serial is decided there, too.
func (p *pump) send(m *iothub.Message, f iothub.ConfirmFunc) error {
	return p.c.SendEventAsync(m, f)
}

func (p *pump) inside(m *iothub.Message, f iothub.ConfirmFunc) error {
	return p.c.SendEventAsync(m, f)
}

func (p *pump) closeInside() { p.c.Destroy() }

func (p *pump) close(ctx context.Context) (err error) {
	for err == nil {
		status := ll.SendIdle
		if !p.call(func() {
			if status, _ = p.c.SendStatus(); status == ll.SendIdle {
				p.c.Destroy()
			}
		}) || status == ll.SendIdle {
			<-p.done
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.done:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	p.call(func() { p.c.Destroy() })
	<-p.done
	return err
}

func (p *pump) stats() (st iothub.Stats, ok bool) {
	st, err := p.c.Stats()
	return st, err == nil
}
