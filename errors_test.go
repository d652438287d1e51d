package iothub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
)

func TestError(t *testing.T) {
	cause := fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	for _, test := range []struct {
		err  *iothub.Error
		want string
	}{
		{&iothub.Error{}, "iothub: unknown error"},
		{&iothub.Error{Op: "send", Kind: iothub.KindThrottled, Code: 429001}, "iothub: send: throttled (429001)"},
		{&iothub.Error{Op: "connect", Kind: iothub.KindNetwork, Err: cause}, "iothub: connect: network error: read: unexpected EOF"},
		// A nested one does not repeat the name of the library.
		{&iothub.Error{Op: "a", Kind: iothub.KindServer, Err: &iothub.Error{Op: "b", Kind: iothub.KindTLS}}, "iothub: a: server error: b: TLS error"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if test.err.Err != nil && !errors.Is(test.err, test.err.Err) {
			t.Errorf("%v does not unwrap", test.err)
		}
	}
	var ne net.Error
	if err := error(iothub.ErrMessageTimeout); !errors.As(err, &ne) || !ne.Timeout() {
		t.Error("ErrMessageTimeout is no timeout for net.Error")
	}
	if !(&iothub.Error{Kind: iothub.KindTimeout}).Timeout() || (&iothub.Error{Kind: iothub.KindNetwork}).Timeout() {
		t.Error("Timeout does not follow the kind")
	}
	if !errors.Is(iothub.ErrClosed, net.ErrClosed) || errors.Is(net.ErrClosed, iothub.ErrClosed) {
		t.Error("ErrClosed should match net.ErrClosed, not the other way round")
	}
}

func TestErrorPredicates(t *testing.T) {
	throttled := &iothub.Error{Kind: iothub.KindThrottled, Retryable: true, RetryAfter: 7 * time.Second}
	for _, test := range []struct {
		err                error
		kind               iothub.Kind
		retryable, notSent bool
		after              time.Duration
	}{
		{nil, iothub.KindUnknown, false, false, 0},
		{io.EOF, iothub.KindUnknown, false, false, 0},
		{context.Canceled, iothub.KindUnknown, false, false, 0},
		{throttled, iothub.KindThrottled, true, false, 7 * time.Second},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", throttled)), iothub.KindThrottled, true, false, 7 * time.Second},
		{errors.Join(io.EOF, throttled), iothub.KindThrottled, true, false, 7 * time.Second},
		{&iothub.Error{Kind: iothub.KindInvalidArgument}, iothub.KindInvalidArgument, false, true, 0},
		{&iothub.Error{Kind: iothub.KindMessageTooLarge}, iothub.KindMessageTooLarge, false, true, 0},
		{&iothub.Error{Kind: iothub.KindNetwork, Retryable: true}, iothub.KindNetwork, true, false, 0},
		{iothub.MarkNotSent(throttled), iothub.KindThrottled, true, true, 7 * time.Second},
		{fmt.Errorf("a: %w", iothub.MarkNotSent(io.EOF)), iothub.KindUnknown, false, true, 0},
		{iothub.ErrQueueFull, iothub.KindUnknown, true, true, 0},
		{iothub.ErrMessageTimeout, iothub.KindUnknown, true, false, 0},
		{iothub.MarkNotSent(iothub.ErrMessageTimeout), iothub.KindUnknown, true, true, 0},
		{iothub.ErrClosed, iothub.KindUnknown, false, false, 0},
		{iothub.ErrNotSupported, iothub.KindUnknown, false, false, 0},
		{iothub.ErrConcurrentUse, iothub.KindUnknown, false, false, 0},
	} {
		if got := iothub.KindOf(test.err); got != test.kind {
			t.Errorf("KindOf(%v) is %v", test.err, got)
		}
		if got := iothub.Retryable(test.err); got != test.retryable {
			t.Errorf("Retryable(%v) is %v", test.err, got)
		}
		if got := iothub.NotSent(test.err); got != test.notSent {
			t.Errorf("NotSent(%v) is %v", test.err, got)
		}
		if got := iothub.RetryAfter(test.err); got != test.after {
			t.Errorf("RetryAfter(%v) is %v", test.err, got)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	retryable := ""
	for k := iothub.KindUnknown; k <= iothub.KindProxy; k++ {
		if s := k.String(); s == "" || seen[s] || s[0] == 'K' {
			t.Errorf("kind %d is called %q", k, s)
		}
		seen[k.String()] = true
		if k.Retryable() {
			retryable += k.String() + ", "
		}
	}
	if want := "duplicate identity, throttled, quota exceeded, timeout, network error, unavailable, server error, proxy error, "; retryable != want {
		t.Errorf("retryable are %swant %s", retryable, want)
	}
	if s := (iothub.KindProxy + 1).String(); s != "Kind(20)" {
		t.Errorf("a kind that does not exist is called %q", s)
	}
}

// The codes of IoT Hub that a device or its back end meets, and statuses
// without a code.
func TestKindOfStatus(t *testing.T) {
	for want, codes := range map[iothub.Kind][]int{
		iothub.KindInvalidArgument: {400, 405, 415, 400000, 400001, 400003, 400004, 400006, 400014, 400015, 400016, 400019, 400020,
			405000, 415000},
		iothub.KindDuplicateIdentity:  {400027, 409002},
		iothub.KindPreconditionFailed: {412, 400023, 412001, 412002},
		iothub.KindUnauthorized:       {401, 401000, 401002, 401003},
		iothub.KindForbidden:          {403, 403000},
		iothub.KindQuotaExceeded:      {403002},
		iothub.KindDeviceDisabled:     {403012},
		iothub.KindNotFound:           {404, 404001, 404006, 404010},
		iothub.KindTimeout:            {408, 504, 400024, 404102, 404103, 404104, 500008, 504101},
		iothub.KindConflict:           {409, 409001, 409301},
		iothub.KindMessageTooLarge:    {413, 413001},
		iothub.KindThrottled:          {429, 429001, 429002, 403004, 403006, 403800},
		iothub.KindServer:             {500, 501, 599, 500001},
		iothub.KindUnavailable:        {502, 503, 503001, 503005},
		iothub.KindUnknown:            {0, -1, 200, 204, 302, 418, 200000, 499000, 600},
	} {
		for _, code := range codes {
			if got := iothub.KindOfStatus(code); got != want {
				t.Errorf("%d is %v, want %v", code, got, want)
			}
		}
	}
}

func TestBatchError(t *testing.T) {
	if err := iothub.NewBatchError(nil); err != nil {
		t.Errorf("no messages: %v", err)
	}
	if err := iothub.NewBatchError([]error{nil, nil}); err != nil {
		t.Errorf("no failures: %v", err)
	}
	first := &iothub.Error{Op: "send", Kind: iothub.KindTimeout}
	err := iothub.NewBatchError([]error{nil, first, nil, iothub.ErrClosed})
	if want := "iothub: 2 of 4 messages were not confirmed, first: iothub: send: timeout"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, iothub.ErrClosed) || iothub.KindOf(err) != iothub.KindTimeout {
		t.Errorf("%v does not lead to its causes", err)
	}
	be, ok := errors.AsType[*iothub.BatchError](err)
	if !ok || len(be.Errs) != 4 || be.Errs[0] != nil || be.Errs[1] != error(first) {
		t.Errorf("errors: %v", be)
	}
}

func ExampleNotSent() {
	err := (&iothub.Message{Properties: map[string]string{"$.mid": "1"}}).Validate()
	fmt.Println(iothub.NotSent(err), iothub.Retryable(err), iothub.KindOf(err))
	// Output: true false invalid argument
}
