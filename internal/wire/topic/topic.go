package topic

import "bytes"

const (
	devicesPrefix  = "devices/"
	modulesLevel   = "/modules/"
	eventsSuffix   = "/messages/events/"
	twinGet        = "$iothub/twin/GET/"
	twinPatch      = "$iothub/twin/PATCH/properties/reported/"
	methodResponse = "$iothub/methods/res/"
)

// AppendTelemetryBase appends the telemetry topic of a device, or of a module
// if moduleID is not empty, up to and with the slash before the property bag:
// "devices/{d}/messages/events/" or "devices/{d}/modules/{m}/messages/events/".
// Identifiers stand in topics as they are, unescaped.
func AppendTelemetryBase(dst []byte, deviceID, moduleID string) []byte {
	dst = append(dst, devicesPrefix...)
	dst = append(dst, deviceID...)
	if moduleID != "" {
		dst = append(dst, modulesLevel...)
		dst = append(dst, moduleID...)
	}
	return append(dst, eventsSuffix...)
}

// ParseTelemetry matches topic against the telemetry topic of one identity and
// returns the raw property bag behind it, for NewBagReader. base is the topic
// that AppendTelemetryBase makes, without its last slash. The slash is optional
// when there is no bag; the bag may begin with a '?' and end with a '/'. ok is
// false when topic is not the telemetry topic of the identity.
func ParseTelemetry(topic, base []byte) (bag []byte, ok bool) {
	if !bytes.HasPrefix(topic, base) {
		return nil, false
	}
	rest := topic[len(base):]
	if len(rest) == 0 {
		return nil, true
	}
	if rest[0] != '/' {
		return nil, false
	}
	return rest[1:], true
}

// PublishKind tells what a device or module publishes to a topic.
type PublishKind byte

// The kinds of publish a hub accepts.
const (
	Unknown           PublishKind = iota // not a topic of this identity
	Telemetry                            // a message to the hub
	TwinGet                              // a request for the twin
	TwinPatchReported                    // a patch of the reported properties
	MethodResponse                       // the answer to a direct method
)

// String returns the name of the constant.
func (k PublishKind) String() string {
	switch k {
	case Telemetry:
		return "Telemetry"
	case TwinGet:
		return "TwinGet"
	case TwinPatchReported:
		return "TwinPatchReported"
	case MethodResponse:
		return "MethodResponse"
	default:
		return "Unknown"
	}
}

// Classify tells what topic is for the identity of base, which is that of
// ParseTelemetry, and returns the part of topic, aliasing it, that matters for
// its kind: of Telemetry the property bag, of TwinGet and TwinPatchReported the
// query "?$rid=…", of MethodResponse "{status}/?$rid=…", for
// ParseMethodResponse.
func Classify(topic, base []byte) (kind PublishKind, rest []byte) {
	if len(topic) == 0 {
		return Unknown, nil
	}
	if topic[0] != '$' {
		if bag, ok := ParseTelemetry(topic, base); ok {
			return Telemetry, bag
		}
		return Unknown, nil
	}
	if r, ok := cutPrefix(topic, twinGet); ok {
		return TwinGet, r
	}
	if r, ok := cutPrefix(topic, twinPatch); ok {
		return TwinPatchReported, r
	}
	if r, ok := cutPrefix(topic, methodResponse); ok {
		return MethodResponse, r
	}
	return Unknown, nil
}

func cutPrefix(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return nil, false
	}
	return b[len(prefix):], true
}

// ParseMethodResponse splits what Classify returns for a MethodResponse into
// status and query. The status is a decimal number that may have a sign; ok is
// false when it is not one, or does not fit 32 bits, and the query is returned
// nevertheless.
func ParseMethodResponse(rest []byte) (status int, query []byte, ok bool) {
	level := rest
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		level, query = rest[:i], rest[i+1:]
	}
	digits, negative := level, false
	if len(level) > 0 && (level[0] == '-' || level[0] == '+') {
		digits, negative = level[1:], level[0] == '-'
	}
	if len(digits) == 0 || len(digits) > 10 {
		return 0, query, false
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, query, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	if n != int64(int32(n)) {
		return 0, query, false
	}
	return int(n), query, true
}

// RequestID returns the value of $rid in a query such as "?$rid=1&$version=2",
// still escaped and aliasing it, to be echoed byte for byte. The '?' is
// mandatory, the position of $rid is not. ok is false when there is none, or it
// is empty.
func RequestID(query []byte) (rid []byte, ok bool) { return queryValue(query, "$rid") }

// Version returns the number of $version in a query. ok is false when there is
// none.
func Version(query []byte) (version int64, ok bool) {
	v, ok := queryValue(query, "$version")
	if !ok || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		version = version*10 + int64(c-'0')
	}
	return version, true
}

// queryValue finds the first key of a query that has a value. It does not stop
// at a '/', unlike a bag, because a request id may be any string.
func queryValue(query []byte, name string) ([]byte, bool) {
	if len(query) == 0 || query[0] != '?' {
		return nil, false
	}
	r := BagReader{query[1:]}
	for {
		k, v, _, ok := r.Next()
		if !ok {
			return nil, false
		}
		if KeyIs(k, name) && len(v) > 0 {
			return v, true
		}
	}
}
