package core

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The limits of direct methods (B.10, B8).
const (
	maxMethodName    = 100
	maxMethodPayload = 128 << 10
	maxMethodTimeout = 300 * time.Second
	minResponseTime  = 5 * time.Second

	// DefaultResponseTimeout is how long a device has for its answer unless the
	// caller says otherwise.
	DefaultResponseTimeout = 30 * time.Second

	// maxInflightMethods bounds the calls of one identity that wait.
	maxInflightMethods = 100
)

// MethodCall is what the service asks of a device or module.
type MethodCall struct {
	Name string
	// Payload is a JSON value, or empty for none.
	Payload []byte
	// ConnectTimeout is how long to wait for the device to be there, 0 to 300 s.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long to wait for its answer, 5 to 300 s; zero is
	// [DefaultResponseTimeout].
	ResponseTimeout time.Duration
}

// MethodRequest is a call on its way to the device, which answers with its
// RequestID.
type MethodRequest struct {
	RequestID string
	Name      string
	Payload   []byte // not to be changed
}

// MethodResult is what the device has answered. The payload is a JSON value or
// empty.
type MethodResult struct {
	Status  int
	Payload []byte
}

// methods joins calls with the connections that serve them and with the answers,
// which may come by another connection of the same identity.
type methods struct {
	mu      sync.Mutex // held for maps only
	served  map[identityKey]*methodServer
	calls   map[identityKey]map[string]chan methodAnswer
	changed map[identityKey]chan struct{} // closed when somebody begins to serve
	lastID  uint32
}

type methodServer struct {
	by   *Attachment
	send func(MethodRequest) bool
}

type methodAnswer struct {
	result MethodResult
	err    error
}

// InvokeMethod calls a method of a device, or of a module when moduleID is not
// empty, and waits for the answer, whatever its status. Errors are *Error: 400004
// for a wrong argument, 404001 and 404010 for an identity that is not there or
// disabled, 404103 when it did not connect and subscribe to methods within the
// connect timeout, 504101 when it did not answer within the response timeout,
// 403800 when too many calls wait, 502000 for an answer that is no JSON or too
// large; or the error of ctx.
func (h *Hub) InvokeMethod(ctx context.Context, deviceID, moduleID string, c MethodCall) (MethodResult, error) {
	if err := c.check(); err != nil {
		return MethodResult{}, err
	}
	dev, err := h.enabledDevice(deviceID)
	if err != nil {
		return MethodResult{}, err
	}
	if moduleID != "" && dev.module(moduleID) == nil {
		return MethodResult{}, moduleNotFound(deviceID, moduleID)
	}
	key := identityKey{deviceID, moduleID}
	id, answer, err := h.methods.open(key)
	if err != nil {
		return MethodResult{}, err
	}
	defer h.methods.close(key, id)
	if err := h.sendMethod(ctx, key, MethodRequest{id, c.Name, c.Payload}, c.ConnectTimeout); err != nil {
		return MethodResult{}, err
	}
	late := time.NewTimer(c.ResponseTimeout)
	defer late.Stop()
	select {
	case a := <-answer:
		return a.result, a.err
	case <-late.C:
		return MethodResult{}, NewError(CodeGatewayTimeout, "Timed out waiting for the response from device.")
	case <-ctx.Done():
		return MethodResult{}, ctx.Err()
	case <-h.closing:
		return MethodResult{}, errClosed()
	}
}

// sendMethod waits for a connection that takes the request.
func (h *Hub) sendMethod(ctx context.Context, key identityKey, r MethodRequest, timeout time.Duration) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		server, changed := h.methods.server(key)
		if server != nil && server.send(r) {
			return nil
		}
		select {
		case <-changed:
		case <-late.C:
			return NewError(CodeDeviceNotOnline, "Timed out waiting for device to connect.")
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closing:
			return errClosed()
		}
	}
}

// check checks a call and fills in the default.
func (c *MethodCall) check() error {
	if c.ResponseTimeout == 0 {
		c.ResponseTimeout = DefaultResponseTimeout
	}
	bad := func(format string, args ...any) error { return NewError(CodeArgumentInvalid, format, args...) }
	switch {
	case c.Name == "":
		return NewError(CodeArgumentNull, "methodName is missing")
	case len(c.Name) > maxMethodName:
		return bad("methodName has %d characters, the limit is %d", len(c.Name), maxMethodName)
	case strings.ContainsAny(c.Name, "/+#") || !isText(c.Name):
		// It is a level of a topic, and the SDKs do not unescape it (B.10).
		return bad("methodName %q holds a character that topics cannot carry: / + # or NUL", c.Name)
	case c.ResponseTimeout < minResponseTime || c.ResponseTimeout > maxMethodTimeout:
		return bad("responseTimeoutInSeconds is %v, allowed are 5 to 300", c.ResponseTimeout.Seconds())
	case c.ConnectTimeout < 0 || c.ConnectTimeout > maxMethodTimeout:
		return bad("connectTimeoutInSeconds is %v, allowed are 0 to 300", c.ConnectTimeout.Seconds())
	case len(c.Payload) > maxMethodPayload:
		return NewError(CodeMessageTooLarge, "the payload has %d bytes, the limit is %d", len(c.Payload), maxMethodPayload)
	case len(c.Payload) > 0 && !json.Valid(c.Payload):
		return bad("the payload is no JSON value")
	}
	return nil
}

// open gives a call its id.
func (m *methods) open(key identityKey) (id string, answer chan methodAnswer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls[key]
	if len(calls) >= maxInflightMethods {
		return "", nil, NewError(CodeMaximumInflightMethods, "%d calls wait for %s already", len(calls), key.String())
	}
	if calls == nil {
		calls = make(map[string]chan methodAnswer)
		if m.calls == nil {
			m.calls = make(map[identityKey]map[string]chan methodAnswer)
			// A late answer from before a restart must not fit a new call.
			m.lastID = rand.Uint32()
		}
		m.calls[key] = calls
	}
	m.lastID++
	id = strconv.FormatUint(uint64(m.lastID), 10)
	answer = make(chan methodAnswer, 1)
	calls[id] = answer
	return id, answer, nil
}

func (m *methods) close(key identityKey, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls[key], id)
	if len(m.calls[key]) == 0 {
		delete(m.calls, key)
		delete(m.changed, key) // only calls wait for it
	}
}

// server gives who serves the methods of an identity, and what tells of the next.
func (m *methods) server(key identityKey) (*methodServer, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.changed[key]
	if changed == nil {
		changed = make(chan struct{})
		if m.changed == nil {
			m.changed = make(map[identityKey]chan struct{})
		}
		m.changed[key] = changed
	}
	return m.served[key], changed
}

// ServeMethods makes the connection the one that serves the methods of its
// identity, or, with nil, ends that. send hands a request to the client without
// blocking; false means that it could not.
func (a *Attachment) ServeMethods(send func(MethodRequest) bool) {
	m := &a.hub.methods
	m.mu.Lock()
	defer m.mu.Unlock()
	if send == nil {
		if s := m.served[a.key]; s != nil && s.by == a {
			delete(m.served, a.key)
		}
		return
	}
	if m.served == nil {
		m.served = make(map[identityKey]*methodServer)
	}
	m.served[a.key] = &methodServer{a, send}
	if changed := m.changed[a.key]; changed != nil {
		close(changed)
		delete(m.changed, a.key)
	}
}

// AnswerMethod takes the client's answer to a request. ok is false when its
// status was no number. An answer that nobody waits for is ignored (B.10).
func (a *Attachment) AnswerMethod(requestID []byte, status int, ok bool, payload []byte) {
	answer := methodAnswer{result: MethodResult{Status: status}}
	switch {
	case !ok:
		answer.err = NewError(CodeGenericBadRequest, "the device answered with a status that is no number")
	case len(payload) > maxMethodPayload:
		answer.err = NewError(CodeGenericBadGateway, "the device answered with %d bytes, the limit is %d", len(payload), maxMethodPayload)
	case len(bytes.TrimSpace(payload)) == 0:
	case !json.Valid(payload):
		answer.err = NewError(CodeGenericBadGateway, "the device answered with a payload that is no JSON value")
	default:
		answer.result.Payload = slices.Clone(payload)
	}
	m := &a.hub.methods
	m.mu.Lock()
	defer m.mu.Unlock()
	if waiting := m.calls[a.key][string(requestID)]; waiting != nil {
		select {
		case waiting <- answer:
		default: // answered already
		}
	}
}
