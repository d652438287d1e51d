//go:build linux

package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/hub"
)

// site is a hub that takes files, and a client of it.
type site struct {
	*stage
	hub *hub.Server
}

func newSite(t *testing.T, threaded bool) *site {
	t.Helper()
	h, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := h.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	cs, err := h.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(cs, ";")
	s := &site{&stage{T: t}, h}
	s.c, err = client.New(fmt.Sprintf("HostName=127.0.0.1:%d;%s", addr.(*net.TCPAddr).Port, rest), s, client.Options{Threaded: threaded, WebSocket: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.c.Destroy)
	if r := s.c.SetOption("TrustedCerts", string(h.CACertPEM())); r != client.OK {
		t.Fatalf("TrustedCerts: %d", r)
	}
	return s
}

// provide answers each want for a block with the next of blocks, and then with none.
func provide(blocks ...string) func(client.Record) {
	return func(r client.Record) {
		if r.Kind != client.RecordBlock {
			return
		}
		if len(blocks) == 0 {
			r.Answer(nil, false)
			return
		}
		r.Answer([]byte(blocks[0]), blocks[0] == "abort")
		blocks = blocks[1:]
	}
}

func (s *site) wantFile(name, want string) {
	s.Helper()
	r, _, err := s.hub.OpenBlob("dev1/" + name)
	if err != nil {
		s.Errorf("%s: %v", name, err)
		return
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != want {
		s.Errorf("%s is %.40q, want %.40q (%v)", name, b, want, err)
	}
}

var cb = client.Callback{Func: 1, Context: 7}

// Blocks of any size, also larger than what one read of the upload takes.
func TestUploadBlocks(t *testing.T) {
	s := newSite(t, false)
	large := strings.Repeat("0123456789", 1<<20)
	s.inside = provide("a", large, "z")
	if r := s.c.UploadBlocksAndWait("f", cb, true); r != client.OK {
		s.Fatalf("%d, %q", r, s.logged)
	}
	s.wantFile("f", "a"+large+"z")
	s.inside = provide("a", "abort")
	if r := s.c.UploadBlocksAndWait("g", cb, true); r != client.Failed {
		s.Errorf("aborted: %d", r)
	}
	if got := results(s.told(client.RecordBlocksEnd)); got != "7:0 7:1" {
		s.Errorf("told %s", got)
	}
	if err := s.c.EndUpload("no such upload", true, 200, ""); err != client.Failed {
		s.Errorf("the end of nothing: %d", err)
	}
}

// Many goroutines of a program send and upload at once, and Destroy comes meanwhile:
// everything is answered once, and what was accepted to be uploaded is there.
func TestUploadsSideBySide(t *testing.T) {
	s := newSite(t, true)
	s.inside = provide("one ", "two ", "three")
	if r := s.c.UploadBlocks("blocks", cb, true); r != client.OK {
		s.Fatalf("UploadBlocks: %d", r)
	}
	const each = 3
	for i := range each {
		if r := s.c.Upload(fmt.Sprint("whole", i), []byte("whole"), cb); r != client.OK {
			s.Fatalf("Upload: %d", r)
		}
	}
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() {
			ticket, r := s.c.BeginUpload(fmt.Sprint("steps", i))
			if r != client.OK {
				s.Errorf("BeginUpload: %d", r)
				return
			}
			b, err := s.c.OpenBlob(ticket.URL)
			if err != nil {
				s.Error(err)
				return
			}
			defer b.Close()
			if r := b.Put(0, []byte("step")); r != client.OK {
				s.Errorf("Put: %d", r)
			}
			if r := b.Commit(); r != client.OK {
				s.Errorf("Commit: %d", r)
			}
			if r := s.c.EndUpload(ticket.CorrelationID, true, 200, ""); r != client.OK {
				s.Errorf("EndUpload: %d", r)
			}
		})
		wg.Go(func() { s.send(iothub.Message{Payload: []byte("m")}, 1) })
	}
	wg.Wait()
	wg.Go(func() {
		// It comes before Destroy, or too late; either way it returns.
		_, _ = s.c.BeginUpload("late")
	})
	s.c.Destroy()
	wg.Wait()
	s.wantFile("blocks", "one two three")
	for i := range each {
		s.wantFile(fmt.Sprint("whole", i), "whole")
		s.wantFile(fmt.Sprint("steps", i), "step")
	}
	if got := results(s.told(client.RecordUploaded)); got != "7:0 7:0 7:0" {
		s.Errorf("uploads: %s", got)
	}
	if got := results(s.told(client.RecordBlocksEnd)); got != "7:0" {
		s.Errorf("blocks: %s", got)
	}
	if n := len(s.told(client.RecordConfirm)); n != each {
		s.Errorf("%d confirmations", n)
	}
}

// Destroy on another thread ends an upload that waits for its program, and the
// program is told.
func TestDestroyEndsAnUpload(t *testing.T) {
	s := newSite(t, false)
	s.inside = func(r client.Record) {
		if r.Kind == client.RecordBlock {
			ended := make(chan struct{})
			go func() {
				s.c.Destroy()
				close(ended)
			}()
			<-ended
			r.Answer([]byte("block"), false)
		}
	}
	if r := s.c.UploadBlocksAndWait("f", cb, true); r != client.Failed {
		s.Errorf("UploadBlocksAndWait: %d", r)
	}
	if got := results(s.told(client.RecordBlocksEnd)); got != "7:1" {
		s.Errorf("told %s", got)
	}
	if n := len(s.told(client.RecordBlock)); n != 1 {
		s.Errorf("%d blocks were asked for", n)
	}
}
