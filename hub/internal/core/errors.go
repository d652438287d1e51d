package core

import (
	"errors"
	"fmt"
	"time"
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
	// RetryAfter says when it is worth trying again, where that is known.
	RetryAfter time.Duration

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
	CodeInvalidProtocolVersion      = 400001
	CodeGenericBadRequest           = 400000
	CodeInvalidOperation            = 400003
	CodeArgumentInvalid             = 400004
	CodeArgumentNull                = 400005
	CodeDefaultStorageNotConfigured = 400014
	CodeInvalidCorrelationID        = 400015
	CodeExpiredCorrelationID        = 400016
	CodeUploadStorage               = 400020
	CodeTooManyUploads              = 403006
	CodeIotHubFormatError           = 400006
	CodeConnectionForcefullyClosed  = 400027
	CodeBlobContainerValidation     = 400008
	CodeFaultInjection              = 400029
	CodeCannotRegisterModule        = 400301
	CodeInvalidConfigContent        = 400401
	CodeImmutableConfigContent      = 400403
	CodeInvalidTargetCondition      = 400404
	CodeInvalidMetricsQuery         = 400405
	CodeUnauthorizedAccess          = 401002
	CodeUnauthorized                = 401003
	CodeSystemModuleModify          = 401100
	CodeQueueDepthExceeded          = 403004
	CodeJobQuotaExceeded            = 403003
	CodeInvalidExpiry               = 403009
	CodeQuotaExceeded               = 403002
	CodeDeviceDisabled              = 403012
	CodeMaximumInflightMethods      = 403800
	CodeGenericNotFound             = 404000
	CodeDeviceNotFound              = 404001
	CodeJobNotFound                 = 404002
	CodeJobAlreadyExists            = 409104
	CodeTooManyJobs                 = 429004
	CodeModuleNotFound              = 404010
	CodeDeviceNotOnline             = 404103
	CodeConfigurationNotFound       = 404301
	CodeMethodNotAllowed            = 405000
	CodeDeviceAlreadyExists         = 409001
	CodeModuleAlreadyExists         = 409301
	CodeConfigurationAlreadyExists  = 409401
	CodePreconditionFailed          = 412001
	CodeMessageLockLost             = 412002
	CodeMessageTooLarge             = 413001
	CodeTooManyDevices              = 413002
	CodeTooManyModules              = 413003
	CodeConfigurationCountLimit     = 413101
	CodeThrottling                  = 429001
	CodeThrottleBacklog             = 429002
	CodeServerError                 = 500001
	CodeGenericBadGateway           = 502000
	CodeServiceUnavailable          = 503001
	CodePartitionNotFound           = 503003
	CodeGatewayTimeout              = 504101
	CodeServerBusy                  = 503005
)

var codeNames = map[int]string{
	CodeBlobContainerValidation:     "BlobContainerValidationError",
	CodeInvalidConfigContent:        "InvalidConfigurationContent",
	CodeImmutableConfigContent:      "ImmutableConfigurationContent",
	CodeInvalidTargetCondition:      "InvalidConfigurationTargetCondition",
	CodeInvalidMetricsQuery:         "InvalidConfigurationMetricsQuery",
	CodeJobQuotaExceeded:            "JobQuotaExceeded",
	CodeJobNotFound:                 "JobNotFound",
	CodeJobAlreadyExists:            "JobAlreadyExists",
	CodeTooManyJobs:                 "ThrottlingMaxActiveJobCountExceeded",
	CodeConfigurationNotFound:       "ConfigurationNotFound",
	CodeConfigurationAlreadyExists:  "ConfigurationAlreadyExists",
	CodeConfigurationCountLimit:     "ConfigurationCountLimitExceeded",
	CodeInvalidProtocolVersion:      "InvalidProtocolVersion",
	CodeGenericBadRequest:           "GenericBadRequest",
	CodeInvalidOperation:            "InvalidOperation",
	CodeArgumentInvalid:             "ArgumentInvalid",
	CodeDefaultStorageNotConfigured: "DefaultStorageEndpointNotConfigured",
	CodeInvalidCorrelationID:        "InvalidCorrelationId",
	CodeExpiredCorrelationID:        "ExpiredCorrelationId",
	CodeUploadStorage:               "InvalidStorageEndpoint",
	CodeTooManyUploads:              "DeviceMaximumActiveFileUploadLimitExceeded",
	CodeArgumentNull:                "ArgumentNull",
	CodeIotHubFormatError:           "IotHubFormatError",
	CodeConnectionForcefullyClosed:  "ConnectionForcefullyClosedOnNewConnection",
	CodeFaultInjection:              "ConnectionForcefullyClosedOnFaultInjection",
	CodeCannotRegisterModule:        "CannotRegisterModuleToModule",
	CodeUnauthorizedAccess:          "IotHubUnauthorizedAccess",
	CodeUnauthorized:                "IotHubUnauthorized",
	CodeSystemModuleModify:          "SystemModuleModifyUnauthorizedAccess",
	CodeQueueDepthExceeded:          "DeviceMaximumQueueDepthExceeded",
	CodeInvalidExpiry:               "InvalidMessageExpiryTime",
	CodeQuotaExceeded:               "IotHubQuotaExceeded",
	CodeDeviceDisabled:              "DeviceDisabled",
	CodeMaximumInflightMethods:      "DeviceMaximumInflightMethodExceeded",
	CodeGenericNotFound:             "GenericNotFound",
	CodeDeviceNotFound:              "DeviceNotFound",
	CodeModuleNotFound:              "ModuleNotFound",
	CodeDeviceNotOnline:             "DeviceNotOnline",
	CodeMethodNotAllowed:            "GenericMethodNotAllowed",
	CodeDeviceAlreadyExists:         "DeviceAlreadyExists",
	CodeModuleAlreadyExists:         "ModuleAlreadyExistsOnDevice",
	CodePreconditionFailed:          "PreconditionFailed",
	CodeMessageLockLost:             "DeviceMessageLockLost",
	CodeMessageTooLarge:             "MessageTooLarge",
	CodeTooManyDevices:              "TooManyDevices",
	CodeTooManyModules:              "TooManyModulesOnDevice",
	CodeThrottling:                  "ThrottlingException",
	CodeThrottleBacklog:             "ThrottleBacklogLimitExceeded",
	CodeServerError:                 "ServerError",
	CodeGenericBadGateway:           "GenericBadGateway",
	CodeServiceUnavailable:          "ServiceUnavailable",
	CodePartitionNotFound:           "PartitionNotFound",
	CodeGatewayTimeout:              "GatewayTimeout",
	CodeServerBusy:                  "ServerBusy",
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
