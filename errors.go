package iothub

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Sentinels for the life cycle of a client; compare with errors.Is.
var (
	// ErrClosed: the client was closed or destroyed. It also matches
	// net.ErrClosed.
	ErrClosed error = closedError{}
	// ErrQueueFull: the bounded queue of accepted messages is full. Wait
	// for a confirmation and send again, or use SendEvent, which waits.
	ErrQueueFull = errors.New("iothub: queue full")
	// ErrNotSupported: the transport cannot do what was asked.
	ErrNotSupported = errors.New("iothub: not supported by this transport")
	// ErrConcurrentUse: an ll client was used from two goroutines at once,
	// or DoWork was called from inside a callback.
	ErrConcurrentUse = errors.New("iothub: ll client used concurrently: it belongs to one goroutine; use package device or module to share a client")
	// ErrMessageTimeout: the message timeout or the message's expiry
	// passed before the hub confirmed it. It is a timeout for net.Error.
	ErrMessageTimeout error = timeoutError{}
)

type closedError struct{}

func (closedError) Error() string        { return "iothub: client closed" }
func (closedError) Is(target error) bool { return target == net.ErrClosed }

type timeoutError struct{}

func (timeoutError) Error() string   { return "iothub: message timed out before the hub confirmed it" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// Kind is the class of an [Error]: what a program can decide on.
type Kind uint8

// The kinds of errors.
const (
	KindUnknown            Kind = iota
	KindInvalidArgument         // the call cannot succeed as written
	KindMessageTooLarge         // more than MaxMessageSize
	KindUnauthorized            // the credential was refused
	KindTokenExpired            // the token had expired, or clocks differ
	KindForbidden               // known, but not allowed to do this
	KindDeviceDisabled          // the identity is disabled
	KindNotFound                // no such device, module, …
	KindConflict                // it exists already
	KindPreconditionFailed      // the ETag does not match
	KindDuplicateIdentity       // another connection has the same identity
	KindThrottled               // slow down; see RetryAfter
	KindQuotaExceeded           // the daily quota is used up
	KindTimeout                 // no answer in time
	KindNetwork                 // name look-up, connect, reset, …
	KindTLS                     // certificate or handshake
	KindProtocol                // the peer broke the protocol, or refused its version
	KindUnavailable             // the hub cannot serve now
	KindServer                  // the hub failed
	KindProxy                   // the proxy refused, or failed
)

var kindNames = [...]string{
	"unknown error", "invalid argument", "message too large", "unauthorized", "token expired", "forbidden",
	"device disabled", "not found", "conflict", "precondition failed", "duplicate identity", "throttled",
	"quota exceeded", "timeout", "network error", "TLS error", "protocol error", "unavailable", "server error",
	"proxy error",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Retryable reports whether trying the same again later can succeed without
// anybody changing anything.
func (k Kind) Retryable() bool {
	switch k {
	case KindThrottled, KindTimeout, KindNetwork, KindUnavailable, KindServer, KindQuotaExceeded, KindDuplicateIdentity, KindProxy:
		return true
	}
	return false
}

// Error is what every operation returns when the hub, the network or the
// arguments are at fault.
type Error struct {
	// Op is the operation: "send", "connect", "connection string", …
	Op string
	// Kind is the class, for programs.
	Kind Kind
	// Code is IoT Hub's six-digit code (404001), the HTTP status or the
	// MQTT return code where one was given, otherwise 0.
	Code int
	// Retryable reports whether the same call may succeed later.
	Retryable bool
	// RetryAfter is how long to wait at least, because the hub asked for
	// it or the client found that less makes it worse; 0 when there is no
	// such bound.
	RetryAfter time.Duration
	// Err is the cause; Unwrap returns it.
	Err error
}

// Error returns the operation, the kind, the code and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("iothub: ")
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(e.Kind.String())
	if e.Code != 0 {
		fmt.Fprintf(&b, " (%d)", e.Code)
	}
	if e.Err != nil {
		b.WriteString(": " + strings.TrimPrefix(e.Err.Error(), "iothub: "))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether the error is a timeout, for net.Error.
func (e *Error) Timeout() bool { return e.Kind == KindTimeout }

// KindOf returns the kind of the first *Error in err's chain.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindUnknown
}

// Retryable reports whether the operation that returned err may succeed if it
// is tried again later.
func Retryable(err error) bool {
	if errors.Is(err, ErrQueueFull) || errors.Is(err, ErrMessageTimeout) {
		return true
	}
	e, ok := errors.AsType[*Error](err)
	return ok && e.Retryable
}

// RetryAfter returns how long to wait at least before the same is tried again,
// 0 when nothing says so; see Error.RetryAfter.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// NotSent reports whether it is certain that no byte of the message that err
// was returned or confirmed for has left this process. It is a promise about
// bytes, not a guess: false means that it may have been sent.
func NotSent(err error) bool {
	if errors.Is(err, ErrQueueFull) {
		return true
	}
	_, ok := errors.AsType[*notSentError](err)
	if ok {
		return true
	}
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Kind == KindInvalidArgument || e.Kind == KindMessageTooLarge)
}

// MarkNotSent wraps err so that [NotSent] is true of it. Transports use it for
// messages that never reached a connection.
func MarkNotSent(err error) error { return &notSentError{err} }

type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() + " (not sent)" }
func (e *notSentError) Unwrap() error { return e.err }

func invalid(format string, args ...any) error {
	return &Error{Kind: KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// KindOfStatus maps an HTTP status or an IoT Hub six-digit code to its kind:
// the one table behind every protocol.
func KindOfStatus(code int) Kind {
	switch code {
	case 400027, 409002:
		return KindDuplicateIdentity
	case 403003, 403004, 403006, 403800: // imports, queue depth, uploads and method calls under way
		return KindThrottled
	case 401001: // no such hub; it comes with status 404
		return KindNotFound
	case 413002, 413003, 413101: // too many devices, modules, configurations: no size
		return KindForbidden
	case 403002:
		return KindQuotaExceeded
	case 403012:
		return KindDeviceDisabled
	case 400024, 404102, 404103, 404104, 500008, 504101:
		return KindTimeout
	case 400023:
		return KindPreconditionFailed
	}
	status := code
	for status >= 1000 {
		status /= 10
	}
	switch status {
	case 400, 405, 415:
		return KindInvalidArgument
	case 401:
		return KindUnauthorized
	case 403:
		return KindForbidden
	case 404:
		return KindNotFound
	case 408, 504:
		return KindTimeout
	case 409:
		return KindConflict
	case 412:
		return KindPreconditionFailed
	case 413:
		return KindMessageTooLarge
	case 429:
		return KindThrottled
	case 502, 503:
		return KindUnavailable
	}
	if status >= 500 && status < 600 {
		return KindServer
	}
	return KindUnknown
}

// BatchError says which messages of a batch were not confirmed.
type BatchError struct {
	// Errs has one element for each message of the batch, nil for those
	// that the hub confirmed.
	Errs []error
}

// NewBatchError returns a *BatchError of errs, or nil when all are nil.
func NewBatchError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &BatchError{Errs: errs}
		}
	}
	return nil
}

// Error counts the failures and shows the first.
func (e *BatchError) Error() string {
	n, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			if n++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("iothub: %d of %d messages were not confirmed, first: %v", n, len(e.Errs), first)
}

// Unwrap returns the errors of the failed messages, for errors.Is and
// errors.As.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
