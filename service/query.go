package service

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/rest"
)

// maxPage is the largest page of a query.
const maxPage = 1000

// QueryOptions are for queries. The zero value, and nil, are the defaults.
type QueryOptions struct {
	// PageSize is how many rows are fetched at once, 1 to 1000; 0 leaves it to
	// the hub.
	PageSize int
	// Continuation goes on where the page ended that gave it.
	Continuation string
}

// RowType says what the rows of a query are.
type RowType string

// The row types.
const (
	TwinRow      RowType = "Twin"        // SELECT * FROM devices, or devices.modules
	DeviceJobRow RowType = "DeviceJob"   // SELECT * FROM devices.jobs
	JobRow       RowType = "JobResponse" // lists of jobs
	RawRow       RowType = "Raw"         // projections and aggregates
)

// Page is a part of the result of a query.
type Page struct {
	// Type says what the rows are.
	Type RowType
	// Rows are JSON objects.
	Rows []json.RawMessage
	// Continuation gets the next page; it is empty at the end.
	Continuation string
}

// QueryPage returns one page of a query. [Client.Query] reads them all.
func (c *Client) QueryPage(ctx context.Context, query string, o *QueryOptions) (*Page, error) {
	const op = "query"
	if query == "" {
		return nil, invalid(op, "the query is empty")
	}
	r := &rest.Request{Op: op, Method: http.MethodPost, Path: []string{"devices", "query"}, Idempotent: true,
		Body: map[string]string{"query": query}}
	return c.page(ctx, r, o)
}

// page sends a request for one page of rows.
func (c *Client) page(ctx context.Context, r *rest.Request, o *QueryOptions) (*Page, error) {
	r.Header = http.Header{}
	if o != nil {
		if o.PageSize < 0 || o.PageSize > maxPage {
			return nil, invalid(r.Op, "PageSize is %d, it can be 1 to %d", o.PageSize, maxPage)
		}
		if o.PageSize > 0 {
			r.Header.Set("x-ms-max-item-count", strconv.Itoa(o.PageSize))
		}
		if o.Continuation != "" {
			r.Header.Set("x-ms-continuation", o.Continuation)
		}
	}
	p := &Page{}
	resp, err := c.rest.Do(ctx, r, &p.Rows)
	if err != nil {
		return nil, err
	}
	p.Type = RowType(resp.Header.Get("x-ms-item-type"))
	p.Continuation = resp.Header.Get("x-ms-continuation")
	return p, nil
}

// Query returns the rows of a query as JSON objects, fetched page by page as they
// are read. After an error it ends; reading it again begins anew. The language is
// that of IoT Hub: "SELECT * FROM devices WHERE tags.site = 'north'".
func (c *Client) Query(ctx context.Context, query string, o *QueryOptions) iter.Seq2[json.RawMessage, error] {
	return rows(o, func(o *QueryOptions) (*Page, error) { return c.QueryPage(ctx, query, o) })
}

// QueryTwins is [Client.Query] for queries whose rows are whole twins:
// "SELECT * FROM devices" or "… FROM devices.modules".
func (c *Client) QueryTwins(ctx context.Context, query string, o *QueryOptions) iter.Seq2[*Twin, error] {
	return decoded[*Twin]("query", c.Query(ctx, query, o))
}

// QueryAs is [Client.Query] with rows decoded into values of T, a struct with json
// tags for one.
func QueryAs[T any](ctx context.Context, c *Client, query string, o *QueryOptions) iter.Seq2[T, error] {
	return decoded[T]("query", c.Query(ctx, query, o))
}

// rows reads page after page.
func rows(o *QueryOptions, fetch func(*QueryOptions) (*Page, error)) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		at := QueryOptions{}
		if o != nil {
			at = *o
		}
		for {
			p, err := fetch(&at)
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
				yield(nil, &iothub.Error{Op: "query", Kind: iothub.KindProtocol,
					Err: fmt.Errorf("an empty page is followed by itself")})
				return
			}
			at.Continuation = p.Continuation
		}
	}
}

func decoded[T any](op string, rows iter.Seq2[json.RawMessage, error]) iter.Seq2[T, error] {
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

// Quote returns s as a string of the query language: with it, what comes from
// elsewhere cannot change a query.
func Quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
