package service_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/amqp"
	"github.com/iothub-go/iothub/service"
)

const helloSent = "/devices/dev1/messages/devicebound hello"

// after waits in virtual time.
func after(d time.Duration) { <-time.After(d) }

// One connection serves all senders.
func TestSendC2D(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		conns, tokens, sent, _ := h.seen()
		if conns != 1 || len(tokens) != 1 || len(sent) != 20 || sent[19] != helloSent {
			t.Errorf("%d connections, %d tokens, sent %q", conns, len(tokens), sent)
		}
	})
}

// A message that the hub refuses is not sent again, and the error says why.
func TestSendC2DRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		refusals := []*amqp.Error{
			{Condition: "amqp:not-found", Description: `{"errorCode":404001,"trackingId":"x","message":"no such device","timestampUtc":""}`},
			{Condition: "amqp:resource-limit-exceeded", Description: "full"},
		}
		h.onSend = func(n int, _ *fakeConn) amqp.State { return amqp.Rejected(refusals[n-1]) }
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		wantKind(t, c.SendC2D(t.Context(), "dev1", hello), iothub.KindNotFound, 404001)
		wantKind(t, c.SendC2D(t.Context(), "dev1", hello), iothub.KindThrottled, 403004)
		if conns, _, sent, _ := h.seen(); conns != 1 || len(sent) != 2 {
			t.Errorf("%d connections, sent %q", conns, sent)
		}
	})
}

// A link and a connection that ended while nothing was sent are made again without
// a word.
func TestSendC2DAfterALostLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		for i, lose := range []func(){
			func() {},
			func() { h.last().detach("/messages/devicebound") },
			h.cut,
			func() { h.last().send(0, &amqp.Close{Error: &amqp.Error{Condition: "amqp:connection:forced"}}) },
			func() { h.last().send(0, &amqp.End{}) },
		} {
			lose()
			synctest.Wait()
			if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		if conns, _, sent, _ := h.seen(); conns != 4 || len(sent) != 5 {
			t.Errorf("%d connections, sent %q", conns, sent)
		}
	})
}

// A message that may be in the hub is not sent a second time.
func TestSendC2DCutInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.onSend = func(n int, c *fakeConn) amqp.State {
			_ = c.raw.Close()
			return amqp.State{}
		}
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		err := c.SendC2D(t.Context(), "dev1", hello)
		if iothub.KindOf(err) != iothub.KindNetwork || iothub.NotSent(err) || !iothub.Retryable(err) {
			t.Error(err)
		}
		if _, _, sent, _ := h.seen(); len(sent) != 1 {
			t.Errorf("sent %q", sent)
		}
		// One that is not answered ends with its context, and leaves it open, too.
		h.mu.Lock()
		h.onSend = func(int, *fakeConn) amqp.State { return amqp.State{} }
		h.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.SendC2D(ctx, "dev1", hello); !errors.Is(err, context.DeadlineExceeded) || iothub.NotSent(err) {
			t.Error(err)
		}
	})
}

// A token is renewed for as long as the connection lasts.
func TestTokenIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.client(service.ClientOptions{TokenLifetime: time.Hour})
		defer h.end(c)
		if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
			t.Fatal(err)
		}
		after(3 * time.Hour)
		if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
			t.Fatal(err)
		}
		conns, tokens, _, _ := h.seen()
		if conns != 1 || len(tokens) != 4 {
			t.Fatalf("%d connections, tokens at %v", conns, tokens)
		}
		for i := range 3 {
			if gap := tokens[i+1] - tokens[i]; gap < 50*time.Minute || gap > 52*time.Minute {
				t.Errorf("tokens at %v", tokens)
			}
		}
	})
}

// A renewal that fails is tried again. When none succeeds in time the connection
// ends, and the next message makes a new one.
func TestTokenRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		refuse := true
		h.tokenStatus = func(n int) int32 {
			if n > 1 && refuse || n == 2 {
				return 500
			}
			return 200
		}
		c := h.client(service.ClientOptions{TokenLifetime: 100 * time.Second})
		defer h.end(c)
		if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
			t.Fatal(err)
		}
		after(2 * time.Minute)
		conns, tokens, _, _ := h.seen()
		if conns != 1 || len(tokens) < 3 || tokens[1] < 84*time.Second || tokens[len(tokens)-1] > 100*time.Second {
			t.Errorf("%d connections, tokens at %v", conns, tokens)
		}
		err := c.SendC2D(t.Context(), "dev1", hello)
		if iothub.KindOf(err) != iothub.KindServer || !iothub.NotSent(err) {
			t.Error(err)
		}
		h.mu.Lock()
		refuse = false
		h.mu.Unlock()
		if err := c.SendC2D(t.Context(), "dev1", hello); err != nil {
			t.Error(err)
		}
		if _, _, sent, _ := h.seen(); len(sent) != 2 {
			t.Errorf("sent %q", sent)
		}
	})
}

// A refused token is an error at once.
func TestTokenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.tokenStatus = func(int) int32 { return 401 }
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		err := c.SendC2D(t.Context(), "dev1", hello)
		wantKind(t, err, iothub.KindUnauthorized, 401)
		if !iothub.NotSent(err) || !strings.Contains(err.Error(), "as told") || time.Since(h.begun) != 0 {
			t.Error(err)
		}
		_, err = c.Feedback(nil).Receive(t.Context())
		wantKind(t, err, iothub.KindUnauthorized, 401)
	})
}

const (
	record1 = `[{"originalMessageId":"m1","enqueuedTimeUtc":"2015-07-28T16:24:48.789Z","statusCode":"Success","description":"Success","deviceId":"dev1","deviceGenerationId":"637"}]`
	record2 = `[{"originalMessageId":"m2","enqueuedTimeUtc":"2015-07-28T16:24:48.789Z","statusCode":"Expired","description":"","deviceId":"dev1","deviceGenerationId":"637"}]`
)

// Feedback is settled as the reader says, and goes on after a connection was lost.
func TestFeedback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.notices = []string{record1, record2, "{", record1}
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		ctx, r := t.Context(), c.Feedback(&service.ReceiverOptions{Prefetch: 2})
		first, err := r.Receive(ctx)
		if err != nil || len(first.Body) != 1 || first.EnqueuedTime.IsZero() {
			t.Fatalf("%+v %v", first, err)
		}
		if b := first.Body[0]; b.MessageID != "m1" || b.Status != "Success" || b.DeviceID != "dev1" || b.GenerationID != "637" || b.EnqueuedTime.Year() != 2015 {
			t.Errorf("%+v", b)
		}
		second, err := r.Receive(ctx)
		if err != nil || second.Body[0].Status != "Expired" {
			t.Fatalf("%+v %v", second, err)
		}
		if err := errors.Join(first.Complete(ctx), second.Abandon(ctx)); err != nil {
			t.Error(err)
		}
		// What is no feedback is rejected, and does not stop the rest.
		if _, err := r.Receive(ctx); iothub.KindOf(err) != iothub.KindProtocol {
			t.Error(err)
		}
		third, err := r.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []amqp.Code{amqp.CodeAccepted, amqp.CodeReleased, amqp.CodeRejected}
		if _, _, _, settled := h.seen(); !slices.Equal(settled[1:], want) { // the first is that of the token
			t.Errorf("settled %v", settled)
		}
		h.cut()
		synctest.Wait()
		if err := third.Complete(ctx); !errors.Is(err, iothub.ErrLockLost) {
			t.Error(err)
		}
		h.mu.Lock()
		h.notices = []string{record2}
		h.mu.Unlock()
		for d, err := range r.All(ctx) {
			if err != nil || d.Body[0].MessageID != "m2" {
				t.Errorf("%+v %v", d, err)
			}
			break
		}
		if conns, _, _, _ := h.seen(); conns != 2 {
			t.Errorf("%d connections", conns)
		}
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		if _, err := r.Receive(ctx); !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
	})
}

// File notices come the same way.
func TestFileNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.notices = []string{`{"deviceId":"dev1","blobUri":"https://acct.blob.core.windows.net/c/dev1/f","blobName":"dev1/f","lastUpdatedTime":"2026-01-31T12:00:00+00:00","blobSizeInBytes":1234,"enqueuedTimeUtc":"2026-01-31T12:00:01.123Z"}`}
		c := h.client(service.ClientOptions{})
		defer h.end(c)
		d, err := c.FileNotices(nil).Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := d.Body; n.DeviceID != "dev1" || n.BlobSize != 1234 || n.BlobName != "dev1/f" || n.LastUpdatedTime.Hour() != 12 || n.EnqueuedTime.Second() != 1 {
			t.Errorf("%+v", n)
		}
		if err := d.Complete(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever waits for feedback is let go by the end of its context, of the receiver
// and of the client.
func TestFeedbackEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.client(service.ClientOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := c.Feedback(nil).Receive(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(h.begun) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(h.begun))
		}
		r := c.Feedback(nil)
		ended := make(chan error, 2)
		wait := func(r *service.Receiver[[]service.FeedbackRecord]) {
			_, err := r.Receive(t.Context())
			ended <- err
		}
		go wait(r)
		synctest.Wait()
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
		go wait(c.Feedback(nil))
		synctest.Wait()
		h.end(c)
		if err := <-ended; !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
	})
}

// Close waits for a message under way, and breaks it off when its context ends.
func TestCloseAndSendC2D(t *testing.T) {
	for name, tt := range map[string]struct {
		answer time.Duration
		took   time.Duration
		want   error
	}{
		"answered in time": {5 * time.Second, 5 * time.Second, nil},
		"not answered":     {time.Hour, 10 * time.Second, iothub.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newFakeHub(t)
				h.answerAfter = tt.answer
				c := h.client(service.ClientOptions{})
				sent := make(chan error, 1)
				go func() { sent <- c.SendC2D(t.Context(), "dev1", hello) }()
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := c.Close(ctx); err != nil {
					t.Error(err)
				}
				if err := <-sent; !errors.Is(err, tt.want) || time.Since(h.begun) != tt.took {
					t.Errorf("%v after %v", err, time.Since(h.begun))
				}
				h.cut()
				h.wg.Wait()
			})
		})
	}
}
