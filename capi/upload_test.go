//go:build cgo && linux

package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
)

// wantFile checks a file that the device has uploaded.
func (w *world) wantFile(t *testing.T, name, want string) {
	t.Helper()
	r, _, err := w.OpenBlob("dev1/" + name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != want {
		t.Errorf("%s is %q, want %q (%v)", name, b, want, err)
	}
}

// wantNoFile checks that an upload has failed.
func (w *world) wantNoFile(t *testing.T, name string) {
	t.Helper()
	if r, _, err := w.OpenBlob("dev1/" + name); err == nil {
		r.Close()
		t.Errorf("there is a file %s", name)
	}
}

// told reads the names of the files that the hub tells back ends of.
func (w *world) told(t *testing.T, n int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var names []string
	for range n {
		f, err := w.FileNotification(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", names, err)
		}
		names = append(names, strings.TrimPrefix(f.BlobName, "dev1/"))
	}
	return strings.Join(names, ",")
}

const tenLines = "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\n"

// Files of a device without a thread.
func TestUpload(t *testing.T) {
	inDialects(t, "upload", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		w.listenHTTPS(t)
		start(t, bin, w.env...).finish()
		for name, want := range map[string]string{
			"whole.txt": "hello", "empty.txt": "", "inside.txt": "from a callback", "ten.txt": tenLines, "none.txt": "", "steps.txt": "one two three",
		} {
			w.wantFile(t, name, want)
		}
		for _, name := range []string{"aborted.txt", "failed.txt", "destroyed.txt", "orphan.txt"} {
			w.wantNoFile(t, name)
		}
		if got, want := w.told(t, 6), "whole.txt,empty.txt,inside.txt,ten.txt,none.txt,steps.txt"; got != want {
			t.Errorf("the hub told of %s, want %s", got, want)
		}
	})
}

// Files of a device with a thread.
func TestUploadManaged(t *testing.T) {
	inDialects(t, "upload_managed", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		w.listenHTTPS(t)
		start(t, bin, w.env...).finish()
		for name, want := range map[string]string{
			"whole.txt": "hello", "empty.txt": "", "quiet.txt": "hello", "ten.txt": tenLines, "steps.txt": "one two", "inside.txt": "one two",
			"accepted.txt": "hello", "last.txt": tenLines,
		} {
			w.wantFile(t, name, want)
		}
		w.wantNoFile(t, "aborted.txt")
	})
}

// The older names, and what only they have.
func TestLegacy(t *testing.T) {
	inDialects(t, "legacy", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		w.listenHTTPS(t)
		p := start(t, bin, w.env...)
		w.callLater(t, p)
		p.finish()
		for _, name := range []string{"old.txt", "old ex.txt", "older.txt", "older ex.txt"} {
			w.wantFile(t, name, strings.Repeat(`{"done":true}`, 3))
		}
	})
}

// callLater calls the methods that legacy.c waits for.
func (w *world) callLater(t *testing.T, p *program) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.expect("ll")
	w.wantMethod(ctx, t, "dev1", "later", "7", 201, `{"done":true}`)
	p.expect("answered")
	forget, stop := context.WithCancel(ctx)
	answer := make(chan error, 1)
	go func() {
		_, _, err := w.InvokeMethod(forget, "dev1", "", "later", []byte("7"), &hub.MethodOptions{ConnectTimeout: 10 * time.Second})
		answer <- err
	}()
	p.expect("threaded")
	stop()
	if err := <-answer; err == nil {
		t.Error("a method that nobody answers was answered")
	}
	w.wantMethod(ctx, t, "dev1", "later", "7", 202, "")
}
