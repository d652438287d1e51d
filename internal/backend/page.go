package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/rest"
)

var errNoBody = errors.New("the answer is empty")

// Result sends a request whose answer is one T.
func Result[T any](ctx context.Context, c *rest.Client, r *rest.Request) (*T, error) {
	t := new(T)
	resp, err := c.Do(ctx, r, t)
	if err != nil {
		return nil, err
	}
	if len(resp.Body) == 0 {
		return nil, &iothub.Error{Op: r.Op, Kind: iothub.KindProtocol, Code: resp.Status, Err: errNoBody}
	}
	return t, nil
}

// List sends a request whose answer is an array of T.
func List[T any](ctx context.Context, c *rest.Client, r *rest.Request) ([]*T, error) {
	var l []*T
	_, err := c.Do(ctx, r, &l)
	return l, err
}

// NeedETag refuses what would replace or delete a version that the caller has not
// thought of.
func NeedETag(op, etag string) error {
	if etag == "" {
		return Invalid(op, "there is no ETag: give that of the version that was read, or service.AnyETag for whatever there is")
	}
	return nil
}

// maxPage is the largest page of a query.
const maxPage = 1000

// From says where a page begins and how many rows it has at most; 0 leaves that to
// the service.
type From struct {
	PageSize     int
	Continuation string
}

// Page is a part of the result of a query.
type Page struct {
	Type         string // what the rows are
	Rows         []json.RawMessage
	Continuation string // gets the next page; empty at the end
}

// Fetch sends a request for one page of rows.
func Fetch(ctx context.Context, c *rest.Client, r *rest.Request, from From) (*Page, error) {
	if from.PageSize < 0 || from.PageSize > maxPage {
		return nil, Invalid(r.Op, "PageSize is %d, it can be 1 to %d", from.PageSize, maxPage)
	}
	r.Header = http.Header{}
	if from.PageSize > 0 {
		r.Header.Set("x-ms-max-item-count", strconv.Itoa(from.PageSize))
	}
	if from.Continuation != "" {
		r.Header.Set("x-ms-continuation", from.Continuation)
	}
	p := &Page{}
	resp, err := c.Do(ctx, r, &p.Rows)
	if err != nil {
		return nil, err
	}
	p.Type = resp.Header.Get("x-ms-item-type")
	p.Continuation = resp.Header.Get("x-ms-continuation")
	return p, nil
}

// Rows reads page after page, as fetch gets them.
func Rows(op string, from From, fetch func(From) (*Page, error)) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		at := from
		for {
			p, err := fetch(at)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, row := range p.Rows {
				if !yield(row, nil) {
					return
				}
			}
			if p.Continuation == "" {
				return
			}
			if p.Continuation == at.Continuation && len(p.Rows) == 0 {
				yield(nil, &iothub.Error{Op: op, Kind: iothub.KindProtocol,
					Err: fmt.Errorf("an empty page is followed by itself")})
				return
			}
			at.Continuation = p.Continuation
		}
	}
}

// Decoded decodes rows.
func Decoded[T any](op string, rows iter.Seq2[json.RawMessage, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for row, err := range rows {
			if err != nil {
				yield(zero, err)
				return
			}
			var t T
			if err := json.Unmarshal(row, &t); err != nil {
				yield(zero, &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: fmt.Errorf("a row is not what was expected: %w", err)})
				return
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}
