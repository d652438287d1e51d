package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/internal/simnet"
)

// stage is a pipe on one end of a connection.
type stage struct {
	*testing.T
	*Pipe
	gate     Gate
	peer     net.Conn
	mu       sync.Mutex
	notified int
}

func on(t *testing.T, up, down simnet.Direction, f func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		client, server := simnet.Pair(up, down)
		s := &stage{T: t, peer: server}
		s.Pipe = NewPipe(&s.gate, client, func() {
			s.mu.Lock()
			s.notified++
			s.mu.Unlock()
		})
		f(s)
		s.Close(0)
		server.Close()
		s.gate.Wait()
	})
}

func (s *stage) notifications() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notified
}

// reads what arrives at the peer.
func (s *stage) drain() *bytes.Buffer {
	var b bytes.Buffer
	go io.Copy(&b, s.peer)
	return &b
}

func TestPipeMovesBytes(t *testing.T) {
	on(t, simnet.Direction{}, simnet.Direction{}, func(s *stage) {
		got := s.drain()
		s.peer.Write([]byte("hello"))
		synctest.Wait()
		if in, wrote, err := s.Collect([]byte("> ")); string(in) != "> hello" || wrote != 0 || err != nil {
			s.Errorf("collected %q, %d, %v", in, wrote, err)
		}
		if s.notifications() == 0 {
			s.Error("nobody was notified")
		}
		if !s.Write([][]byte{[]byte("one "), []byte("two")}) {
			s.Fatal("an idle pipe refuses a write")
		}
		synctest.Wait()
		if s.Write([][]byte{[]byte("x")}) {
			s.Error("a write was taken before the last one was collected")
		}
		if _, wrote, _ := s.Collect(nil); wrote != 7 || got.String() != "one two" {
			s.Errorf("%d bytes written, %q arrived", wrote, got)
		}
		if !s.Write([][]byte{[]byte("!")}) {
			s.Error("a write was refused after the last one was collected")
		}
	})
}

// A driver that does not collect holds the peer back, and loses nothing.
func TestPipeHoldsThePeerBack(t *testing.T) {
	on(t, simnet.Direction{}, simnet.Direction{}, func(s *stage) {
		sent := make([]byte, 3*maxUnread)
		for i := range sent {
			sent[i] = byte(i * 7 >> 3)
		}
		done := false
		go func() { s.peer.Write(sent); done = true }()
		synctest.Wait()
		if done {
			s.Fatal("a pipe that nobody collects took everything")
		}
		var got []byte
		for range 100 {
			got, _, _ = s.Collect(got)
			synctest.Wait()
		}
		if !bytes.Equal(got, sent) || !done {
			s.Errorf("%d of %d bytes, or not the same", len(got), len(sent))
		}
	})
}

// The peer's end is reported after the last of its bytes, every time.
func TestPipeReportsTheEnd(t *testing.T) {
	on(t, simnet.Direction{}, simnet.Direction{}, func(s *stage) {
		s.peer.Write([]byte("bye"))
		s.peer.Close()
		synctest.Wait()
		in, _, err := s.Collect(nil)
		if string(in) != "bye" || !errors.Is(err, io.EOF) {
			s.Errorf("collected %q, %v", in, err)
		}
		if _, _, err := s.Collect(nil); !errors.Is(err, io.EOF) {
			s.Errorf("then %v", err)
		}
	})
}

// A pipe whose reader has met the end takes no more writes: its writer has
// gone, and Writing, which the driver waits for before it sends the same bytes
// elsewhere, used to stay true for ever.
func TestPipeRefusesWritesAfterTheEnd(t *testing.T) {
	on(t, simnet.Direction{}, simnet.Direction{}, func(s *stage) {
		s.peer.Close()
		synctest.Wait()
		s.changed.Broadcast() // as a Collect that came just before the end
		synctest.Wait()
		if s.Write([][]byte{[]byte("x")}) {
			s.Error("a write was taken")
		}
		synctest.Wait()
		if s.Writing() {
			s.Error("a write is under way for ever")
		}
	})
}

// A pipe that is closed before its writer has even woken up is not writing for
// ever either.
func TestPipeClosedBeforeItWrites(t *testing.T) {
	on(t, simnet.Direction{}, simnet.Direction{}, func(s *stage) {
		synctest.Wait()
		s.Pipe.mu.Lock() // so that the writer cannot come first
		s.out = [][]byte{[]byte("x")}
		s.writing, s.closed = true, true
		s.changed.Broadcast()
		HardClose(s.conn)
		s.Pipe.mu.Unlock()
		before := s.notifications()
		synctest.Wait()
		if s.Writing() {
			s.Error("a write is under way for ever")
		}
		if s.notifications() == before {
			s.Error("nobody was told that it has ended")
		}
	})
}

// Close ends a write that hangs: at once, or when its grace has passed, or as
// soon as the write has ended.
func TestPipeClose(t *testing.T) {
	for name, c := range map[string]struct {
		up    simnet.Direction
		grace time.Duration
		want  time.Duration
		all   bool
	}{
		"at once":        {simnet.Direction{Fault: simnet.Hole}, 0, 0, false},
		"grace passes":   {simnet.Direction{Fault: simnet.Hole}, time.Second, time.Second, false},
		"grace suffices": {simnet.Direction{Rate: 1 << 20}, 5 * time.Second, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, c.up, simnet.Direction{}, func(s *stage) {
				got := s.drain()
				out := make([]byte, 200<<10)
				start := time.Now()
				s.Write([][]byte{out})
				synctest.Wait()
				s.Close(c.grace)
				s.gate.Wait()
				if d := time.Since(start); d > c.want && !c.all || d > c.grace {
					s.Errorf("took %v", d)
				}
				if s.Writing() {
					s.Error("still writing")
				}
				<-time.After(time.Second)
				synctest.Wait()
				if (got.Len() == len(out)) != c.all {
					s.Errorf("%d of %d bytes arrived", got.Len(), len(out))
				}
			})
		})
	}
}

func TestGate(t *testing.T) {
	var g Gate
	release, ran := make(chan struct{}), make(chan struct{})
	if !g.Go(func() { close(ran); <-release }) {
		t.Fatal("an open gate refuses")
	}
	<-ran
	g.Close()
	if g.Go(func() { t.Error("ran") }) {
		t.Error("a closed gate lets through")
	}
	close(release)
	g.Wait()
}

// What the driver has not collected when it closes does not cost the peer the goodbye.
func TestPipeClosesWithoutReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var gate Gate
	p := NewPipe(&gate, conn, func() {})
	sent := make(chan error, 1)
	go func() {
		_, err := peer.Write(make([]byte, maxUnread+maxUnread/2))
		sent <- err
	}()
	p.Write([][]byte{[]byte("goodbye")})
	p.Settle(time.Now().Add(time.Minute))
	p.Close(time.Minute)
	if got, err := io.ReadAll(peer); string(got) != "goodbye" || err != nil {
		t.Errorf("the peer read %q, %v", got, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	peer.Close()
	gate.Wait()
}
