package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/nullamqp"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

// server is a running server.
type server struct {
	name   string
	target target
	close  func() error
}

func startHub(c hubConfig) (server, error) {
	var info hubInfo
	p, err := child.Command{Name: hubChild, Config: c}.Start(&info)
	if err != nil {
		return server{}, err
	}
	t := target{addr: info.Addr}
	if t.roots, err = selfcert.Pool([]byte(info.CA)); err != nil {
		p.Kill()
		return server{}, err
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(info.ConnectionString, ";") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	t.user, t.password = fields["SharedAccessKeyName"], fields["SharedAccessKey"]
	t.source = func(partition int) string {
		return fmt.Sprintf("%s/ConsumerGroups/$Default/Partitions/%d", fields["EntityPath"], partition)
	}
	return server{theHub, t, p.Close}, nil
}

// startNull starts a server that pours an event that the hub at t gave, so that
// both give the consumers the same to decode. It is not the first one, whose numbers
// are shorter than those of most.
func startNull(t target) (server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := t.open(ctx, 0)
	if err != nil {
		return server{}, err
	}
	defer c.conn.Close()
	var event []byte
	for range window {
		m, err := c.receiver.Receive(ctx, nil)
		if err != nil {
			return server{}, err
		}
		if event, err = m.MarshalBinary(); err != nil {
			return server{}, err
		}
	}
	const address = "events"
	s, err := nullamqp.Start(map[string][]byte{address: event})
	if err != nil {
		return server{}, err
	}
	return server{theCeiling, target{addr: s.Addr, roots: s.Roots, user: "any", password: "any",
		source: func(int) string { return address }}, s.Close}, nil
}
