package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
)

// clientKind makes the client of one device. window is how many messages it
// may have unconfirmed.
type clientKind func(s *server, connectionString string, window int) (client, error)

var clients = map[string]clientKind{"device": openDevice, "raw": openRaw}

// client is one connected device.
type client interface {
	// flood sends payload until stop is set, with head called before each
	// message to number it, and waits for all confirmations.
	flood(stop *atomic.Bool, payload []byte, head func(p []byte)) error
	close() error
}

const (
	// unconfirmed is shared by the devices of a measurement.
	unconfirmed = 32768
	// leastUnconfirmed is what a device may have in any case.
	leastUnconfirmed = 512
	waitTime         = 20 * time.Second
)

// properties are the three application properties of every message.
var properties = map[string]string{
	"temperatureAlert": "true",
	"line":             "seven",
	"plant":            "north",
}

// once connects n devices, lets them send and returns the rate.
func once(c config, s *server, n int, run runID, l *ledger) (float64, error) {
	open := make([]client, 0, n)
	defer func() {
		for _, cl := range open {
			_ = cl.close()
		}
	}()
	for _, cs := range s.devices[:n] {
		cl, err := c.client(s, cs, max(unconfirmed/n, leastUnconfirmed))
		if err != nil {
			return 0, err
		}
		open = append(open, cl)
	}
	sent := make([]uint64, n)
	if err := floodAll(c, open, run, sent, c.warmup); err != nil {
		return 0, err
	}
	before := total(sent)
	start := time.Now()
	if err := floodAll(c, open, run, sent, c.seconds); err != nil {
		return 0, err
	}
	rate := float64(total(sent)-before) / time.Since(start).Seconds()
	for d, k := range sent {
		l.confirm(run, d, int(k))
	}
	return rate, nil
}

func total(v []uint64) (sum uint64) {
	for _, x := range v {
		sum += x
	}
	return sum
}

// floodAll lets all devices send for some seconds and returns when everything
// is confirmed. sent goes on counting.
func floodAll(c config, open []client, run runID, sent []uint64, seconds float64) error {
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, len(open))
	for d, cl := range open {
		wg.Go(func() {
			payload := make([]byte, c.size)
			for i := range payload {
				payload[i] = byte('a' + i%26)
			}
			n := sent[d]
			errs[d] = cl.flood(&stop, payload, func(p []byte) {
				putHead(p, run, d, n)
				n++
			})
			sent[d] = n
		})
	}
	duration := time.Duration(seconds * float64(time.Second))
	t := time.AfterFunc(duration, func() { stop.Store(true) })
	defer t.Stop()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return errors.Join(errs...)
	case <-time.After(duration + waitTime):
		return fmt.Errorf("not everything was confirmed %v after the last send", waitTime)
	}
}

// deviceClient is device.Client.
type deviceClient struct {
	c         *device.Client
	msg       iothub.Message
	sent      int64
	goal      atomic.Int64
	confirmed atomic.Int64
	failure   atomic.Pointer[error]
	moved     chan struct{}
	every     int64
}

func openDevice(s *server, connectionString string, window int) (client, error) {
	c, err := device.NewClientFromConnectionString(connectionString, &device.ClientOptions{
		TLS:               &tls.Config{RootCAs: s.roots},
		MaxQueuedMessages: window,
	})
	if err != nil {
		return nil, err
	}
	d := &deviceClient{c: c, moved: make(chan struct{}, 1), every: int64(max(window/16, 1))}
	d.msg.Properties = properties
	return d, nil
}

func (d *deviceClient) confirm(r iothub.Confirmation) {
	if r.Result != iothub.ConfirmOK {
		err := fmt.Errorf("confirmed %v: %w", r.Result, r.Err)
		d.failure.Store(&err)
	}
	if n := d.confirmed.Add(1); n%d.every == 0 || n == d.goal.Load() {
		select {
		case d.moved <- struct{}{}:
		default:
		}
	}
}

func (d *deviceClient) flood(stop *atomic.Bool, payload []byte, head func([]byte)) error {
	d.msg.Payload = payload
	confirm := d.confirm
	for !stop.Load() {
		head(payload)
		for {
			err := d.c.SendEventAsync(&d.msg, confirm)
			if err == nil {
				d.sent++
				break
			}
			if !errors.Is(err, iothub.ErrQueueFull) {
				return err
			}
			<-d.moved
		}
	}
	d.goal.Store(d.sent)
	for d.confirmed.Load() < d.sent {
		<-d.moved
	}
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *deviceClient) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return d.c.Close(ctx)
}
