package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
	"github.com/iothub-go/iothub/hub"
)

const hubChild = "ingest hub"

// hubConfig is what the hub's process is told.
type hubConfig struct {
	Data    string `json:"data"`
	Devices int    `json:"devices"`
	NoSync  bool   `json:"noSync"`
}

// hubInfo is what it tells its parent.
type hubInfo struct {
	CA      string   `json:"ca"`
	Devices []string `json:"devices"`
}

// hubMain is [child.Main] of the hub.
func hubMain() { child.Main(hubChild, runHub) }

func runHub(c hubConfig) error {
	s, err := hub.New(&hub.Options{DataDir: c.Data, NoSync: c.NoSync})
	if err != nil {
		return err
	}
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		return err
	}
	info := hubInfo{CA: string(s.CACertPEM())}
	for i := range c.Devices {
		id := fmt.Sprintf("bench-%04d", i)
		if _, err := s.CreateDevice(context.Background(), id); err != nil {
			return err
		}
		cs, err := s.DeviceConnectionString(id)
		if err != nil {
			return err
		}
		info.Devices = append(info.Devices, cs)
	}
	if err := child.Ready(info); err != nil {
		return err
	}
	child.Wait()
	return nil // without a shutdown: what was acknowledged must not need one
}

func startHub(c config) (_ *server, err error) {
	dir, err := os.MkdirTemp(c.dir, "ingest-hub-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	data := filepath.Join(dir, "data")
	var info hubInfo
	p, err := child.Command{Name: hubChild, Config: hubConfig{data, slices.Max(c.devices), c.noSync}}.Start(&info)
	if err != nil {
		return nil, err
	}
	s := &server{title: "hub", sync: !c.noSync, devices: info.Devices}
	if s.roots, err = selfcert.Pool([]byte(info.CA)); err != nil {
		p.Kill()
		return nil, err
	}
	s.close = func() error {
		p.Kill()
		return os.RemoveAll(dir)
	}
	s.events = func(ctx context.Context, visit func([]byte) bool) error {
		p.Kill()
		return readEvents(ctx, data, visit)
	}
	return s, nil
}

// readEvents opens the data folder of a hub that was killed and reads all its
// events.
func readEvents(ctx context.Context, data string, visit func([]byte) bool) (err error) {
	s, err := hub.New(&hub.Options{DataDir: data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Shutdown(context.Background())) }()
	for e, err := range s.Events(ctx, &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			return err
		}
		if !visit(e.Body) {
			return nil
		}
	}
	return nil
}
