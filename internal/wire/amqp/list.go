package amqp

import "encoding/binary"

// list writes the fields of a composite type. Nulls at the end are left out.
type list struct {
	b        []byte
	start    int // of the list
	from     int // of the whole, to undo it
	n        int
	kept     int // fields up to the last that is not null
	keptSize int
	err      error
}

func beginList(dst []byte, code Code) list {
	l := list{from: len(dst)}
	dst = appendDescriptor(dst, code)
	l.start = len(dst)
	l.b = beginCompound(dst, codeList8)
	l.keptSize = len(l.b)
	return l
}

func (l *list) end() ([]byte, error) {
	if l.err != nil {
		return l.b[:l.from], l.err
	}
	if l.kept == 0 {
		return append(l.b[:l.start], codeList0), nil
	}
	return endCompound(l.b[:l.keptSize], l.start, l.kept), nil
}

// wrote counts a field that is not null.
func (l *list) wrote() {
	l.n++
	l.kept, l.keptSize = l.n, len(l.b)
}

func (l *list) null() {
	l.n++
	l.b = append(l.b, codeNull)
}

func (l *list) uint32(v uint32) {
	l.b = appendUint(l.b, v)
	l.wrote()
}

func (l *list) optUint32(v Opt[uint32]) {
	if !v.OK {
		l.null()
		return
	}
	l.uint32(v.V)
}

// uint32Unless leaves out the default.
func (l *list) uint32Unless(v, def uint32) { l.optUint32(Opt[uint32]{v, v != def}) }

func (l *list) optUint64(v Opt[uint64]) {
	if !v.OK {
		l.null()
		return
	}
	l.b = appendUlong(l.b, v.V)
	l.wrote()
}

func (l *list) optUint16(v Opt[uint16]) {
	if !v.OK {
		l.null()
		return
	}
	l.b = append(l.b, codeUshort, byte(v.V>>8), byte(v.V))
	l.wrote()
}

func (l *list) optUint8(v Opt[uint8]) {
	if !v.OK {
		l.null()
		return
	}
	l.b = append(l.b, codeUbyte, v.V)
	l.wrote()
}

func (l *list) bool(v bool) {
	l.b = appendBool(l.b, v)
	l.wrote()
}

// flag leaves out false, the default of all flags.
func (l *list) flag(v bool) {
	if !v {
		l.null()
		return
	}
	l.bool(v)
}

func (l *list) timestamp(v Opt[Timestamp]) {
	if !v.OK {
		l.null()
		return
	}
	l.b = binary.BigEndian.AppendUint64(append(l.b, codeTimestamp), uint64(v.V))
	l.wrote()
}

// string leaves out the empty one.
func (l *list) string(s string) {
	if s == "" {
		l.null()
		return
	}
	l.mustString(s)
}

func (l *list) mustString(s string) {
	l.b = appendString(l.b, s)
	l.wrote()
}

// symbol leaves out the empty one.
func (l *list) symbol(s Symbol) {
	if s == "" {
		l.null()
		return
	}
	l.mustSymbol(s)
}

func (l *list) mustSymbol(s Symbol) {
	l.b = appendSymbol(l.b, s)
	l.wrote()
}

func (l *list) binary(b []byte) {
	if b == nil {
		l.null()
		return
	}
	l.b = appendBinary(l.b, b)
	l.wrote()
}

func (l *list) symbols(list []Symbol) {
	if list == nil {
		l.null()
		return
	}
	start := len(l.b)
	l.b = beginCompound(l.b, codeArray8)
	wide := false
	for _, s := range list {
		wide = wide || len(s) > 0xff
	}
	code := byte(codeSym8)
	if wide {
		code = codeSym32
	}
	l.b = append(l.b, code)
	for _, s := range list {
		l.b, _ = appendVariable(l.b, code, s, codeSym8, codeSym32)
	}
	l.b = endCompound(l.b, start, len(list))
	l.wrote()
}

func (l *list) mapping(m Map) {
	if m == nil {
		l.null()
		return
	}
	l.any(m)
}

func (l *list) any(v any) {
	if v == nil {
		l.null()
		return
	}
	b, err := appendValue(l.b, v, 1)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.b = b
	l.wrote()
}

// composite adds what the function appends.
func (l *list) composite(appendTo func([]byte) ([]byte, error)) {
	b, err := appendTo(l.b)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.b = b
	l.wrote()
}
