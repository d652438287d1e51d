package amqp

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// DecodeValue decodes the first value of src and returns what follows it.
func DecodeValue(src []byte) (v any, rest []byte, err error) {
	c := cursor{b: src}
	if v, err = c.value(0); err != nil {
		return nil, nil, err
	}
	return v, c.b, nil
}

// cursor reads values in order. Every read checks what is left, so lengths
// claimed by the peer are never trusted.
type cursor struct{ b []byte }

func (c *cursor) byte() (byte, error) {
	if len(c.b) < 1 {
		return 0, errShort
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v, nil
}

// take returns the next n bytes, aliasing.
func (c *cursor) take(n int) ([]byte, error) {
	if n < 0 || n > len(c.b) {
		return nil, errShort
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v, nil
}

func (c *cursor) uint16() (uint16, error) {
	b, err := c.take(2)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b), nil
}

func (c *cursor) uint32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (c *cursor) uint64() (uint64, error) {
	b, err := c.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// size reads a size or count of the width that the format code has.
func (c *cursor) size(wide bool) (int, error) {
	if !wide {
		b, err := c.byte()
		return int(b), err
	}
	n, err := c.uint32()
	if err == nil && uint64(n) > uint64(math.MaxInt32) {
		return 0, errShort // no such number of bytes ever arrives
	}
	return int(n), err
}

// isWide tells the format codes with four bytes of size from those with one.
func isWide(code byte) bool { return code&0x10 != 0 }

// variable reads the content of a binary, string or symbol.
func (c *cursor) variable(code byte) ([]byte, error) {
	n, err := c.size(isWide(code))
	if err != nil {
		return nil, err
	}
	return c.take(n)
}

// compound reads size and count of a list, map or array and returns its content,
// which begins with the constructor in the case of an array.
func (c *cursor) compound(code byte) (content cursor, count int, err error) {
	wide := isWide(code)
	n, err := c.size(wide)
	if err != nil {
		return cursor{}, 0, err
	}
	b, err := c.take(n)
	if err != nil {
		return cursor{}, 0, err
	}
	content = cursor{b}
	if count, err = content.size(wide); err != nil {
		return cursor{}, 0, errSize
	}
	return content, count, nil
}

func (c *cursor) value(depth int) (any, error) {
	code, err := c.byte()
	if err != nil {
		return nil, err
	}
	if code != codeDescribed {
		return c.content(code, depth)
	}
	if depth >= maxDepth {
		return nil, errDepth
	}
	var d Described
	if d.Descriptor, err = c.value(depth + 1); err != nil {
		return nil, err
	}
	if d.Value, err = c.value(depth + 1); err != nil {
		return nil, err
	}
	return d, nil
}

// content decodes what follows a format code.
func (c *cursor) content(code byte, depth int) (any, error) {
	switch code >> 4 {
	case 0x4:
		switch code {
		case codeNull:
			return nil, nil
		case codeTrue:
			return true, nil
		case codeFalse:
			return false, nil
		case codeUint0:
			return uint32(0), nil
		case codeUlong0:
			return uint64(0), nil
		case codeList0:
			return List{}, nil
		}
		return nil, errCode
	case 0x5, 0x6, 0x7, 0x8, 0x9:
		return c.fixed(code)
	case 0xa, 0xb:
		b, err := c.variable(code)
		if err != nil {
			return nil, err
		}
		switch code {
		case codeVbin8, codeVbin32:
			return b, nil
		case codeStr8, codeStr32:
			return text(b)
		case codeSym8, codeSym32:
			s, err := symbol(b)
			return s, err
		}
		return nil, errCode
	}
	if depth >= maxDepth {
		return nil, errDepth
	}
	switch code {
	case codeList8, codeList32:
		return c.list(code, depth)
	case codeMap8, codeMap32:
		return c.mapping(code, depth)
	case codeArray8, codeArray32:
		return c.array(code, depth)
	}
	return nil, errCode
}

// fixed decodes values of a fixed width.
func (c *cursor) fixed(code byte) (any, error) {
	switch code {
	case codeUbyte, codeByte, codeSmallUint, codeSmallUlong, codeSmallInt, codeSmallLong, codeBoolean:
		b, err := c.byte()
		if err != nil {
			return nil, err
		}
		switch code {
		case codeUbyte:
			return b, nil
		case codeByte:
			return int8(b), nil
		case codeSmallUint:
			return uint32(b), nil
		case codeSmallUlong:
			return uint64(b), nil
		case codeSmallInt:
			return int32(int8(b)), nil
		case codeSmallLong:
			return int64(int8(b)), nil
		}
		if b > 1 {
			return nil, errBoolean
		}
		return b == 1, nil
	case codeUshort, codeShort:
		v, err := c.uint16()
		if err != nil {
			return nil, err
		}
		if code == codeShort {
			return int16(v), nil
		}
		return v, nil
	case codeUint, codeInt, codeFloat, codeChar, codeDecimal32:
		return c.fixed32(code)
	case codeUlong, codeLong, codeDouble, codeTimestamp, codeDecimal64:
		return c.fixed64(code)
	case codeDecimal128, codeUUID:
		b, err := c.take(16)
		if err != nil {
			return nil, err
		}
		if code == codeUUID {
			return UUID(b), nil
		}
		return Decimal128(b), nil
	}
	return nil, errCode
}

func (c *cursor) fixed32(code byte) (any, error) {
	v, err := c.uint32()
	if err != nil {
		return nil, err
	}
	switch code {
	case codeInt:
		return int32(v), nil
	case codeFloat:
		return math.Float32frombits(v), nil
	case codeChar:
		if v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
			return nil, errChar
		}
		return Char(v), nil
	case codeDecimal32:
		return Decimal32(binary.BigEndian.AppendUint32(nil, v)), nil
	}
	return v, nil
}

func (c *cursor) fixed64(code byte) (any, error) {
	v, err := c.uint64()
	if err != nil {
		return nil, err
	}
	switch code {
	case codeLong:
		return int64(v), nil
	case codeDouble:
		return math.Float64frombits(v), nil
	case codeTimestamp:
		return Timestamp(v), nil
	case codeDecimal64:
		return Decimal64(binary.BigEndian.AppendUint64(nil, v)), nil
	}
	return v, nil
}

func (c *cursor) list(code byte, depth int) (any, error) {
	in, count, err := c.compound(code)
	if err != nil {
		return nil, err
	}
	if count > len(in.b) { // each element has a byte at least
		return nil, errCount
	}
	list := make(List, count)
	for i := range list {
		if list[i], err = in.value(depth + 1); err != nil {
			return nil, err
		}
	}
	if len(in.b) != 0 {
		return nil, errSize
	}
	return list, nil
}

func (c *cursor) mapping(code byte, depth int) (Map, error) {
	in, count, err := c.compound(code)
	if err != nil {
		return nil, err
	}
	if count > len(in.b) {
		return nil, errCount
	}
	if count%2 != 0 {
		return nil, errMapCount
	}
	m := make(Map, count/2)
	for i := range m {
		if m[i].Key, err = in.value(depth + 1); err != nil {
			return nil, err
		}
		if m[i].Value, err = in.value(depth + 1); err != nil {
			return nil, err
		}
	}
	if len(in.b) != 0 {
		return nil, errSize
	}
	return m, nil
}

func (c *cursor) array(code byte, depth int) (any, error) {
	in, count, err := c.compound(code)
	if err != nil {
		return nil, err
	}
	var a Array
	if a.Code, err = in.byte(); err != nil {
		return nil, errSize
	}
	if a.Code == codeDescribed {
		a.Described = true
		if a.Descriptor, err = in.value(depth + 1); err != nil {
			return nil, err
		}
		if a.Code, err = in.byte(); err != nil {
			return nil, errSize
		}
		if a.Code == codeDescribed {
			return nil, errArrayElem
		}
	}
	if !known(a.Code) {
		return nil, errCode
	}
	if a.Code>>4 == 0x4 {
		if count > maxZeroWidth {
			return nil, errZeroWidth
		}
	} else if count > len(in.b) {
		return nil, errCount
	}
	a.Items = make([]any, count)
	for i := range a.Items {
		if a.Items[i], err = in.content(a.Code, depth+1); err != nil {
			return nil, err
		}
	}
	if len(in.b) != 0 {
		return nil, errSize
	}
	return a, nil
}

// known reports whether a format code is one of the specification's.
func known(code byte) bool {
	switch code {
	case codeNull, codeTrue, codeFalse, codeUint0, codeUlong0, codeList0,
		codeUbyte, codeByte, codeSmallUint, codeSmallUlong, codeSmallInt, codeSmallLong, codeBoolean,
		codeUshort, codeShort, codeUint, codeInt, codeFloat, codeChar, codeDecimal32,
		codeUlong, codeLong, codeDouble, codeTimestamp, codeDecimal64, codeDecimal128, codeUUID,
		codeVbin8, codeStr8, codeSym8, codeVbin32, codeStr32, codeSym32,
		codeList8, codeMap8, codeList32, codeMap32, codeArray8, codeArray32:
		return true
	}
	return false
}

func text(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errUTF8
	}
	return string(b), nil
}

func symbol(b []byte) (Symbol, error) {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return "", errSymbol
		}
	}
	return Symbol(b), nil
}
