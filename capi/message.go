//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/iothub-go/iothub"
)

// text is a string of a message. What C is told of it lives in C's memory, made
// when it is first asked for.
type text struct {
	set bool
	s   string
	c   *C.char
}

func (t *text) assign(s string) {
	t.free()
	t.set, t.s = true, s
}

// get returns the string for C, NULL when it was not set.
func (t *text) get() *C.char {
	if t.set && t.c == nil {
		t.c = C.CString(t.s)
	}
	return t.c
}

func (t *text) free() {
	if t.c != nil {
		C.free(unsafe.Pointer(t.c))
	}
	*t = text{}
}

// value returns the string for Go, empty when it was not set.
func (t *text) value() string { return t.s }

// message is what an IOTHUB_MESSAGE_HANDLE stands for.
type message struct {
	mu       sync.Mutex // programs should not, but must not crash Go
	isString bool
	body     []byte
	cBody    unsafe.Pointer // body in C's memory, with a NUL behind it
	texts    [C.CAPI_TEXTS]text
	security bool
	// received is what SendMessageDisposition settles, nil for a message
	// that the program made.
	received *iothub.ReceivedMessage

	properties       *dictionary
	propertiesHandle uintptr // 0 until C has asked

	diagnosticID   string
	diagnosticTime string
	cDiagnostics   *diagnostics
}

// diagnostics is IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA, in C's memory.
type diagnostics struct{ id, time *C.char }

func newMessage(body []byte, isString bool) *message {
	return &message{body: body, isString: isString, properties: newDictionary(0, true)}
}

// free releases what C was told of; the message is used no more.
func (m *message) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.texts {
		m.texts[i].free()
	}
	C.free(m.cBody)
	m.cBody = nil
	m.freeDiagnostics()
	if m.propertiesHandle != 0 {
		takeMap(m.propertiesHandle)
	}
	m.properties.free()
}

func (m *message) freeDiagnostics() {
	if d := m.cDiagnostics; d != nil {
		C.free(unsafe.Pointer(d.id))
		C.free(unsafe.Pointer(d.time))
		C.free(unsafe.Pointer(d))
		m.cDiagnostics = nil
	}
}

// clone returns a copy of everything but what settles it.
func (m *message) clone() *message {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &message{
		isString: m.isString, body: m.body, security: m.security, // nobody writes to a body
		properties:   m.properties.clone(),
		diagnosticID: m.diagnosticID, diagnosticTime: m.diagnosticTime,
	}
	c.properties.owned = true
	for i, t := range m.texts {
		c.texts[i] = text{set: t.set, s: t.s}
	}
	return c
}

// bytes returns the body for C.
func (m *message) bytes() unsafe.Pointer {
	if m.cBody == nil {
		m.cBody = C.CBytes(append(bytes.Clone(m.body), 0))
	}
	return m.cBody
}

var errCreationTime = errors.New("the message's creation time is not like 2006-01-02T15:04:05.999Z")

// outgoing makes what the client sends, which shares the body and the
// properties: the client copies them before the call returns. A program's
// output, unless NULL, stays with the message, as documented.
func (m *message) outgoing(out *iothub.Message, output *C.char) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if output != nil {
		m.texts[C.CAPI_OUTPUT_NAME].assign(C.GoString(output))
	}
	*out = iothub.Message{
		Payload:         m.body,
		Properties:      m.properties.forSending(),
		MessageID:       m.texts[C.CAPI_MESSAGE_ID].value(),
		CorrelationID:   m.texts[C.CAPI_CORRELATION_ID].value(),
		ContentType:     m.texts[C.CAPI_CONTENT_TYPE].value(),
		ContentEncoding: m.texts[C.CAPI_CONTENT_ENCODING].value(),
		OutputName:      m.texts[C.CAPI_OUTPUT_NAME].value(),
		Component:       m.texts[C.CAPI_COMPONENT_NAME].value(),
		Security:        m.security,
		DiagnosticID:    m.diagnosticID,
	}
	if m.diagnosticTime != "" {
		out.DiagnosticContext = "creationtimeutc=" + m.diagnosticTime
	}
	if at := m.texts[C.CAPI_CREATION_TIME].value(); at != "" {
		t, err := time.Parse(time.RFC3339Nano, strings.ReplaceAll(at, "%3A", ":"))
		if err != nil {
			return fmt.Errorf("SendEventAsync: %w", errCreationTime)
		}
		out.CreationTime = t
	}
	return nil
}

// incoming makes a message of one from the hub.
func incoming(r *iothub.ReceivedMessage) *message {
	m := newMessage(r.Payload, false)
	m.received = r
	for i, s := range map[int]string{
		C.CAPI_MESSAGE_ID: r.MessageID, C.CAPI_CORRELATION_ID: r.CorrelationID,
		C.CAPI_CONTENT_TYPE: r.ContentType, C.CAPI_CONTENT_ENCODING: r.ContentEncoding,
		C.CAPI_INPUT_NAME: r.InputName, C.CAPI_USER_ID: r.UserID,
		C.CAPI_CONNECTION_DEVICE_ID: r.ConnectionDeviceID, C.CAPI_CONNECTION_MODULE_ID: r.ConnectionModuleID,
	} {
		if s != "" {
			m.texts[i].assign(s)
		}
	}
	if !r.CreationTime.IsZero() {
		m.texts[C.CAPI_CREATION_TIME].assign(r.CreationTime.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	m.properties.fill(r.Properties)
	return m
}
