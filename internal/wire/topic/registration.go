package topic

import (
	"bytes"
	"strconv"
	"strings"
)

// The Device Provisioning Service over MQTT. (wire-device F.2)

// RegistrationFilter is the one topic filter of a device that is provisioned.
const RegistrationFilter = "$dps/registrations/res/#"

const (
	registrationsLevel = "registrations"
	registerPrefix     = "$dps/registrations/PUT/iotdps-register/"
	operationPrefix    = "$dps/registrations/GET/iotdps-get-operationstatus/"
	registrationResult = "$dps/registrations/res/"
)

// RegistrationKind is what a device that is provisioned asks for.
type RegistrationKind uint8

// The kinds.
const (
	RegistrationOther     RegistrationKind = iota // none of the topics of the service
	RegistrationRegister                          // begin
	RegistrationOperation                         // what has become of it
)

// ParseRegistrationUsername reads the user name of a CONNECT packet in the form
// "{id scope}/registrations/{registration id}/api-version=…". ok is false for any
// other, those of the hub above all. What is behind api-version is not judged.
func ParseRegistrationUsername(s string) (scope, registrationID string, ok bool) {
	if len(s) > MaxUsernameLen {
		return "", "", false
	}
	scope, rest, _ := strings.Cut(s, "/")
	word, rest, _ := strings.Cut(rest, "/")
	registrationID, query, _ := strings.Cut(rest, "/")
	ok = scope != "" && strings.EqualFold(word, registrationsLevel) && registrationID != "" &&
		len(registrationID) <= MaxIDLen && strings.HasPrefix(query, keyAPIVersion+"=")
	if !ok {
		return "", "", false
	}
	return scope, registrationID, true
}

// ClassifyRegistration says what a publish of a device that is provisioned asks for.
// query holds the request id, see [RequestID], and of a RegistrationOperation the
// operation, see [OperationID].
func ClassifyRegistration(topic []byte) (kind RegistrationKind, query []byte) {
	if query, ok := bytes.CutPrefix(topic, []byte(registerPrefix)); ok {
		return RegistrationRegister, query
	}
	if query, ok := bytes.CutPrefix(topic, []byte(operationPrefix)); ok {
		return RegistrationOperation, query
	}
	return RegistrationOther, nil
}

// OperationID returns the value of operationId in a query.
func OperationID(query []byte) (id []byte, ok bool) { return queryValue(query, "operationId") }

// AppendRegistrationResult appends the topic of an answer: the status, the request id
// as it came, and if it is not 0 after how many seconds to ask again.
func AppendRegistrationResult(dst []byte, status int, rid []byte, retryAfter int) []byte {
	dst = strconv.AppendInt(append(dst, registrationResult...), int64(status), 10)
	dst = append(append(dst, "/?$rid="...), rid...)
	if retryAfter > 0 {
		dst = strconv.AppendInt(append(dst, "&retry-after="...), int64(retryAfter), 10)
	}
	return dst
}

// AppendRegister appends the topic by which a device begins to register, with a request
// id.
func AppendRegister(dst []byte, rid uint16) []byte {
	return strconv.AppendUint(append(append(dst, registerPrefix...), "?$rid="...), uint64(rid), 10)
}

// AppendOperation appends the topic by which it asks what has become of an operation,
// whose id has to be plain text.
func AppendOperation(dst []byte, rid uint16, operation string) []byte {
	dst = strconv.AppendUint(append(append(dst, operationPrefix...), "?$rid="...), uint64(rid), 10)
	return append(append(dst, "&operationId="...), operation...)
}

// RegistrationResult is what the topic of an answer says.
type RegistrationResult struct {
	// Status is as in HTTP, RequestID that of the request, RetryAfter in seconds, at
	// most a day, or 0 where the service does not say.
	Status     int
	RequestID  uint16
	RetryAfter int
}

// ParseRegistrationResult reads the topic of an answer. A retry-after that is no such
// number is left out, anything else that is malformed makes ok false.
func ParseRegistrationResult(topic []byte) (r RegistrationResult, ok bool) {
	rest, ok := bytes.CutPrefix(topic, []byte(registrationResult))
	if !ok {
		return RegistrationResult{}, false
	}
	status, query, ok := bytes.Cut(rest, []byte("/"))
	if !ok || len(status) != 3 {
		return RegistrationResult{}, false
	}
	rid, ok := RequestID(query)
	if !ok {
		return RegistrationResult{}, false
	}
	code, err := strconv.ParseUint(string(status), 10, 16)
	id, err2 := strconv.ParseUint(string(rid), 10, 16)
	if err != nil || err2 != nil || code < 100 {
		return RegistrationResult{}, false
	}
	r = RegistrationResult{Status: int(code), RequestID: uint16(id)}
	if text, ok := queryValue(query, "retry-after"); ok {
		if n, err := strconv.ParseUint(string(text), 10, 32); err == nil && n <= 24*3600 {
			r.RetryAfter = int(n)
		}
	}
	return r, true
}
