package amqp

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendValue appends a value in its shortest form. Errors match ErrUnsupported;
// dst is then returned as it was.
func AppendValue(dst []byte, v any) ([]byte, error) {
	out, err := appendValue(dst, v, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, fmt.Errorf("%w: nested more than %d deep", ErrUnsupported, maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(dst, codeNull), nil
	case bool:
		return appendBool(dst, v), nil
	case uint8:
		return append(dst, codeUbyte, v), nil
	case int8:
		return append(dst, codeByte, byte(v)), nil
	case uint16:
		return append(dst, codeUshort, byte(v>>8), byte(v)), nil
	case int16:
		return append(dst, codeShort, byte(uint16(v)>>8), byte(v)), nil
	case uint32:
		return appendUint(dst, v), nil
	case int32:
		if v == int32(int8(v)) {
			return append(dst, codeSmallInt, byte(v)), nil
		}
	case uint64:
		return appendUlong(dst, v), nil
	case int64:
		if v == int64(int8(v)) {
			return append(dst, codeSmallLong, byte(v)), nil
		}
	case string:
		return appendString(dst, v), nil
	case Symbol:
		return appendSymbol(dst, v), nil
	case []byte:
		return appendBinary(dst, v), nil
	case List:
		return appendList(dst, v, depth)
	case Map:
		return appendMap(dst, v, depth)
	case Array:
		return appendArray(dst, v, depth)
	case Described:
		dst, err := appendValue(append(dst, codeDescribed), v.Descriptor, depth+1)
		if err != nil {
			return dst, err
		}
		return appendValue(dst, v.Value, depth+1)
	}
	code := defaultCode(v)
	if code == 0 {
		return dst, fmt.Errorf("%w: %T is no AMQP type", ErrUnsupported, v)
	}
	return appendContent(append(dst, code), code, v, depth)
}

// defaultCode gives the format code of the fixed-width types that have one form.
func defaultCode(v any) byte {
	switch v.(type) {
	case int32:
		return codeInt
	case int64:
		return codeLong
	case float32:
		return codeFloat
	case float64:
		return codeDouble
	case Char:
		return codeChar
	case Timestamp:
		return codeTimestamp
	case Decimal32:
		return codeDecimal32
	case Decimal64:
		return codeDecimal64
	case Decimal128:
		return codeDecimal128
	case UUID:
		return codeUUID
	}
	return 0
}

// appendContent appends a value without its format code, which is given: the form
// that elements of arrays have.
func appendContent(dst []byte, code byte, v any, depth int) ([]byte, error) {
	ok := true
	switch v := v.(type) {
	case nil:
		ok = code == codeNull
	case bool:
		switch code {
		case codeTrue:
			ok = v
		case codeFalse:
			ok = !v
		default:
			if ok = code == codeBoolean; v {
				return append(dst, 1), wrongElement(ok, v)
			}
			dst = append(dst, 0)
		}
	case uint8:
		ok, dst = code == codeUbyte, append(dst, v)
	case int8:
		ok, dst = code == codeByte, append(dst, byte(v))
	case uint16:
		ok, dst = code == codeUshort, binary.BigEndian.AppendUint16(dst, v)
	case int16:
		ok, dst = code == codeShort, binary.BigEndian.AppendUint16(dst, uint16(v))
	case uint32:
		dst, ok = appendUnsigned(dst, code, uint64(v), codeUint0, codeSmallUint, codeUint)
	case uint64:
		dst, ok = appendUnsigned(dst, code, v, codeUlong0, codeSmallUlong, codeUlong)
	case int32:
		if ok = code == codeInt; code == codeSmallInt {
			return append(dst, byte(v)), wrongElement(v == int32(int8(v)), v)
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(v))
	case int64:
		if ok = code == codeLong; code == codeSmallLong {
			return append(dst, byte(v)), wrongElement(v == int64(int8(v)), v)
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	case float32:
		ok, dst = code == codeFloat, binary.BigEndian.AppendUint32(dst, math.Float32bits(v))
	case float64:
		ok, dst = code == codeDouble, binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
	case Char:
		ok, dst = code == codeChar, binary.BigEndian.AppendUint32(dst, uint32(v))
	case Timestamp:
		ok, dst = code == codeTimestamp, binary.BigEndian.AppendUint64(dst, uint64(v))
	case Decimal32:
		ok, dst = code == codeDecimal32, append(dst, v[:]...)
	case Decimal64:
		ok, dst = code == codeDecimal64, append(dst, v[:]...)
	case Decimal128:
		ok, dst = code == codeDecimal128, append(dst, v[:]...)
	case UUID:
		ok, dst = code == codeUUID, append(dst, v[:]...)
	case []byte:
		dst, ok = appendVariable(dst, code, v, codeVbin8, codeVbin32)
	case string:
		dst, ok = appendVariable(dst, code, v, codeStr8, codeStr32)
	case Symbol:
		dst, ok = appendVariable(dst, code, v, codeSym8, codeSym32)
	default:
		return appendCompoundContent(dst, code, v, depth)
	}
	return dst, wrongElement(ok, v)
}

func wrongElement(ok bool, v any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %T does not fit the array that it is an element of", ErrUnsupported, v)
}

func appendUnsigned(dst []byte, code byte, v uint64, zero, small, full byte) ([]byte, bool) {
	switch code {
	case zero:
		return dst, v == 0
	case small:
		return append(dst, byte(v)), v <= 0xff
	case codeUint:
		return binary.BigEndian.AppendUint32(dst, uint32(v)), full == codeUint
	case codeUlong:
		return binary.BigEndian.AppendUint64(dst, v), full == codeUlong
	}
	return dst, false
}

func appendVariable[T string | Symbol | []byte](dst []byte, code byte, v T, narrow, wide byte) ([]byte, bool) {
	switch code {
	case narrow:
		return append(append(dst, byte(len(v))), v...), len(v) <= 0xff
	case wide:
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...), true
	}
	return dst, false
}

// appendCompoundContent encodes a list, map or array in full and then moves its
// sizes into the width that the code demands.
func appendCompoundContent(dst []byte, code byte, v any, depth int) ([]byte, error) {
	start := len(dst)
	dst, err := appendValue(dst, v, depth)
	if err != nil {
		return dst, err
	}
	got := dst[start]
	switch {
	case got == code:
		return append(dst[:start], dst[start+1:]...), nil
	case got == codeList0 && code == codeList8:
		return append(dst[:start], 1, 0), nil
	case got == codeList0 && code == codeList32:
		return append(dst[:start], 0, 0, 0, 4, 0, 0, 0, 0), nil
	case got|0x10 == code && got != codeList0: // the narrow form of it
		size, count := int(dst[start+1]), dst[start+2]
		dst = append(dst, 0, 0, 0, 0, 0) // 3 bytes of header become 8
		copy(dst[start+8:], dst[start+3:len(dst)-5])
		binary.BigEndian.PutUint32(dst[start:], uint32(size-1+4))
		binary.BigEndian.PutUint32(dst[start+4:], uint32(count))
		return dst, nil
	}
	return dst, wrongElement(false, v)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, codeTrue)
	}
	return append(dst, codeFalse)
}

func appendUint(dst []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(dst, codeUint0)
	case v <= 0xff:
		return append(dst, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, codeUint), v)
}

func appendUlong(dst []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(dst, codeUlong0)
	case v <= 0xff:
		return append(dst, codeSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, codeUlong), v)
}

func appendString(dst []byte, s string) []byte {
	if len(s) <= 0xff {
		return append(append(dst, codeStr8, byte(len(s))), s...)
	}
	return append(binary.BigEndian.AppendUint32(append(dst, codeStr32), uint32(len(s))), s...)
}

func appendSymbol(dst []byte, s Symbol) []byte {
	if len(s) <= 0xff {
		return append(append(dst, codeSym8, byte(len(s))), s...)
	}
	return append(binary.BigEndian.AppendUint32(append(dst, codeSym32), uint32(len(s))), s...)
}

func appendBinary(dst, b []byte) []byte {
	if b == nil {
		return append(dst, codeNull)
	}
	if len(b) <= 0xff {
		return append(append(dst, codeVbin8, byte(len(b))), b...)
	}
	return append(binary.BigEndian.AppendUint32(append(dst, codeVbin32), uint32(len(b))), b...)
}

// beginCompound leaves room for the narrow header of a list, map or array.
func beginCompound(dst []byte, code byte) []byte { return append(dst, code, 0, 0) }

// endCompound fills in the header, and widens it where the content needs that.
func endCompound(dst []byte, start, count int) []byte {
	size := len(dst) - start - 2 // the count is part of it
	if size <= 0xff && count <= 0xff {
		dst[start+1], dst[start+2] = byte(size), byte(count)
		return dst
	}
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	copy(dst[start+9:], dst[start+3:len(dst)-6])
	dst[start] |= 0x10
	binary.BigEndian.PutUint32(dst[start+1:], uint32(size-1+4))
	binary.BigEndian.PutUint32(dst[start+5:], uint32(count))
	return dst
}

func appendList(dst []byte, list List, depth int) (_ []byte, err error) {
	if len(list) == 0 {
		return append(dst, codeList0), nil
	}
	start := len(dst)
	dst = beginCompound(dst, codeList8)
	for _, v := range list {
		if dst, err = appendValue(dst, v, depth+1); err != nil {
			return dst, err
		}
	}
	return endCompound(dst, start, len(list)), nil
}

func appendMap(dst []byte, m Map, depth int) (_ []byte, err error) {
	if m == nil {
		return append(dst, codeNull), nil
	}
	start := len(dst)
	dst = beginCompound(dst, codeMap8)
	for i := range m {
		if dst, err = appendValue(dst, m[i].Key, depth+1); err != nil {
			return dst, err
		}
		if dst, err = appendValue(dst, m[i].Value, depth+1); err != nil {
			return dst, err
		}
	}
	return endCompound(dst, start, 2*len(m)), nil
}

func appendArray(dst []byte, a Array, depth int) (_ []byte, err error) {
	if !known(a.Code) {
		return dst, fmt.Errorf("%w: array of the format code %#02x", ErrUnsupported, a.Code)
	}
	if a.Code>>4 == 0x4 && len(a.Items) > maxZeroWidth {
		return dst, fmt.Errorf("%w: %d elements without content", ErrUnsupported, len(a.Items))
	}
	start := len(dst)
	dst = beginCompound(dst, codeArray8)
	if a.Described {
		if dst, err = appendValue(append(dst, codeDescribed), a.Descriptor, depth+1); err != nil {
			return dst, err
		}
	}
	dst = append(dst, a.Code)
	for _, v := range a.Items {
		// The elements of an array of list0 have no content at all.
		if l, ok := v.(List); ok && a.Code == codeList0 {
			if len(l) > 0 {
				return dst, wrongElement(false, v)
			}
			continue
		}
		if dst, err = appendContent(dst, a.Code, v, depth+1); err != nil {
			return dst, err
		}
	}
	return endCompound(dst, start, len(a.Items)), nil
}
