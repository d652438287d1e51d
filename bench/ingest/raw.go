package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/bench/internal/packet"
)

// rawClient writes packets encoded beforehand, in which only the number of the
// message changes, and counts acknowledgements.
type rawClient struct {
	conn   *tls.Conn
	device string
	window int64
	nextID uint16
}

func openRaw(s *server, connectionString string, window int) (client, error) {
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(cs.HostName)
	if err != nil {
		return nil, err
	}
	token, err := cs.Credential().Token(context.Background(), host+"/devices/"+cs.DeviceID, time.Now(), time.Hour)
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", cs.HostName, &tls.Config{RootCAs: s.roots})
	if err != nil {
		return nil, err
	}
	user := host + "/" + cs.DeviceID + "/?api-version=2021-04-12"
	reply := make([]byte, 4)
	_, err = conn.Write(packet.Connect(cs.DeviceID, user, token.Value))
	if err == nil {
		_, err = io.ReadFull(conn, reply)
	}
	if err == nil && reply[3] != 0 {
		err = fmt.Errorf("CONNACK %d", reply[3])
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &rawClient{conn: conn, device: cs.DeviceID, window: int64(window), nextID: 1}, nil
}

func (r *rawClient) flood(stop *atomic.Bool, payload []byte, head func([]byte)) error {
	topic := "devices/" + r.device + "/messages/events/temperatureAlert=true&line=seven&plant=north"
	limit := 64 << 10
	if most := int(r.window) / 2 * (len(payload) + len(topic)); most < limit {
		limit = most
	}
	var sent, acked atomic.Int64
	var writing atomic.Bool
	writing.Store(true)
	room := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() { done <- r.count(&sent, &acked, &writing, room) }()
	for last := false; !last; {
		batch, n, next := packet.Batch(topic, payload, limit, r.nextID)
		r.nextID = next
		step := len(batch) / n
		for i := range n {
			head(batch[(i+1)*step-len(payload):])
		}
		for sent.Load()+int64(n)-acked.Load() > r.window {
			select {
			case <-room:
			case err := <-done:
				return err
			}
		}
		sent.Add(int64(n))
		last = stop.Load()
		writing.Store(!last)
		if _, err := r.conn.Write(batch); err != nil {
			return err
		}
	}
	_ = r.conn.SetReadDeadline(time.Now().Add(waitTime))
	defer r.conn.SetReadDeadline(time.Time{})
	return <-done
}

// count reads PUBACKs until everything that was sent is acknowledged.
func (r *rawClient) count(sent, acked *atomic.Int64, writing *atomic.Bool, room chan struct{}) error {
	reply := make([]byte, 16<<10)
	got := 0
	for writing.Load() || int64(got) < 4*sent.Load() {
		n, err := r.conn.Read(reply)
		got += n
		acked.Store(int64(got / 4))
		select {
		case room <- struct{}{}:
		default:
		}
		if err != nil {
			return fmt.Errorf("after %d of %d acknowledgements: %w", got/4, sent.Load(), err)
		}
	}
	return nil
}

func (r *rawClient) close() error {
	_, _ = r.conn.Write([]byte{0xe0, 0}) // DISCONNECT
	return r.conn.Close()
}
