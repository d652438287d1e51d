package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// clientFrame is a frame as a client sends it.
func clientFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < length16:
		b = append(b, bitMask|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, bitMask|length16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bitMask|length64), uint64(n))
	}
	mask := []byte{0x1b, 0xe5, 0x07, 0x90}
	b = append(b, mask...)
	for i, x := range payload {
		b = append(b, x^mask[i%4])
	}
	return b
}

// decode feeds input in pieces of at most size bytes and collects what comes out.
func decode(input []byte, size int) (payload []byte, controls []string, err error) {
	var d decoder
	for len(input) > 0 && err == nil {
		piece := bytes.Clone(input[:min(size, len(input))])
		input = input[len(piece):]
		var n int
		n, err = d.feed(piece, func(opcode byte, p []byte) error {
			controls = append(controls, fmt.Sprintf("%d %q", opcode, p))
			return nil
		})
		payload = append(payload, piece[:n]...)
	}
	return payload, controls, err
}

func TestDecoder(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef!"), 5000)
	for _, test := range []struct {
		name     string
		input    [][]byte
		payload  string
		controls []string
		err      error
	}{
		{"one message", [][]byte{clientFrame(0x82, []byte("abc"))}, "abc", nil, nil},
		{"an empty message", [][]byte{clientFrame(0x82, nil), clientFrame(0x82, []byte("x"))}, "x", nil, nil},
		{"lengths in all forms", [][]byte{clientFrame(0x82, long[:125]), clientFrame(0x82, long[:126]), clientFrame(0x82, long[:65535]), clientFrame(0x82, long[:65536])},
			string(long[:125]) + string(long[:126]) + string(long[:65535]) + string(long[:65536]), nil, nil},
		{"a message in fragments", [][]byte{clientFrame(0x02, []byte("a")), clientFrame(0x00, []byte("b")), clientFrame(0x80, []byte("c"))}, "abc", nil, nil},
		{"control frames within a message", [][]byte{clientFrame(0x02, []byte("a")), clientFrame(0x89, []byte("ping")), clientFrame(0x8a, nil), clientFrame(0x80, []byte("b"))},
			"ab", []string{`9 "ping"`, `10 ""`}, nil},
		{"close", [][]byte{clientFrame(0x82, []byte("a")), clientFrame(0x88, []byte{3, 232}), []byte("whatever")}, "a", []string{`8 "\x03\xe8"`}, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			input := bytes.Join(test.input, nil)
			for _, size := range []int{1, 2, 3, 7, 64, 4096, len(input)} {
				payload, controls, err := decode(input, size)
				if string(payload) != test.payload || fmt.Sprint(controls) != fmt.Sprint(test.controls) || !errors.Is(err, test.err) {
					t.Errorf("in pieces of %d: %d bytes, controls %q, error %v", size, len(payload), controls, err)
				}
			}
		})
	}
}

func TestDecoderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		input  []byte
		status uint16
	}{
		"text":                      {clientFrame(0x81, []byte("hello")), statusUnsupported},
		"no mask":                   {[]byte{0x82, 1, 'a'}, statusProtocol},
		"reserved bit":              {clientFrame(0xc2, nil), statusProtocol},
		"unknown data opcode":       {clientFrame(0x83, nil), statusProtocol},
		"unknown control opcode":    {clientFrame(0x8b, nil), statusProtocol},
		"fragmented ping":           {clientFrame(0x09, nil), statusProtocol},
		"long ping":                 {clientFrame(0x89, make([]byte, 126)), statusProtocol},
		"continuation of nothing":   {clientFrame(0x80, nil), statusProtocol},
		"message within a message":  {append(clientFrame(0x02, nil), clientFrame(0x82, nil)...), statusProtocol},
		"long form, 16 bits":        {[]byte{0x82, 0xfe, 0, 125, 1, 2, 3, 4}, statusProtocol},
		"long form, 64 bits":        {[]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}, statusProtocol},
		"highest bit of the length": {[]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, statusProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, len(test.input)} {
				payload, _, err := decode(test.input, size)
				if v := asViolation(err); v == nil || v.status != test.status || len(payload) > 0 {
					t.Errorf("in pieces of %d: %q, %v", size, payload, err)
				}
			}
		})
	}
}

func TestAppendHeader(t *testing.T) {
	for n, want := range map[int]string{
		0: "8200", 125: "827d", 126: "827e007e", 65535: "827effff", 65536: "827f0000000000010000",
	} {
		if got := fmt.Sprintf("%x", appendHeader(nil, opBinary, n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestCloseFrames(t *testing.T) {
	if got := appendClose(nil, 1002, strings.Repeat("x", 200)); len(got) != 2+maxControl || got[1] != maxControl {
		t.Errorf("%d bytes, length %d", len(got), got[1])
	}
	for payload, want := range map[string]string{
		"": "8800", "\x03": "8800", "\x03\xe8": "880203e8", "\x03\xe9bye": "880203e9", "\x03\xed": "880203ea", "\x00\x01": "880203ea", "\x13\x88": "880203ea",
	} {
		if got := fmt.Sprintf("%x", appendCloseReply(nil, []byte(payload))); got != want {
			t.Errorf("%q: %s, want %s", payload, got, want)
		}
	}
}

// Whatever comes, and however it is cut, nothing panics and the same comes out.
func FuzzDecoder(f *testing.F) {
	f.Add(clientFrame(0x82, []byte("abc")), uint16(1))
	f.Add(append(clientFrame(0x02, []byte("a")), clientFrame(0x80, make([]byte, 300))...), uint16(5))
	f.Add(append(clientFrame(0x89, []byte("a")), clientFrame(0x88, []byte{3, 232})...), uint16(3))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 5}, uint16(9))
	f.Fuzz(func(t *testing.T, input []byte, size uint16) {
		want, wantControls, wantErr := decode(input, len(input)+1)
		got, gotControls, gotErr := decode(input, int(size)+1)
		if !bytes.Equal(got, want) || fmt.Sprint(gotControls) != fmt.Sprint(wantControls) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("whole: %x %q %v; in pieces: %x %q %v", want, wantControls, wantErr, got, gotControls, gotErr)
		}
		if len(want) > len(input) {
			t.Errorf("%d bytes of %d", len(want), len(input))
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	for _, n := range []int{300, 16 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			frame := clientFrame(0x82, make([]byte, n))
			frames := bytes.Repeat(frame, 64<<10/len(frame))
			buf := make([]byte, len(frames))
			var d decoder
			b.SetBytes(int64(len(frames)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, frames)
				if _, err := d.feed(buf, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
