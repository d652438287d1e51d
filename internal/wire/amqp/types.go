package amqp

import (
	"encoding/hex"
	"time"
)

// Symbol is a name from a constrained domain, in ASCII. (AMQP 1.6.21)
type Symbol string

// Char is one Unicode character. (AMQP 1.6.16)
type Char rune

// Timestamp is a point in time, in milliseconds since 1970. (AMQP 1.6.17)
type Timestamp int64

// TimestampOf is t, cut to milliseconds.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) }

// Time is the timestamp in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// UUID is a universally unique identifier in network order. (AMQP 1.6.18)
type UUID [16]byte

// String gives the usual form, in lower case.
func (u UUID) String() string {
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// Decimal32, Decimal64 and Decimal128 are IEEE 754 decimals as they stand on the
// wire. They are passed through, not calculated with. (AMQP 1.6.13 to 1.6.15)
type (
	Decimal32  [4]byte
	Decimal64  [8]byte
	Decimal128 [16]byte
)

// List is a sequence of values of any types. (AMQP 1.6.22)
type List []any

// Entry is one entry of a Map.
type Entry struct{ Key, Value any }

// Map is a map in the order of the wire. A nil Map is null, an empty one a map
// without entries. (AMQP 1.6.23)
type Map []Entry

// Get returns the value under a name, whether the key is a string or a symbol;
// nil when there is none.
func (m Map) Get(name string) any {
	for i := range m {
		switch k := m[i].Key.(type) {
		case string:
			if k == name {
				return m[i].Value
			}
		case Symbol:
			if string(k) == name {
				return m[i].Value
			}
		}
	}
	return nil
}

// Text returns the value under a name if it is a string or a symbol.
func (m Map) Text(name string) string {
	switch v := m.Get(name).(type) {
	case string:
		return v
	case Symbol:
		return string(v)
	}
	return ""
}

// Array is a sequence of values of one type. (AMQP 1.6.24)
type Array struct {
	// Code is the format code of all elements, which says how each is encoded.
	Code byte
	// Described tells that the elements have the Descriptor.
	Described  bool
	Descriptor any
	// Items are the elements, without the descriptor.
	Items []any
}

// StringArray is an array of strings.
func StringArray(items ...string) Array {
	a := Array{Code: codeStr8, Items: make([]any, len(items))}
	for i, s := range items {
		a.Items[i] = s
		if len(s) > 255 {
			a.Code = codeStr32
		}
	}
	return a
}

// Described is a value with a descriptor, which says what it means. (AMQP 1.5)
type Described struct{ Descriptor, Value any }

// Opt is a field that may be absent.
type Opt[T any] struct {
	V  T
	OK bool
}

// Some is a field that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, OK: true} }

// Or is the value of the field, or def when it is absent.
func (o Opt[T]) Or(def T) T {
	if o.OK {
		return o.V
	}
	return def
}

// The format codes. (AMQP 1.6)
const (
	codeDescribed  = 0x00
	codeNull       = 0x40
	codeTrue       = 0x41
	codeFalse      = 0x42
	codeUint0      = 0x43
	codeUlong0     = 0x44
	codeList0      = 0x45
	codeUbyte      = 0x50
	codeByte       = 0x51
	codeSmallUint  = 0x52
	codeSmallUlong = 0x53
	codeSmallInt   = 0x54
	codeSmallLong  = 0x55
	codeBoolean    = 0x56
	codeUshort     = 0x60
	codeShort      = 0x61
	codeUint       = 0x70
	codeInt        = 0x71
	codeFloat      = 0x72
	codeChar       = 0x73
	codeDecimal32  = 0x74
	codeUlong      = 0x80
	codeLong       = 0x81
	codeDouble     = 0x82
	codeTimestamp  = 0x83
	codeDecimal64  = 0x84
	codeDecimal128 = 0x94
	codeUUID       = 0x98
	codeVbin8      = 0xa0
	codeStr8       = 0xa1
	codeSym8       = 0xa3
	codeVbin32     = 0xb0
	codeStr32      = 0xb1
	codeSym32      = 0xb3
	codeList8      = 0xc0
	codeMap8       = 0xc1
	codeList32     = 0xd0
	codeMap32      = 0xd1
	codeArray8     = 0xe0
	codeArray32    = 0xf0
)

const (
	maxDepth = 32
	// maxZeroWidth bounds the elements of an array that have no bytes of their
	// own: all others are bounded by what has arrived.
	maxZeroWidth = 128
)
