package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/bench/internal/mosquitto"
	"github.com/iothub-go/iothub/bench/internal/packet"
)

const (
	host      = "127.0.0.1"
	tokenLife = time.Hour
	// dialTime bounds one connect.
	dialTime = 20 * time.Second
)

// server is a running server, fresh for each round.
type server struct {
	addr     string
	roots    *x509.CertPool
	pid      int
	connects [][]byte // the first packet of each connection
	close    func() error
}

func startMosquitto(c config) (*server, error) {
	m, err := mosquitto.Start(c.dir)
	if err != nil {
		return nil, err
	}
	s := &server{addr: m.Addr, roots: m.Roots, pid: m.PID(), close: m.Close}
	for i := range c.connections {
		s.connects = append(s.connects, packet.Connect(deviceID(i), "", ""))
	}
	return s, nil
}

// connectAll opens all connections, some at a time, and returns how many a second
// that were.
func (s *server) connectAll(dialers int) (open []net.Conn, rate float64, err error) {
	open = make([]net.Conn, len(s.connects))
	errs := make([]error, dialers)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for d := range dialers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(open) {
					return
				}
				if open[i], errs[d] = s.connect(s.connects[i]); errs[d] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	rate = float64(len(open)) / time.Since(start).Seconds()
	return open, rate, errors.Join(errs...)
}

func (s *server) connect(first []byte) (net.Conn, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: &tls.Config{RootCAs: s.roots}}
	c, err := dialer.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	reply := make([]byte, 4)
	if err := c.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return c, err
	}
	_, err = c.Write(first)
	if err == nil {
		_, err = io.ReadFull(c, reply)
	}
	if err == nil && reply[3] != 0 {
		err = fmt.Errorf("CONNACK %d", reply[3])
	}
	return c, err
}

// resident is the memory of a process that is in RAM, in bytes; ok is false where
// there is no such thing as Linux's /proc.
func resident(pid int) (bytes int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text)) // in pages: size, resident, …
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err == nil
}
