package iothub

import "fmt"

// ConfirmationResult says what became of an accepted message.
type ConfirmationResult uint8

// The results, with the numbers of the C SDK's
// IOTHUB_CLIENT_CONFIRMATION_RESULT.
const (
	// ConfirmOK: the hub has the message, durably.
	ConfirmOK ConfirmationResult = iota
	// ConfirmBecauseDestroy: the client was closed or destroyed first. The
	// hub may or may not have the message if it was in flight.
	ConfirmBecauseDestroy
	// ConfirmMessageTimeout: the message timeout or the message's own
	// expiry passed first. The hub may or may not have it if it was in
	// flight.
	ConfirmMessageTimeout
	// ConfirmError: the message could not be sent; Confirmation.Err says
	// why.
	ConfirmError
)

// String returns the name of the result as the C SDK spells it without its
// prefix: OK, BECAUSE_DESTROY, MESSAGE_TIMEOUT, ERROR.
func (r ConfirmationResult) String() string {
	switch r {
	case ConfirmOK:
		return "OK"
	case ConfirmBecauseDestroy:
		return "BECAUSE_DESTROY"
	case ConfirmMessageTimeout:
		return "MESSAGE_TIMEOUT"
	case ConfirmError:
		return "ERROR"
	}
	return fmt.Sprintf("ConfirmationResult(%d)", uint8(r))
}

// Confirmation is the one answer to an accepted message.
type Confirmation struct {
	// Result says what became of the message.
	Result ConfirmationResult
	// Err is nil for ConfirmOK and says why otherwise. [NotSent] tells
	// whether it is certain that no byte of the message left.
	Err error
}

// ConfirmFunc receives the confirmation of one message. A closure carries
// whatever context the caller needs.
//
// It runs exactly once per accepted message, never from inside the sending
// call, in the order in which the hub acknowledged, one at a time. Inside it
// every call on the client is allowed: sending the same message again,
// sending others, Close or Destroy. It should not block: further callbacks
// wait for it (acknowledgements and keep-alive do not).
type ConfirmFunc func(Confirmation)
