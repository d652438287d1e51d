package amqp

// Code is the descriptor of a performative, SASL frame, section, terminus or
// outcome: the low half of its ulong form.
type Code byte

// The descriptors. (AMQP 2.7, 2.8.14, 3.2, 3.4, 3.5, 5.3.3)
const (
	CodeOpen                  Code = 0x10
	CodeBegin                 Code = 0x11
	CodeAttach                Code = 0x12
	CodeFlow                  Code = 0x13
	CodeTransfer              Code = 0x14
	CodeDisposition           Code = 0x15
	CodeDetach                Code = 0x16
	CodeEnd                   Code = 0x17
	CodeClose                 Code = 0x18
	CodeError                 Code = 0x1d
	CodeReceived              Code = 0x23
	CodeAccepted              Code = 0x24
	CodeRejected              Code = 0x25
	CodeReleased              Code = 0x26
	CodeModified              Code = 0x27
	CodeSource                Code = 0x28
	CodeTarget                Code = 0x29
	CodeCoordinator           Code = 0x30
	CodeSASLMechanisms        Code = 0x40
	CodeSASLInit              Code = 0x41
	CodeSASLChallenge         Code = 0x42
	CodeSASLResponse          Code = 0x43
	CodeSASLOutcome           Code = 0x44
	CodeHeader                Code = 0x70
	CodeDeliveryAnnotations   Code = 0x71
	CodeMessageAnnotations    Code = 0x72
	CodeProperties            Code = 0x73
	CodeApplicationProperties Code = 0x74
	CodeData                  Code = 0x75
	CodeSequence              Code = 0x76
	CodeValue                 Code = 0x77
	CodeFooter                Code = 0x78
)

// names are the symbolic descriptors, which few peers use and all may.
var names = map[string]Code{
	"amqp:open:list": CodeOpen, "amqp:begin:list": CodeBegin, "amqp:attach:list": CodeAttach,
	"amqp:flow:list": CodeFlow, "amqp:transfer:list": CodeTransfer, "amqp:disposition:list": CodeDisposition,
	"amqp:detach:list": CodeDetach, "amqp:end:list": CodeEnd, "amqp:close:list": CodeClose,
	"amqp:error:list": CodeError, "amqp:received:list": CodeReceived, "amqp:accepted:list": CodeAccepted,
	"amqp:rejected:list": CodeRejected, "amqp:released:list": CodeReleased, "amqp:modified:list": CodeModified,
	"amqp:source:list": CodeSource, "amqp:target:list": CodeTarget, "amqp:coordinator:list": CodeCoordinator,
	"amqp:sasl-mechanisms:list": CodeSASLMechanisms, "amqp:sasl-init:list": CodeSASLInit,
	"amqp:sasl-challenge:list": CodeSASLChallenge, "amqp:sasl-response:list": CodeSASLResponse,
	"amqp:sasl-outcome:list": CodeSASLOutcome,
	"amqp:header:list":       CodeHeader, "amqp:delivery-annotations:map": CodeDeliveryAnnotations,
	"amqp:message-annotations:map": CodeMessageAnnotations, "amqp:properties:list": CodeProperties,
	"amqp:application-properties:map": CodeApplicationProperties, "amqp:data:binary": CodeData,
	"amqp:amqp-sequence:list": CodeSequence, "amqp:amqp-value:*": CodeValue, "amqp:footer:map": CodeFooter,
}

// descriptor reads the descriptor of one of the specification's own types.
func (c *cursor) descriptor() (Code, error) {
	code, err := c.byte()
	if err != nil {
		return 0, err
	}
	if code != codeDescribed {
		return 0, errDescriptor
	}
	return c.descriptorValue()
}

// descriptorValue reads the descriptor behind the byte that announces it.
func (c *cursor) descriptorValue() (Code, error) {
	code, err := c.byte()
	if err != nil {
		return 0, err
	}
	switch code {
	case codeSmallUlong:
		b, err := c.byte()
		return Code(b), err
	case codeUlong:
		v, err := c.uint64()
		if err == nil && v > 0xff {
			err = errDescriptor
		}
		return Code(v), err
	case codeSym8, codeSym32:
		b, err := c.variable(code)
		if err != nil {
			return 0, err
		}
		if known, ok := names[string(b)]; ok {
			return known, nil
		}
	}
	return 0, errDescriptor
}

// appendDescriptor appends a descriptor in its ulong form.
func appendDescriptor(dst []byte, code Code) []byte {
	return append(dst, codeDescribed, codeSmallUlong, byte(code))
}
