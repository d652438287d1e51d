package contract_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/mqtt"
)

const (
	deviceString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	moduleString = "HostName=hub.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// client is what every client can do, as a test needs it.
type client interface {
	// send is SendEventAsync, from the goroutine that may call it.
	send(m *iothub.Message, confirm iothub.ConfirmFunc) error
	// inside is SendEventAsync from inside a callback.
	inside(m *iothub.Message, confirm iothub.ConfirmFunc) error
	// closeInside is Close or Destroy from inside a callback.
	closeInside()
	// close closes without waiting for what is left.
	close()
	stats() iothub.Stats

	// The receiving half, from the goroutine that may call it. onMessage is
	// for a device's messages, a module's inputs.
	onMessage(h iothub.MessageHandler)
	onMethod(name string, h iothub.MethodHandler)
	onDesired(h iothub.DesiredHandler) error
	report(patch any, done iothub.ReportedFunc) error
	// do runs f where calls on what was received are allowed.
	do(f func())
}

// layers are the clients under test.
var layers = map[string]func(o *iothub.ClientOptions) (client, error){
	"device": func(o *iothub.ClientOptions) (client, error) {
		c, err := device.NewClientFromConnectionString(deviceString, o)
		return managedClient{c}, err
	},
	"module": func(o *iothub.ClientOptions) (client, error) {
		c, err := module.NewClientFromConnectionString(moduleString, o)
		return managedClient{c}, err
	},
	"ll.device": func(o *iothub.ClientOptions) (client, error) {
		c, err := ll.NewDeviceClientFromConnectionString(deviceString, o)
		if err != nil {
			return nil, err
		}
		return newPump(c), nil
	},
	"ll.module": func(o *iothub.ClientOptions) (client, error) {
		c, err := ll.NewModuleClientFromConnectionString(moduleString, o)
		if err != nil {
			return nil, err
		}
		return newPump(c), nil
	},
}

type managed interface {
	HandleMethod(string, iothub.MethodHandler)
	HandleDesired(iothub.DesiredHandler) error
	UpdateReportedAsync(any, iothub.ReportedFunc) error
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
func (m managedClient) closeInside() { m.c.Close(context.Background()) }
func (m managedClient) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.c.Close(ctx)
}
func (m managedClient) stats() iothub.Stats { return m.c.Stats() }

func (m managedClient) onMessage(h iothub.MessageHandler) {
	switch c := m.c.(type) {
	case *device.Client:
		c.HandleMessages(h)
	case *module.Client:
		c.HandleInput("", h)
	}
}
func (m managedClient) onMethod(name string, h iothub.MethodHandler) { m.c.HandleMethod(name, h) }
func (m managedClient) onDesired(h iothub.DesiredHandler) error      { return m.c.HandleDesired(h) }
func (m managedClient) report(patch any, done iothub.ReportedFunc) error {
	return m.c.UpdateReportedAsync(patch, done)
}
func (m managedClient) do(f func()) { f() }

func (p *pump) onMessage(h iothub.MessageHandler) {
	p.call(func() {
		switch c := p.c.(type) {
		case *ll.DeviceClient:
			c.SetMessageCallback(h)
		case *ll.ModuleClient:
			c.SetInputCallback("", h)
		}
	})
}
func (p *pump) onMethod(name string, h iothub.MethodHandler) {
	p.call(func() { p.c.SetMethodCallback(name, h) })
}
func (p *pump) onDesired(h iothub.DesiredHandler) (err error) {
	p.call(func() { err = p.c.SetTwinCallback(h) })
	return err
}
func (p *pump) report(patch any, done iothub.ReportedFunc) (err error) {
	p.call(func() { err = p.c.SendReportedState(patch, done) })
	return err
}
func (p *pump) do(f func()) { p.call(f) }

type pollDriven interface {
	SetMethodCallback(string, iothub.MethodHandler) error
	SetTwinCallback(iothub.DesiredHandler) error
	SendReportedState(any, iothub.ReportedFunc) error
	SendEventAsync(*iothub.Message, iothub.ConfirmFunc) error
	DoWork() (time.Time, error)
	Wakeup() <-chan struct{}
	Stats() (iothub.Stats, error)
	Destroy() error
}

// pump owns a poll-driven client: one goroutine makes every call on it, as
// the LL contract asks.
type pump struct {
	c     pollDriven
	calls chan func()
	done  chan struct{}
}

func newPump(c pollDriven) *pump {
	p := &pump{c: c, calls: make(chan func()), done: make(chan struct{})}
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.done)
	for {
		next, err := p.c.DoWork()
		if err != nil {
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

func (p *pump) send(m *iothub.Message, f iothub.ConfirmFunc) (err error) {
	if !p.call(func() { err = p.c.SendEventAsync(m, f) }) {
		return p.c.SendEventAsync(m, f) // destroyed: nobody else is calling
	}
	return err
}
func (p *pump) inside(m *iothub.Message, f iothub.ConfirmFunc) error {
	return p.c.SendEventAsync(m, f)
}
func (p *pump) closeInside() { p.c.Destroy() }
func (p *pump) close() {
	p.call(func() { p.c.Destroy() })
	<-p.done
}
func (p *pump) stats() (st iothub.Stats) {
	p.call(func() { st, _ = p.c.Stats() })
	return st
}

// bench is what one test plays on: a client of one layer, a network and a hub.
type stage struct {
	*testing.T
	client
	hub    *simhub.Hub
	net    *simnet.Network
	module bool
	open   func() (client, error) // another client like the first
}

// on runs f on a stage of every layer and transport, in virtual time. prepare,
// which may be nil, scripts the stage before the client is made.
func on(t *testing.T, prepare func(s *stage, o *iothub.ClientOptions), f func(s *stage)) {
	onTCP(t, prepare, f)
	for name := range layers {
		t.Run(name+"/websocket", func(t *testing.T) {
			t.Parallel()
			onLayer(t, name, &mqtt.Options{WebSocket: true}, prepare, f)
		})
	}
}

// onTCP is on for tests that count bytes or choose a transport themselves.
func onTCP(t *testing.T, prepare func(s *stage, o *iothub.ClientOptions), f func(s *stage)) {
	for name := range layers {
		t.Run(name+"/tcp", func(t *testing.T) {
			t.Parallel()
			onLayer(t, name, nil, prepare, f)
		})
	}
}

// onLayer runs f on a stage of one layer.
func onLayer(t *testing.T, name string, m *mqtt.Options, prepare func(s *stage, o *iothub.ClientOptions), f func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, hub: &simhub.Hub{}, net: simnet.New(nil), module: strings.HasSuffix(name, "module")}
		o := &iothub.ClientOptions{DialTLS: s.net.Dial, Transport: mqtt.New(m)}
		if prepare != nil {
			prepare(s, o)
		}
		if m != nil && m.WebSocket {
			go s.hub.ServeWebSocket(s.net)
		} else {
			go s.hub.Serve(s.net)
		}
		s.open = func() (client, error) { return layers[name](o) }
		c, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		s.client = c
		f(s)
		s.close()
		s.net.Close()
		s.hub.Drop()
		s.hub.Wait()
	})
}

// widest lets as much be in flight as MQTT can.
var widest = mqtt.New(&mqtt.Options{Window: mqtt.MaxWindow, WindowBytes: 1 << 30})
