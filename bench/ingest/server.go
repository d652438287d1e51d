package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/iothub-go/iothub/bench/internal/mosquitto"
)

// server is a running server, a child process with a folder of its own.
type server struct {
	title   string
	devices []string // connection strings, as many as --devices asks for at most
	roots   *x509.CertPool
	// sync says that a message is on disk before it is acknowledged.
	sync bool
	// events calls visit with the payload of every event kept, from the first
	// one on, until visit returns false or ctx ends; nil where nothing is kept.
	events func(ctx context.Context, visit func(payload []byte) bool) error
	// close ends the process and removes its folder.
	close func() error
}

func (s *server) name() string { return s.title }
func (s *server) synced() bool { return s.sync }

func startMosquitto(c config) (*server, error) {
	m, err := mosquitto.Start(c.dir)
	if err != nil {
		return nil, err
	}
	s := &server{title: "mosquitto", roots: m.Roots, close: m.Close}
	key := base64.StdEncoding.EncodeToString(make([]byte, 32)) // nobody asks for it
	for i := range slices.Max(c.devices) {
		s.devices = append(s.devices, fmt.Sprintf("HostName=%s;DeviceId=bench-%04d;SharedAccessKey=%s", m.Addr, i, key))
	}
	return s, nil
}
