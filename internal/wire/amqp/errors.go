package amqp

import "errors"

// ErrMalformed is matched, through errors.Is, by every error about bytes that are
// not AMQP 1.0, except those that match ErrTooLarge. The connection that carried
// them has to be closed with [ErrCondDecode] or [ErrCondFraming].
var ErrMalformed = errors.New("amqp: malformed data")

// ErrTooLarge is returned for a frame that exceeds the limit given by the caller.
var ErrTooLarge = errors.New("amqp: frame too large")

// ErrUnsupported is matched by the error of encoding a Go value that stands for no
// AMQP type, or an array whose elements are not all of its type.
var ErrUnsupported = errors.New("amqp: value cannot be encoded")

// violation is one broken rule. The values are package variables, so that
// refusing bytes allocates nothing.
type violation struct {
	section string // of the specification
	text    string
}

func (v *violation) Error() string { return "amqp: " + v.text + " [AMQP " + v.section + "]" }

func (v *violation) Unwrap() error { return ErrMalformed }

var (
	errShort      = &violation{"1.2", "data ends inside a value"}
	errTrailing   = &violation{"1.2", "bytes left over after the value"}
	errCode       = &violation{"1.2", "unknown format code"}
	errDepth      = &violation{"1.4", "values are nested more than 32 deep"}
	errCount      = &violation{"1.4", "count does not fit the size"}
	errSize       = &violation{"1.4", "size does not fit the content"}
	errZeroWidth  = &violation{"1.6.25", "array of more than 128 elements without content"}
	errArrayElem  = &violation{"1.6.25", "array with a descriptor of a descriptor"}
	errMapCount   = &violation{"1.6.23", "map with an odd number of entries"}
	errBoolean    = &violation{"1.6.2", "boolean is neither 0 nor 1"}
	errUTF8       = &violation{"1.6.20", "string is not valid UTF-8"}
	errSymbol     = &violation{"1.6.21", "symbol is not ASCII"}
	errChar       = &violation{"1.6.16", "char is no Unicode scalar value"}
	errType       = &violation{"1.1", "field has another type"}
	errMissing    = &violation{"1.4", "a mandatory field is missing"}
	errDescriptor = &violation{"1.5", "unexpected descriptor"}
	errFrameSize  = &violation{"2.3.1", "frame is shorter than its header"}
	errDataOffset = &violation{"2.3.1", "data offset is outside the frame"}
	errFrameLen   = &violation{"2.3.1", "size does not match the frame"}
	errSection    = &violation{"3.2", "sections of the message are out of order"}
	errMessageID  = &violation{"3.2.4", "message or correlation id is no ulong, uuid, binary or string"}
	errTag        = &violation{"2.8.7", "delivery tag is longer than 32 bytes"}
)
