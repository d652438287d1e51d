package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func openSpool(t *testing.T, s core.Storage, name string) core.Spool {
	t.Helper()
	p, err := s.Spool(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func spooled(t *testing.T, p core.Spool) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := p.Each(t.Context(), func(key string, value []byte) error {
		all[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func put(t *testing.T, p core.Spool, key, value string) {
	t.Helper()
	if err := p.Put(t.Context(), key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func TestSpool(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		p, other := openSpool(t, s, "one"), openSpool(t, s, "other")
		if got := spooled(t, p); len(got) != 0 {
			t.Errorf("a new spool holds %v", got)
		}
		put(t, other, "a", "elsewhere")
		put(t, p, "dev.1 *>\x00", "first")
		put(t, p, "b", "1")
		put(t, p, "b", "2")
		put(t, p, "c", "3")
		want := map[string]string{"dev.1 *>\x00": "first", "b": "2", "c": "3"}
		if got := spooled(t, p); !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, key := range []string{"b", "b", "never there"} {
			if err := p.Remove(t.Context(), key); err != nil {
				t.Errorf("remove %q: %v", key, err)
			}
		}
		delete(want, "b")
		if got := spooled(t, p); !maps.Equal(got, want) {
			t.Errorf("after the removal: %q, want %q", got, want)
		}
		put(t, p, "b", "again")
		want["b"] = "again"
		if got := spooled(t, p); !maps.Equal(got, want) {
			t.Errorf("after it came again: %q, want %q", got, want)
		}
		if err := p.Put(t.Context(), "", nil); err == nil {
			t.Error("an empty key was taken")
		}
		stop := errors.New("stop")
		calls := 0
		err := p.Each(t.Context(), func(string, []byte) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("Each: %v after %d calls, want the error of the first", err, calls)
		}
	})
}

// TestSpoolLarge reads more than one request of the storage gives.
func TestSpoolLarge(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		p := openSpool(t, s, "large")
		want := make(map[string]string)
		for i := range 14 {
			key := fmt.Sprint(i)
			want[key] = string(bytes.Repeat([]byte{byte('a' + i)}, 1<<20))
			put(t, p, key, want[key])
		}
		if got := spooled(t, p); !maps.Equal(got, want) {
			t.Errorf("%d documents came back, want %d", len(got), len(want))
		}
	})
}

// TestSpoolSurvives is about what a restart must not forget, nor bring back.
func TestSpoolSurvives(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	p := openSpool(t, s, "one")
	for _, key := range []string{"a", "b", "c"} {
		put(t, p, key, "value of "+key)
	}
	if err := p.Remove(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	want := map[string]string{"a": "value of a", "c": "value of c"}
	if got := spooled(t, openSpool(t, openDir(t, dir), "one")); !maps.Equal(got, want) {
		t.Errorf("after a restart: %q, want %q", got, want)
	}
}
