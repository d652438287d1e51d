package core

import (
	"errors"
	"fmt"
)

// Error is a refusal in IoT Hub's own vocabulary. Its text never holds a secret.
type Error struct {
	// Status is the HTTP status that goes with the code.
	Status int
	// Code is IoT Hub's six-digit code, for example 404001.
	Code int
	// Name is IoT Hub's name for the code, for example "DeviceNotFound".
	Name string
	// Message says in words what was wrong.
	Message string

	cause error
}

// Error gives the name, the code and the message.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (%d): %s", e.Name, e.Code, e.Message)
}

// Unwrap gives what lies behind it, for example an error of the storage, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an *Error of the same code, so that
// errors.Is(err, &core.Error{Code: core.CodeDeviceNotFound}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The codes that this package gives. The first three digits are the HTTP status.
const (
	CodeInvalidProtocolVersion     = 400001
	CodeArgumentInvalid            = 400004
	CodeArgumentNull               = 400005
	CodeIotHubFormatError          = 400006
	CodeConnectionForcefullyClosed = 400027
	CodeCannotRegisterModule       = 400301
	CodeUnauthorizedAccess         = 401002
	CodeUnauthorized               = 401003
	CodeSystemModuleModify         = 401100
	CodeDeviceDisabled             = 403012
	CodeGenericNotFound            = 404000
	CodeDeviceNotFound             = 404001
	CodeModuleNotFound             = 404010
	CodeMethodNotAllowed           = 405000
	CodeDeviceAlreadyExists        = 409001
	CodeModuleAlreadyExists        = 409301
	CodePreconditionFailed         = 412001
	CodeMessageTooLarge            = 413001
	CodeTooManyDevices             = 413002
	CodeTooManyModules             = 413003
	CodeServerError                = 500001
	CodeServiceUnavailable         = 503001
	CodePartitionNotFound          = 503003
	CodeServerBusy                 = 503005
)

var codeNames = map[int]string{
	CodeInvalidProtocolVersion:     "InvalidProtocolVersion",
	CodeArgumentInvalid:            "ArgumentInvalid",
	CodeArgumentNull:               "ArgumentNull",
	CodeIotHubFormatError:          "IotHubFormatError",
	CodeConnectionForcefullyClosed: "ConnectionForcefullyClosedOnNewConnection",
	CodeCannotRegisterModule:       "CannotRegisterModuleToModule",
	CodeUnauthorizedAccess:         "IotHubUnauthorizedAccess",
	CodeUnauthorized:               "IotHubUnauthorized",
	CodeSystemModuleModify:         "SystemModuleModifyUnauthorizedAccess",
	CodeDeviceDisabled:             "DeviceDisabled",
	CodeGenericNotFound:            "GenericNotFound",
	CodeDeviceNotFound:             "DeviceNotFound",
	CodeModuleNotFound:             "ModuleNotFound",
	CodeMethodNotAllowed:           "GenericMethodNotAllowed",
	CodeDeviceAlreadyExists:        "DeviceAlreadyExists",
	CodeModuleAlreadyExists:        "ModuleAlreadyExistsOnDevice",
	CodePreconditionFailed:         "PreconditionFailed",
	CodeMessageTooLarge:            "MessageTooLarge",
	CodeTooManyDevices:             "TooManyDevices",
	CodeTooManyModules:             "TooManyModulesOnDevice",
	CodeServerError:                "ServerError",
	CodeServiceUnavailable:         "ServiceUnavailable",
	CodePartitionNotFound:          "PartitionNotFound",
	CodeServerBusy:                 "ServerBusy",
}

// NewError makes an *Error from one of the codes of this package; the name and
// the status follow from the code.
func NewError(code int, format string, args ...any) *Error {
	return &Error{
		Status:  code / 1000,
		Code:    code,
		Name:    codeNames[code],
		Message: fmt.Sprintf(format, args...),
	}
}

// errClosed is what every call gets once the hub is closing.
func errClosed() *Error { return NewError(CodeServiceUnavailable, "the hub is shutting down") }

// storageError turns a failure of the storage into the hub's vocabulary. The
// cause is for errors.Is and the log, not for the peer.
func storageError(op string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	e = NewError(CodeServerError, "%s: the storage failed", op)
	e.cause = err
	return e
}
