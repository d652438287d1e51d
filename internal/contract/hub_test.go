package contract_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/simnet"
)

// world is the real hub, in memory, behind a network that cuts connections.
type world struct {
	*testing.T
	hub     *hub.Server
	device  *device.Client
	healthy *atomic.Bool // new connections are cut no more
}

// inWorld runs f in virtual time with a device connected through links that
// each end after a random number of bytes.
func inWorld(t *testing.T, seed uint64, f func(w *world, random *rand.Rand)) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 7))
		cuts := rand.New(rand.NewPCG(seed, 8))
		var mu sync.Mutex
		var healthy atomic.Bool
		network := simnet.New(func(int) simnet.Plan {
			mu.Lock()
			defer mu.Unlock()
			cut := func() simnet.Direction {
				d := simnet.Direction{Latency: 5 * time.Millisecond}
				if !healthy.Load() {
					d.Fault, d.After = simnet.Fault(1+cuts.IntN(3)), 1500+cuts.IntN(6000)
				}
				return d
			}
			return simnet.Plan{Up: cut(), Down: cut()}
		})
		s, err := hub.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			s.Serve(hub.MQTT, network)
		}()
		if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
			t.Fatal(err)
		}
		cs, err := s.DeviceConnectionString("dev1")
		if err != nil {
			t.Fatal(err)
		}
		c, err := device.NewClientFromConnectionString(cs, &device.ClientOptions{
			Dial: network.Dial, TLS: &tls.Config{RootCAs: s.CertPool()}, KeepAlive: 20 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		f(&world{t, s, c, &healthy}, random)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c.Close(ctx)
		network.Close()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// Cloud-to-device messages reach the device across hundreds of cut
// connections: each at least once, in order, none after it was completed.
func TestMessagesAcrossReconnects(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inWorld(t, seed, func(w *world, random *rand.Rand) {
				const total = 300
				var mu sync.Mutex
				seen, last, settled := map[string]int{}, -1, map[string]bool{}
				w.device.HandleMessages(func(m *iothub.ReceivedMessage) iothub.Disposition {
					mu.Lock()
					defer mu.Unlock()
					var n int
					fmt.Sscan(string(m.Payload), &n)
					if seen[m.MessageID]++; seen[m.MessageID] == 1 && n != last+1 {
						t.Errorf("message %d came after %d", n, last)
					}
					last = max(last, n)
					settled[m.MessageID] = true
					return iothub.DispositionAccepted
				})
				for i := range total {
					for {
						err := w.hub.SendC2D(w.Context(), "dev1", &iothub.Message{MessageID: fmt.Sprint("m-", i), Payload: fmt.Append(nil, i)})
						if err == nil {
							break
						}
						if iothub.KindOf(err) != iothub.KindThrottled { // 50 wait already
							t.Fatal(err)
						}
						<-time.After(time.Second)
					}
					<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
				}
				w.healthy.Store(true)
				<-time.After(time.Hour)
				mu.Lock()
				defer mu.Unlock()
				if len(seen) != total {
					t.Errorf("%d of %d messages arrived", len(seen), total)
				}
				if st := w.device.Stats(); st.Reconnects < 5 {
					t.Errorf("only %d reconnects: the test proves little", st.Reconnects)
				}
			})
		})
	}
}

// Methods are called across cut connections: each call runs at most once and
// ends with an answer or an error, and most get through.
func TestMethodsAcrossReconnects(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inWorld(t, seed, func(w *world, random *rand.Rand) {
				const total = 300
				var mu sync.Mutex
				ran := map[string]int{}
				w.device.HandleMethod("m", func(r *iothub.MethodRequest) *iothub.MethodResponse {
					mu.Lock()
					defer mu.Unlock()
					ran[string(r.Payload)]++
					return &iothub.MethodResponse{Status: 200, Payload: r.Payload}
				})
				ok := 0
				for i := range total {
					payload := fmt.Append(nil, i)
					status, answer, err := w.hub.InvokeMethod(w.Context(), "dev1", "", "m", payload,
						&hub.MethodOptions{ConnectTimeout: 5 * time.Minute, ResponseTimeout: 5 * time.Second})
					switch {
					case err == nil && status == 200 && string(answer) == string(payload):
						ok++
					case err == nil:
						t.Errorf("call %d was answered %d %s", i, status, answer)
					case iothub.KindOf(err) != iothub.KindTimeout && !errors.Is(err, context.DeadlineExceeded):
						t.Errorf("call %d: %v", i, err)
					}
					<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				for payload, n := range ran {
					if n > 1 {
						t.Errorf("call %s ran %d times", payload, n)
					}
				}
				if ok < total/2 {
					t.Errorf("only %d of %d calls got through", ok, total)
				}
				t.Logf("%d of %d calls got through over %d connections", ok, total, w.device.Stats().Connects)
			})
		})
	}
}
