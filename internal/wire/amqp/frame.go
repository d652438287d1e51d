package amqp

import "encoding/binary"

// FrameType is the kind of a frame.
type FrameType byte

// The frame types. (AMQP 2.3.1, 5.3.1)
const (
	FrameAMQP FrameType = 0
	FrameSASL FrameType = 1
)

const (
	// HeaderLen is the length of the protocol header that begins each layer.
	HeaderLen = 8
	// FrameHeaderLen is the length of a frame without extended header and body.
	FrameHeaderLen = 8
	// MinMaxFrameSize is the smallest maximum of frame sizes that a peer may ask
	// for. (AMQP 2.7.1)
	MinMaxFrameSize = 512
)

// The protocol headers. (AMQP 2.2, 5.3)
const (
	HeaderAMQP = "AMQP\x00\x01\x00\x00"
	HeaderSASL = "AMQP\x03\x01\x00\x00"
)

// FrameLen returns the length of the first frame of src once its size has
// arrived, even if the rest has not, and 0 before that. A frame longer than
// maxFrame is ErrTooLarge. (AMQP 2.3.1)
func FrameLen(src []byte, maxFrame int) (int, error) {
	if len(src) < 4 {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(src)
	if n < FrameHeaderLen {
		return 0, errFrameSize
	}
	if uint64(n) > uint64(maxFrame) {
		return 0, ErrTooLarge
	}
	return int(n), nil
}

// DecodeFrame takes one whole frame apart. An empty body is a sign of life. The
// body aliases the frame; the extended header is skipped. (AMQP 2.3)
func DecodeFrame(frame []byte) (t FrameType, channel uint16, body []byte, err error) {
	if len(frame) < FrameHeaderLen {
		return 0, 0, nil, errFrameSize
	}
	if uint64(binary.BigEndian.Uint32(frame)) != uint64(len(frame)) {
		return 0, 0, nil, errFrameLen
	}
	offset := 4 * int(frame[4])
	if offset < FrameHeaderLen || offset > len(frame) {
		return 0, 0, nil, errDataOffset
	}
	return FrameType(frame[5]), binary.BigEndian.Uint16(frame[6:]), frame[offset:], nil
}

// PeekCode returns the descriptor of the performative that begins a body.
func PeekCode(body []byte) (Code, error) {
	c := cursor{body}
	return c.descriptor()
}

// BeginFrame appends the header of a frame, whose body is appended next; EndFrame
// needs the length that dst had before.
func BeginFrame(dst []byte, t FrameType, channel uint16) []byte {
	return append(dst, 0, 0, 0, 0, FrameHeaderLen/4, byte(t), byte(channel>>8), byte(channel))
}

// EndFrame completes the frame that begins at start.
func EndFrame(dst []byte, start int) {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
}

// Performative is a body that frames carry.
type Performative interface {
	// Append appends the performative. Errors match ErrUnsupported and come from
	// maps and the like that hold values of other types; dst is then as it was.
	Append(dst []byte) ([]byte, error)
}

// AppendFrame appends a whole frame. After an error dst is as it was.
func AppendFrame(dst []byte, t FrameType, channel uint16, p Performative) ([]byte, error) {
	start := len(dst)
	dst, err := p.Append(BeginFrame(dst, t, channel))
	if err != nil {
		return dst[:start], err
	}
	EndFrame(dst, start)
	return dst, nil
}

// AppendEmptyFrame appends the frame that only shows that its sender lives.
// (AMQP 2.4.5)
func AppendEmptyFrame(dst []byte) []byte {
	return append(dst, 0, 0, 0, 8, 2, 0, 0, 0)
}
