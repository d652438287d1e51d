package dps

import (
	"context"
	"iter"
	"net/http"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/service"
)

// kind is one of the two kinds of enrollments, for which the API is the same.
type kind struct {
	noun   string // for errors
	path   string // in the API, and in queries and bulk operations
	idName string
}

// enrollment is one of either kind.
type enrollment[T any] interface {
	*T
	// parts are its id, and where its version and attestation are.
	parts() (id string, etag *ETag, a *AttestationMechanism)
	// writable is a copy without what only the service sets.
	writable() *T
}

// prepared is a copy of e that can be sent.
func prepared[T any, E enrollment[T]](op string, k kind, e E) (E, error) {
	if e == nil {
		return nil, backend.Invalid(op, "there is no %s", k.noun)
	}
	send := E(e.writable())
	id, _, a := send.parts()
	*a = a.typed()
	return send, validateID(op, k.idName, id)
}

func create[T any, E enrollment[T]](ctx context.Context, c *Client, k kind, e E) (*T, error) {
	op := "create " + k.noun
	send, err := prepared(op, k, e)
	if err != nil {
		return nil, err
	}
	id, etag, _ := send.parts()
	*etag = ""
	return backend.Result[T](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPut, Path: []string{k.path, id}, Body: send})
}

func update[T any, E enrollment[T]](ctx context.Context, c *Client, k kind, e E) (*T, error) {
	op := "update " + k.noun
	send, err := prepared(op, k, e)
	if err != nil {
		return nil, err
	}
	id, etag, _ := send.parts()
	version := *etag
	if err := backend.NeedETag(op, string(version)); err != nil {
		return nil, err
	}
	if version == service.AnyETag {
		*etag = ""
	}
	if err := keepKeys(ctx, c, k, send); err != nil {
		return nil, err
	}
	r := &rest.Request{Op: op, Method: http.MethodPut, Path: []string{k.path, id}, Body: send, Idempotent: version == service.AnyETag}
	condition(r, version)
	return backend.Result[T](ctx, c.rest, r)
}

// keepKeys fills in the symmetric keys that the service does not show: without, it
// would make new ones, and the devices would be locked out.
func keepKeys[T any, E enrollment[T]](ctx context.Context, c *Client, k kind, send E) error {
	id, _, a := send.parts()
	if a.Type != AttestationSymmetricKey || a.SymmetricKey != nil {
		return nil
	}
	is, err := attestation(ctx, c, k, id)
	if err == nil && is.Type == AttestationSymmetricKey {
		a.SymmetricKey = is.SymmetricKey
	}
	return err
}

func get[T any](ctx context.Context, c *Client, k kind, id string) (*T, error) {
	op := "get " + k.noun
	if err := validateID(op, k.idName, id); err != nil {
		return nil, err
	}
	return backend.Result[T](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: []string{k.path, id}, Idempotent: true})
}

func drop(ctx context.Context, c *Client, k kind, id string, etag ETag) error {
	op := "delete " + k.noun
	if err := validateID(op, k.idName, id); err != nil {
		return err
	}
	return c.remove(ctx, op, etag, k.path, id)
}

func attestation(ctx context.Context, c *Client, k kind, id string) (*AttestationMechanism, error) {
	op := "get attestation of " + k.noun
	if err := validateID(op, k.idName, id); err != nil {
		return nil, err
	}
	return backend.Result[AttestationMechanism](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPost,
		Path: []string{k.path, id, "attestationmechanism"}, Idempotent: true})
}

func find[T any](ctx context.Context, c *Client, k kind, query string, o *service.QueryOptions) iter.Seq2[*T, error] {
	if query == "" {
		query = "SELECT * FROM " + k.path
	}
	return rows[T](ctx, c, "query "+k.noun+"s", map[string]string{"query": query}, o, k.path, "query")
}

// rows reads the answer of a query page by page.
func rows[T any](ctx context.Context, c *Client, op string, body any, o *service.QueryOptions, path ...string) iter.Seq2[*T, error] {
	var begin backend.From
	if o != nil {
		begin = backend.From{PageSize: o.PageSize, Continuation: o.Continuation}
	}
	return backend.Decoded[*T](op, backend.Rows(op, begin, func(from backend.From) (*backend.Page, error) {
		return backend.Fetch(ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPost, Path: path, Body: body, Idempotent: true}, from)
	}))
}
