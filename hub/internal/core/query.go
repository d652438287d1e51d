package core

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/fnv"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/iothub-go/iothub/hub/internal/query"
)

const (
	// defaultPage and maxPage are how many rows a page of a query has.
	defaultPage = 100
	maxPage     = 1000
	// maxToken bounds a continuation token.
	maxToken = 4096
)

// The types of rows, as IoT Hub names them.
const (
	ItemTwin      = "Twin"
	ItemDeviceJob = "DeviceJob"
	ItemJob       = "JobResponse"
	ItemRaw       = "Raw"
)

// QueryPage is one page of what a query gives.
type QueryPage struct {
	// ItemType is what the rows are: ItemTwin, ItemDeviceJob or ItemRaw.
	ItemType string
	// Rows are JSON objects.
	Rows []json.RawMessage
	// Continuation gets the next page; empty when this is the last.
	Continuation string
}

// Query answers a query in the language of package query, a page at a time: up to
// pageSize rows, 1 to 1000, of which zero is 100. Rows come in the order of ids
// unless the query says otherwise. The pages of a query without ORDER BY hold each
// twin that matched all the while exactly once, whatever changes in between; with
// it, and with GROUP BY, each page is cut from what is there when it is asked for.
//
// Errors are *Error: 400005 for no query, 400004 for one that is not valid, with
// the column, and for a continuation of another query.
func (h *Hub) Query(ctx context.Context, text string, pageSize int, continuation string) (QueryPage, error) {
	if strings.TrimSpace(text) == "" {
		return QueryPage{}, NewError(CodeArgumentNull, "BadRequest: the query is empty")
	}
	q, err := query.Parse(text)
	if err != nil {
		return QueryPage{}, NewError(CodeArgumentInvalid, "BadRequest: %v", err)
	}
	if pageSize == 0 {
		pageSize = defaultPage
	}
	if pageSize < 1 || pageSize > maxPage {
		return QueryPage{}, NewError(CodeArgumentInvalid, "the page size is %d, allowed are 1 to %d", pageSize, maxPage)
	}
	from, err := parseToken(text, continuation)
	if err != nil {
		return QueryPage{}, err
	}
	limit := pageSize
	if q.Top > 0 {
		limit = min(limit, max(q.Top-from.Rows, 0))
	}
	s := &search{hub: h, query: q, from: from, limit: limit}
	page := QueryPage{ItemType: itemType(q)}
	switch {
	case q.Grouped():
		err = s.grouped(ctx, &page)
	case q.Ordered():
		err = s.ordered(ctx, &page)
	default:
		err = s.keyed(ctx, &page)
	}
	if err != nil {
		return QueryPage{}, err
	}
	if s.more && (q.Top == 0 || from.Rows+len(page.Rows) < q.Top) {
		page.Continuation = s.next.encode(text)
	}
	return page, nil
}

func itemType(q *query.Query) string {
	switch {
	case q.Source == query.Jobs:
		return ItemDeviceJob
	case q.All:
		return ItemTwin
	}
	return ItemRaw
}

// pageToken is where a page begins. It is not secret and not trusted.
type pageToken struct {
	Query  uint32 `json:"q"` // a hash of the text
	Rows   int    `json:"n"` // that came before
	Device string `json:"d,omitempty"`
	Module string `json:"m,omitempty"`
	Job    string `json:"j,omitempty"`
}

func hashOf(text string) uint32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(text)) // never fails (hash.Hash)
	return sum.Sum32()
}

func parseToken(text, token string) (t pageToken, err error) {
	if token == "" {
		return t, nil
	}
	data, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(token) > maxToken || json.Unmarshal(data, &t) != nil || t.Rows < 0 {
		return t, NewError(CodeArgumentInvalid, "the continuation token is not one of this hub's")
	}
	if t.Query != hashOf(text) {
		return t, NewError(CodeArgumentInvalid, "the continuation token belongs to another query")
	}
	return t, nil
}

func (t pageToken) encode(text string) string {
	t.Query = hashOf(text)
	data, _ := json.Marshal(t) // of texts and numbers: it always encodes
	return base64.URLEncoding.EncodeToString(data)
}

// search is one run of a query.
type search struct {
	hub   *Hub
	query *query.Query
	from  pageToken
	limit int

	more bool
	next pageToken
}

// found is a row with what orders rows.
type found struct {
	row    query.Row
	device string
	module string // or the job
}

func (f *found) compare(device, module string) int {
	return cmp.Or(strings.Compare(f.device, device), strings.Compare(f.module, module))
}

// each has every row that the query takes added, in no order. The work is shared
// by several goroutines, each of which makes an add of its own; it returns false
// to end the search. A row is only good until add returns unless it is kept.
func (s *search) each(ctx context.Context, newAdd func() func(f found) bool) error {
	if s.query.Source == query.Jobs {
		add := newAdd()
		return s.hub.jobs.eachRow(ctx, func(r *jobRow) bool {
			return !s.query.Matches(r) || add(found{r, r.DeviceID, r.JobID})
		})
	}
	devices := s.hub.devicesNow()
	workers := max(1, min(runtime.GOMAXPROCS(0), len(devices)/minShare))
	share := (len(devices) + workers - 1) / workers
	var wg sync.WaitGroup
	var over atomic.Bool
	for part := range slices.Chunk(devices, max(share, 1)) {
		add := newAdd()
		wg.Go(func() { s.part(ctx, part, add, &over) })
	}
	wg.Wait()
	return ctx.Err()
}

// minShare is how many devices are worth a goroutine.
const minShare = 2000

// part looks at some of the devices.
func (s *search) part(ctx context.Context, devices []*deviceDoc, add func(f found) bool, over *atomic.Bool) {
	var r twinRow
	for i, dev := range devices {
		if i%1024 == 0 && (ctx.Err() != nil || over.Load()) {
			return
		}
		if s.query.Source == query.Devices {
			r = twinRow{hub: s.hub, dev: dev}
			if s.query.Matches(&r) && !add(found{&r, dev.ID, ""}) {
				over.Store(true)
				return
			}
			continue
		}
		for m := range dev.Modules {
			r = twinRow{hub: s.hub, dev: dev, mod: &dev.Modules[m]}
			if s.query.Matches(&r) && !add(found{&r, dev.ID, r.mod.ID}) {
				over.Store(true)
				return
			}
		}
	}
}

// kept is a found row that may be kept.
func (f found) kept() found {
	if r, ok := f.row.(*twinRow); ok {
		c := *r
		f.row = &c
	}
	return f
}

// devicesNow is the registry as it is. Documents never change.
func (h *Hub) devicesNow() []*deviceDoc {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*deviceDoc, 0, len(h.registry))
	for _, doc := range h.registry {
		list = append(list, doc)
	}
	return list
}

// lowest is the rows of a page being found: a heap with the last of them on top.
type lowest []found

func (l lowest) Len() int           { return len(l) }
func (l lowest) Less(i, j int) bool { return l[i].compare(l[j].device, l[j].module) > 0 }
func (l lowest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *lowest) Push(x any)        { *l = append(*l, x.(found)) }
func (l *lowest) Pop() any {
	n := len(*l) - 1
	last := (*l)[n]
	*l = (*l)[:n]
	return last
}

// keyed finds the rows that come first behind the token in the order of ids.
func (s *search) keyed(ctx context.Context, page *QueryPage) error {
	after := s.from.Module
	if s.query.Source == query.Jobs {
		after = s.from.Job
	}
	var parts []*lowest
	err := s.each(ctx, func() func(found) bool {
		best := new(lowest)
		parts = append(parts, best)
		return func(f found) bool {
			switch l := *best; {
			case s.from.Rows > 0 && f.compare(s.from.Device, after) <= 0:
			case len(l) <= s.limit: // one more than fits says that there is more
				heap.Push(best, f.kept())
			case f.compare(l[0].device, l[0].module) < 0:
				l[0] = f.kept()
				heap.Fix(best, 0)
			}
			return true
		}
	})
	if err != nil {
		return err
	}
	var all []found
	for _, best := range parts {
		all = append(all, *best...)
	}
	slices.SortFunc(all, func(x, y found) int { return x.compare(y.device, y.module) })
	return s.cut(page, all)
}

// ordered finds all rows and sorts them as the query says.
func (s *search) ordered(ctx context.Context, page *QueryPage) error {
	var parts []*[]found
	err := s.each(ctx, func() func(found) bool {
		list := new([]found)
		parts = append(parts, list)
		return func(f found) bool {
			*list = append(*list, f.kept())
			return true
		}
	})
	if err != nil {
		return err
	}
	var all []found
	for _, list := range parts {
		all = append(all, *list...)
	}
	slices.SortFunc(all, func(x, y found) int {
		return cmp.Or(s.query.Compare(x.row, y.row), x.compare(y.device, y.module))
	})
	return s.cut(page, all[min(s.from.Rows, len(all)):])
}

// cut takes the page off the front of the rows.
func (s *search) cut(page *QueryPage, rows []found) error {
	s.more = len(rows) > s.limit
	rows = rows[:min(len(rows), s.limit)]
	page.Rows = make([]json.RawMessage, 0, len(rows))
	s.next = pageToken{Rows: s.from.Rows + len(rows)}
	for _, f := range rows {
		s.next.Device, s.next.Module = f.device, f.module
		if s.query.Source == query.Jobs {
			s.next.Module, s.next.Job = "", f.module
		}
		data, err := s.render(f)
		if errors.Is(err, &Error{Code: CodeDeviceNotFound}) || errors.Is(err, &Error{Code: CodeModuleNotFound}) {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		page.Rows = append(page.Rows, data)
	}
	return nil
}

func (s *search) render(f found) (json.RawMessage, error) {
	if !s.query.All {
		return s.query.Project(nil, f.row), nil
	}
	if s.query.Source == query.Jobs {
		return json.Marshal(f.row)
	}
	t, err := s.hub.twinOf(identityKey{f.device, f.module}, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// grouped gathers all rows.
func (s *search) grouped(ctx context.Context, page *QueryPage) error {
	var parts []*query.Groups
	err := s.each(ctx, func() func(found) bool {
		groups := s.query.NewGroups()
		parts = append(parts, groups)
		return func(f found) bool { return groups.Add(f.row) }
	})
	if err != nil {
		return err
	}
	groups := s.query.NewGroups()
	for _, part := range parts {
		if part.Full() || !groups.Merge(part) {
			return NewError(CodeArgumentInvalid, "the query has too many groups")
		}
	}
	rows := groups.Rows()
	rows = rows[min(s.from.Rows, len(rows)):]
	s.more = len(rows) > s.limit
	rows = rows[:min(len(rows), s.limit)]
	page.Rows = make([]json.RawMessage, 0, len(rows))
	for _, r := range rows {
		page.Rows = append(page.Rows, r)
	}
	s.next = pageToken{Rows: s.from.Rows + len(rows)}
	return nil
}
