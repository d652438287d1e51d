package amqp

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzValue checks that what decodes encodes to something that is no longer and
// that decodes and encodes to itself.
func FuzzValue(f *testing.F) {
	for _, v := range valueVectors {
		f.Add(unhex(f, v.hex))
	}
	for _, v := range values() {
		enc, err := AppendValue(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := DecodeValue(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("undocumented error %v", err)
			}
			return
		}
		enc, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("%#v does not encode: %v", v, err)
		}
		if len(enc) > len(b)-len(rest) {
			t.Fatalf("% x grew to % x", b, enc)
		}
		again, rest, err := DecodeValue(enc)
		if err != nil || len(rest) != 0 {
			t.Fatalf("% x became % x: %v", b, enc, err)
		}
		// Bytes and not values are compared: NaN is not equal to itself.
		if enc2, err := AppendValue(nil, again); err != nil || !bytes.Equal(enc2, enc) {
			t.Fatalf("% x encodes to % x, %v", enc, enc2, err)
		}
	})
}

// FuzzFrame reads a stream of arbitrary bytes as a connection would.
func FuzzFrame(f *testing.F) {
	var all []byte
	for _, v := range frameVectors {
		f.Add(unhex(f, v.hex))
	}
	for _, p := range performatives() {
		enc, err := AppendFrame(nil, FrameAMQP, 1, p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc)
		all = append(all, enc...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			n, err := FrameLen(b, 1<<16)
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("undocumented error %v", err)
				}
				return
			}
			if n == 0 || n > len(b) {
				return
			}
			_, _, body, err := DecodeFrame(b[:n])
			if err == nil && len(body) > 0 {
				stable(t, body)
			}
			b = b[n:]
		}
	})
}

func stable(t *testing.T, body []byte) {
	p, err := decodeAny(body)
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Fatalf("undocumented error %v", err)
		}
		return
	}
	enc, err := p.Append(nil)
	if err != nil {
		t.Fatalf("%+v does not encode: %v", p, err)
	}
	again, err := decodeAny(enc)
	if err != nil {
		t.Fatalf("% x became % x: %v", body, enc, err)
	}
	if enc2, err := again.Append(nil); err != nil || !bytes.Equal(enc2, enc) {
		t.Fatalf("% x encodes to % x, %v", enc, enc2, err)
	}
}

// FuzzMessage is FuzzValue for messages.
func FuzzMessage(f *testing.F) {
	for _, v := range messageVectors {
		f.Add(unhex(f, v.hex))
	}
	for _, m := range messages() {
		enc, err := m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Message
		if err := m.Decode(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("undocumented error %v", err)
			}
			return
		}
		_ = m.Body() // must not panic
		enc, err := m.Append(nil)
		if err != nil {
			t.Fatalf("%+v does not encode: %v", m, err)
		}
		if err := again.Decode(enc); err != nil {
			t.Fatalf("% x became % x: %v", b, enc, err)
		}
		if enc2, err := again.Append(nil); err != nil || !bytes.Equal(enc2, enc) {
			t.Fatalf("% x encodes to % x, %v", enc, enc2, err)
		}
	})
}
