package query

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Kind is what a value is.
type Kind uint8

// The kinds. Undefined is what is not there, which is not null.
const (
	Undefined Kind = iota
	Null
	Bool
	Number
	String
	// Composite is an object or array; it is only known by its JSON.
	Composite
)

// Value is a value of a row. The zero value is undefined.
type Value struct {
	Kind   Kind
	Truth  bool
	Number float64
	Text   string // of a string; of a composite its JSON
}

// Text is a string as a value.
func Text(s string) Value { return Value{Kind: String, Text: s} }

// Num is a number as a value.
func Num(n float64) Value { return Value{Kind: Number, Number: n} }

// Truth is true or false as a value.
func Truth(b bool) Value { return Value{Kind: Bool, Truth: b} }

// FromJSON makes a value of JSON text. Text that is no JSON is undefined.
func FromJSON(text string) Value {
	if text == "" {
		return Value{}
	}
	switch c := text[0]; c {
	case '{', '[':
		return Value{Kind: Composite, Text: text}
	case '"':
		if inner := text[1 : len(text)-1]; len(text) >= 2 && strings.IndexByte(inner, '\\') < 0 {
			return Text(inner) // nothing to decode, nothing to allocate
		}
		var s string
		if json.Unmarshal([]byte(text), &s) != nil {
			return Value{}
		}
		return Text(s)
	case 't', 'f':
		return Truth(c == 't')
	case 'n':
		return Value{Kind: Null}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Value{}
	}
	return Num(n)
}

// AppendJSON appends the value; undefined is null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Kind {
	case Bool:
		return strconv.AppendBool(dst, v.Truth)
	case Number:
		if n := int64(v.Number); float64(n) == v.Number && n > -maxExact && n < maxExact {
			return strconv.AppendInt(dst, n, 10)
		}
		data, err := json.Marshal(v.Number)
		if err != nil { // infinite
			return append(dst, "null"...)
		}
		return append(dst, data...)
	case String:
		if plain(v.Text) {
			return append(append(append(dst, '"'), v.Text...), '"')
		}
		data, _ := json.Marshal(v.Text) // a string always encodes
		return append(dst, data...)
	case Composite:
		return append(dst, v.Text...)
	}
	return append(dst, "null"...)
}

// maxExact is up to where a number is the same as a whole one.
const maxExact = 1 << 53

// plain reports whether a text is the same in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// compare orders two values of one kind. ok is false for values that cannot be
// compared: of different kinds, undefined, objects and arrays.
func compare(x, y Value) (order int, ok bool) {
	if x.Kind != y.Kind {
		return 0, false
	}
	switch x.Kind {
	case Null:
		return 0, true
	case Bool:
		return boolOrder(x.Truth) - boolOrder(y.Truth), true
	case Number:
		switch {
		case x.Number < y.Number:
			return -1, true
		case x.Number > y.Number:
			return 1, true
		}
		return 0, x.Number == y.Number // not for what is no number
	case String:
		if a, isTime := timeOf(x.Text); isTime {
			if b, isTime := timeOf(y.Text); isTime {
				return a.Compare(b), true
			}
		}
		return strings.Compare(x.Text, y.Text), true
	}
	return 0, false
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// timeOf reads a time as twins have it, so that times compare as such however many
// decimals they have.
func timeOf(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05") || s[4] != '-' || s[7] != '-' || s[10] != 'T' {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// elements are the members of an array.
func (v Value) elements() []Value {
	var raw []json.RawMessage
	if v.Kind != Composite || json.Unmarshal([]byte(v.Text), &raw) != nil {
		return nil
	}
	list := make([]Value, len(raw))
	for i, r := range raw {
		list[i] = FromJSON(string(r))
	}
	return list
}
