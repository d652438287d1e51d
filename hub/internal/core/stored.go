package core

import (
	"bytes"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// StoredEvent is an event as it is read back. It owns its memory.
type StoredEvent struct {
	Partition      int    `json:"partition"`
	SequenceNumber int64  `json:"sequenceNumber"`
	Offset         string `json:"offset"`
	EnqueuedTime   Time   `json:"enqueuedTime"`
	DeviceID       string `json:"deviceId"`
	ModuleID       string `json:"moduleId,omitempty"`
	AuthMethod     string `json:"authMethod"`
	GenerationID   string `json:"generationId"`
	ModelID        string `json:"modelId,omitempty"`
	// Properties are the application properties. A property that was sent
	// without a value is empty here.
	Properties map[string]string `json:"properties"`
	// System are the system properties under the names of AMQP and HTTP:
	// message-id, correlation-id, user-id, content-type, content-encoding,
	// iothub-creation-time-utc, iothub-outputname, iothub-message-schema,
	// iothub-interface-id, dt-subject, Diagnostic-Id, Correlation-Context. An
	// unknown one keeps the name that it was sent with.
	System map[string]string `json:"systemProperties"`
	// Body is the payload; base64 in JSON.
	Body []byte `json:"body"`
	// Source is where it comes from: "Telemetry", "twinChangeEvents", …
	Source string `json:"messageSource"`
}

// systemNames maps the names of MQTT to those that readers see. The names that
// map to nothing mean nothing in this direction.
var systemNames = map[string]string{
	topic.MessageID:         "message-id",
	topic.CorrelationID:     "correlation-id",
	topic.UserID:            "user-id",
	topic.ContentType:       "content-type",
	topic.ContentEncoding:   "content-encoding",
	topic.CreationTime:      "iothub-creation-time-utc",
	topic.OutputName:        "iothub-outputname",
	topic.MessageSchema:     "iothub-message-schema",
	topic.InterfaceID:       "iothub-interface-id",
	topic.ComponentName:     "dt-subject",
	topic.DiagnosticID:      "Diagnostic-Id",
	topic.DiagnosticContext: "Correlation-Context",
	topic.To:                "",
	topic.Expiry:            "",
}

// decodeEvent gives an event its own memory and its properties their names. A
// bag is whatever a device has sent, so nothing in it is an error: a wrong escape
// stays as it is.
func decodeEvent(raw *rawEvent) StoredEvent {
	e := StoredEvent{
		EnqueuedTime: Time{timeOfMillis(raw.time)},
		DeviceID:     raw.conn.device, ModuleID: raw.conn.module, AuthMethod: raw.conn.authMethod,
		GenerationID: raw.conn.generation, ModelID: raw.conn.model,
		Properties: make(map[string]string), System: make(map[string]string),
		Body: bytes.Clone(raw.payload), Source: EventSource(raw.flags >> sourceShift & sourceMask).String(),
	}
	bag := topic.NewBagReader(raw.bag)
	var scratch []byte
	unescape := func(src []byte) string {
		out, err := topic.AppendUnescaped(scratch[:0], src)
		if err != nil {
			return string(src)
		}
		scratch = out
		return string(out)
	}
	for {
		key, value, _, ok := bag.Next()
		if !ok {
			break
		}
		name, text := unescape(key), unescape(value)
		if !topic.IsSystem(name) {
			e.Properties[name] = text
			continue
		}
		known, ok := systemNames[name]
		switch {
		case !ok:
			e.System[name] = text
		case known != "":
			e.System[known] = text
		}
	}
	if raw.flags&flagRetain != 0 {
		e.Properties[topic.Retain] = "true"
	}
	if raw.flags&flagWill != 0 {
		e.Properties[topic.MessageType] = topic.MessageTypeWill
	}
	return e
}
