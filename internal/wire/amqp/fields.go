package amqp

import "encoding/binary"

// Code is the descriptor of a performative, SASL frame, section, terminus or
// outcome: the low half of its ulong form.
type Code byte

// The descriptors. (AMQP 2.7, 2.8.14, 3.2, 3.4, 3.5, 5.3.3)
const (
	CodeOpen                  Code = 0x10
	CodeBegin                 Code = 0x11
	CodeAttach                Code = 0x12
	CodeFlow                  Code = 0x13
	CodeTransfer              Code = 0x14
	CodeDisposition           Code = 0x15
	CodeDetach                Code = 0x16
	CodeEnd                   Code = 0x17
	CodeClose                 Code = 0x18
	CodeError                 Code = 0x1d
	CodeReceived              Code = 0x23
	CodeAccepted              Code = 0x24
	CodeRejected              Code = 0x25
	CodeReleased              Code = 0x26
	CodeModified              Code = 0x27
	CodeSource                Code = 0x28
	CodeTarget                Code = 0x29
	CodeCoordinator           Code = 0x30
	CodeSASLMechanisms        Code = 0x40
	CodeSASLInit              Code = 0x41
	CodeSASLChallenge         Code = 0x42
	CodeSASLResponse          Code = 0x43
	CodeSASLOutcome           Code = 0x44
	CodeHeader                Code = 0x70
	CodeDeliveryAnnotations   Code = 0x71
	CodeMessageAnnotations    Code = 0x72
	CodeProperties            Code = 0x73
	CodeApplicationProperties Code = 0x74
	CodeData                  Code = 0x75
	CodeSequence              Code = 0x76
	CodeValue                 Code = 0x77
	CodeFooter                Code = 0x78
)

// names are the symbolic descriptors, which few peers use and all may.
var names = map[string]Code{
	"amqp:open:list": CodeOpen, "amqp:begin:list": CodeBegin, "amqp:attach:list": CodeAttach,
	"amqp:flow:list": CodeFlow, "amqp:transfer:list": CodeTransfer, "amqp:disposition:list": CodeDisposition,
	"amqp:detach:list": CodeDetach, "amqp:end:list": CodeEnd, "amqp:close:list": CodeClose,
	"amqp:error:list": CodeError, "amqp:received:list": CodeReceived, "amqp:accepted:list": CodeAccepted,
	"amqp:rejected:list": CodeRejected, "amqp:released:list": CodeReleased, "amqp:modified:list": CodeModified,
	"amqp:source:list": CodeSource, "amqp:target:list": CodeTarget, "amqp:coordinator:list": CodeCoordinator,
	"amqp:sasl-mechanisms:list": CodeSASLMechanisms, "amqp:sasl-init:list": CodeSASLInit,
	"amqp:sasl-challenge:list": CodeSASLChallenge, "amqp:sasl-response:list": CodeSASLResponse,
	"amqp:sasl-outcome:list": CodeSASLOutcome,
	"amqp:header:list":       CodeHeader, "amqp:delivery-annotations:map": CodeDeliveryAnnotations,
	"amqp:message-annotations:map": CodeMessageAnnotations, "amqp:properties:list": CodeProperties,
	"amqp:application-properties:map": CodeApplicationProperties, "amqp:data:binary": CodeData,
	"amqp:amqp-sequence:list": CodeSequence, "amqp:amqp-value:*": CodeValue, "amqp:footer:map": CodeFooter,
}

// descriptor reads the descriptor of one of the specification's own types.
func (c *cursor) descriptor() (Code, error) {
	code, err := c.byte()
	if err != nil {
		return 0, err
	}
	if code != codeDescribed {
		return 0, errDescriptor
	}
	return c.descriptorValue()
}

// descriptorValue reads the descriptor behind the byte that announces it.
func (c *cursor) descriptorValue() (Code, error) {
	code, err := c.byte()
	if err != nil {
		return 0, err
	}
	switch code {
	case codeSmallUlong:
		b, err := c.byte()
		return Code(b), err
	case codeUlong:
		v, err := c.uint64()
		if err == nil && v > 0xff {
			err = errDescriptor
		}
		return Code(v), err
	case codeSym8, codeSym32:
		b, err := c.variable(code)
		if err != nil {
			return 0, err
		}
		if known, ok := names[string(b)]; ok {
			return known, nil
		}
	}
	return 0, errDescriptor
}

// appendDescriptor appends a descriptor in its ulong form.
func appendDescriptor(dst []byte, code Code) []byte {
	return append(dst, codeDescribed, codeSmallUlong, byte(code))
}

// fields reads the fields of a composite type in order. What is not there reads as
// null; the first error sticks, so it has to be looked at only in the end.
type fields struct {
	in    cursor
	left  int
	depth int
	err   error
}

// described reads a composite type of the given descriptor.
func (c *cursor) described(want Code, depth int) (fields, error) {
	got, err := c.descriptor()
	if err != nil {
		return fields{}, err
	}
	if got != want {
		return fields{}, errDescriptor
	}
	return c.fields(depth)
}

// fields reads the list of a composite type, whose fields follow.
func (c *cursor) fields(depth int) (fields, error) {
	if depth >= maxDepth {
		return fields{}, errDepth
	}
	code, err := c.byte()
	if err != nil {
		return fields{}, err
	}
	switch code {
	case codeList0:
		return fields{}, nil
	case codeList8, codeList32:
	default:
		return fields{}, errType
	}
	in, count, err := c.compound(code)
	if err != nil {
		return fields{}, err
	}
	if count > len(in.b) {
		return fields{}, errCount
	}
	return fields{in: in, left: count, depth: depth}, nil
}

// next reads the format code of the next field; codeNull when there is none.
func (f *fields) next() byte {
	if f.err != nil || f.left == 0 {
		return codeNull
	}
	f.left--
	code, err := f.in.byte()
	if err != nil {
		f.err = errSize
		return codeNull
	}
	return code
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// end reports the first error. Fields that the specification does not know are
// let pass: they must be values all the same.
func (f *fields) end() error {
	for f.err == nil && f.left > 0 {
		f.any()
	}
	if f.err == nil && len(f.in.b) != 0 {
		f.err = errSize
	}
	return f.err
}

func (f *fields) must(there bool) {
	if !there {
		f.fail(errMissing)
	}
}

func (f *fields) any() any {
	if f.err != nil || f.left == 0 {
		return nil
	}
	f.left--
	v, err := f.in.value(f.depth + 1)
	if err != nil {
		f.fail(err)
	}
	return v
}

func (f *fields) uint32() Opt[uint32] {
	switch f.next() {
	case codeNull:
		return Opt[uint32]{}
	case codeUint0:
		return Some(uint32(0))
	case codeSmallUint:
		b, err := f.in.byte()
		if err != nil {
			f.fail(err)
		}
		return Some(uint32(b))
	case codeUint:
		v, err := f.in.uint32()
		if err != nil {
			f.fail(err)
		}
		return Some(v)
	}
	f.fail(errType)
	return Opt[uint32]{}
}

func (f *fields) uint64() Opt[uint64] {
	switch f.next() {
	case codeNull:
		return Opt[uint64]{}
	case codeUlong0:
		return Some(uint64(0))
	case codeSmallUlong:
		b, err := f.in.byte()
		if err != nil {
			f.fail(err)
		}
		return Some(uint64(b))
	case codeUlong:
		v, err := f.in.uint64()
		if err != nil {
			f.fail(err)
		}
		return Some(v)
	}
	f.fail(errType)
	return Opt[uint64]{}
}

func (f *fields) uint16() Opt[uint16] {
	switch f.next() {
	case codeNull:
		return Opt[uint16]{}
	case codeUshort:
		v, err := f.in.uint16()
		if err != nil {
			f.fail(err)
		}
		return Some(v)
	}
	f.fail(errType)
	return Opt[uint16]{}
}

func (f *fields) uint8() Opt[uint8] {
	switch f.next() {
	case codeNull:
		return Opt[uint8]{}
	case codeUbyte:
		b, err := f.in.byte()
		if err != nil {
			f.fail(err)
		}
		return Some(b)
	}
	f.fail(errType)
	return Opt[uint8]{}
}

func (f *fields) bool() Opt[bool] {
	switch f.next() {
	case codeNull:
		return Opt[bool]{}
	case codeTrue:
		return Some(true)
	case codeFalse:
		return Some(false)
	case codeBoolean:
		b, err := f.in.byte()
		if err != nil {
			f.fail(err)
		}
		if b > 1 {
			f.fail(errBoolean)
		}
		return Some(b == 1)
	}
	f.fail(errType)
	return Opt[bool]{}
}

func (f *fields) timestamp() Opt[Timestamp] {
	switch f.next() {
	case codeNull:
		return Opt[Timestamp]{}
	case codeTimestamp:
		v, err := f.in.uint64()
		if err != nil {
			f.fail(err)
		}
		return Some(Timestamp(v))
	}
	f.fail(errType)
	return Opt[Timestamp]{}
}

// variable reads a field of one of two format codes; nil when it is null.
func (f *fields) variable(narrow, wide byte) []byte {
	code := f.next()
	switch code {
	case codeNull:
		return nil
	case narrow, wide:
		b, err := f.in.variable(code)
		if err != nil {
			f.fail(err)
		}
		return b
	}
	f.fail(errType)
	return nil
}

func (f *fields) binary() []byte { return f.variable(codeVbin8, codeVbin32) }

func (f *fields) string() string {
	s, err := text(f.variable(codeStr8, codeStr32))
	if err != nil {
		f.fail(err)
	}
	return s
}

func (f *fields) symbol() Symbol {
	s, err := symbol(f.variable(codeSym8, codeSym32))
	if err != nil {
		f.fail(err)
	}
	return s
}

// symbols reads a field that is marked multiple: one symbol or an array of them.
// (AMQP 1.4)
func (f *fields) symbols() []Symbol {
	switch v := f.any().(type) {
	case nil:
	case Symbol:
		return []Symbol{v}
	case Array:
		list := make([]Symbol, len(v.Items))
		for i, item := range v.Items {
			s, ok := item.(Symbol)
			if !ok || v.Described {
				f.fail(errType)
				return nil
			}
			list[i] = s
		}
		return list
	default:
		f.fail(errType)
	}
	return nil
}

func (f *fields) mapping() Map {
	switch v := f.any().(type) {
	case nil:
	case Map:
		return v
	default:
		f.fail(errType)
	}
	return nil
}

// composite reads a field that is a described list, and reports its descriptor.
// ok is false for null.
func (f *fields) composite() (code Code, inner fields, ok bool) {
	switch f.next() {
	case codeNull:
		return 0, fields{}, false
	case codeDescribed:
	default:
		f.fail(errType)
		return 0, fields{}, false
	}
	code, err := f.in.descriptorValue()
	if err == nil {
		inner, err = f.in.fields(f.depth + 1)
	}
	if err != nil {
		f.fail(err)
		return 0, fields{}, false
	}
	return code, inner, true
}

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
