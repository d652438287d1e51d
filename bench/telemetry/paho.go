package main

import (
	"errors"
	"fmt"
	"sync/atomic"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func init() { register(implementation{name: "paho", open: openPaho}) }

// pahoWindow is how many unacknowledged messages are allowed. It is the best of
// 100, 1000 and 10000; two or four publishing goroutines do not gain either.
const pahoWindow = 1000

type pahoSender struct {
	client  mqtt.Client
	payload []byte
}

func openPaho(t target) (sender, error) {
	o := mqtt.NewClientOptions().
		AddBroker("ssl://" + t.addr).
		SetClientID(deviceID + "/" + moduleID).
		SetUsername(user).SetPassword("none").
		SetTLSConfig(t.tls()).
		SetProtocolVersion(4).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetOrderMatters(false) // no handler runs on the path of the acknowledgements
	c := mqtt.NewClient(o)
	if k := c.Connect(); !k.WaitTimeout(waitTime) || k.Error() != nil {
		return nil, fmt.Errorf("connect: %w", errors.Join(k.Error(), errors.New("no answer")))
	}
	return &pahoSender{client: c, payload: t.payload()}, nil
}

func (s *pahoSender) flood(stop *atomic.Bool) (int, error) {
	tokens := make(chan mqtt.Token, pahoWindow)
	done := make(chan error, 1)
	go func() {
		var err error
		for k := range tokens {
			k.Wait() // WaitTimeout would cost three allocations
			if e := k.Error(); e != nil {
				err = e
			}
		}
		done <- err
	}()
	n := 0
	for !stop.Load() {
		tokens <- s.client.Publish(topic, 1, false, s.payload)
		n++
	}
	close(tokens)
	return n, <-done
}

func (s *pahoSender) one() error {
	k := s.client.Publish(topic, 1, false, s.payload)
	k.Wait()
	return k.Error()
}

func (s *pahoSender) close() error {
	s.client.Disconnect(100)
	return nil
}
