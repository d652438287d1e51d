package service

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strings"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

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
	p, err := c.queryPage(ctx, query, o.from())
	if err != nil {
		return nil, err
	}
	return &Page{Type: RowType(p.Type), Rows: p.Rows, Continuation: p.Continuation}, nil
}

const queryOp = "query"

func (c *Client) queryPage(ctx context.Context, query string, from backend.From) (*backend.Page, error) {
	if query == "" {
		return nil, backend.Invalid(queryOp, "the query is empty")
	}
	return backend.Fetch(ctx, c.rest, &rest.Request{Op: queryOp, Method: http.MethodPost, Path: []string{"devices", "query"}, Idempotent: true,
		Body: map[string]string{"query": query}}, from)
}

// from is where a query with these options begins.
func (o *QueryOptions) from() backend.From {
	if o == nil {
		return backend.From{}
	}
	return backend.From{PageSize: o.PageSize, Continuation: o.Continuation}
}

// Query returns the rows of a query as JSON objects, fetched page by page as they
// are read. After an error it ends; reading it again begins anew. The language is
// that of IoT Hub: "SELECT * FROM devices WHERE tags.site = 'north'".
func (c *Client) Query(ctx context.Context, query string, o *QueryOptions) iter.Seq2[json.RawMessage, error] {
	return backend.Rows(queryOp, o.from(), func(from backend.From) (*backend.Page, error) { return c.queryPage(ctx, query, from) })
}

// QueryTwins is [Client.Query] for queries whose rows are whole twins:
// "SELECT * FROM devices" or "… FROM devices.modules".
func (c *Client) QueryTwins(ctx context.Context, query string, o *QueryOptions) iter.Seq2[*Twin, error] {
	return backend.Decoded[*Twin](queryOp, c.Query(ctx, query, o))
}

// QueryAs is [Client.Query] with rows decoded into values of T, a struct with json
// tags for one.
func QueryAs[T any](ctx context.Context, c *Client, query string, o *QueryOptions) iter.Seq2[T, error] {
	return backend.Decoded[T](queryOp, c.Query(ctx, query, o))
}

// Quote returns s as a string of the query language: with it, what comes from
// elsewhere cannot change a query.
func Quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
