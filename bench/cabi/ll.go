package main

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/bench/internal/nullserver"
	"github.com/iothub-go/iothub/bench/internal/stats"
	"github.com/iothub-go/iothub/ll"
)

const (
	burst       = 1024
	outstanding = 10000
)

// program is c/program.c in Go, line by line.
type program struct {
	client                  *ll.ModuleClient
	payload                 []byte
	each                    bool
	sent, confirmed, failed int
}

func runLL(c config, server *nullserver.Server, each bool) (sample, error) {
	client, err := ll.NewModuleClientFromConnectionString(connectionString(server), &ll.ClientOptions{
		TLS: &tls.Config{RootCAs: server.Roots}, MaxQueuedMessages: outstanding, MaxQueuedBytes: 1 << 30,
	})
	if err != nil {
		return sample{}, err
	}
	defer client.Destroy()
	p := &program{client: client, payload: make([]byte, c.size), each: each}
	for i := range p.payload {
		p.payload[i] = byte('a' + i%26)
	}
	if err := p.flood(c.seconds / 5); err != nil {
		return sample{}, err
	}
	from := p.confirmed
	used, err := stats.Measure(func() error { return p.flood(c.seconds) })
	if err != nil {
		return sample{}, err
	}
	return newSample(p.confirmed-from, used.Wall.Seconds(), used.CPU.Seconds()), nil
}

func (p *program) make() *iothub.Message {
	return &iothub.Message{
		Payload:    append([]byte(nil), p.payload...), // as C copies it
		Properties: map[string]string{"temperatureAlert": "true", "line": "seven", "plant": "north"},
	}
}

func (p *program) confirm(c iothub.Confirmation) {
	p.confirmed++
	if c.Result != iothub.ConfirmOK {
		p.failed++
	}
}

// flood sends for that long and waits for all confirmations.
func (p *program) flood(seconds float64) error {
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	m, confirm := p.make(), p.confirm
	for sending := true; sending || p.confirmed < p.sent; {
		room := sending && p.sent-p.confirmed < outstanding
		for i := 0; i < burst && room; i++ {
			if p.each {
				m = p.make()
			}
			if err := p.client.SendEventAsync(m, confirm); err != nil {
				return err
			}
			p.sent++
			room = p.sent-p.confirmed < outstanding
		}
		before := p.confirmed
		if _, err := p.client.DoWork(); err != nil {
			return err
		}
		if !room && p.confirmed == before {
			time.Sleep(time.Millisecond)
		}
		sending = sending && time.Now().Before(end) && p.failed == 0
	}
	if p.failed > 0 {
		return fmt.Errorf("%d messages were not confirmed", p.failed)
	}
	return nil
}
