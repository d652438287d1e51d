package amqp

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
