package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
	"github.com/iothub-go/iothub/bench/internal/stats"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
)

const hubChild = "egress hub"

// hubConfig is what the hub's process is told: how much there is to read from
// each of its partitions.
type hubConfig struct {
	Data       string `json:"data"`
	Partitions int    `json:"partitions"`
	Events     int    `json:"events"`
	Size       int    `json:"size"`
	CPUProfile string `json:"cpuProfile"`
}

// hubInfo is what it tells its parent.
type hubInfo struct {
	Addr             string `json:"addr"`
	CA               string `json:"ca"`
	ConnectionString string `json:"connectionString"` // of its event hub
}

// hubMain is [child.Main] of the hub.
func hubMain() { child.Main(hubChild, runHub) }

func runHub(c hubConfig) error {
	s, err := hub.New(&hub.Options{DataDir: c.Data, Partitions: c.Partitions})
	if err != nil {
		return err
	}
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		return err
	}
	addr, err := s.Listen(hub.AMQP, "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := fill(ctx, s, c); err != nil {
		return fmt.Errorf("filling it: %w", err)
	}
	err = child.Ready(hubInfo{Addr: addr.String(), CA: string(s.CACertPEM()), ConnectionString: s.EventHubConnectionString("")})
	if err != nil {
		return err
	}
	stop, err := stats.Profile(c.CPUProfile)
	if err != nil {
		return err
	}
	child.Wait()
	stop()
	return s.Shutdown(ctx)
}

// fill has a device for each partition send what is to be read from it, over MQTT
// as any device does.
func fill(ctx context.Context, s *hub.Server, c hubConfig) error {
	roots, err := selfcert.Pool(s.CACertPEM())
	if err != nil {
		return err
	}
	devices, err := deviceForEachPartition(ctx, s, c.Partitions, c.Size, roots)
	if err != nil {
		return err
	}
	errs := make(chan error, len(devices))
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Go(func() { errs <- flood(ctx, d, c.Events, c.Size) })
	}
	wg.Wait()
	for _, d := range devices {
		if err := <-errs; err != nil {
			return err
		}
		if err := d.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// deviceForEachPartition connects devices until there is one for each partition,
// which the event that each sends shows.
func deviceForEachPartition(ctx context.Context, s *hub.Server, partitions, size int, roots *x509.CertPool) (map[int]*device.Client, error) {
	found := map[int]*device.Client{}
	for i := 0; len(found) < partitions; i++ {
		id := fmt.Sprintf("bench-%04d", i)
		if _, err := s.CreateDevice(ctx, id); err != nil {
			return nil, err
		}
		cs, err := s.DeviceConnectionString(id)
		if err != nil {
			return nil, err
		}
		d, err := device.NewClientFromConnectionString(cs, &device.ClientOptions{TLS: &tls.Config{RootCAs: roots}})
		if err != nil {
			return nil, err
		}
		if err := flood(ctx, d, 1, size); err != nil {
			return nil, err
		}
		partition := -1
		for e, err := range s.Events(ctx, &hub.EventsOptions{DeviceID: id, NoWait: true}) {
			if err != nil {
				return nil, err
			}
			partition = e.Partition
		}
		if partition < 0 {
			return nil, fmt.Errorf("the event of %s is in no partition", id)
		}
		if found[partition] != nil {
			if err := d.Close(ctx); err != nil {
				return nil, err
			}
			continue
		}
		found[partition] = d
	}
	return found, nil
}

// flood sends messages with three application properties.
func flood(ctx context.Context, d *device.Client, n, size int) error {
	const step = 500
	batch := make([]*iothub.Message, step)
	for i := range batch {
		batch[i] = &iothub.Message{
			Payload:    []byte(strings.Repeat("a", size)),
			Properties: map[string]string{"temperatureAlert": "true", "line": "seven", "plant": "north"},
		}
	}
	for ; n > 0; n -= step {
		if err := d.SendEventBatch(ctx, batch[:min(n, step)]); err != nil {
			return err
		}
	}
	return nil
}
