//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"sync"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/capi/internal/handle"
	"github.com/iothub-go/iothub/capi/internal/properties"
)

// deserializer is what an IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE stands
// for.
type deserializer struct {
	version int

	mu   sync.Mutex
	rest []properties.Parsed
}

//export capiPropertiesWrite
func capiPropertiesWrite(list *C.capi_property, n C.size_t, response C.int, component *C.char, out **C.uchar, length *C.size_t) C.int {
	ps := make([]properties.Property, n)
	for i, p := range unsafe.Slice(list, int(n)) {
		ps[i] = properties.Property{
			Name: C.GoString(p.name), Value: C.GoString(p.value),
			Response: response != 0, Result: int(p.result), Version: int(p.version), Description: optional(p.description),
		}
	}
	b, err := properties.Write(ps, optional(component))
	if err != nil {
		return invalid("IoTHubClient_Properties_Serializer", err)
	}
	*out, *length = (*C.uchar)(C.CBytes(b)), C.size_t(len(b))
	return C.int(client.OK)
}

func optional(s *C.char) *string {
	if s == nil {
		return nil
	}
	t := C.GoString(s)
	return &t
}

//export capiPropertiesRead
func capiPropertiesRead(payload *C.uchar, length C.size_t, whole C.int) C.uintptr_t {
	parsed, version, err := properties.Read(bytesOf(payload, length), whole != 0)
	if err != nil {
		invalid("IoTHubClient_Properties_Deserializer_Create", err)
		return 0
	}
	return C.uintptr_t(handles.Add(C.CAPI_DESERIALIZER, &deserializer{version: version, rest: parsed}))
}

//export capiPropertiesVersion
func capiPropertiesVersion(h C.uintptr_t, version *C.int) C.int {
	d, ok := handle.Get[*deserializer](&handles, C.CAPI_DESERIALIZER, uintptr(h))
	if !ok || version == nil {
		return invalid("IoTHubClient_Properties_Deserializer_GetVersion", errStale)
	}
	*version = C.int(d.version)
	return C.int(client.OK)
}

//export capiPropertiesNext
func capiPropertiesNext(h C.uintptr_t, writable *C.int, component, name, value **C.char, found *C.int) C.int {
	d, ok := handle.Get[*deserializer](&handles, C.CAPI_DESERIALIZER, uintptr(h))
	if !ok {
		return invalid("IoTHubClient_Properties_Deserializer_GetNext", errStale)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.rest) == 0 {
		return C.int(client.OK)
	}
	p := d.rest[0]
	d.rest = d.rest[1:]
	*found = 1
	if p.Writable {
		*writable = 1
	}
	if p.Component != nil {
		*component = C.CString(*p.Component)
	}
	*name, *value = C.CString(p.Name), C.CString(p.Value)
	return C.int(client.OK)
}

//export capiPropertiesDestroy
func capiPropertiesDestroy(h C.uintptr_t) {
	handle.Take[*deserializer](&handles, C.CAPI_DESERIALIZER, uintptr(h))
}
