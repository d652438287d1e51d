package query

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

type parser struct {
	lex   lexer
	token token
	depth int
}

func newParser(text string) (*parser, *Error) {
	if utf8.RuneCountInString(text) > MaxLength {
		return nil, syntax.At(0, "it has more than %d characters", MaxLength)
	}
	if !utf8.ValidString(text) {
		return nil, syntax.At(0, "it is not valid UTF-8")
	}
	p := &parser{lex: lexer{text: text}}
	return p, p.advance()
}

func (p *parser) advance() *Error {
	t, err := p.lex.next()
	if err == nil {
		p.token = t
	}
	return err
}

func (p *parser) unexpected(wanted string) *Error {
	if p.token.kind == tokenEnd {
		return syntax.At(p.token.at, "%s is missing at the end", wanted)
	}
	return syntax.At(p.token.at, "%s was expected here", wanted)
}

// keyword passes over a keyword that has to be there.
func (p *parser) keyword(word string) *Error {
	if !p.token.is(word) {
		return p.unexpected(word)
	}
	return p.advance()
}

func (p *parser) expect(op string) *Error {
	if !p.token.op(op) {
		return p.unexpected(op)
	}
	return p.advance()
}

// Parse parses a query. Errors are *Error.
func Parse(text string) (*Query, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err.In("query", text)
	}
	q, err := p.query()
	if err != nil {
		return nil, err.In("query", text)
	}
	return q, nil
}

func (p *parser) query() (*Query, *Error) {
	q := new(Query)
	if err := p.keyword("SELECT"); err != nil {
		return nil, err
	}
	if err := p.top(q); err != nil {
		return nil, err
	}
	columns := p.token.at
	if err := p.columns(q); err != nil {
		return nil, err
	}
	if err := p.keyword("FROM"); err != nil {
		return nil, err
	}
	if err := p.from(q); err != nil {
		return nil, err
	}
	if p.token.is("WHERE") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		var err *Error
		if q.where, err = p.expression(); err != nil {
			return nil, err
		}
	}
	if err := p.groupBy(q); err != nil {
		return nil, err
	}
	if err := p.orderBy(q); err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("the end, AND, OR, GROUP BY or ORDER BY")
	}
	return q, q.check(columns)
}

func (p *parser) top(q *Query) *Error {
	if !p.token.is("TOP") {
		return nil
	}
	if err := p.advance(); err != nil {
		return err
	}
	n := p.token
	if n.kind != tokenNumber || n.number < 1 || n.number > 1e9 || n.number != float64(int(n.number)) {
		return p.unexpected("a whole number from 1 on")
	}
	q.Top = int(n.number)
	return p.advance()
}

var aggregates = []string{"count", "avg", "sum", "min", "max"}

func (p *parser) columns(q *Query) *Error {
	if p.token.op("*") {
		q.All = true
		return p.advance()
	}
	for {
		c, err := p.column()
		if err != nil {
			return err
		}
		if len(q.columns) == maxItems {
			return syntax.At(p.token.at, "there are more than %d columns", maxItems)
		}
		q.columns = append(q.columns, c)
		q.grouped = q.grouped || c.aggregate != ""
		if !p.token.op(",") {
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

func (p *parser) column() (column, *Error) {
	var c column
	first := p.token
	var err *Error
	if c.path, err = p.path(); err != nil {
		return c, err
	}
	if p.token.op("(") {
		c.aggregate = strings.ToLower(first.text)
		if len(c.path) != 1 || !slices.Contains(aggregates, c.aggregate) {
			return c, syntax.At(first.at, "a column is a path, COUNT(), or AVG, SUM, MIN or MAX of a path")
		}
		c.path, c.name = nil, c.aggregate
		if err := p.advance(); err != nil {
			return c, err
		}
		if !p.token.op(")") {
			if c.path, err = p.path(); err != nil {
				return c, err
			}
		}
		if (c.aggregate == "count") == (len(c.path) > 0) {
			return c, syntax.At(first.at, "COUNT takes nothing, the others take a path")
		}
		if err := p.expect(")"); err != nil {
			return c, err
		}
	} else {
		c.name = c.path.name()
	}
	if !p.token.is("AS") {
		return c, nil
	}
	if err := p.advance(); err != nil {
		return c, err
	}
	if p.token.kind != tokenName && p.token.kind != tokenBracketed {
		return c, p.unexpected("a name")
	}
	c.name = p.token.text
	return c, p.advance()
}

func (p *parser) from(q *Query) *Error {
	at := p.token.at
	source, err := p.names()
	if err != nil {
		return err
	}
	switch strings.ToLower(source.String()) {
	case "devices":
		q.Source = Devices
	case "devices.modules":
		q.Source = Modules
	case "devices.jobs":
		q.Source = Jobs
	default:
		return syntax.At(at, "there are the collections devices, devices.modules and devices.jobs")
	}
	return nil
}

// by passes over GROUP BY or ORDER BY, if it is there.
func (p *parser) by(word string) (bool, *Error) {
	if !p.token.is(word) {
		return false, nil
	}
	if err := p.advance(); err != nil {
		return false, err
	}
	return true, p.keyword("BY")
}

func (p *parser) groupBy(q *Query) *Error {
	there, err := p.by("GROUP")
	if err != nil || !there {
		return err
	}
	q.grouped = true
	return p.list(func() *Error {
		g, err := p.path()
		q.groups = append(q.groups, g)
		return err
	})
}

func (p *parser) orderBy(q *Query) *Error {
	there, err := p.by("ORDER")
	if err != nil || !there {
		return err
	}
	return p.list(func() *Error {
		var o order
		var err *Error
		if o.path, err = p.path(); err != nil {
			return err
		}
		switch {
		case p.token.is("DESC"):
			o.descending = true
			err = p.advance()
		case p.token.is("ASC"):
			err = p.advance()
		}
		q.orders = append(q.orders, o)
		return err
	})
}

// list parses one thing or more, with commas between them.
func (p *parser) list(one func() *Error) *Error {
	for n := 0; ; n++ {
		if n == maxItems {
			return syntax.At(p.token.at, "there are more than %d", maxItems)
		}
		if err := one(); err != nil {
			return err
		}
		if !p.token.op(",") {
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

// check refuses what parses and means nothing.
func (q *Query) check(columns int) *Error {
	switch {
	case q.All && q.grouped:
		return syntax.At(columns, "with GROUP BY the columns have to be named")
	case q.Source == Jobs && (!q.All || q.grouped):
		return syntax.At(columns, "of devices.jobs only SELECT * is possible")
	case q.grouped && len(q.orders) > 0:
		return syntax.At(columns, "ORDER BY is not possible with GROUP BY and aggregates")
	case !q.grouped:
		return nil
	}
	for i := range q.columns {
		c := &q.columns[i]
		if c.aggregate == "" && !slices.ContainsFunc(q.groups, func(g path) bool { return slices.Equal(g, c.path) }) {
			return syntax.At(columns, "the column %s has to stand in GROUP BY, too, or in an aggregate", c.path)
		}
	}
	return nil
}

// path parses the way to a property.
func (p *parser) path() (path, *Error) {
	names, err := p.names()
	return names.unqualified(), err
}

// names parses names with dots between them.
func (p *parser) names() (path, *Error) {
	var names path
	for {
		t := p.token
		if t.kind != tokenName && t.kind != tokenBracketed {
			return nil, p.unexpected("a property")
		}
		names = append(names, t.text)
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.token.op(".") {
			return names, nil
		}
		if len(names) == maxDepth {
			return nil, syntax.At(p.token.at, "the path has more than %d names", maxDepth)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// unqualified leaves out the collection that may stand in front of a path, and
// writes the name at its root as IoT Hub does.
func (p path) unqualified() path {
	for _, collection := range []path{{"devices", "jobs"}, {"devices", "modules"}, {"devices"}} {
		n := len(collection)
		if len(p) > n && slices.EqualFunc(p[:n], collection, strings.EqualFold) {
			p = p[n:]
			break
		}
	}
	if len(p) > 0 {
		for _, known := range rootNames {
			if strings.EqualFold(known, p[0]) {
				p[0] = known
			}
		}
	}
	return p
}
