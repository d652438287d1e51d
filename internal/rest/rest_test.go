package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
)

// answers is a transport with one function for each attempt, the last of which
// answers all that follow.
type answers struct {
	t    *testing.T
	list []func(*http.Request) (*http.Response, error)
	seen []*http.Request
	body []string
	at   []time.Duration
	t0   time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			a.t.Error(err)
		}
		body = string(b)
	}
	a.seen, a.body = append(a.seen, r), append(a.body, body)
	a.at = append(a.at, time.Since(a.t0))
	f := a.list[min(len(a.seen), len(a.list))-1]
	return f(r)
}

func answer(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func broken(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

func client(t *testing.T, list ...func(*http.Request) (*http.Response, error)) (*Client, *answers) {
	a := &answers{t: t, list: list, t0: time.Now()}
	return New(Config{
		Host: "hub.example:8443", APIVersion: "2021-04-12", UserAgent: "test", Transport: a, Timeout: time.Minute,
		Authorize: func(context.Context) (string, error) { return "token", nil },
		Retry:     iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Second, Limit: time.Minute},
	}), a
}

func TestRequest(t *testing.T) {
	c, a := client(t, answer(200, `{"x":1}`, "ETag", `"AA="`))
	var got struct{ X int }
	resp, err := c.Do(t.Context(), &Request{
		Op: "test", Method: "PUT", Path: []string{"devices", "a/b c;%"}, Query: url.Values{"top": {"3"}}, IfMatch: "AA=",
		Body: map[string]string{"k": "v"}, Header: http.Header{"X-Ms-Max-Item-Count": {"7"}},
	}, &got)
	if err != nil || got.X != 1 || resp.Header.Get("ETag") != `"AA="` {
		t.Fatalf("%+v %+v %v", got, resp, err)
	}
	r := a.seen[0]
	if u := r.URL.String(); u != "https://hub.example:8443/devices/a%2Fb%20c%3B%25?api-version=2021-04-12&top=3" {
		t.Error(u)
	}
	for name, want := range map[string]string{
		"Authorization": "token", "If-Match": `"AA="`, "Content-Type": "application/json; charset=utf-8",
		"User-Agent": "test", "x-ms-max-item-count": "7",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a.body[0] != `{"k":"v"}` {
		t.Error(a.body[0])
	}
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Do(t.Context(), &Request{Method: "GET", Path: []string{"devices", id}}, nil); iothub.KindOf(err) != iothub.KindInvalidArgument || !iothub.NotSent(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// Every form of error body in the field becomes the same error.
func TestErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		header []string
		want   iothub.Error
		text   string
	}{
		"classic": {404, `{"Message":"ErrorCode:DeviceNotFound;dev1","ExceptionMessage":"Tracking ID:06e0221675514160850421f0b3b787a9-G:0-TimeStamp:10/24/2023 16:57:00"}`, nil,
			iothub.Error{Kind: iothub.KindNotFound, Code: 404001}, "dev1"},
		"JSON in a string": {404, `{"Message":"{\"errorCode\":404103,\"trackingId\":\"x-G:0-TimeStamp:08/24/2018 17:49:33\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"2018-08-24T17:49:33.201157Z\"}","ExceptionMessage":""}`, nil,
			iothub.Error{Kind: iothub.KindTimeout, Code: 404103, Retryable: true}, "Timed out waiting for device to connect."},
		"flat": {409, `{"errorCode":409301,"message":"Device tf-dev-01 in IotHub tf-provider-dev already contains Module telemetry.","trackingId":"x","timestampUtc":"2026-08-15T09:09:19Z"}`, nil,
			iothub.Error{Kind: iothub.KindConflict, Code: 409301}, "Device tf-dev-01 in IotHub tf-provider-dev already contains Module telemetry."},
		"OData": {400, `{"error":{"code":"ArgumentInvalid","message":"no"}}`, nil,
			iothub.Error{Kind: iothub.KindInvalidArgument, Code: 400004}, "no"},
		"header only": {412, ``, []string{"iothub-errorcode", "PreconditionFailed"},
			iothub.Error{Kind: iothub.KindPreconditionFailed, Code: 412001}, "PreconditionFailed"},
		"the header counts": {404, `{"Message":"ErrorCode:DeviceNotFound;x"}`, []string{"iothub-errorcode", "ModuleNotFound"},
			iothub.Error{Kind: iothub.KindNotFound, Code: 404010}, "x"},
		"no such hub": {404, `{"Message":"ErrorCode:IotHubNotFound;myhub"}`, nil,
			iothub.Error{Kind: iothub.KindNotFound, Code: 401001}, "myhub"},
		"unauthorized": {401, `{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}`, nil,
			iothub.Error{Kind: iothub.KindUnauthorized, Code: 401002}, "Unauthorized"},
		"quota": {403, `{"Message":"ErrorCode:IotHubQuotaExceeded;Total number of messages exceeded the quota"}`, nil,
			iothub.Error{Kind: iothub.KindQuotaExceeded, Code: 403002, Retryable: true}, "Total number of messages exceeded the quota"},
		"unknown name": {409, `{"Message":"ErrorCode:Unheard;of"}`, nil,
			iothub.Error{Kind: iothub.KindConflict, Code: 409}, "of"},
		"a proxy": {418, `<html>`, nil,
			iothub.Error{Kind: iothub.KindUnknown, Code: 418}, "I'm a teapot"},
		"Retry-After": {503, `{}`, []string{"Retry-After", "7"},
			iothub.Error{Kind: iothub.KindUnavailable, Code: 503, Retryable: true, RetryAfter: 7 * time.Second}, "Service Unavailable"},
	} {
		c, _ := client(t, answer(tt.status, tt.body, tt.header...))
		c.Retry.Strategy = iothub.RetryNone
		_, err := c.Do(t.Context(), &Request{Op: "test", Method: "GET", Path: []string{"devices", "d"}}, nil)
		e, ok := errors.AsType[*iothub.Error](err)
		if !ok || e.Err == nil || e.Err.Error() != tt.text {
			t.Errorf("%s: %v, want %q", name, err, tt.text)
			continue
		}
		got := *e
		got.Err = nil
		tt.want.Op = "test"
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// What is sent again, and when.
func TestRetry(t *testing.T) {
	throttled := answer(429, `{"Message":"ErrorCode:ThrottlingException;Wait"}`, "Retry-After", "3")
	unavailable := answer(503, `{}`)
	ok := answer(200, `{}`)
	for name, tt := range map[string]struct {
		list       []func(*http.Request) (*http.Response, error)
		method     string
		idempotent bool
		attempts   int
		took       time.Duration
		kind       iothub.Kind
	}{
		"throttled, whatever it is":     {list: []func(*http.Request) (*http.Response, error){throttled, throttled, ok}, attempts: 3, took: 6 * time.Second},
		"unavailable, idempotent":       {list: []func(*http.Request) (*http.Response, error){unavailable, ok}, idempotent: true, attempts: 2, took: time.Second},
		"unavailable, not idempotent":   {list: []func(*http.Request) (*http.Response, error){unavailable, ok}, attempts: 1, kind: iothub.KindUnavailable},
		"broken, idempotent":            {list: []func(*http.Request) (*http.Response, error){broken, broken, ok}, idempotent: true, attempts: 3, took: 2 * time.Second},
		"broken, not idempotent":        {list: []func(*http.Request) (*http.Response, error){broken, ok}, attempts: 1, kind: iothub.KindNetwork},
		"not found":                     {list: []func(*http.Request) (*http.Response, error){answer(404, `{}`)}, idempotent: true, attempts: 1, kind: iothub.KindNotFound},
		"for a minute":                  {list: []func(*http.Request) (*http.Response, error){unavailable}, idempotent: true, attempts: 61, took: time.Minute, kind: iothub.KindUnavailable},
		"deleted, the answer was lost":  {list: []func(*http.Request) (*http.Response, error){broken, answer(404, `{}`)}, method: "DELETE", idempotent: true, attempts: 2, took: time.Second},
		"deleted by somebody else":      {list: []func(*http.Request) (*http.Response, error){throttled, answer(404, `{}`)}, method: "DELETE", idempotent: true, attempts: 2, took: 3 * time.Second, kind: iothub.KindNotFound},
		"asked to wait for too long":    {list: []func(*http.Request) (*http.Response, error){answer(429, `{}`, "Retry-After", "90")}, attempts: 1, kind: iothub.KindThrottled},
		"a full queue":                  {list: []func(*http.Request) (*http.Response, error){answer(403, `{"Message":"ErrorCode:DeviceMaximumQueueDepthExceeded;x"}`)}, idempotent: true, attempts: 1, kind: iothub.KindThrottled},
		"the quota is of no use before": {list: []func(*http.Request) (*http.Response, error){answer(403, `{"Message":"ErrorCode:IotHubQuotaExceeded;x"}`)}, idempotent: true, attempts: 1, kind: iothub.KindQuotaExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, a := client(t, tt.list...)
				if tt.method == "" {
					tt.method = "POST"
				}
				_, err := c.Do(t.Context(), &Request{Op: "test", Method: tt.method, Path: []string{"x"}, Idempotent: tt.idempotent}, nil)
				if kind := iothub.KindOf(err); kind != tt.kind || (err != nil) != (tt.kind != 0) {
					t.Errorf("%v", err)
				}
				if len(a.seen) != tt.attempts || time.Since(a.t0) != tt.took {
					t.Errorf("%d attempts in %v, want %d in %v", len(a.seen), time.Since(a.t0), tt.attempts, tt.took)
				}
			})
		})
	}
}

// A request that found nobody to connect to is sent again, whatever it is.
func TestNotConnectedIsNotSent(t *testing.T) {
	c, _ := client(t)
	c.Transport = &http.Transport{}
	c.Host = "127.0.0.1:1" // nobody listens
	c.Retry.Strategy = iothub.RetryNone
	_, err := c.Do(t.Context(), &Request{Op: "test", Method: "POST", Path: []string{"x"}}, nil)
	if !iothub.NotSent(err) || iothub.KindOf(err) != iothub.KindNetwork || !iothub.Retryable(err) {
		t.Error(err)
	}
}

// The end of the context ends a wait at once, with the reason of the last failure.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := client(t, answer(503, `{}`))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		_, err := c.Do(ctx, &Request{Op: "test", Method: "GET", Path: []string{"x"}, Idempotent: true}, nil)
		if iothub.KindOf(err) != iothub.KindUnavailable || time.Since(a.t0) != 500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(a.t0))
		}
		// A deadline that falls into the wait is not waited for.
		ctx, cancel = context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if _, err = c.Do(ctx, &Request{Op: "test", Method: "GET", Path: []string{"x"}, Idempotent: true}, nil); iothub.KindOf(err) != iothub.KindUnavailable || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// Close waits for what is under way, and breaks it off when its context ends.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := client(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		done := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), &Request{Op: "test", Method: "GET", Path: []string{"x"}, Idempotent: true}, nil)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
		if _, err := c.Do(t.Context(), &Request{Method: "GET", Path: []string{"x"}}, nil); !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
	})
}

// Whatever a body is, reading it for an error ends well.
func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{
		`{"Message":"ErrorCode:DeviceNotFound;dev1","ExceptionMessage":""}`,
		`{"Message":"{\"errorCode\":404103,\"message\":\"Timed out\"}"}`,
		`{"errorCode":"409301","message":"x"}`, `{"error":{"code":"ArgumentInvalid","message":"no"}}`, `[]`, `{"error":null}`,
	} {
		f.Add(404, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := Refused("fuzz", &http.Response{StatusCode: status, Header: http.Header{}}, body)
		if e.Kind == iothub.KindUnknown && iothub.KindOfStatus(status) != iothub.KindUnknown {
			t.Errorf("status %d is of a kind, the error is not: %+v", status, e)
		}
		_ = e.Error()
	})
}
