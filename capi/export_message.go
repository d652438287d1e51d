//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"errors"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/handle"
)

// messageResult is an IOTHUB_MESSAGE_RESULT.
type messageResult = C.int

const (
	messageOK messageResult = iota
	messageInvalidArg
	messageInvalidType
	messageError
)

const typeUnknown = 2 // IOTHUBMESSAGE_UNKNOWN

// withMessage runs f on the message behind a handle, with its lock.
func withMessage(h C.uintptr_t, f func(m *message) messageResult) messageResult {
	m, ok := handle.Get[*message](&handles, C.CAPI_MESSAGE, uintptr(h))
	if !ok {
		invalid("IoTHubMessage", errStale)
		return messageInvalidArg
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f(m)
}

func addMessage(m *message) C.uintptr_t { return C.uintptr_t(handles.Add(C.CAPI_MESSAGE, m)) }

//export capiMessageNew
func capiMessageNew(body *C.uchar, size C.size_t) C.uintptr_t {
	if body == nil && size != 0 {
		invalid("IoTHubMessage_CreateFromByteArray", errNull)
		return 0
	}
	return addMessage(newMessage(bytesOf(body, size), false))
}

//export capiMessageNewString
func capiMessageNewString(source *C.char) C.uintptr_t {
	if source == nil {
		invalid("IoTHubMessage_CreateFromString", errNull)
		return 0
	}
	return addMessage(newMessage([]byte(C.GoString(source)), true))
}

//export capiMessageClone
func capiMessageClone(h C.uintptr_t) C.uintptr_t {
	m, ok := handle.Get[*message](&handles, C.CAPI_MESSAGE, uintptr(h))
	if !ok {
		invalid("IoTHubMessage_Clone", errStale)
		return 0
	}
	return addMessage(m.clone())
}

//export capiMessageDestroy
func capiMessageDestroy(h C.uintptr_t) {
	if m, ok := handle.Take[*message](&handles, C.CAPI_MESSAGE, uintptr(h)); ok {
		m.free()
	}
}

//export capiMessageBytes
func capiMessageBytes(h C.uintptr_t, buffer **C.uchar, size *C.size_t) C.int {
	return withMessage(h, func(m *message) messageResult {
		if buffer == nil || size == nil || m.isString {
			invalid("IoTHubMessage_GetByteArray", errors.New("an argument is NULL, or the message is a string"))
			return messageInvalidArg
		}
		*buffer, *size = (*C.uchar)(m.bytes()), C.size_t(len(m.body))
		return messageOK
	})
}

//export capiMessageString
func capiMessageString(h C.uintptr_t) (s *C.char) {
	withMessage(h, func(m *message) messageResult {
		if m.isString {
			s = (*C.char)(m.bytes())
		}
		return messageOK
	})
	return s
}

//export capiMessageType
func capiMessageType(h C.uintptr_t) C.int {
	t := C.int(typeUnknown)
	withMessage(h, func(m *message) messageResult {
		t = 0
		if m.isString {
			t = 1
		}
		return messageOK
	})
	return t
}

//export capiMessageSetText
func capiMessageSetText(h C.uintptr_t, field C.int, value *C.char) C.int {
	return withMessage(h, func(m *message) messageResult {
		if value == nil {
			invalid("IoTHubMessage", errNull)
			return messageInvalidArg
		}
		m.texts[field].assign(C.GoString(value))
		return messageOK
	})
}

//export capiMessageText
func capiMessageText(h C.uintptr_t, field C.int) (s *C.char) {
	withMessage(h, func(m *message) messageResult {
		s = m.texts[field].get()
		return messageOK
	})
	return s
}

//export capiMessageProperties
func capiMessageProperties(h C.uintptr_t) (properties C.uintptr_t) {
	withMessage(h, func(m *message) messageResult {
		if m.propertiesHandle == 0 {
			m.propertiesHandle = handles.Add(C.CAPI_MAP, m.properties)
		}
		properties = C.uintptr_t(m.propertiesHandle)
		return messageOK
	})
	return properties
}

//export capiMessageSetProperty
func capiMessageSetProperty(h C.uintptr_t, key, value *C.char) C.int {
	return withMessage(h, func(m *message) messageResult {
		if key == nil || value == nil {
			invalid("IoTHubMessage_SetProperty", errNull)
			return messageInvalidArg
		}
		switch m.properties.set(C.GoString(key), C.GoString(value), true) {
		case mapOK:
			return messageOK
		case mapFilterReject:
			invalid("IoTHubMessage_SetProperty", errors.New("there is a character other than printable ASCII"))
			return messageInvalidType
		}
		return messageError
	})
}

//export capiMessageProperty
func capiMessageProperty(h C.uintptr_t, key *C.char) (value *C.char) {
	withMessage(h, func(m *message) messageResult {
		if key != nil {
			value = m.properties.value(C.GoString(key))
		}
		return messageOK
	})
	return value
}

//export capiMessageSetDiagnostics
func capiMessageSetDiagnostics(h C.uintptr_t, id, time *C.char) C.int {
	return withMessage(h, func(m *message) messageResult {
		if id == nil || time == nil {
			invalid("IoTHubMessage_SetDiagnosticPropertyData", errNull)
			return messageInvalidArg
		}
		m.freeDiagnostics()
		m.diagnosticID, m.diagnosticTime = C.GoString(id), C.GoString(time)
		return messageOK
	})
}

//export capiMessageDiagnostics
func capiMessageDiagnostics(h C.uintptr_t) (p unsafe.Pointer) {
	withMessage(h, func(m *message) messageResult {
		if m.diagnosticID == "" && m.diagnosticTime == "" {
			return messageOK
		}
		if m.cDiagnostics == nil {
			m.cDiagnostics = (*diagnostics)(C.malloc(C.size_t(unsafe.Sizeof(diagnostics{}))))
			*m.cDiagnostics = diagnostics{C.CString(m.diagnosticID), C.CString(m.diagnosticTime)}
		}
		p = unsafe.Pointer(m.cDiagnostics)
		return messageOK
	})
	return p
}

//export capiMessageSecure
func capiMessageSecure(h C.uintptr_t) C.int {
	return withMessage(h, func(m *message) messageResult {
		m.security = true
		m.texts[C.CAPI_CONTENT_ENCODING].assign("application/json")
		return messageOK
	})
}

//export capiMessageIsSecure
func capiMessageIsSecure(h C.uintptr_t) (secure C.int) {
	withMessage(h, func(m *message) messageResult {
		if m.security {
			secure = 1
		}
		return messageOK
	})
	return secure
}

func findMap(h C.uintptr_t) (*dictionary, bool) {
	d, ok := handle.Get[*dictionary](&handles, C.CAPI_MAP, uintptr(h))
	if !ok {
		invalid("Map", errStale)
	}
	return d, ok
}

//export capiMapNew
func capiMapNew(filter C.uintptr_t) C.uintptr_t {
	return C.uintptr_t(handles.Add(C.CAPI_MAP, newDictionary(uintptr(filter), false)))
}

//export capiMapDestroy
func capiMapDestroy(h C.uintptr_t) {
	d, ok := handle.Get[*dictionary](&handles, C.CAPI_MAP, uintptr(h))
	if !ok || d.owned {
		return
	}
	if d, ok := handle.Take[*dictionary](&handles, C.CAPI_MAP, uintptr(h)); ok {
		d.free()
	}
}

//export capiMapClone
func capiMapClone(h C.uintptr_t) C.uintptr_t {
	d, ok := findMap(h)
	if !ok {
		return 0
	}
	return C.uintptr_t(handles.Add(C.CAPI_MAP, d.clone()))
}

//export capiMapSet
func capiMapSet(h C.uintptr_t, key, value *C.char, replace C.int) C.int {
	d, ok := findMap(h)
	if !ok || key == nil || value == nil {
		return mapInvalidArg
	}
	return d.set(C.GoString(key), C.GoString(value), replace != 0)
}

//export capiMapDelete
func capiMapDelete(h C.uintptr_t, key *C.char) C.int {
	d, ok := findMap(h)
	if !ok || key == nil {
		return mapInvalidArg
	}
	return d.remove(C.GoString(key))
}

//export capiMapContains
func capiMapContains(h C.uintptr_t, s *C.char, value C.int, found *C.int) C.int {
	d, ok := findMap(h)
	if !ok || s == nil || found == nil {
		return mapInvalidArg
	}
	*found = 0
	if d.contains(C.GoString(s), value != 0) {
		*found = 1
	}
	return mapOK
}

//export capiMapValue
func capiMapValue(h C.uintptr_t, key *C.char) *C.char {
	d, ok := findMap(h)
	if !ok || key == nil {
		return nil
	}
	return d.value(C.GoString(key))
}

//export capiMapAll
func capiMapAll(h C.uintptr_t, keys, values ***C.char, count *C.size_t) C.int {
	d, ok := findMap(h)
	if !ok || keys == nil || values == nil || count == nil {
		return mapInvalidArg
	}
	k, v, n := d.arrays()
	*keys, *values, *count = k, v, C.size_t(n)
	return mapOK
}
