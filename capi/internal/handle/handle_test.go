package handle

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Only a living handle of the right kind is taken for one.
func TestTable(t *testing.T) {
	var table Table
	a, b := table.Add(1, "a"), table.Add(2, "b")
	for _, test := range []struct {
		name string
		kind Kind
		h    uintptr
		want string
		ok   bool
	}{
		{"first", 1, a, "a", true},
		{"second", 2, b, "b", true},
		{"wrong kind", 2, a, "", false},
		{"null", 1, 0, "", false},
		{"never given", 1, a + 32, "", false},
	} {
		if got, ok := Get[string](&table, test.kind, test.h); got != test.want || ok != test.ok {
			t.Errorf("%s: %q, %v", test.name, got, ok)
		}
	}
	if _, ok := Get[int](&table, 1, a); ok {
		t.Error("a string was taken for a number")
	}
	if v, ok := Take[string](&table, 1, a); v != "a" || !ok {
		t.Errorf("take: %q, %v", v, ok)
	}
	if _, ok := Take[string](&table, 1, a); ok {
		t.Error("taken twice")
	}
	if c := table.Add(1, "c"); c == a {
		t.Error("a handle was used again")
	}
	if n := table.Len(); n != 2 {
		t.Errorf("%d handles, want 2", n)
	}
}

func TestTakeOnce(t *testing.T) {
	var table Table
	h := table.Add(1, 7)
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, ok := Take[int](&table, 1, h); ok {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("taken %d times", n)
	}
}
