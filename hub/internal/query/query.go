// Package query is the language of twin queries: what /devices/query answers, and
// the conditions of jobs and configurations. It is not the language of routing
// conditions.
//
// It is IoT Hub's (IoT Hub query language guide; wire-service C1), with ORDER BY
// added. What a row lacks is undefined: it compares with nothing, and a condition
// that is undefined takes no row.
//
// The parser is written by hand: it is shorter than a grammar for a generator would
// be with the rules around it, and its errors name the column.
package query

import (
	"strings"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

const (
	// MaxLength is the longest query, in characters (IoT Hub query language guide).
	MaxLength = 8192
	// maxDepth bounds how deep expressions may be nested.
	maxDepth = 100
	// maxItems bounds the columns of a query, and the paths that it groups or
	// orders by.
	maxItems = 100
)

// Error says what is wrong with a query, and where.
type Error = syntax.Error

// Row is what queries look at: the twin of a device or module, or a device's part
// of a job.
type Row interface {
	// Lookup returns the value at a path of names. The first is written as IoT Hub
	// writes it if it is one of its own. What is not there is undefined.
	Lookup(path []string) Value
}

// Source is a collection of rows.
type Source uint8

// The collections.
const (
	Devices Source = iota
	Modules
	Jobs
)

// Query is a parsed query. It is safe for use by many goroutines.
type Query struct {
	// Source is what it is about.
	Source Source
	// Top is how many rows it gives at the most; 0 is all.
	Top int
	// All says that it gives rows as they are, SELECT *.
	All bool

	columns []column
	where   expr
	groups  []path
	orders  []order
	grouped bool
}

type column struct {
	name      string
	path      path
	aggregate string // in lower case; "" for a path
}

type order struct {
	path       path
	descending bool
}

// Grouped reports whether its rows are made of many rows: it counts, or groups.
func (q *Query) Grouped() bool { return q.grouped }

// Ordered reports whether it says in what order its rows come.
func (q *Query) Ordered() bool { return len(q.orders) > 0 }

// Matches reports whether the query takes a row.
func (q *Query) Matches(r Row) bool { return takes(q.where, r) }

func takes(e expr, r Row) bool {
	if e == nil {
		return true
	}
	v := e.eval(r)
	return v.Kind == Bool && v.Truth
}

// Compare orders two rows by ORDER BY: undefined first, then by kinds, then by
// values.
func (q *Query) Compare(x, y Row) int {
	for _, o := range q.orders {
		a, b := o.path.eval(x), o.path.eval(y)
		n, ok := compare(a, b)
		if !ok {
			n = int(a.Kind) - int(b.Kind)
		}
		if n != 0 {
			if o.descending {
				return -n
			}
			return n
		}
	}
	return 0
}

// Project appends the columns of a row as a JSON object. Undefined ones are left
// out.
func (q *Query) Project(dst []byte, r Row) []byte {
	dst = append(dst, '{')
	for i := range q.columns {
		c := &q.columns[i]
		dst = appendMember(dst, c.name, c.path.eval(r))
	}
	return append(dst, '}')
}

func appendMember(dst []byte, name string, v Value) []byte {
	if v.Kind == Undefined {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = Text(name).AppendJSON(dst)
	return v.AppendJSON(append(dst, ':'))
}

// Condition is a condition by itself. It is safe for use by many goroutines.
type Condition struct {
	text  string
	where expr
}

// ParseCondition parses what may stand behind WHERE. The empty one and * take every
// row; a whole query counts for its condition. Errors are *Error.
func ParseCondition(text string) (*Condition, error) {
	c := &Condition{text: text}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed == "*" {
		return c, nil
	}
	if len(trimmed) > 6 && strings.EqualFold(trimmed[:6], "select") && strings.ContainsRune(" \t\r\n", rune(trimmed[6])) {
		q, err := Parse(text)
		if err != nil {
			return nil, err
		}
		c.where = q.where
		return c, nil
	}
	p, err := newParser(text)
	if err != nil {
		return nil, err.In("query", text)
	}
	if p.token.is("where") {
		if err := p.advance(); err != nil {
			return nil, err.In("query", text)
		}
	}
	if c.where, err = p.expression(); err != nil {
		return nil, err.In("query", text)
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("AND or OR").In("query", text)
	}
	return c, nil
}

// String is the text of the condition.
func (c *Condition) String() string { return c.text }

// Matches reports whether the condition takes a row.
func (c *Condition) Matches(r Row) bool { return takes(c.where, r) }
