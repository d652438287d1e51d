package query

import (
	"maps"
	"slices"
)

// Groups gathers the rows of a query that groups or counts. It is for one
// goroutine.
type Groups struct {
	full   bool
	query  *Query
	groups map[string]*group
}

// group is the rows that have the same values where the query groups.
type group struct {
	values []Value // of Query.groups
	cells  []cell  // of the columns
}

// cell is an aggregate being made.
type cell struct {
	count         int // of the values that counted
	sum, min, max float64
	least, most   Value // of strings, for MIN and MAX
}

// maxGroups bounds the groups of one query.
const maxGroups = 100_000

// NewGroups begins to gather.
func (q *Query) NewGroups() *Groups { return &Groups{query: q, groups: make(map[string]*group)} }

// Add takes a row in. It reports false when there are too many groups.
func (g *Groups) Add(r Row) bool {
	var room [64]byte
	key := room[:0]
	for _, p := range g.query.groups {
		v := p.eval(r)
		key = append(key, byte(v.Kind))
		key = append(v.AppendJSON(key), 0)
	}
	to := g.groups[string(key)]
	if to == nil {
		if len(g.groups) == maxGroups {
			g.full = true
			return false
		}
		to = &group{cells: make([]cell, len(g.query.columns))}
		for _, p := range g.query.groups {
			to.values = append(to.values, p.eval(r))
		}
		g.groups[string(key)] = to
	}
	for i := range g.query.columns {
		to.cells[i].add(&g.query.columns[i], r)
	}
	return true
}

func (c *cell) add(col *column, r Row) {
	switch col.aggregate {
	case "":
		return
	case "count":
		c.count++
		return
	}
	switch v := col.path.eval(r); {
	case v.Kind == Number:
		if c.count == 0 || v.Number < c.min {
			c.min = v.Number
		}
		if c.count == 0 || v.Number > c.max {
			c.max = v.Number
		}
		c.count++
		c.sum += v.Number
	default:
		c.strings(v)
	}
}

// value is the result. What has nothing to work on is undefined; numbers come
// before strings.
func (c *cell) value(aggregate string) Value {
	switch {
	case aggregate == "count":
		return Num(float64(c.count))
	case c.count == 0 && aggregate == "min":
		return c.least
	case c.count == 0 && aggregate == "max":
		return c.most
	case c.count == 0:
		return Value{}
	}
	switch aggregate {
	case "avg":
		return Num(c.sum / float64(c.count))
	case "sum":
		return Num(c.sum)
	case "min":
		return Num(c.min)
	}
	return Num(c.max)
}

// Full reports whether a row was not taken in because there are too many groups.
func (g *Groups) Full() bool { return g.full }

// Merge takes in what another one for the same query has gathered, which is not to
// be used any more. It reports false when there are too many groups.
func (g *Groups) Merge(other *Groups) bool {
	for key, from := range other.groups {
		to := g.groups[key]
		if to == nil {
			if len(g.groups) == maxGroups {
				return false
			}
			g.groups[key] = from
			continue
		}
		for i := range to.cells {
			to.cells[i].merge(&from.cells[i])
		}
	}
	return true
}

func (c *cell) merge(o *cell) {
	if o.count > 0 {
		if c.count == 0 || o.min < c.min {
			c.min = o.min
		}
		if c.count == 0 || o.max > c.max {
			c.max = o.max
		}
		c.count += o.count
		c.sum += o.sum
	}
	c.strings(o.least)
	c.strings(o.most)
}

// strings takes a string in for MIN and MAX.
func (c *cell) strings(v Value) {
	if v.Kind != String {
		return
	}
	if n, ok := compare(v, c.least); !ok || n < 0 {
		c.least = v
	}
	if n, ok := compare(v, c.most); !ok || n > 0 {
		c.most = v
	}
}

// Rows gives the results as JSON objects, in an order that is the same each time.
// A query without GROUP BY has one row, also of nothing.
func (g *Groups) Rows() [][]byte {
	if len(g.query.groups) == 0 && len(g.groups) == 0 {
		g.groups[""] = &group{cells: make([]cell, len(g.query.columns))}
	}
	var rows [][]byte
	for _, key := range slices.Sorted(maps.Keys(g.groups)) {
		from := g.groups[key]
		dst := []byte{'{'}
		for i := range g.query.columns {
			c := &g.query.columns[i]
			if c.aggregate != "" {
				dst = appendMember(dst, c.name, from.cells[i].value(c.aggregate))
				continue
			}
			at := slices.IndexFunc(g.query.groups, func(p path) bool { return slices.Equal(p, c.path) })
			dst = appendMember(dst, c.name, from.values[at])
		}
		rows = append(rows, append(dst, '}'))
	}
	return rows
}
