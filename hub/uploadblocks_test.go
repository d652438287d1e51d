package hub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
)

// polled is a poll-driven client whose calls are waited for.
type polled struct {
	*ll.DeviceClient
	t *testing.T
}

func (h *uploadHub) polled(t *testing.T) *polled {
	t.Helper()
	cs, err := h.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ll.NewDeviceClientFromConnectionString(cs, &ll.ClientOptions{TLS: &tls.Config{RootCAs: h.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return &polled{c, t}
}

// wait starts a call and works until its callback has run.
func (p *polled) wait(start func(done func(error)) error) error {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	called := 0
	var result error
	if err := start(func(err error) { called, result = called+1, err }); err != nil {
		return err
	}
	if called != 0 {
		p.t.Error("the callback ran before DoWork")
	}
	for {
		next, err := p.DoWork()
		if err != nil {
			p.t.Fatal(err)
		}
		if called > 0 {
			break
		}
		select {
		case <-p.Wakeup():
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			p.t.Fatal("the callback did not run")
		}
	}
	if called != 1 {
		p.t.Errorf("the callback ran %d times", called)
	}
	return result
}

func (p *polled) begin(name string, port int) (ticket *iothub.UploadTicket, err error) {
	p.t.Helper()
	err = p.wait(func(done func(error)) error {
		return p.BeginUploadAsync(name, port, func(t *iothub.UploadTicket, err error) {
			ticket = t
			done(err)
		})
	})
	return ticket, err
}

func (p *polled) put(u *ll.Upload, number int, data []byte) error {
	p.t.Helper()
	return p.wait(func(done func(error)) error { return u.PutBlockAsync(number, data, done) })
}

func (p *polled) end(ticket *iothub.UploadTicket, failed error, port int) error {
	p.t.Helper()
	return p.wait(func(done func(error)) error { return p.EndUploadAsync(ticket, failed, port, done) })
}

// A program that sends the blocks by itself: in any order, some twice.
func TestUploadBlockByBlock(t *testing.T) {
	h := newUploadHub(t, "")
	p := h.polled(t)
	ticket, err := p.begin("by hand.bin", h.port)
	if err != nil {
		t.Fatal(err)
	}
	u, err := p.OpenUpload(&iothub.UploadTicket{URL: ticket.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	blocks := []struct {
		number int
		data   string
	}{{7, "first "}, {0, "wrong"}, {49_999, "third"}, {0, "second "}}
	for _, b := range blocks {
		if err := p.put(u, b.number, []byte(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, number := range []int{-1, 50_000} {
		if err := p.put(u, number, []byte("x")); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("block %d: %v", number, err)
		}
	}
	for _, size := range []int{0, 100<<20 + 1} {
		if err := p.put(u, 1, make([]byte, size)); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("a block of %d bytes: %v", size, err)
		}
	}
	if err := p.wait(func(done func(error)) error { return u.CommitAsync("text/plain", done) }); err != nil {
		t.Fatal(err)
	}
	if err := p.end(ticket, nil, h.port); err != nil {
		t.Fatal(err)
	}
	if got := h.blob(t, "dev1/by hand.bin"); string(got) != "first second third" {
		t.Errorf("the file is %q", got)
	}
	err = p.wait(func(done func(error)) error {
		return p.UploadFileAsync("whole.bin", bytes.NewReader(content(100)), &ll.UploadOptions{Port: h.port}, done)
	})
	if got := h.blob(t, "dev1/whole.bin"); err != nil || !bytes.Equal(got, content(100)) {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
}

// What a program gets for a place that is none, and one that nobody has begun.
func TestUploadToNoPlace(t *testing.T) {
	h := newUploadHub(t, "")
	p := h.polled(t)
	for _, ticket := range []*iothub.UploadTicket{nil, {}, {URL: "no place"}, {URL: "http://storage.example/c/b?sig=x"}} {
		if _, err := p.OpenUpload(ticket); !errors.Is(err, iothub.ErrNoUploadTicket) {
			t.Errorf("%v: %v", ticket, err)
		}
	}
	ticket, err := p.begin("x", h.port)
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := strings.Cut(ticket.URL, "?")
	u, err := p.OpenUpload(&iothub.UploadTicket{URL: at + "?sig=AAAA"})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	err = p.put(u, 0, []byte("x"))
	if e, ok := errors.AsType[*iothub.Error](err); !ok || e.Code != 403 || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("with a wrong signature: %v", err)
	}
	if err := p.end(ticket, &iothub.Error{Op: "upload", Code: 507, Err: errors.New("no room")}, h.port); err != nil {
		t.Error(err)
	}
	if err := p.end(ticket, nil, h.port); err == nil {
		t.Error("an upload ended twice")
	}
	if err := p.EndUploadAsync(ticket, nil, h.port, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no callback: %v", err)
	}
	if err := p.BeginUploadAsync("x", h.port, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no callback: %v", err)
	}
}
