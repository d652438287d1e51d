package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/packet"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
	"github.com/iothub-go/iothub/hub"
)

const hubChild = "connections hub"

// hubConfig is what the hub's process is told.
type hubConfig struct {
	Data    string `json:"data"`
	Devices int    `json:"devices"`
}

// hubInfo is what it tells its parent.
type hubInfo struct {
	Addr    string   `json:"addr"`
	CA      string   `json:"ca"`
	Devices []string `json:"devices"` // connection strings
}

// hubMain is [child.Main] of the hub.
func hubMain() { child.Main(hubChild, runHub) }

func runHub(c hubConfig) error {
	s, err := hub.New(&hub.Options{DataDir: c.Data})
	if err != nil {
		return err
	}
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		return err
	}
	info := hubInfo{Addr: addr.String(), CA: string(s.CACertPEM())}
	for i := range c.Devices {
		id := deviceID(i)
		if _, err := s.CreateDevice(context.Background(), id); err != nil {
			return err
		}
		cs, err := s.DeviceConnectionString(id)
		if err != nil {
			return err
		}
		info.Devices = append(info.Devices, cs)
	}
	// What making the devices left behind would be room for connections, and they
	// would seem to cost less.
	debug.FreeOSMemory()
	if err := child.Ready(info); err != nil {
		return err
	}
	child.Wait()
	return s.Shutdown(context.Background())
}

func deviceID(i int) string { return fmt.Sprintf("bench-%05d", i) }

func startHub(c config) (_ *server, err error) {
	dir, err := os.MkdirTemp(c.dir, "connections-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	var info hubInfo
	p, err := child.Command{Name: hubChild, Config: hubConfig{dir, c.connections}}.Start(&info)
	if err != nil {
		return nil, err
	}
	s := &server{addr: info.Addr, pid: p.PID(), close: func() error {
		p.Kill()
		return os.RemoveAll(dir)
	}}
	if s.roots, err = selfcert.Pool([]byte(info.CA)); err == nil {
		s.connects, err = signIn(info.Devices)
	}
	if err != nil {
		p.Kill()
		return nil, err
	}
	return s, nil
}

// signIn encodes the CONNECT packet of each device, with its token.
func signIn(devices []string) (packets [][]byte, err error) {
	for _, text := range devices {
		cs, err := iothub.ParseConnectionString(text)
		if err != nil {
			return nil, err
		}
		token, err := cs.Credential().Token(context.Background(), host+"/devices/"+cs.DeviceID, time.Now(), tokenLife)
		if err != nil {
			return nil, err
		}
		user := host + "/" + cs.DeviceID + "/?api-version=2021-04-12"
		packets = append(packets, packet.Connect(cs.DeviceID, user, token.Value))
	}
	return packets, nil
}
