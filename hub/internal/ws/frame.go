package ws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Opcodes. [RFC 6455, 5.2]
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// Bits of the first two bytes of a frame.
const (
	bitFin      = 0x80
	bitsRsv     = 0x70
	bitsOpcode  = 0x0f
	bitControl  = 0x08
	bitMask     = 0x80
	bitsLength  = 0x7f
	length16    = 126
	length64    = 127
	maxControl  = 125
	maxHeader   = 14 // of a client: two bytes, the length in eight, the mask
	writeHeader = 10 // of a server, which does not mask
)

// Status codes of a close frame. [RFC 6455, 7.4.1]
const (
	statusNormal      = 1000
	statusProtocol    = 1002
	statusUnsupported = 1003
)

// violation is a fault of the peer, and the code that tells it so.
type violation struct {
	status uint16
	text   string
}

func (v *violation) Error() string { return "WebSocket: " + v.text }

func protocolError(format string, args ...any) error {
	return &violation{statusProtocol, fmt.Sprintf(format, args...)}
}

var errText = &violation{statusUnsupported, "a text frame: only binary frames carry this protocol"}

// decoder takes the frames off what a client sends. It works in place and keeps
// at most an unfinished header and a control frame, whatever the client sends
// and however it is cut; the length of frames and messages does not matter.
type decoder struct {
	header  [maxHeader]byte
	have    uint8 // bytes of header that have come
	control [maxControl]byte
	used    uint8 // bytes of control that have come

	inside     bool // the header is complete, the payload is not
	fragmented bool // a message goes on with the next data frame
	opcode     byte
	fin        bool
	mask       uint32 // turned to the next byte of the payload
	left       uint64 // bytes of the payload to come
}

// feed decodes b and puts the payloads of the data frames in it, one behind the
// other, at its beginning. It returns how long they are. What it gives to
// control is valid during the call. After an error, which may come with
// payload, nothing must follow; io.EOF is a close frame.
func (d *decoder) feed(b []byte, control func(opcode byte, payload []byte) error) (n int, err error) {
	for rest := b; ; {
		if !d.inside {
			took, err := d.readHeader(rest)
			rest = rest[took:]
			if err != nil {
				return n, err
			}
			if !d.inside {
				return n, nil // rest is empty
			}
		}
		piece := rest[:min(uint64(len(rest)), d.left)]
		rest = rest[len(piece):]
		d.left -= uint64(len(piece))
		d.unmask(piece)
		if d.opcode&bitControl == 0 {
			n += copy(b[n:], piece)
		} else {
			d.used += uint8(copy(d.control[d.used:], piece))
		}
		if d.left > 0 {
			return n, nil
		}
		if err := d.endFrame(control); err != nil {
			return n, err
		}
	}
}

// endFrame is called behind the last byte of a frame.
func (d *decoder) endFrame(control func(opcode byte, payload []byte) error) error {
	d.inside = false
	if d.opcode&bitControl == 0 {
		d.fragmented = !d.fin
		return nil
	}
	payload := d.control[:d.used]
	d.used = 0
	if err := control(d.opcode, payload); err != nil {
		return err
	}
	if d.opcode == opClose {
		return io.EOF
	}
	return nil
}

// readHeader takes as much of a header as there is: first the two bytes that say
// how long it is.
func (d *decoder) readHeader(b []byte) (took int, err error) {
	for {
		need := d.headerLen()
		k := copy(d.header[d.have:need], b[took:])
		d.have += uint8(k)
		took += k
		if int(d.have) < need {
			return took, nil
		}
		if need > 2 {
			return took, d.begin()
		}
		if err := d.check(); err != nil {
			return took, err
		}
	}
}

// headerLen is the length of the header as far as it is known.
func (d *decoder) headerLen() int {
	if d.have < 2 {
		return 2
	}
	n := 2 + 4
	switch d.header[1] & bitsLength {
	case length16:
		n += 2
	case length64:
		n += 8
	}
	return n
}

// check looks at the first two bytes of a frame. [RFC 6455, 5.2, 5.4, 5.5]
func (d *decoder) check() error {
	first, second := d.header[0], d.header[1]
	opcode, fin := first&bitsOpcode, first&bitFin != 0
	switch {
	case first&bitsRsv != 0:
		return protocolError("reserved bits are set, and no extension was agreed on")
	case second&bitMask == 0:
		return protocolError("a frame of a client is not masked")
	case opcode&bitControl != 0 && (!fin || second&bitsLength > maxControl):
		return protocolError("a control frame is fragmented or longer than %d bytes", maxControl)
	}
	switch opcode {
	case opText:
		return errText
	case opBinary:
		if d.fragmented {
			return protocolError("a message begins within another")
		}
	case opContinuation:
		if !d.fragmented {
			return protocolError("a continuation of nothing")
		}
	case opClose, opPing, opPong:
	default:
		return protocolError("the opcode %d is unknown", opcode)
	}
	return nil
}

// begin starts the payload of the frame whose header is complete.
func (d *decoder) begin() error {
	h := d.header[:d.have]
	d.have = 0
	d.opcode, d.fin = h[0]&bitsOpcode, h[0]&bitFin != 0
	switch length := h[1] & bitsLength; length {
	case length16:
		d.left = uint64(binary.BigEndian.Uint16(h[2:]))
		if d.left < length16 {
			return errNotMinimal
		}
	case length64:
		d.left = binary.BigEndian.Uint64(h[2:])
		if d.left <= 0xffff {
			return errNotMinimal
		}
		if d.left >= 1<<63 {
			return protocolError("the length has its highest bit set")
		}
	default:
		d.left = uint64(length)
	}
	d.mask = binary.LittleEndian.Uint32(h[len(h)-4:])
	d.inside = true
	return nil
}

var errNotMinimal = protocolError("the length is not in its shortest form")

// unmask does it in place and turns the mask by as many bytes. [RFC 6455, 5.3]
func (d *decoder) unmask(b []byte) {
	key := uint64(d.mask)<<32 | uint64(d.mask)
	for len(b) >= 32 {
		// Four at once, with one check of the bounds, is twice as fast.
		_ = b[31]
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^key)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^key)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^key)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(d.mask)
		d.mask = d.mask>>8 | d.mask<<24
	}
}

// appendHeader appends the header of a whole message, as servers send it.
func appendHeader(dst []byte, opcode byte, length int) []byte {
	dst = append(dst, bitFin|opcode)
	switch {
	case length < length16:
		return append(dst, byte(length))
	case length <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, length16), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, length64), uint64(length))
}

// appendClose appends a close frame.
func appendClose(dst []byte, status uint16, text string) []byte {
	text = text[:min(len(text), maxControl-2)]
	dst = appendHeader(dst, opClose, 2+len(text))
	return append(binary.BigEndian.AppendUint16(dst, status), text...)
}

// appendCloseReply appends the answer to a close frame: what it said, unless
// that may not be said. [RFC 6455, 5.5.1, 7.4]
func appendCloseReply(dst, payload []byte) []byte {
	if len(payload) < 2 {
		return appendHeader(dst, opClose, 0)
	}
	status := binary.BigEndian.Uint16(payload)
	if status < 1000 || status > 4999 || status == 1004 || status == 1005 || status == 1006 || status == 1015 {
		status = statusProtocol
	}
	return appendClose(dst, status, "")
}

// asViolation returns the fault of the peer that err is, if any.
func asViolation(err error) *violation {
	v, _ := errors.AsType[*violation](err)
	return v
}
