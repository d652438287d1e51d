package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/bench/internal/packet"
)

func init() { register(implementation{name: "ceiling", open: openCeiling}) }

// ceilingWrite is the size of a write of the bare loop.
const ceilingWrite = 64 << 10

// ceiling is the bare loop: it writes packets encoded beforehand and counts
// acknowledgements.
type ceiling struct {
	conn  net.Conn
	batch []byte
	n     int // packets in batch
	reply []byte
}

func openCeiling(t target) (sender, error) {
	conn, err := tls.Dial("tcp", t.addr, t.tls())
	if err != nil {
		return nil, err
	}
	return newCeiling(t, conn, ceilingWrite)
}

// newCeiling logs in on conn and prepares writes of at most size bytes.
func newCeiling(t target, conn net.Conn, size int) (*ceiling, error) {
	c := &ceiling{conn: conn, reply: make([]byte, 64<<10)}
	_, err := conn.Write(packet.Connect(deviceID+"/"+moduleID, user, "none"))
	if err == nil {
		_, err = io.ReadFull(conn, c.reply[:4])
	}
	if err == nil && c.reply[3] != 0 {
		err = fmt.Errorf("CONNACK %d", c.reply[3])
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.batch, c.n, _ = packet.Batch(topic, t.payload(), size, 1)
	return c, nil
}

func (c *ceiling) flood(stop *atomic.Bool) (int, error) {
	var sent atomic.Int64
	done := make(chan error, 1)
	var writing atomic.Bool
	writing.Store(true)
	go func() {
		got := 0
		for writing.Load() || int64(got) < 4*sent.Load() {
			n, err := c.conn.Read(c.reply)
			got += n
			if err != nil {
				done <- fmt.Errorf("after %d of %d acknowledgements: %w", got/4, sent.Load(), err)
				return
			}
		}
		if int64(got) != 4*sent.Load() {
			done <- errors.New("more acknowledgements than messages")
			return
		}
		done <- nil
	}()
	for {
		// The count is raised and the end announced before the write, so the
		// reader never waits for an acknowledgement that does not come.
		sent.Add(int64(c.n))
		last := stop.Load()
		writing.Store(!last)
		if _, err := c.conn.Write(c.batch); err != nil {
			return 0, err
		}
		if last {
			break
		}
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(waitTime))
	err := <-done
	_ = c.conn.SetReadDeadline(time.Time{})
	return int(sent.Load()), err
}

func (c *ceiling) one() error {
	if _, err := c.conn.Write(c.batch[:len(c.batch)/c.n]); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, c.reply[:4])
	return err
}

func (c *ceiling) close() error { return c.conn.Close() }
