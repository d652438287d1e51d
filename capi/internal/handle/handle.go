// Package handle gives C programs numbers for Go objects. A number is never
// used twice and says what it stands for, so that a stale one, one of another
// kind and null are all noticed: C is never handed a pointer that it could
// follow, or free, or keep too long.
package handle

import "sync"

// Kind is what a handle stands for, 1 to 15.
type Kind uintptr

// kindBits of a handle are its kind.
const kindBits = 4

// Table holds the objects behind handles. The zero value is empty and ready. It
// is safe for concurrent use.
type Table struct {
	mu      sync.RWMutex
	last    uintptr
	objects map[uintptr]any
}

// Add returns a handle of kind k for v, which is not 0.
func (t *Table) Add(k Kind, v any) uintptr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.objects == nil {
		t.objects = map[uintptr]any{}
	}
	for {
		// Only a 32-bit process can come around, after 2^28 handles.
		t.last++
		h := t.last<<kindBits | uintptr(k)
		if _, taken := t.objects[h]; !taken && h>>kindBits != 0 {
			t.objects[h] = v
			return h
		}
	}
}

// Get returns what h stands for, if it is of kind k and was not taken.
func Get[T any](t *Table, k Kind, h uintptr) (v T, ok bool) {
	if Kind(h&(1<<kindBits-1)) != k {
		return v, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok = t.objects[h].(T)
	return v, ok
}

// Take returns what h stands for, like Get, and makes h stale. Of several calls
// for one handle exactly one succeeds.
func Take[T any](t *Table, k Kind, h uintptr) (v T, ok bool) {
	if Kind(h&(1<<kindBits-1)) != k {
		return v, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok = t.objects[h].(T); ok {
		delete(t.objects, h)
	}
	return v, ok
}

// Len returns how many handles are not stale.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.objects)
}
