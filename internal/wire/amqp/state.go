package amqp

import "fmt"

// Error is the error that ends a link, a session or a connection, or comes with a
// rejected delivery. (AMQP 2.8.14)
type Error struct {
	Condition   Symbol
	Description string
	Info        Map
}

// The error conditions of the specification. (AMQP 2.8.15 to 2.8.18)
const (
	ErrCondInternal            Symbol = "amqp:internal-error"
	ErrCondNotFound            Symbol = "amqp:not-found"
	ErrCondUnauthorized        Symbol = "amqp:unauthorized-access"
	ErrCondDecode              Symbol = "amqp:decode-error"
	ErrCondResourceLimit       Symbol = "amqp:resource-limit-exceeded"
	ErrCondNotAllowed          Symbol = "amqp:not-allowed"
	ErrCondInvalidField        Symbol = "amqp:invalid-field"
	ErrCondNotImplemented      Symbol = "amqp:not-implemented"
	ErrCondPreconditionFailed  Symbol = "amqp:precondition-failed"
	ErrCondFrameSizeTooSmall   Symbol = "amqp:frame-size-too-small"
	ErrCondConnectionForced    Symbol = "amqp:connection:forced"
	ErrCondFraming             Symbol = "amqp:connection:framing-error"
	ErrCondConnectionRedirect  Symbol = "amqp:connection:redirect"
	ErrCondWindowViolation     Symbol = "amqp:session:window-violation"
	ErrCondErrantLink          Symbol = "amqp:session:errant-link"
	ErrCondHandleInUse         Symbol = "amqp:session:handle-in-use"
	ErrCondUnattachedHandle    Symbol = "amqp:session:unattached-handle"
	ErrCondDetachForced        Symbol = "amqp:link:detach-forced"
	ErrCondTransferLimit       Symbol = "amqp:link:transfer-limit-exceeded"
	ErrCondMessageSizeExceeded Symbol = "amqp:link:message-size-exceeded"
	ErrCondLinkRedirect        Symbol = "amqp:link:redirect"
	ErrCondStolen              Symbol = "amqp:link:stolen"
)

// Error gives the condition and the description.
func (e *Error) Error() string {
	if e.Description == "" {
		return string(e.Condition)
	}
	return fmt.Sprintf("%s: %s", e.Condition, e.Description)
}

// Append appends the error.
func (e *Error) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeError)
	l.mustSymbol(e.Condition)
	l.string(e.Description)
	l.mapping(e.Info)
	return l.end()
}

func (l *list) fault(e *Error) {
	if e == nil {
		l.null()
		return
	}
	l.composite(e.Append)
}

func (f *fields) fault() *Error {
	code, in, ok := f.composite()
	if !ok {
		return nil
	}
	if code != CodeError {
		f.fail(errDescriptor)
		return nil
	}
	condition, there := in.any().(Symbol)
	in.must(there)
	e := &Error{Condition: condition, Description: in.string(), Info: in.mapping()}
	if err := in.end(); err != nil {
		f.fail(err)
	}
	return e
}

// State is the state of a delivery. (AMQP 3.4) The zero State is none.
type State struct {
	// Kind is CodeReceived, CodeAccepted, CodeRejected, CodeReleased or
	// CodeModified; 0 is no state, unless Other is set.
	Kind Code
	// Error says why, of CodeRejected.
	Error *Error
	// SectionNumber and SectionOffset are of CodeReceived.
	SectionNumber uint32
	SectionOffset uint64
	// These are of CodeModified.
	DeliveryFailed, UndeliverableHere bool
	MessageAnnotations                Map
	// Other is a state of an extension, for example of a transaction.
	Other any
}

// The states without fields.
var (
	Accepted = State{Kind: CodeAccepted}
	Released = State{Kind: CodeReleased}
)

// Rejected is the state of a delivery that was refused.
func Rejected(e *Error) State { return State{Kind: CodeRejected, Error: e} }

// IsTerminal reports whether the delivery has come to its end. (AMQP 3.4)
func (s *State) IsTerminal() bool { return s.Kind >= CodeAccepted && s.Kind <= CodeModified }

// Append appends the state, null when there is none.
func (s *State) Append(dst []byte) ([]byte, error) {
	switch s.Kind {
	case 0:
		return AppendValue(dst, s.Other)
	case CodeAccepted, CodeReleased:
		return append(appendDescriptor(dst, s.Kind), codeList0), nil
	}
	l := beginList(dst, s.Kind)
	switch s.Kind {
	case CodeReceived:
		l.uint32(s.SectionNumber)
		l.optUint64(Some(s.SectionOffset))
	case CodeRejected:
		l.fault(s.Error)
	case CodeModified:
		l.flag(s.DeliveryFailed)
		l.flag(s.UndeliverableHere)
		l.mapping(s.MessageAnnotations)
	default:
		return dst, fmt.Errorf("%w: %#02x is no delivery state", ErrUnsupported, s.Kind)
	}
	return l.end()
}

func (l *list) state(s *State) {
	if s.Kind == 0 && s.Other == nil {
		l.null()
		return
	}
	b, err := s.Append(l.b)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.b = b
	l.wrote()
}

// state reads a delivery state into s.
func (f *fields) state(s *State) {
	*s = State{}
	if f.err != nil || f.left == 0 {
		return
	}
	before := *f
	code, in, ok := f.composite()
	if !ok || code < CodeReceived || code > CodeModified {
		// Null, or a state of an extension.
		*f = before
		switch v := f.any().(type) {
		case nil:
		case Described:
			s.Other = v
		default:
			f.fail(errType)
		}
		return
	}
	s.Kind = code
	switch code {
	case CodeReceived:
		number, offset := in.uint32(), in.uint64()
		in.must(number.OK && offset.OK)
		s.SectionNumber, s.SectionOffset = number.V, offset.V
	case CodeRejected:
		s.Error = in.fault()
	case CodeModified:
		s.DeliveryFailed, s.UndeliverableHere = in.bool().Or(false), in.bool().Or(false)
		s.MessageAnnotations = in.mapping()
	}
	if err := in.end(); err != nil {
		f.fail(err)
	}
}
