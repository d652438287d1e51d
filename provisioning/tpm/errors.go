package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/google/go-tpm/tpm2"

	"github.com/iothub-go/iothub"
)

func invalid(format string, args ...any) error {
	return &iothub.Error{Op: "TPM", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// explain makes an error of the TPM, or of the way to it, one that says what to do.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*iothub.Error](err); ok {
		return err
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindServer, Err: fmt.Errorf("the TPM: %w", err)}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Retryable = iothub.KindTimeout, true
	case errors.Is(err, context.Canceled):
		e.Kind = iothub.KindUnknown
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Err = iothub.KindNotFound, fmt.Errorf("there is no TPM: %w", err)
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("this user may not use the TPM; on Linux it has to be in the group of /dev/tpmrm0, most often tss: %w", err)
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.ECONNREFUSED):
		e.Kind, e.Retryable, e.Err = iothub.KindUnavailable, true, fmt.Errorf("somebody else uses the TPM; /dev/tpmrm0 can be shared: %w", err)
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("the TPM refuses the password of a hierarchy, see Options: %w", err)
	case errors.Is(err, tpm2.TPMRCLockout):
		e.Kind, e.Retryable, e.Err = iothub.KindUnavailable, true, fmt.Errorf("too many wrong passwords have locked the TPM for a while: %w", err)
	case errors.Is(err, tpm2.TPMRCRetry), errors.Is(err, tpm2.TPMRCYielded), errors.Is(err, tpm2.TPMRCTesting), errors.Is(err, tpm2.TPMRCNVRate), errors.Is(err, tpm2.TPMRCObjectMemory):
		e.Kind, e.Retryable = iothub.KindUnavailable, true
	case op == opActivate && (errors.Is(err, tpm2.TPMRCIntegrity) || errors.Is(err, tpm2.TPMRCValue) || errors.Is(err, tpm2.TPMRCSize)):
		return sealedElsewhere(err)
	}
	return e
}

func sealedElsewhere(err error) error {
	return &iothub.Error{Op: opActivate, Kind: iothub.KindUnauthorized,
		Err: fmt.Errorf("what the service sent is sealed to another TPM: is the device enrolled with the endorsement key of this one? %w", err)}
}
