package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/iothub-go/iothub/bench/internal/selfcert"
	"github.com/iothub-go/iothub/hub"
)

// The hub runs in a child process, this binary started again with these set.
const (
	hubDataVariable    = "IOTHUB_BENCH_HUB_DATA"
	hubDevicesVariable = "IOTHUB_BENCH_HUB_DEVICES"
	hubNoSyncVariable  = "IOTHUB_BENCH_HUB_NO_SYNC"
)

// hubInfo is what the child tells its parent.
type hubInfo struct {
	CA      string   `json:"ca"`
	Devices []string `json:"devices"`
}

// hubMain runs the hub and exits if the process was started by startHub.
func hubMain() {
	data := os.Getenv(hubDataVariable)
	if data == "" {
		return
	}
	// An interrupt at the terminal is for the parent, which ends the child.
	signal.Ignore(os.Interrupt)
	if err := runHub(data); err != nil {
		fmt.Fprintln(os.Stderr, "hub:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runHub(data string) error {
	devices, err := strconv.Atoi(os.Getenv(hubDevicesVariable))
	if err != nil {
		return err
	}
	s, err := hub.New(&hub.Options{DataDir: data, NoSync: os.Getenv(hubNoSyncVariable) != ""})
	if err != nil {
		return err
	}
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		return err
	}
	info := hubInfo{CA: string(s.CACertPEM())}
	for i := range devices {
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
	if err := json.NewEncoder(os.Stdout).Encode(info); err != nil {
		return err
	}
	// The parent holds the other end: its end, however it comes, is ours.
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil // without a shutdown: what was acknowledged must not need one
}

func startHub(c config) (*server, error) {
	dir, err := os.MkdirTemp(c.dir, "ingest-hub-")
	if err != nil {
		return nil, err
	}
	s := &server{title: "hub", sync: !c.noSync, dir: dir}
	if err := s.startHub(c); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) startHub(c config) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	s.cmd = exec.Command(exe)
	s.cmd.Env = append(os.Environ(), hubDataVariable+"="+data,
		hubDevicesVariable+"="+strconv.Itoa(slices.Max(c.devices)))
	if c.noSync {
		s.cmd.Env = append(s.cmd.Env, hubNoSyncVariable+"=1")
	}
	s.cmd.Stderr = os.Stderr
	if _, err := s.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	slow := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer slow.Stop()
	var info hubInfo
	if err := json.NewDecoder(stdout).Decode(&info); err != nil {
		return fmt.Errorf("it did not say that it is ready: %w", err)
	}
	s.devices = info.Devices
	if s.roots, err = selfcert.Pool([]byte(info.CA)); err != nil {
		return err
	}
	s.events = func(ctx context.Context, visit func([]byte) bool) error {
		s.kill()
		return readEvents(ctx, data, visit)
	}
	return nil
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
