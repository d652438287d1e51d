package nullamqp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

const (
	maxFrame = 64 << 10
	// largest is the largest message: one frame has to hold it.
	largest = maxFrame - 128
	// writeSize is how many bytes of transfers one write takes.
	writeSize = 64 << 10
	// firstID is of a width that all later ids have, so that one is written over
	// the other.
	firstID = 1 << 24
)

// server is one connection, with one session and one link at a time.
type server struct {
	nc       net.Conn
	in       *bufio.Reader
	messages map[string][]byte

	batch  []byte // transfers
	ids    []int  // where in batch the delivery ids are
	handle uint32
	sent   uint32 // messages on the link
	total  uint32 // transfers on the session
}

func (s *server) serve() error {
	s.in = bufio.NewReaderSize(s.nc, 16<<10)
	header, err := s.header()
	if err != nil {
		return err
	}
	if header == amqp.HeaderSASL {
		if err := s.sasl(); err != nil {
			return err
		}
		if _, err := s.header(); err != nil {
			return err
		}
	}
	if err := s.write([]byte(amqp.HeaderAMQP)); err != nil {
		return err
	}
	for {
		channel, body, err := s.frame()
		if err != nil {
			return err
		}
		if len(body) == 0 {
			continue
		}
		if err := s.answer(channel, body); err != nil {
			return err
		}
	}
}

func (s *server) header() (string, error) {
	b := make([]byte, amqp.HeaderLen)
	_, err := io.ReadFull(s.in, b)
	return string(b), err
}

func (s *server) write(b []byte) error {
	_, err := s.nc.Write(b)
	return err
}

func (s *server) send(t amqp.FrameType, channel uint16, p amqp.Performative) error {
	b, err := amqp.AppendFrame(nil, t, channel, p)
	if err != nil {
		return err
	}
	return s.write(b)
}

// frame reads a frame.
func (s *server) frame() (channel uint16, body []byte, err error) {
	head, err := s.in.Peek(4)
	if err != nil {
		return 0, nil, err
	}
	n, err := amqp.FrameLen(head, maxFrame)
	if err != nil {
		return 0, nil, err
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(s.in, frame); err != nil {
		return 0, nil, err
	}
	_, channel, body, err = amqp.DecodeFrame(frame)
	return channel, body, err
}

// sasl takes whatever the client offers.
func (s *server) sasl() error {
	if err := s.write([]byte(amqp.HeaderSASL)); err != nil {
		return err
	}
	if err := s.send(amqp.FrameSASL, 0, &amqp.SASLMechanisms{Mechanisms: []amqp.Symbol{"PLAIN", "ANONYMOUS"}}); err != nil {
		return err
	}
	if _, _, err := s.frame(); err != nil {
		return err
	}
	return s.send(amqp.FrameSASL, 0, &amqp.SASLOutcome{Code: amqp.SASLOK})
}

func (s *server) answer(channel uint16, body []byte) error {
	code, err := amqp.PeekCode(body)
	if err != nil {
		return err
	}
	switch code {
	case amqp.CodeOpen:
		return s.send(amqp.FrameAMQP, 0, &amqp.Open{ContainerID: "null", MaxFrameSize: maxFrame, ChannelMax: amqp.DefaultChannelMax})
	case amqp.CodeBegin:
		s.total = 0
		return s.send(amqp.FrameAMQP, channel, &amqp.Begin{RemoteChannel: amqp.Some(channel),
			IncomingWindow: math.MaxUint16, OutgoingWindow: math.MaxUint16, HandleMax: amqp.DefaultHandleMax})
	case amqp.CodeAttach:
		return s.attach(channel, body)
	case amqp.CodeFlow:
		var p amqp.Flow
		if err := p.Decode(body); err != nil {
			return err
		}
		return s.pour(&p)
	case amqp.CodeDetach:
		return s.send(amqp.FrameAMQP, channel, &amqp.Detach{Handle: s.handle, Closed: true})
	case amqp.CodeEnd:
		return s.send(amqp.FrameAMQP, channel, &amqp.End{})
	case amqp.CodeClose:
		if err := s.send(amqp.FrameAMQP, 0, &amqp.Close{}); err != nil {
			return err
		}
		return io.EOF
	}
	return nil
}

// attach encodes as many transfers of the message at the address as one write
// takes.
func (s *server) attach(channel uint16, body []byte) error {
	var p amqp.Attach
	if err := p.Decode(body); err != nil {
		return err
	}
	if p.Source == nil || s.messages[p.Source.Address] == nil {
		return fmt.Errorf("no message for the link %q", p.Name)
	}
	t := amqp.Transfer{
		Handle: p.Handle, DeliveryID: amqp.Some(uint32(firstID)), DeliveryTag: []byte{0, 0, 0, 0},
		MessageFormat: amqp.Some(uint32(0)), Settled: amqp.Some(true), Payload: s.messages[p.Source.Address],
	}
	s.handle, s.sent, s.batch, s.ids = p.Handle, 0, nil, nil
	for {
		start := len(s.batch)
		var err error
		if s.batch, err = amqp.AppendFrame(s.batch, amqp.FrameAMQP, channel, &t); err != nil {
			return err
		}
		s.ids = append(s.ids, start+idOffset(s.batch[start:]))
		if n := len(s.batch) / len(s.ids); len(s.batch)+n > writeSize {
			break
		}
	}
	return s.send(amqp.FrameAMQP, channel, &amqp.Attach{
		Name: p.Name, Handle: p.Handle, Role: amqp.RoleSender, Source: p.Source, Target: p.Target,
		SenderSettleMode: p.SenderSettleMode, ReceiverSettleMode: p.ReceiverSettleMode, InitialDeliveryCount: amqp.Some(uint32(0)),
	})
}

// idOffset finds the delivery id in a frame.
func idOffset(frame []byte) int {
	for i := range len(frame) - 4 {
		if binary.BigEndian.Uint32(frame[i:]) == firstID && frame[i-1] == 0x70 { // a uint of four bytes
			return i
		}
	}
	panic("a transfer without a delivery id") // it was just put there
}

// pour sends what credit and window allow.
func (s *server) pour(p *amqp.Flow) error {
	if !p.Handle.OK {
		return nil // the client gives more window long before it is used up
	}
	credit := p.DeliveryCount.Or(0) + p.LinkCredit.Or(0) - s.sent
	window := p.NextIncomingID.Or(0) + p.IncomingWindow - s.total
	for left := int(min(int32(credit), int32(window))); left > 0; {
		n := min(left, len(s.ids))
		for i, at := range s.ids[:n] {
			binary.BigEndian.PutUint32(s.batch[at:], firstID+s.total+uint32(i))
		}
		if err := s.write(s.batch[:n*len(s.batch)/len(s.ids)]); err != nil {
			return err
		}
		s.sent, s.total, left = s.sent+uint32(n), s.total+uint32(n), left-n
	}
	return nil
}
