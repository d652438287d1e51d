package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
)

// codes are IoT Hub's names for errors and the numbers that they have in some
// of the bodies (IoT Hub troubleshooting guide).
var codes = map[string]int{
	"InvalidProtocolVersion":                     400001,
	"DeviceInvalidResultCount":                   400002,
	"InvalidOperation":                           400003,
	"ArgumentInvalid":                            400004,
	"ArgumentNull":                               400005,
	"IotHubFormatError":                          400006,
	"DeviceStorageEntitySerializationError":      400007,
	"BlobContainerValidationError":               400008,
	"ImportWarningExistsError":                   400009,
	"InvalidSchemaVersion":                       400010,
	"DeviceDefinedMultipleTimes":                 400011,
	"DeserializationError":                       400012,
	"BulkRegistryOperationFailure":               400013,
	"DefaultStorageEndpointNotConfigured":        400014,
	"CannotRegisterModuleToModule":               400301,
	"IotHubNotFound":                             401001,
	"IotHubUnauthorizedAccess":                   401002,
	"IotHubUnauthorized":                         401003,
	"IotHubSuspended":                            403001,
	"IotHubQuotaExceeded":                        403002,
	"JobQuotaExceeded":                           403003,
	"DeviceMaximumQueueDepthExceeded":            403004,
	"IotHubMaxCbsTokenExceeded":                  403005,
	"DeviceMaximumActiveFileUploadLimitExceeded": 403006,
	"DeviceDisabled":                             403012,
	"DeviceMaximumInflightMethodExceeded":        403800,
	"DeviceNotFound":                             404001,
	"JobNotFound":                                404002,
	"AmqpAddressNotFound":                        404006,
	"ModuleNotFound":                             404010,
	"DeviceNotOnline":                            404103,
	"ConfigurationNotFound":                      404301,
	"DeviceAlreadyExists":                        409001,
	"LinkCreationConflict":                       409002,
	"JobAlreadyExists":                           409104,
	"ModuleAlreadyExistsOnDevice":                409301,
	"ConfigurationAlreadyExists":                 409401,
	"PreconditionFailed":                         412001,
	"DeviceMessageLockLost":                      412002,
	"MessageTooLarge":                            413001,
	"TooManyDevices":                             413002,
	"TooManyModulesOnDevice":                     413003,
	"ConfigurationCountLimitExceeded":            413101,
	"GenericTooManyRequests":                     429000,
	"ThrottlingException":                        429001,
	"ThrottleBacklogLimitExceeded":               429002,
	"ThrottlingBacklogTimeout":                   429003,
	"ThrottlingMaxActiveJobCountExceeded":        429004,
	"DeviceThrottlingLimitExceeded":              429005,
	"ServerError":                                500001,
	"JobCancelled":                               500002,
	"ServiceUnavailable":                         503001,
	"PartitionNotFound":                          503003,
	"ServerBusy":                                 503005,
	"GatewayTimeout":                             504101,
}

// CodeOf returns the number of one of IoT Hub's names for errors, 0 for a name
// that is not known.
func CodeOf(name string) int { return codes[name] }

// Error returns the *iothub.Error for an HTTP status or six-digit code.
func Error(op string, code int, text string) *iothub.Error {
	e := &iothub.Error{Op: op, Kind: iothub.KindOfStatus(code), Code: code}
	if text != "" {
		e.Err = errors.New(text)
	}
	e.Retryable = e.Kind.Retryable()
	return e
}

// Refused makes an *iothub.Error of an answer that is none of the results asked
// for, whichever of the forms in the field its body has. The name in the header
// counts before the one in the body.
func Refused(op string, resp *http.Response, body []byte) *iothub.Error {
	code, text, _ := ParseError(body)
	if n := codes[resp.Header.Get("iothub-errorcode")]; n != 0 && n/1000 == resp.StatusCode {
		code = n
	}
	// A code that is not known says less than the status.
	if code == 0 || iothub.KindOfStatus(code) == iothub.KindUnknown {
		code = resp.StatusCode
	}
	if text == "" {
		text = resp.Header.Get("iothub-errorcode")
	}
	if text == "" {
		text = http.StatusText(resp.StatusCode)
	}
	e := Error(op, code, text)
	if e.Kind == iothub.KindUnauthorized && strings.Contains(strings.ToLower(text), "expired") {
		e.Kind = iothub.KindTokenExpired
	}
	e.RetryAfter = RetryAfter(resp.Header, time.Now())
	return e
}

// RetryAfter returns how long the header of that name asks to wait from now on, as a
// number of seconds or as a date (RFC 9110, 10.2.3); 0 where it does not, or asks for
// more than a day.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	wait := time.Duration(0)
	if s, err := strconv.Atoi(text); err == nil && s <= 24*3600 {
		wait = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	if wait < 0 || wait > 24*time.Hour {
		return 0
	}
	return wait
}

// errorBody holds the members of all forms of error bodies. A code is a number
// or a name.
type errorBody struct {
	Message          string          `json:"message"`
	ExceptionMessage string          `json:"exceptionMessage"`
	ErrorCode        json.RawMessage `json:"errorCode"`
	Code             json.RawMessage `json:"code"`
	Error            *errorBody      `json:"error"`
}

// ParseError reads a body of one of the forms
//
//	{"Message":"ErrorCode:DeviceNotFound;dev1","ExceptionMessage":"Tracking ID:…"}
//	{"Message":"{\"errorCode\":404103,\"message\":\"…\"}"}
//	{"errorCode":409301,"message":"…","trackingId":"…"}
//	{"error":{"code":"…","message":"…"}}
//
// code is 0 where there is none that is known; ok is false for anything else.
func ParseError(body []byte) (code int, text string, ok bool) {
	var b errorBody
	if json.Unmarshal(body, &b) != nil {
		return 0, "", false
	}
	if b.Error != nil {
		b = *b.Error
	}
	if strings.HasPrefix(b.Message, "{") {
		var inner errorBody
		if json.Unmarshal([]byte(b.Message), &inner) == nil && inner.Message != "" {
			b = inner
		}
	}
	if b.Message == "" {
		return 0, "", false
	}
	code, text = ParseCode(b.ErrorCode), b.Message
	if code == 0 {
		code = ParseCode(b.Code)
	}
	if named, found := strings.CutPrefix(b.Message, "ErrorCode:"); found {
		name, rest, _ := strings.Cut(named, ";")
		if n := codes[strings.TrimSpace(name)]; n != 0 && code == 0 {
			code = n
		}
		if text = strings.TrimSpace(rest); text == "" {
			text = name
		}
	}
	return code, text, true
}

// ParseCode reads a code that is a number, a number in a string or a name; 0 is none, or
// one that is not known.
func ParseCode(raw json.RawMessage) int {
	var n int
	if json.Unmarshal(raw, &n) == nil {
		return n
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return 0
	}
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return codes[s]
}
