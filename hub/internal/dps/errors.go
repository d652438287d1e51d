package dps

import (
	"errors"
	"log/slog"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// The codes of the service. The first three digits are the HTTP status.
const (
	CodeBadRequest         = 400004
	CodeNoHub              = 400208 // no hub, or none that the custom allocation may choose
	CodeUnauthorized       = 401002
	CodeDisabled           = 403001
	CodeLimit              = 403204
	CodeNotFound           = 404204
	CodeNoSuchPath         = 404000
	CodeMethodNotAllowed   = 405000
	CodeConflict           = 409204
	CodePreconditionFailed = 412204
	CodeTooLarge           = 413204
	CodeTooMany            = 429001
	CodeInternal           = 500001
	CodeUnavailable        = 503001
)

var codeNames = map[int]string{
	CodeBadRequest: "BadRequest", CodeNoHub: "IotHubNotSpecified", CodeUnauthorized: "Unauthorized",
	CodeDisabled: "Disabled", CodeLimit: "LimitExceeded", CodeNotFound: "NotFound", CodeNoSuchPath: "NotFound",
	CodeMethodNotAllowed: "MethodNotAllowed", CodeConflict: "Conflict",
	CodePreconditionFailed: "PreconditionFailed", CodeTooLarge: "RequestTooLarge", CodeTooMany: "TooManyRequests",
	CodeInternal: "InternalServerError", CodeUnavailable: "ServiceUnavailable",
}

// NewError makes an error of the service from one of its codes.
func NewError(code int, format string, args ...any) *core.Error {
	e := core.NewError(code, format, args...)
	e.Name = codeNames[code]
	return e
}

func badRequest(format string, args ...any) *core.Error {
	return NewError(CodeBadRequest, format, args...)
}

// unauthorized is the answer to every credential that does not hold.
func unauthorized() *core.Error { return NewError(CodeUnauthorized, "Unauthorized") }

// stored makes an error of the storage one of the service. The cause is for the
// log.
func (s *Service) stored(op string, err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e
	}
	if errors.Is(err, core.ErrRevision) || errors.Is(err, core.ErrKeyExists) {
		return NewError(CodePreconditionFailed, "%s: somebody else was faster; read it again", op)
	}
	s.log.Error("provisioning: the storage failed", "operation", op, "error", err)
	return NewError(CodeInternal, "%s: the storage failed", op)
}

// refuse notes why a credential does not hold, and gives the answer that does not
// say it.
func (s *Service) refuse(registrationID string, reason string, attrs ...any) error {
	s.log.Info("provisioning: a device was refused", append([]any{slog.String("registration", registrationID), slog.String("reason", reason)}, attrs...)...)
	return unauthorized()
}
