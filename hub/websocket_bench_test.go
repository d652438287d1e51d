package hub_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

// BenchmarkWebSocketIngest is BenchmarkServerIngest on plain memory, over TCP
// and over WebSockets. The client's half, the library's, is part of what is
// measured.
func BenchmarkWebSocketIngest(b *testing.B) {
	for _, over := range []string{"tcp", "websocket"} {
		b.Run(over, func(b *testing.B) {
			s := start(b, &hub.Options{RetentionBytes: 64 << 20})
			d := dialOver(b, s, over, "bench")
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			d.pump(b.N, 4000)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/msg")
		})
	}
}

// BenchmarkWebSocketIdle says what a connection that idles costs, with a client
// that has TLS and nothing else: b.N connections are open at once.
func BenchmarkWebSocketIdle(b *testing.B) {
	for _, over := range []string{"tcp", "websocket"} {
		b.Run(over, func(b *testing.B) {
			s := start(b, nil)
			config := &tls.Config{RootCAs: s.CertPool(), ServerName: "localhost"}
			_ = dialPlain(b, s, over, "first", config)
			before := heap()
			for i := range b.N {
				_ = dialPlain(b, s, over, fmt.Sprint("bench", i), config)
			}
			b.ReportMetric(float64(int64(heap())-int64(before))/float64(b.N), "B/conn")
		})
	}
}

// dialPlain connects without the help of a library.
func dialPlain(b *testing.B, s *hub.Server, over, id string, config *tls.Config) *device {
	b.Helper()
	made, err := s.CreateDevice(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	text, err := s.DeviceConnectionString(made.DeviceID)
	if err != nil {
		b.Fatal(err)
	}
	cs, err := iothub.ParseConnectionString(text)
	if err != nil {
		b.Fatal(err)
	}
	addr := cs.HostName
	if over != "tcp" {
		addr = strings.TrimPrefix(restURL(b, s), "https://")
	}
	nc, err := tls.Dial("tcp", addr, config)
	if err != nil {
		b.Fatal(err)
	}
	if over == "tcp" {
		d, _ := tryConnect(b, nc, cs)
		return d
	}
	_, err = io.WriteString(nc, "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	if err != nil {
		b.Fatal(err)
	}
	for answer := []byte{}; !bytes.HasSuffix(answer, []byte("\r\n\r\n")); {
		var c [1]byte
		if _, err := nc.Read(c[:]); err != nil {
			b.Fatal(err)
		}
		answer = append(answer, c[0])
	}
	d, _ := tryConnect(b, unmasked{nc}, cs)
	return d
}

// unmasked writes short messages, with a mask that changes nothing, and takes
// the header off short ones.
type unmasked struct{ net.Conn }

func (u unmasked) Write(p []byte) (int, error) {
	frame := append([]byte{0x82, 0x80 | 126, byte(len(p) >> 8), byte(len(p)), 0, 0, 0, 0}, p...)
	_, err := u.Conn.Write(frame)
	return len(p), err
}

func (u unmasked) Read(p []byte) (int, error) {
	n, err := u.Conn.Read(p)
	return copy(p, p[min(n, 2):n]), err
}

// heap is what is in use, stacks included.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func dialOver(b *testing.B, s *hub.Server, over, id string) *device {
	b.Helper()
	if _, err := s.CreateDevice(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	cs, err := s.DeviceConnectionString(id)
	if err != nil {
		b.Fatal(err)
	}
	if over == "tcp" {
		return dial(b, s, cs)
	}
	d, _ := dialSocket(b, s, cs)
	return d
}
