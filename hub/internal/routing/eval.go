package routing

import (
	"math"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

// valueType is what is known of an expression when it is compiled.
type valueType uint8

const (
	stringType valueType = iota
	numberType
	boolType
	nullType
	undefinedType
	dynamicType // of a body or a twin: known when a message is there
)

func (t valueType) String() string {
	return [...]string{"a string", "a number", "true or false", "null", "undefined", "a value of the body or the twin"}[t]
}

// oneOf reports whether the type is one of them; a dynamic one may be any.
func (t valueType) oneOf(types ...valueType) bool {
	if t == dynamicType {
		return true
	}
	for _, other := range types {
		if t == other {
			return true
		}
	}
	return false
}

// valueKind is what a value is. The order is that of values of different kinds.
type valueKind uint8

const (
	undefinedValue valueKind = iota
	boolValue
	numberValue
	stringValue
	nullValue
	objectValue // an object or array: known only by what it is
	arrayValue
)

// value is the result of an expression.
type value struct {
	kind    valueKind
	truth   bool
	missing bool // null for want of anything there
	number  float64
	text    string
}

var (
	undefined = value{}
	null      = value{kind: nullValue}
)

func number(v float64) value {
	if math.IsNaN(v) {
		return undefined
	}
	return value{kind: numberValue, number: v}
}

func text(s string) value { return value{kind: stringValue, text: s} }

func truth(b bool) value { return value{kind: boolValue, truth: b} }

// valueOf is what a condition sees of decoded JSON.
func valueOf(v any) value {
	switch v := v.(type) {
	case nil:
		return null
	case bool:
		return truth(v)
	case float64:
		return number(v)
	case string:
		return text(v)
	case map[string]any:
		return value{kind: objectValue}
	case []any:
		return value{kind: arrayValue}
	}
	return undefined
}

// expr is a compiled expression.
type expr interface{ eval(m Message) value }

type constant value

func (c constant) eval(Message) value { return value(c) }

// property is an application property.
type property string

func (p property) eval(m Message) value {
	if v, ok := m.Property(string(p)); ok {
		return text(v)
	}
	return undefined
}

// system is a system property.
type system string

func (s system) eval(m Message) value {
	if v, ok := m.System(string(s)); ok {
		return text(v)
	}
	return undefined
}

// either is the first of two that is there.
type either struct{ first, second expr }

func (e either) eval(m Message) value {
	if v := e.first.eval(m); v.kind != undefinedValue {
		return v
	}
	return e.second.eval(m)
}

// walk follows a path. found is false where it leads nowhere.
func walk(v any, steps []step) (result any, found bool) {
	for _, s := range steps {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = object[s.name]; !ok {
			return nil, false
		}
		if s.index >= 0 {
			array, ok := v.([]any)
			if !ok || s.index >= len(array) {
				return nil, false
			}
			v = array[s.index]
		}
	}
	return v, true
}

type bodyPath []step

// eval gives null where the path leads nowhere, as the reference does.
func (p bodyPath) eval(m Message) value {
	body, ok := m.Body()
	if !ok {
		return undefined
	}
	if v, ok := walk(body, p); ok {
		return valueOf(v)
	}
	return value{kind: nullValue, missing: true}
}

type twinPath []step

func (p twinPath) eval(m Message) value {
	names := make([]string, len(p))
	for i, s := range p {
		names[i] = s.name
	}
	// An index can only be the last thing of a path in a twin: arrays hold no
	// further names that the language could reach but by another index.
	for i, s := range p {
		if s.index >= 0 {
			v, ok := m.Twin(names[:i+1])
			if array, is := v.([]any); ok && is && s.index < len(array) {
				if v, ok = walk(array[s.index], p[i+1:]); ok {
					return valueOf(v)
				}
			}
			return undefined
		}
	}
	if v, ok := m.Twin(names); ok {
		return valueOf(v)
	}
	return undefined
}

// includes is twin_change_includes.
type includes []step

func (p includes) eval(m Message) value {
	body, ok := m.Body()
	if !ok {
		return undefined
	}
	_, found := walk(body, p)
	return truth(found)
}

type notExpr struct{ e expr }

func (n notExpr) eval(m Message) value {
	switch v := n.e.eval(m); v.kind {
	case boolValue:
		return truth(!v.truth)
	case nullValue:
		return truth(true)
	}
	return undefined
}

type negative struct{ e expr }

func (n negative) eval(m Message) value {
	if v := n.e.eval(m); v.kind == numberValue {
		return number(-v.number)
	}
	return undefined
}

func coalesce(op token, left, right typed) (typed, *Error) {
	typ := left.typ
	switch {
	case left.typ == undefinedType || left.typ == nullType:
		typ = right.typ
	case right.typ == undefinedType || right.typ == nullType || left.typ == right.typ:
	case left.typ == dynamicType || right.typ == dynamicType:
		typ = dynamicType
	default:
		return left, syntax.At(op.at, "?? has %s on its left and %s on its right", left.typ, right.typ)
	}
	return typed{expr: coalesceExpr{left.expr, right.expr}, typ: typ}, nil
}

type coalesceExpr struct{ left, right expr }

func (c coalesceExpr) eval(m Message) value {
	if v := c.left.eval(m); v.kind != undefinedValue && v.kind != nullValue {
		return v
	}
	return c.right.eval(m)
}

func logic(op token, left, right typed) (typed, *Error) {
	for _, side := range []typed{left, right} {
		if !side.typ.oneOf(boolType, nullType, undefinedType) {
			return left, syntax.At(side.at, "%s needs something true or false, and this is %s", op.text, side.typ)
		}
	}
	return typed{expr: logicExpr{op.text == "and", left.expr, right.expr}, typ: boolType}, nil
}

type logicExpr struct {
	and         bool
	left, right expr
}

// eval is three-valued: what is undefined counts only where the other side does
// not decide. Null is not true.
func (e logicExpr) eval(m Message) value {
	decides := func(v value) bool { return v.kind == boolValue && v.truth != e.and }
	left := e.left.eval(m)
	if decides(left) {
		return left
	}
	if e.and && left.kind == nullValue {
		return null
	}
	right := e.right.eval(m)
	switch {
	case decides(right):
		return right
	case left.kind != boolValue && left.kind != nullValue, right.kind != boolValue && right.kind != nullValue:
		return undefined
	case left.kind == nullValue || right.kind == nullValue:
		return null
	}
	return right
}

func compare(op token, left, right typed) (typed, *Error) {
	literal := func(t valueType) bool { return t == nullType || t == undefinedType }
	if left.typ != right.typ && left.typ != dynamicType && right.typ != dynamicType && !literal(left.typ) && !literal(right.typ) {
		hint := ""
		if left.typ == numberType || right.typ == numberType {
			hint = "; properties are strings: as_number() makes a number of one"
		}
		return left, syntax.At(op.at, "%s compares %s with %s%s", op.text, left.typ, right.typ, hint)
	}
	return typed{expr: compareExpr{op.text, left.expr, right.expr}, typ: boolType}, nil
}

type compareExpr struct {
	op          string
	left, right expr
}

func (e compareExpr) eval(m Message) value {
	l, r := e.left.eval(m), e.right.eval(m)
	if opaque(l) || opaque(r) {
		return undefined
	}
	order := compareValues(l, r)
	switch e.op {
	case "=":
		return truth(order == 0)
	case "!=", "<>":
		return truth(order != 0)
	case "<":
		return truth(order < 0)
	case "<=":
		return truth(order <= 0)
	case ">":
		return truth(order > 0)
	}
	return truth(order >= 0)
}

// opaque reports whether a value cannot be compared.
func opaque(v value) bool {
	return v.kind == undefinedValue || v.kind == objectValue || v.kind == arrayValue
}

// compareValues orders two values; those of different kinds by their kinds.
func compareValues(l, r value) int {
	if l.kind != r.kind {
		return int(l.kind) - int(r.kind)
	}
	switch l.kind {
	case boolValue:
		switch {
		case l.truth == r.truth:
			return 0
		case r.truth:
			return -1
		}
		return 1
	case numberValue:
		switch {
		case l.number < r.number:
			return -1
		case l.number > r.number:
			return 1
		}
		return 0
	case stringValue:
		return strings.Compare(l.text, r.text)
	}
	return 0
}

func calculate(op token, left, right typed) (typed, *Error) {
	for _, side := range []typed{left, right} {
		if !side.typ.oneOf(numberType, undefinedType) {
			hint := ""
			if op.text == "+" && side.typ == stringType {
				hint = "; || joins strings"
			}
			return left, syntax.At(side.at, "%s needs numbers, and this is %s%s", op.text, side.typ, hint)
		}
	}
	return typed{expr: calculateExpr{op.text[0], left.expr, right.expr}, typ: numberType}, nil
}

type calculateExpr struct {
	op          byte
	left, right expr
}

func (e calculateExpr) eval(m Message) value {
	l, r := e.left.eval(m), e.right.eval(m)
	if l.kind != numberValue || r.kind != numberValue {
		return undefined
	}
	switch e.op {
	case '+':
		return number(l.number + r.number)
	case '-':
		return number(l.number - r.number)
	case '*':
		return number(l.number * r.number)
	case '/':
		return number(l.number / r.number)
	}
	return number(math.Mod(l.number, r.number))
}

func concatenate(_ token, left, right typed) (typed, *Error) {
	for _, side := range []typed{left, right} {
		if !side.typ.oneOf(stringType, undefinedType) {
			return left, syntax.At(side.at, "|| joins strings, and this is %s", side.typ)
		}
	}
	return typed{expr: callExpr{concat, []expr{left.expr, right.expr}}, typ: stringType}, nil
}

// callExpr applies a function to its arguments.
type callExpr struct {
	apply func(args []value) value
	args  []expr
}

func (c callExpr) eval(m Message) value {
	var room [4]value
	args := room[:0]
	for _, a := range c.args {
		args = append(args, a.eval(m))
	}
	return c.apply(args)
}
