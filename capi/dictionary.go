//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"maps"
	"slices"
	"sync"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/handle"
)

// mapResult is a MAP_RESULT.
type mapResult = C.int

const (
	mapOK mapResult = iota
	mapError
	mapInvalidArg
	mapKeyExists
	mapKeyNotFound
	mapFilterReject
)

// dictionary is what a MAP_HANDLE stands for: strings by strings, in the order
// in which the keys were added.
type dictionary struct {
	mu     sync.Mutex
	keys   []string
	values map[string]string // nil while empty
	filter uintptr           // a function of the program, 0 for none
	ascii  bool              // printable ASCII only, as in a message
	owned  bool              // by a message, which releases it

	// What C was told, in C's memory: strings by key, and both arrays.
	given map[string]*C.char
	all   []unsafe.Pointer
}

// newDictionary returns a program's map, or, of printable ASCII, a message's.
func newDictionary(filter uintptr, ascii bool) *dictionary {
	return &dictionary{filter: filter, ascii: ascii, owned: ascii}
}

// takeMap makes a handle of a map stale.
func takeMap(h uintptr) { handle.Take[*dictionary](&handles, C.CAPI_MAP, h) }

// fill sets what came from the hub, in the order of the keys.
func (d *dictionary) fill(values map[string]string) {
	if len(values) > 0 {
		d.keys, d.values = slices.Sorted(maps.Keys(values)), maps.Clone(values)
	}
}

// clone returns a copy that belongs to nobody.
func (d *dictionary) clone() *dictionary {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &dictionary{keys: slices.Clone(d.keys), values: maps.Clone(d.values), filter: d.filter, ascii: d.ascii}
}

// forSending returns the values, which the caller only reads.
func (d *dictionary) forSending() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.values
}

// printable reports whether s is printable ASCII, which is what a message's
// properties are made of.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// set stores a value. The program's filter is asked without the lock.
func (d *dictionary) set(key, value string, replace bool) mapResult {
	if d.ascii && !(printable(key) && printable(value)) {
		return mapFilterReject
	}
	if d.filter != 0 && C.capi_call_filter(C.uintptr_t(d.filter), textFor(key), textFor(value)) != 0 {
		return mapFilterReject
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	} else if !replace {
		return mapKeyExists
	}
	d.changed(key)
	if d.values == nil {
		d.values = map[string]string{}
	}
	d.values[key] = value
	return mapOK
}

func (d *dictionary) remove(key string) mapResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.keys, key)
	if i < 0 {
		return mapKeyNotFound
	}
	d.changed(key)
	d.keys = slices.Delete(d.keys, i, i+1)
	delete(d.values, key)
	return mapOK
}

// changed releases what C was told and holds no longer: the value of this key,
// and the arrays.
func (d *dictionary) changed(key string) {
	if p, ok := d.given[key]; ok {
		C.free(unsafe.Pointer(p))
		delete(d.given, key)
	}
	d.freeAll()
}

func (d *dictionary) freeAll() {
	for _, p := range d.all {
		C.free(p)
	}
	d.all = nil
}

func (d *dictionary) free() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.given {
		C.free(unsafe.Pointer(p))
	}
	d.given = nil
	d.freeAll()
}

// value returns the value of a key for C, NULL if there is none.
func (d *dictionary) value(key string) *C.char {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.values[key]
	if !ok {
		return nil
	}
	p, ok := d.given[key]
	if !ok {
		if d.given == nil {
			d.given = map[string]*C.char{}
		}
		p = C.CString(v)
		d.given[key] = p
	}
	return p
}

// arrays returns all keys and values for C, valid until something changes.
func (d *dictionary) arrays() (keys, values **C.char, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = len(d.keys)
	if n == 0 {
		return nil, nil, 0
	}
	if d.all == nil {
		array := func(text func(key string) string) {
			p := C.malloc(C.size_t(n) * C.size_t(unsafe.Sizeof(uintptr(0))))
			d.all = append(d.all, p)
			for i, elements := 0, unsafe.Slice((**C.char)(p), n); i < n; i++ {
				elements[i] = C.CString(text(d.keys[i]))
				d.all = append(d.all, unsafe.Pointer(elements[i]))
			}
		}
		array(func(key string) string { return key })
		array(func(key string) string { return d.values[key] })
	}
	return (**C.char)(d.all[0]), (**C.char)(d.all[n+1]), n
}

// contains reports whether there is such a key, or such a value.
func (d *dictionary) contains(s string, value bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !value {
		_, ok := d.values[s]
		return ok
	}
	for _, v := range d.values {
		if v == s {
			return true
		}
	}
	return false
}
