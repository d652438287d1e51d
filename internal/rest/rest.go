// Package rest calls the REST APIs of IoT Hub and of the Device Provisioning
// Service: it escapes, signs, sends, retries what may be sent again, bounds what
// it reads and makes every refusal an *iothub.Error.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
)

// MaxAnswer bounds the body of an answer, in bytes: a page of 1000 twins of full
// size is the largest that the services send.
const MaxAnswer = 128 << 20

// AnyETag is the If-Match of a request that replaces whatever version there is.
const AnyETag = "*"

// Config says what a [Client] calls and how.
type Config struct {
	// Host is the service, with ":port" where that is not 443.
	Host string
	// APIVersion goes with each request that has none of its own.
	APIVersion string
	// UserAgent names the program.
	UserAgent string
	// Authorize returns the Authorization header for a request. It is called
	// for each attempt, by many goroutines at once, and returns when ctx
	// ends.
	Authorize func(ctx context.Context) (string, error)
	// Transport sends the requests.
	Transport http.RoundTripper
	// Timeout bounds each attempt, beside what the request adds to it.
	Timeout time.Duration
	// Retry says how long to wait between attempts and when to give up.
	Retry iothub.RetryPolicy
	// Logger is told of attempts that failed and are repeated; nil discards.
	Logger *slog.Logger
}

// Client calls one service. It is safe for use by many goroutines.
type Client struct {
	Config

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
	ctx    context.Context // ends when Close no longer waits
	cancel context.CancelFunc
}

// New returns a client. It opens no connection.
func New(c Config) *Client {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	client := &Client{Config: c}
	client.ctx, client.cancel = context.WithCancel(context.Background())
	return client
}

// Close refuses new calls with iothub.ErrClosed and waits for those under way;
// when ctx ends they are broken off. It returns ctx's error when it came to that.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		c.calls.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.cancel()
	<-done
	if t, ok := c.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return err
}

// enter counts a call, unless the client is closed.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return iothub.ErrClosed
	}
	c.calls.Add(1)
	return nil
}

// Request is one request. It is sent again after a refusal for throttling, and
// when it certainly never left; after any other failure that may pass only if it
// is idempotent.
type Request struct {
	// Op names the operation in errors.
	Op string
	// Method is the HTTP method, Path the segments of the path, not escaped.
	Method string
	Path   []string
	// Query is added to the api-version.
	Query url.Values
	// APIVersion replaces that of the client, if set.
	APIVersion string
	// IfMatch is the ETag that the request depends on, without quotes; "" is
	// none.
	IfMatch string
	// Header holds further headers.
	Header http.Header
	// Body is sent as JSON; nil is no body.
	Body any
	// Idempotent says that the effect of sending it twice is that of once.
	Idempotent bool
	// Timeout is added to that of the client: how long the service may take
	// by itself.
	Timeout time.Duration
	// Accept are statuses beyond 2xx whose answers are results.
	Accept []int
}

// Response is an answer that is a result.
type Response struct {
	// Status is the HTTP status, Header the headers, Body the whole body.
	Status int
	Header http.Header
	Body   []byte
}

// Do sends r, as often as r and the retry policy allow, and decodes the JSON of
// the answer into result unless that is nil or there is no body. Errors are
// *[iothub.Error]; iothub.NotSent is true of those of requests that certainly did
// not reach the service. When ctx ends, it is open whether the service has done
// what was asked.
func (c *Client) Do(ctx context.Context, r *Request, result any) (*Response, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return nil, &iothub.Error{Op: r.Op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("what is sent does not encode as JSON: %w", err)}
		}
	}
	resp, err := c.repeat(ctx, r, body)
	if err != nil {
		if c.ctx.Err() != nil {
			return nil, iothub.ErrClosed
		}
		return nil, err
	}
	if result == nil || len(resp.Body) == 0 {
		return resp, nil
	}
	if err := json.Unmarshal(resp.Body, result); err != nil {
		return nil, &iothub.Error{Op: r.Op, Kind: iothub.KindProtocol, Code: resp.Status, Err: fmt.Errorf("the answer is not the JSON that was expected: %w", err)}
	}
	return resp, nil
}

// repeat makes attempts until one is answered with a result or the next is not
// worth it.
func (c *Client) repeat(ctx context.Context, r *Request, body []byte) (*Response, error) {
	begun := time.Now()
	maybeDone := false // an earlier attempt may have had its effect
	for n := 1; ; n++ {
		resp, err := c.attempt(ctx, r, body)
		if err == nil {
			return resp, nil
		}
		if maybeDone && r.Method == http.MethodDelete && iothub.KindOf(err) == iothub.KindNotFound {
			// Gone by the earlier attempt, whose answer was lost.
			return &Response{Status: http.StatusNoContent}, nil
		}
		if ctx.Err() != nil || !c.again(r, err) {
			return nil, err
		}
		wait := max(c.Retry.Delay(n, rand.Float64()), iothub.RetryAfter(err))
		if c.Retry.Limit > 0 && time.Since(begun)+wait > c.Retry.Limit {
			return nil, err
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return nil, err // says more than that the time is up
		}
		maybeDone = maybeDone || !iothub.NotSent(err) && !tooMany(err)
		c.Logger.Info("request is sent again", "op", r.Op, "attempt", n, "wait", wait, "error", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// again reports whether r may be sent again after err.
func (c *Client) again(r *Request, err error) bool {
	if c.Retry.Strategy == iothub.RetryNone || !iothub.Retryable(err) {
		return false
	}
	switch iothub.KindOf(err) {
	case iothub.KindThrottled:
		return tooMany(err) // refused before anything was done
	case iothub.KindQuotaExceeded, iothub.KindTLS:
		return false // until tomorrow; until somebody sets up trust
	}
	return r.Idempotent || iothub.NotSent(err)
}

// tooMany reports whether err is a refusal for the rate of requests, status 429.
// Other limits, as that of messages in a queue, do not go by waiting alone.
func tooMany(err error) bool {
	e, ok := errors.AsType[*iothub.Error](err)
	return ok && (e.Code == http.StatusTooManyRequests || e.Code/1000 == http.StatusTooManyRequests)
}

func (c *Client) attempt(ctx context.Context, r *Request, body []byte) (*Response, error) {
	token, err := c.Authorize(ctx)
	if err != nil {
		if e, ok := errors.AsType[*iothub.Error](err); ok {
			return nil, iothub.MarkNotSent(e)
		}
		return nil, iothub.MarkNotSent(&iothub.Error{Op: r.Op, Kind: iothub.KindUnauthorized, Retryable: true, Err: fmt.Errorf("no token: %w", err)})
	}
	sent := false
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, c.Timeout+r.Timeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	req, err := c.request(ctx, r, body)
	if err != nil {
		return nil, iothub.MarkNotSent(&iothub.Error{Op: r.Op, Kind: iothub.KindInvalidArgument, Err: err})
	}
	req.Header.Set("Authorization", token)
	resp, err := c.Transport.RoundTrip(req)
	if err != nil {
		err = failed(parent, r.Op, err)
		if _, own := c.Transport.(*http.Transport); own && !sent {
			// Without a connection no byte has left. Transports of others
			// need not tell us of theirs.
			err = iothub.MarkNotSent(err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil {
		return nil, failed(parent, r.Op, fmt.Errorf("the answer broke off: %w", err))
	}
	if len(data) > MaxAnswer {
		return nil, &iothub.Error{Op: r.Op, Kind: iothub.KindProtocol, Err: fmt.Errorf("the answer has more than %d bytes", MaxAnswer)}
	}
	if ok := resp.StatusCode >= 200 && resp.StatusCode < 300; !ok && !accepts(r, resp.StatusCode, data) {
		return nil, Refused(r.Op, resp, data)
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: data}, nil
}

// accepts reports whether an answer beyond 2xx is a result: it has an accepted
// status and is no error body.
func accepts(r *Request, status int, body []byte) bool {
	for _, s := range r.Accept {
		if s == status {
			_, _, isError := ParseError(body)
			return !isError
		}
	}
	return false
}

func (c *Client) request(ctx context.Context, r *Request, body []byte) (*http.Request, error) {
	segments := make([]string, len(r.Path))
	for i, s := range r.Path {
		if s == "" || s == "." || s == ".." {
			return nil, fmt.Errorf("%q cannot be an id", s)
		}
		segments[i] = url.PathEscape(s)
	}
	query := url.Values{}
	for k, v := range r.Query {
		query[k] = v
	}
	query.Set("api-version", c.APIVersion)
	if r.APIVersion != "" {
		query.Set("api-version", r.APIVersion)
	}
	path := strings.Join(segments, "/")
	decoded := strings.Join(r.Path, "/")
	u := &url.URL{Scheme: "https", Host: c.Host, Path: "/" + decoded, RawPath: "/" + path, RawQuery: query.Encode()}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "https://"+c.Host, reader)
	if err != nil {
		return nil, err
	}
	req.URL = u
	for k, v := range r.Header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.UserAgent)
	if r.IfMatch != "" {
		req.Header.Set("If-Match", `"`+strings.Trim(r.IfMatch, `"`)+`"`)
	}
	return req, nil
}

// failed makes a failure of the network an *iothub.Error. ctx is the caller's.
func failed(ctx context.Context, op string, err error) error {
	if e, ok := errors.AsType[*iothub.Error](err); ok { // of the dialer
		c := *e
		c.Op = op
		return &c
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
	switch {
	case ctx.Err() != nil:
		e.Kind, e.Retryable, e.Err = iothub.KindTimeout, errors.Is(ctx.Err(), context.DeadlineExceeded), ctx.Err()
		if errors.Is(ctx.Err(), context.Canceled) {
			e.Kind = iothub.KindUnknown
		}
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = iothub.KindTimeout
	}
	return e
}
