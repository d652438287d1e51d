package edgehub

import (
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

// messageOf makes of an event the message that it was. The hub upstream stamps it
// with the time when it gets there, so the time of its creation says when it was
// sent, unless its sender said so himself.
func messageOf(e *hub.Event) *iothub.Message {
	m := &iothub.Message{Payload: e.Body, Properties: e.Properties}
	for name, field := range map[string]*string{
		"message-id": &m.MessageID, "correlation-id": &m.CorrelationID, "user-id": &m.UserID,
		"content-type": &m.ContentType, "content-encoding": &m.ContentEncoding,
		"iothub-outputname": &m.OutputName, "iothub-message-schema": &m.Schema, "iothub-interface-id": &m.InterfaceID,
		"dt-subject": &m.Component, "Diagnostic-Id": &m.DiagnosticID, "Correlation-Context": &m.DiagnosticContext,
	} {
		*field = e.SystemProperties[name]
	}
	m.CreationTime = e.EnqueuedTime
	if t, err := time.Parse(time.RFC3339Nano, e.SystemProperties["iothub-creation-time-utc"]); err == nil {
		m.CreationTime = t
	}
	return m
}

// makeValid takes out of a message what its sender could send and a client of this
// module cannot. The body stays.
func makeValid(m *iothub.Message) {
	text := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD") }
	properties := make(map[string]string, len(m.Properties))
	for name, value := range m.Properties {
		if name = strings.TrimLeft(text(name), "$"); name != "" {
			properties[name] = text(value)
		}
	}
	m.Properties = properties
	for _, field := range []*string{
		&m.UserID, &m.ContentType, &m.ContentEncoding, &m.OutputName, &m.Schema, &m.InterfaceID, &m.Component,
		&m.DiagnosticID, &m.DiagnosticContext,
	} {
		*field = text(*field)
	}
	for name, field := range map[string]*string{"message-id": &m.MessageID, "correlation-id": &m.CorrelationID} {
		if (&iothub.Message{MessageID: *field}).Validate() != nil {
			properties[name] = text(*field)
			*field = ""
		}
	}
}
