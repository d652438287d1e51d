package routing

import (
	"slices"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

// parser compiles a condition by recursive descent, one level of precedence a
// function, and checks types on the way.
type parser struct {
	lex   lexer
	token token
	opts  Options
	depth int
	body  bool
}

// condition parses the whole; nil for an empty one.
func (p *parser) condition() (expr, *Error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenEnd {
		return nil, nil
	}
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("an operator")
	}
	return e.expr, nil
}

func (p *parser) advance() *Error {
	t, err := p.lex.next()
	if err != nil {
		return err
	}
	p.token = t
	return nil
}

func (p *parser) unexpected(wanted string) *Error {
	switch p.token.kind {
	case tokenEnd:
		return syntax.At(p.token.at, "%s is missing at the end", wanted)
	case tokenReserved:
		return syntax.At(p.token.at, "%s is a reserved word", p.token.text)
	}
	hint := ""
	if p.token.text == "=" {
		hint = "; equality is a single ="
	}
	return syntax.At(p.token.at, "%s was expected here%s", wanted, hint)
}

// typed is an expression with what is known of its type.
type typed struct {
	expr expr
	typ  valueType
	at   int
}

// levels are the binary operators, from the loosest on. All bind to the left.
var levels = []map[string]func(op token, left, right typed) (typed, *Error){
	{"??": coalesce},
	{"or": logic},
	{"and": logic},
	{"=": compare, "!=": compare, "<>": compare},
	{"<": compare, "<=": compare, ">": compare, ">=": compare},
	{"+": calculate, "-": calculate, "||": concatenate},
	{"*": calculate, "/": calculate, "%": calculate},
}

func (p *parser) expression() (typed, *Error) {
	if p.depth++; p.depth > maxDepth {
		return typed{}, syntax.At(p.token.at, "it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.level(0)
}

func (p *parser) level(n int) (typed, *Error) {
	if n == len(levels) {
		return p.unary()
	}
	left, err := p.level(n + 1)
	if err != nil {
		return left, err
	}
	for p.token.kind == tokenOperator || p.token.kind == tokenWord {
		combine := levels[n][p.token.text]
		if combine == nil {
			break
		}
		op := p.token
		if err := p.advance(); err != nil {
			return left, err
		}
		right, err := p.level(n + 1)
		if err != nil {
			return left, err
		}
		at := left.at
		if left, err = combine(op, left, right); err != nil {
			return left, err
		}
		left.at = at
	}
	return left, nil
}

func (p *parser) unary() (typed, *Error) {
	t := p.token
	switch {
	case t.kind == tokenWord && t.text == "not", t.kind == tokenOperator && t.text == "-":
	default:
		return p.primary()
	}
	if p.depth++; p.depth > maxDepth {
		return typed{}, syntax.At(t.at, "it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	e, err := p.unary()
	if err != nil {
		return e, err
	}
	if t.text == "not" {
		if !e.typ.oneOf(boolType, nullType, undefinedType) {
			return e, syntax.At(e.at, "not needs something true or false, and this is %s", e.typ)
		}
		return typed{notExpr{e.expr}, boolType, t.at}, nil
	}
	if !e.typ.oneOf(numberType, undefinedType) {
		return e, syntax.At(e.at, "- needs a number, and this is %s", e.typ)
	}
	return typed{negative{e.expr}, numberType, t.at}, nil
}

func (p *parser) primary() (typed, *Error) {
	t := p.token
	switch t.kind {
	case tokenNumber:
		return typed{constant(number(t.number)), numberType, t.at}, p.advance()
	case tokenString:
		return typed{constant(text(t.text)), stringType, t.at}, p.advance()
	case tokenPath:
		e, err := p.reference(t, false)
		if err != nil {
			return e, err
		}
		return e, p.advance()
	case tokenName:
		if err := p.advance(); err != nil {
			return typed{}, err
		}
		if p.token.kind == tokenOperator && p.token.text == "(" {
			return p.call(t)
		}
		return typed{property(t.text), stringType, t.at}, nil
	case tokenWord:
		if e, ok := words[t.text]; ok {
			e.at = t.at
			return e, p.advance()
		}
	case tokenOperator:
		switch t.text {
		case "(":
			return p.parentheses()
		case "{":
			return p.braces()
		}
	}
	return typed{}, p.unexpected("a property, a value or a function")
}

var words = map[string]typed{
	"true":      {constant(truth(true)), boolType, 0},
	"false":     {constant(truth(false)), boolType, 0},
	"null":      {constant(null), nullType, 0},
	"undefined": {constant(undefined), undefinedType, 0},
}

func (p *parser) parentheses() (typed, *Error) {
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	e, err := p.expression()
	if err != nil {
		return e, err
	}
	return e, p.expect(")")
}

// braces parses {$path}, which is never an application property.
func (p *parser) braces() (typed, *Error) {
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	t := p.token
	if t.kind != tokenPath {
		return typed{}, p.unexpected("a name that begins with $")
	}
	e, err := p.reference(t, true)
	if err != nil {
		return e, err
	}
	if err := p.advance(); err != nil {
		return e, err
	}
	return e, p.expect("}")
}

func (p *parser) expect(op string) *Error {
	if p.token.kind != tokenOperator || p.token.text != op {
		return p.unexpected(op)
	}
	return p.advance()
}

// reference compiles $path: a system property, or a place in the body or the twin.
func (p *parser) reference(t token, braces bool) (typed, *Error) {
	prefix, path, found := strings.Cut(t.text, ".")
	if prefix = strings.ToLower(prefix); found && (prefix == "body" || prefix == "twin") {
		steps, err := parsePath(path, t.at+len("$body."))
		if err != nil {
			return typed{}, err
		}
		e := expr(twinPath(steps))
		if prefix == "body" {
			e = bodyPath(steps)
			p.body = true
		}
		return typed{withProperty(t.text, e, braces), dynamicType, t.at}, nil
	}
	return typed{withProperty(t.text, system(t.text), braces), stringType, t.at}, nil
}

// withProperty has an application property of the same name, dollar included,
// come first.
func withProperty(name string, e expr, braces bool) expr {
	if braces || strings.ContainsAny(name, "[]") {
		return e
	}
	return either{property("$" + name), e}
}

// step is one step of a path: a member, and then an element of it.
type step struct {
	name  string
	index int // -1: none
}

// parsePath reads id['['int']'] {'.' id['['int']']}.
func parsePath(path string, at int) ([]step, *Error) {
	var steps []step
	for part := range strings.SplitSeq(path, ".") {
		s := step{name: part, index: -1}
		if open := strings.IndexByte(part, '['); open >= 0 {
			s.name = part[:open]
			digits, closed := strings.CutSuffix(part[open+1:], "]")
			n, err := strconv.ParseUint(digits, 10, 31)
			if !closed || err != nil || strings.HasPrefix(digits, "+") {
				return nil, syntax.At(at+open, "an element is [ number ]; there are no ranges and no wildcards")
			}
			s.index = int(n)
		}
		if s.name == "" || strings.ContainsAny(s.name, "[]") {
			return nil, syntax.At(at, "a name is missing in the path")
		}
		steps = append(steps, s)
		at += len(part) + 1
	}
	return steps, nil
}

// call parses the arguments of a function and checks them.
func (p *parser) call(name token) (typed, *Error) {
	lower := strings.ToLower(name.text)
	if lower == "twin_change_includes" {
		return p.twinChange(name)
	}
	f, ok := functions[lower]
	if !ok {
		return typed{}, syntax.At(name.at, "there is no function %s", name.text)
	}
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	var args []expr
	for p.token.kind != tokenOperator || p.token.text != ")" {
		if len(args) > 0 {
			if err := p.expect(","); err != nil {
				return typed{}, err
			}
		}
		arg, err := p.expression()
		if err != nil {
			return arg, err
		}
		want := f.args[min(len(args), len(f.args)-1)]
		if len(want) > 0 && !arg.typ.oneOf(append(slices.Clone(want), undefinedType)...) {
			return arg, syntax.At(arg.at, "%s needs %s here, and this is %s", lower, want[0], arg.typ)
		}
		args = append(args, arg.expr)
	}
	if len(args) < f.least || f.most > 0 && len(args) > f.most {
		return typed{}, syntax.At(name.at, "%s was given %d arguments", lower, len(args))
	}
	return typed{callExpr{f.apply, args}, f.result, name.at}, p.advance()
}

// twinChange parses twin_change_includes(path), whose argument is a path as it
// stands.
func (p *parser) twinChange(name token) (typed, *Error) {
	if !p.opts.TwinChanges {
		return typed{}, syntax.At(name.at, "twin_change_includes is for the source TwinChangeEvents only")
	}
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	if p.token.kind != tokenName {
		return typed{}, p.unexpected("a path, such as properties.desired.x,")
	}
	steps, err := parsePath(p.token.text, p.token.at)
	if err != nil {
		return typed{}, err
	}
	p.body = true
	if err := p.advance(); err != nil {
		return typed{}, err
	}
	return typed{includes(steps), boolType, name.at}, p.expect(")")
}
