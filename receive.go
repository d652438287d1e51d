package iothub

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Disposition is what a handler decides about a received message.
type Disposition uint8

// The dispositions, with the numbers of the C SDK's
// IOTHUBMESSAGE_DISPOSITION_RESULT.
const (
	// DispositionAccepted completes the message: the hub forgets it.
	DispositionAccepted Disposition = iota
	// DispositionRejected tells the hub that it will never be handled. MQTT
	// has no word for that: there it completes the message.
	DispositionRejected
	// DispositionAbandoned gives it back to the hub, to be delivered again:
	// over MQTT on the next connection.
	DispositionAbandoned
	// DispositionLater keeps the message; ReceivedMessage.Settle decides.
	DispositionLater
)

// String returns the disposition as the C SDK spells it.
func (d Disposition) String() string {
	switch d {
	case DispositionAccepted:
		return "ACCEPTED"
	case DispositionRejected:
		return "REJECTED"
	case DispositionAbandoned:
		return "ABANDONED"
	case DispositionLater:
		return "ASYNC_ACK"
	}
	return fmt.Sprintf("Disposition(%d)", uint8(d))
}

// ErrLockLost is returned by ReceivedMessage.Settle when the connection that
// the message came on is gone: the hub delivers it again.
var ErrLockLost = errors.New("iothub: the connection the message came on is gone; the hub delivers it again")

// ReceivedMessage is a cloud-to-device message, or one routed to a module
// input. It is the handler's to keep.
type ReceivedMessage struct {
	Message
	settle func(Disposition) error
}

// NewReceivedMessage returns a message that settle settles. Clients make
// theirs with it; so may tests of handlers.
func NewReceivedMessage(m Message, settle func(Disposition) error) *ReceivedMessage {
	return &ReceivedMessage{Message: m, settle: settle}
}

// Settle decides about a message whose handler returned DispositionLater, or
// that Receive returned. Only the first call counts. It does not block; the
// error is [ErrLockLost] or [ErrClosed]. It is safe for concurrent use.
func (m *ReceivedMessage) Settle(d Disposition) error {
	if m.settle == nil {
		return nil
	}
	return m.settle(d)
}

// MessageHandler handles received messages, one at a time where confirmations
// run too, in the order of delivery. What it returns settles the message.
type MessageHandler func(*ReceivedMessage) Disposition

// MethodRequest is a call of a direct method.
type MethodRequest struct {
	// Name is the method's, Payload the JSON value it was called with, nil
	// when there was none.
	Name    string
	Payload []byte

	respond func(status int, payload []byte) error
}

// NewMethodRequest returns a request that respond answers. Clients make theirs
// with it; so may tests of handlers.
func NewMethodRequest(name string, payload []byte, respond func(status int, payload []byte) error) *MethodRequest {
	return &MethodRequest{Name: name, Payload: payload, respond: respond}
}

// Respond answers the request: status is the handler's to choose, payload a
// JSON value of at most 128 KiB or nil. Only the first answer counts; it does
// not block and is safe for concurrent use. After 30 s without an answer the
// client gives one, status 500.
func (r *MethodRequest) Respond(status int, payload []byte) error {
	if len(payload) > 0 && !json.Valid(payload) {
		return invalid("the payload of the response to method %q is not JSON", r.Name)
	}
	if len(payload) > MaxMethodPayload {
		return invalid("the payload of the response to method %q has %d bytes, the limit is %d", r.Name, len(payload), MaxMethodPayload)
	}
	if r.respond == nil {
		return nil
	}
	return r.respond(status, payload)
}

// MaxMethodPayload is the largest payload of a method call or its response, in
// bytes.
const MaxMethodPayload = 128 * 1024

// MethodResponse is what a method handler answers.
type MethodResponse struct {
	// Status is the handler's to choose; 200 to 299 is success by custom.
	Status int
	// Payload is a JSON value of at most MaxMethodPayload bytes, or nil.
	Payload []byte
}

// InvokeOptions says how long a method call may take. The zero value, or nil,
// is the hub's default.
type InvokeOptions struct {
	// ConnectTimeout is how long the hub waits for the target to connect,
	// up to 5 minutes; 0 is not at all.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long the hub waits for the answer, 5 s to 5
	// minutes; 0 is 30 s.
	ResponseTimeout time.Duration
	// Port is that of the hub's HTTPS endpoint; 0 is 443.
	Port int
}

// MethodHandler handles calls of a direct method, one at a time where
// confirmations run too. It returns the answer, or nil to give it later by
// MethodRequest.Respond. A panic is answered with status 500.
type MethodHandler func(*MethodRequest) *MethodResponse

// TwinProperties is one half of a twin.
type TwinProperties struct {
	// Version grows by one with every change.
	Version int64
	// Values is a JSON object, without $version.
	Values json.RawMessage
}

// Twin is what a device or module sees of its twin.
type Twin struct {
	// Desired is what the back end wants.
	Desired TwinProperties
	// Reported is what the device said of itself.
	Reported TwinProperties
}

// DesiredChange is a change of desired properties.
type DesiredChange struct {
	// Version is that of the desired properties after the change.
	Version int64
	// Patch is a JSON merge patch (RFC 7396) without $version: a key with
	// null was deleted.
	Patch json.RawMessage
	// Complete says that nothing was known before: Patch is all there is.
	Complete bool
}

// DesiredHandler is told of changes of desired properties: each once, in
// order, one at a time where confirmations run too.
type DesiredHandler func(*DesiredChange)

// ReportedFunc receives the outcome of a report: the new version of the
// reported properties, or why they were not changed.
type ReportedFunc func(version int64, err error)
