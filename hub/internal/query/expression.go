package query

import (
	"math"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

// expr is an expression.
type expr interface{ eval(r Row) Value }

// path is the way to a property.
type path []string

func (p path) eval(r Row) Value { return r.Lookup(p) }

func (p path) String() string { return strings.Join(p, ".") }

// name is what a column of the path is called: its last name.
func (p path) name() string { return p[len(p)-1] }

// rootNames are the names at the root of a row, which are found whatever their
// case: those of twins, and those of a device's part of a job.
var rootNames = []string{
	"deviceId", "moduleId", "modelId", "etag", "deviceEtag", "version", "status", "statusReason", "statusUpdateTime",
	"connectionState", "lastActivityTime", "cloudToDeviceMessageCount", "authenticationType", "x509Thumbprint",
	"capabilities", "deviceScope", "parentScopes", "configurations", "tags", "properties",
	"jobId", "jobType", "startTimeUtc", "endTimeUtc", "createdDateTimeUtc", "createdTimeUtc", "lastUpdatedDateTimeUtc",
	"outcome", "error",
}

type constant Value

func (c constant) eval(Row) Value { return Value(c) }

// expression parses OR, the loosest operator.
func (p *parser) expression() (expr, *Error) {
	if p.depth++; p.depth > maxDepth {
		return nil, syntax.At(p.token.at, "it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	left, err := p.conjunction()
	for err == nil && p.token.is("OR") {
		var right expr
		if err = p.advance(); err == nil {
			right, err = p.conjunction()
			left = logic{false, left, right}
		}
	}
	return left, err
}

func (p *parser) conjunction() (expr, *Error) {
	left, err := p.negation()
	for err == nil && p.token.is("AND") {
		var right expr
		if err = p.advance(); err == nil {
			right, err = p.negation()
			left = logic{true, left, right}
		}
	}
	return left, err
}

func (p *parser) negation() (expr, *Error) {
	if !p.token.is("NOT") {
		return p.comparison()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, syntax.At(p.token.at, "it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.negation()
	return not{e}, err
}

var comparisons = map[string]bool{"=": true, "!=": true, "<>": true, "<": true, "<=": true, ">": true, ">=": true}

func (p *parser) comparison() (expr, *Error) {
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	switch t := p.token; {
	case t.kind == tokenOperator && comparisons[t.text]:
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.token.op("=") && t.text == "=" {
			return nil, syntax.At(t.at, "equality is a single =")
		}
		right, err := p.sum()
		return comparing{t.text, left, right}, err
	case t.is("IN"), t.is("NIN"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := p.sum()
		return in{left, right, t.is("NIN")}, err
	}
	return left, nil
}

func (p *parser) sum() (expr, *Error) {
	return p.arithmetic("+-", func() (expr, *Error) { return p.arithmetic("*/%", p.unary) })
}

func (p *parser) arithmetic(ops string, operand func() (expr, *Error)) (expr, *Error) {
	left, err := operand()
	for err == nil && p.token.kind == tokenOperator && len(p.token.text) == 1 && strings.Contains(ops, p.token.text) {
		op := p.token.text[0]
		var right expr
		if err = p.advance(); err == nil {
			right, err = operand()
			left = calculation{op, left, right}
		}
	}
	return left, err
}

func (p *parser) unary() (expr, *Error) {
	if !p.token.op("-") {
		return p.primary()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, syntax.At(p.token.at, "it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.unary()
	return calculation{'-', constant(Num(0)), e}, err
}

func (p *parser) primary() (expr, *Error) {
	t := p.token
	switch {
	case t.kind == tokenNumber:
		return constant(Num(t.number)), p.advance()
	case t.kind == tokenString:
		return constant(Text(t.text)), p.advance()
	case t.op("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case t.op("["):
		return p.array()
	case t.kind == tokenName:
		for _, word := range []struct {
			name  string
			value Value
		}{{"true", Truth(true)}, {"false", Truth(false)}, {"null", Value{Kind: Null}}, {"undefined", Value{}}} {
			if t.is(word.name) {
				return constant(word.value), p.advance()
			}
		}
	case t.kind != tokenBracketed:
		return nil, p.unexpected("a property or a value")
	}
	names, err := p.path()
	if err != nil || !p.token.op("(") {
		return names, err
	}
	return p.call(t, names)
}

// array parses a list of values.
func (p *parser) array() (expr, *Error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	var l list
	for !p.token.op("]") {
		if len(l) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		v := e.eval(nothing{})
		if _, isPath := e.(path); isPath || v.Kind == Undefined || v.Kind == Composite {
			return nil, syntax.At(p.token.at, "a list holds values, no properties")
		}
		l = append(l, v)
	}
	return l, p.advance()
}

// nothing is a row without anything.
type nothing struct{}

func (nothing) Lookup([]string) Value { return Value{} }

// list is a list of values. By itself it cannot be compared.
type list []Value

func (l list) eval(Row) Value {
	dst := []byte{'['}
	for i, v := range l {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = v.AppendJSON(dst)
	}
	return Value{Kind: Composite, Text: string(append(dst, ']'))}
}

type function struct {
	args  int
	apply func(args []Value) Value
}

// functions by their names in lower case. The underscores of STARTS_WITH and the
// like, and CONTAINS, belong to routing; they are understood here, too.
var functions = map[string]function{
	"is_defined":   {1, is(func(v Value) bool { return v.Kind != Undefined })},
	"is_null":      {1, is(func(v Value) bool { return v.Kind == Null })},
	"is_bool":      {1, is(func(v Value) bool { return v.Kind == Bool })},
	"is_number":    {1, is(func(v Value) bool { return v.Kind == Number })},
	"is_string":    {1, is(func(v Value) bool { return v.Kind == String })},
	"is_object":    {1, is(func(v Value) bool { return v.Kind == Composite && v.Text[0] == '{' })},
	"is_array":     {1, is(func(v Value) bool { return v.Kind == Composite && v.Text[0] == '[' })},
	"is_primitive": {1, is(func(v Value) bool { return v.Kind != Undefined && v.Kind != Composite })},
	"startswith":   {2, both(strings.HasPrefix)},
	"starts_with":  {2, both(strings.HasPrefix)},
	"endswith":     {2, both(strings.HasSuffix)},
	"ends_with":    {2, both(strings.HasSuffix)},
	"contains":     {2, both(strings.Contains)},
}

func is(f func(Value) bool) func([]Value) Value {
	return func(args []Value) Value { return Truth(f(args[0])) }
}

func both(f func(s, part string) bool) func([]Value) Value {
	return func(args []Value) Value {
		if args[0].Kind != String || args[1].Kind != String {
			return Value{}
		}
		return Truth(f(args[0].Text, args[1].Text))
	}
}

func (p *parser) call(name token, names path) (expr, *Error) {
	f, ok := functions[strings.ToLower(name.text)]
	if !ok || len(names) != 1 {
		return nil, syntax.At(name.at, "there is no function %s", names)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	var args []expr
	for !p.token.op(")") {
		if len(args) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	if len(args) != f.args {
		return nil, syntax.At(name.at, "%s was given %d arguments, it takes %d", name.text, len(args), f.args)
	}
	return calling{f.apply, args}, p.advance()
}

type calling struct {
	apply func([]Value) Value
	args  []expr
}

func (c calling) eval(r Row) Value {
	var room [2]Value
	args := room[:0]
	for _, a := range c.args {
		args = append(args, a.eval(r))
	}
	return c.apply(args)
}

type not struct{ e expr }

func (n not) eval(r Row) Value {
	if v := n.e.eval(r); v.Kind == Bool {
		return Truth(!v.Truth)
	}
	return Value{}
}

// logic is AND or OR, three-valued: what is neither true nor false counts only
// where the other side does not decide.
type logic struct {
	and         bool
	left, right expr
}

func (l logic) eval(r Row) Value {
	left := l.left.eval(r)
	if left.Kind == Bool && left.Truth != l.and {
		return left
	}
	right := l.right.eval(r)
	if right.Kind == Bool && (right.Truth != l.and || left.Kind == Bool) {
		return right
	}
	return Value{}
}

type comparing struct {
	op          string
	left, right expr
}

func (c comparing) eval(r Row) Value {
	n, ok := compare(c.left.eval(r), c.right.eval(r))
	if !ok {
		return Value{}
	}
	switch c.op {
	case "=":
		return Truth(n == 0)
	case "!=", "<>":
		return Truth(n != 0)
	case "<":
		return Truth(n < 0)
	case "<=":
		return Truth(n <= 0)
	case ">":
		return Truth(n > 0)
	}
	return Truth(n >= 0)
}

// in asks whether a value is among those of a list, or of a property that is an
// array.
type in struct {
	left, right expr
	not         bool
}

func (i in) eval(r Row) Value {
	v := i.left.eval(r)
	var among []Value
	if l, ok := i.right.(list); ok {
		among = l
	} else {
		array := i.right.eval(r)
		if array.Kind != Composite || array.Text[0] != '[' {
			return Value{}
		}
		among = array.elements()
	}
	if v.Kind == Undefined || v.Kind == Composite {
		return Value{}
	}
	for _, other := range among {
		if n, ok := compare(v, other); ok && n == 0 {
			return Truth(!i.not)
		}
	}
	return Truth(i.not)
}

type calculation struct {
	op          byte
	left, right expr
}

func (c calculation) eval(r Row) Value {
	x, y := c.left.eval(r), c.right.eval(r)
	if x.Kind != Number || y.Kind != Number {
		return Value{}
	}
	var n float64
	switch c.op {
	case '+':
		n = x.Number + y.Number
	case '-':
		n = x.Number - y.Number
	case '*':
		n = x.Number * y.Number
	case '/':
		n = x.Number / y.Number
	default:
		n = math.Mod(x.Number, y.Number)
	}
	if math.IsNaN(n) {
		return Value{}
	}
	return Num(n)
}
