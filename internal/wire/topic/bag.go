package topic

import "bytes"

// Names of the system properties in property bags, unescaped.
const (
	MessageID          = "$.mid"
	CorrelationID      = "$.cid"
	UserID             = "$.uid"
	To                 = "$.to"
	Expiry             = "$.exp" // absolute, ISO 8601 UTC
	ContentType        = "$.ct"
	ContentEncoding    = "$.ce"
	OutputName         = "$.on"    // module output
	CreationTime       = "$.ctime" // ISO 8601 UTC
	MessageSchema      = "$.schema"
	ComponentName      = "$.sub" // Plug and Play component
	InterfaceID        = "$.ifid"
	ConnectionDeviceID = "$.cdid" // sending device, on module inputs
	ConnectionModuleID = "$.cmid" // sending module, on module inputs
	DiagnosticID       = "$.diagid"
	DiagnosticContext  = "$.diagctx"

	Ack         = "iothub-ack" // none, positive, negative or full
	Operation   = "iothub-operation"
	Retain      = "mqtt-retain"        // set by the hub for the retain flag
	Dup         = "mqtt-dup"           // set by the hub for the DUP flag
	MessageType = "iothub-MessageType" // MessageTypeWill on a will message
)

// MessageTypeWill is the value of MessageType on the will of a connection that
// ended abnormally.
const MessageTypeWill = "Will"

// The system properties as a sender writes them: escaped, with the equals sign.
// The dollar sign must be escaped, because clients compare the raw bytes.
const (
	EscapedMessageID          = "%24.mid="
	EscapedCorrelationID      = "%24.cid="
	EscapedUserID             = "%24.uid="
	EscapedTo                 = "%24.to="
	EscapedExpiry             = "%24.exp="
	EscapedContentType        = "%24.ct="
	EscapedContentEncoding    = "%24.ce="
	EscapedOutputName         = "%24.on="
	EscapedCreationTime       = "%24.ctime="
	EscapedMessageSchema      = "%24.schema="
	EscapedComponentName      = "%24.sub="
	EscapedInterfaceID        = "%24.ifid="
	EscapedConnectionDeviceID = "%24.cdid="
	EscapedConnectionModuleID = "%24.cmid="
	EscapedDiagnosticID       = "%24.diagid="
	EscapedDiagnosticContext  = "%24.diagctx="
	EscapedAck                = "iothub-ack="
	EscapedOperation          = "iothub-operation="
	EscapedRetain             = "mqtt-retain="
	EscapedDup                = "mqtt-dup="
	EscapedMessageType        = "iothub-MessageType="
)

// IsSystem reports whether an unescaped property name is reserved for system
// properties, known or not: whether it begins with "$.".
func IsSystem(name string) bool { return len(name) >= 2 && name[:2] == "$." }

// KeyIs reports whether a still escaped key of a bag stands for the unescaped
// name. It accepts every spelling: "$.mid", "%24.mid" and "%24%2Emid" alike.
func KeyIs(key []byte, name string) bool {
	if string(key) == name {
		return true
	}
	for i := 0; i < len(key); i++ {
		if len(name) == 0 {
			return false
		}
		c := key[i]
		if c == '%' {
			var ok bool
			if c, ok = unescapeAt(key, i); !ok {
				return false
			}
			i += 2
		}
		if c != name[0] {
			return false
		}
		name = name[1:]
	}
	return len(name) == 0
}

// BagReader iterates over the pairs of a property bag. The zero value is an
// empty bag.
type BagReader struct{ rest []byte }

// NewBagReader returns a reader of bag, which ends at its first raw '/', if
// any. One leading '?' is not part of it.
func NewBagReader(bag []byte) BagReader {
	if len(bag) > 0 && bag[0] == '?' {
		bag = bag[1:]
	}
	if i := bytes.IndexByte(bag, '/'); i >= 0 {
		bag = bag[:i]
	}
	return BagReader{bag}
}

// Next returns the next pair that is not empty, still escaped and aliasing the
// bag; ok is false after the last one. hasValue is false for a key without an
// equals sign, which stands for a null value. Any further '=' belongs to the
// value. The same key may come again; by custom the last one wins.
func (r *BagReader) Next() (key, value []byte, hasValue, ok bool) {
	for len(r.rest) > 0 {
		pair := r.rest
		if i := bytes.IndexByte(pair, '&'); i >= 0 {
			pair, r.rest = pair[:i:i], pair[i+1:]
		} else {
			r.rest = nil
		}
		if len(pair) == 0 {
			continue
		}
		if i := bytes.IndexByte(pair, '='); i >= 0 {
			return pair[:i:i], pair[i+1:], true, true
		}
		return pair, nil, false, true
	}
	return nil, nil, false, false
}

// DecodeBag calls fn for every pair of bag, unescaped and in order, and stops
// at the first error: fn's, or ErrEscape.
func DecodeBag(bag []byte, fn func(key, value string, hasValue bool) error) error {
	var space [256]byte
	scratch := space[:0]
	r := NewBagReader(bag)
	for {
		k, v, hasValue, ok := r.Next()
		if !ok {
			return nil
		}
		var err error
		if scratch, err = AppendUnescaped(scratch[:0], k); err != nil {
			return err
		}
		key := string(scratch)
		if scratch, err = AppendUnescaped(scratch[:0], v); err != nil {
			return err
		}
		if err := fn(key, string(scratch), hasValue); err != nil {
			return err
		}
	}
}

// AppendProperty appends one pair, escaped, and before it a '&' if dst does not
// end where a bag begins, that is after bagStart bytes.
func AppendProperty(dst []byte, bagStart int, key, value string, hasValue bool) []byte {
	if len(dst) > bagStart {
		dst = append(dst, '&')
	}
	dst = AppendEscaped(dst, key)
	if hasValue {
		dst = append(dst, '=')
		dst = AppendEscaped(dst, value)
	}
	return dst
}
