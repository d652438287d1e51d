package dps

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/query"
)

const (
	// defaultPage and maxPage are how many rows a page has.
	defaultPage = 100
	maxPage     = 1000

	maxContinuation = 1 << 10
)

// Page is a part of what a query gives.
type Page struct {
	Rows []json.RawMessage
	// Continuation asks for the next page; empty when there is none.
	Continuation string
}

// Sources of queries.
const (
	fromEnrollments   = "enrollments"
	fromGroups        = "enrollmentGroups"
	fromRegistrations = "registrations"
)

// QueryEnrollments gives the individual enrollments, or the groups, that a query
// takes, in the order of their ids. The text is SELECT * FROM enrollments or
// enrollmentGroups, with WHERE as in twin queries; SELECT *, which the Azure CLI
// sends, * and nothing take all.
// (wire-service G2)
func (s *Service) QueryEnrollments(text string, group bool, size int, continuation string) (Page, error) {
	source := fromEnrollments
	if group {
		source = fromGroups
	}
	q, err := parseQuery(text, source, size, continuation)
	if err != nil {
		return Page{}, err
	}
	return run(q, s.table(group), nil, func(r row[enrollmentDoc]) any { return s.view(r, false) })
}

// QueryRegistrations gives the registrations of a group; 404204 when there is none.
func (s *Service) QueryRegistrations(group, text string, size int, continuation string) (Page, error) {
	e := s.groups.get(keyOf(group)).doc
	if e == nil {
		return Page{}, noEnrollment(group)
	}
	q, err := parseQuery(text, fromRegistrations, size, continuation)
	if err != nil {
		return Page{}, err
	}
	ofGroup := func(d *registrationDoc) bool { return d.Generation == e.Generation }
	return run(q, &s.registrations, ofGroup, func(r row[registrationDoc]) any { return stateOf(r, false) })
}

// request of a page.
type pageQuery struct {
	condition *query.Condition
	text      string
	size      int
	after     string
}

func parseQuery(text, source string, size int, continuation string) (*pageQuery, error) {
	rest, err := afterFrom(text, source)
	if err != nil {
		return nil, err
	}
	q := &pageQuery{text: source + "\x00" + rest, size: size}
	if size <= 0 {
		q.size = defaultPage
	}
	q.size = min(q.size, maxPage)
	if q.condition, err = query.ParseCondition(rest); err != nil {
		return nil, badRequest("%v", err)
	}
	q.after, err = q.position(continuation)
	return q, err
}

// afterFrom cuts SELECT * FROM source off a query.
func afterFrom(text, source string) (string, error) {
	text = strings.TrimSpace(text)
	if words := strings.ToUpper(strings.Join(strings.Fields(text), " ")); words == "" || words == "*" || words == "SELECT *" {
		return "", nil
	}
	if len(text) > query.MaxLength {
		return "", badRequest("the query has more than %d characters", query.MaxLength)
	}
	rest := text
	for _, word := range []string{"SELECT", "*", "FROM", source} {
		rest = strings.TrimSpace(rest)
		n := len(word)
		if len(rest) < n || !strings.EqualFold(rest[:n], word) || word != "*" && len(rest) > n && strings.IndexByte(" \t\r\n*", rest[n]) < 0 {
			return "", badRequest("the query does not begin with SELECT * FROM %s", source)
		}
		rest = rest[n:]
	}
	rest = strings.TrimSpace(rest)
	if rest != "" && !(len(rest) > 5 && strings.EqualFold(rest[:5], "WHERE")) {
		return "", badRequest("there is %.40q behind SELECT * FROM %s, where only WHERE can be", rest, source)
	}
	return rest, nil
}

// position reads a continuation: the key that was last, and which query it was.
func (q *pageQuery) position(continuation string) (string, error) {
	if continuation == "" {
		return "", nil
	}
	data, err := base64.URLEncoding.DecodeString(continuation)
	if err != nil || len(continuation) > maxContinuation {
		return "", badRequest("the continuation token is not one of this service's")
	}
	sum, key, ok := strings.Cut(string(data), " ")
	if !ok || sum != q.sum() {
		return "", badRequest("the continuation token belongs to another query")
	}
	return key, nil
}

func (q *pageQuery) sum() string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(q.text)) // never fails (hash.Hash)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// run gives a page of what is in a table.
func run[T any](q *pageQuery, t *table[T], want func(*T) bool, view func(row[T]) any) (Page, error) {
	page := Page{Rows: []json.RawMessage{}}
	last := ""
	for r := range t.all(q.after) {
		if want != nil && !want(r.doc) {
			continue
		}
		data := encode(view(r))
		if !q.condition.Matches(jsonRow(data)) {
			continue
		}
		if len(page.Rows) == q.size {
			page.Continuation = base64.URLEncoding.EncodeToString([]byte(q.sum() + " " + last))
			break
		}
		page.Rows, last = append(page.Rows, data), r.key
	}
	return page, nil
}

// jsonRow is a JSON object as conditions see it.
type jsonRow []byte

// Lookup finds the value at a path of names.
func (r jsonRow) Lookup(path []string) query.Value {
	at := json.RawMessage(r)
	for _, name := range path {
		var members map[string]json.RawMessage
		if json.Unmarshal(at, &members) != nil {
			return query.Value{}
		}
		found, ok := members[name]
		if !ok {
			return query.Value{}
		}
		at = found
	}
	return query.FromJSON(string(at))
}
