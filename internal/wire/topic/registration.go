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
