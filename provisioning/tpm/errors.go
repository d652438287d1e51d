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
	return &iothub.Error{Op: "open", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// occupied says that something else is where a key should be.
func occupied(h tpm2.TPMHandle, why string) error {
	return &iothub.Error{Kind: iothub.KindConflict, Err: fmt.Errorf("the TPM has something at %#x %s", uint32(h), why)}
}

// notForThis says what it means when what the service sealed does not open, unless the TPM
// has another reason.
func notForThis(step string, err error) error {
	code, ok := errors.AsType[tpm2.TPMRC](err)
	if !ok || code.IsWarning() || errors.Is(code, tpm2.TPMRCAuthFail) || errors.Is(code, tpm2.TPMRCBadAuth) {
		return fmt.Errorf("%s: %w", step, err)
	}
	return &iothub.Error{Op: opActivate, Kind: iothub.KindUnauthorized,
		Err: fmt.Errorf("%s: what the service sealed does not open in this TPM; check that the endorsement key of the enrollment is that of this TPM: %w", step, err)}
}

// explain makes the *iothub.Error of what an operation failed of.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*iothub.Error](err); ok {
		if e.Op == "" {
			e.Op = op
		}
		return err
	}
	e := &iothub.Error{Op: op, Err: err}
	code, isCode := errors.AsType[tpm2.TPMRC](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Retryable = iothub.KindTimeout, true
	case errors.Is(err, context.Canceled):
	case isCode:
		refused(e, code)
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Err = iothub.KindNotFound, fmt.Errorf("there is no TPM: check that it is enabled in the firmware and has a driver, and the path: %w", err)
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("this user may not use the TPM: add it to the group of the device, often tss: %w", err)
	case errors.Is(err, syscall.EBUSY):
		e.Kind, e.Retryable, e.Err = iothub.KindUnavailable, true, fmt.Errorf("another program uses the TPM: /dev/tpmrm0 can be shared, /dev/tpm0 cannot: %w", err)
	default:
		e.Kind, e.Retryable, e.Err = iothub.KindUnavailable, true, fmt.Errorf("the TPM does not answer: %w", err)
	}
	return e
}

// refused fills in what a code of the TPM means here. (TPM 2.0 Part 2, 6.6)
func refused(e *iothub.Error, code tpm2.TPMRC) {
	is := func(other tpm2.TPMRC) bool { return errors.Is(code, other) }
	switch {
	case is(tpm2.TPMRCAuthFail), is(tpm2.TPMRCBadAuth):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("the TPM wants a password, of its owner or for the endorsement hierarchy: set it in Options: %w", e.Err)
	case is(tpm2.TPMRCLockout):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("the TPM is locked after wrong passwords: wait, or reset it with tpm2_dictionarylockout: %w", e.Err)
	case is(tpm2.TPMRCHierarchy), is(tpm2.TPMRCDisabled):
		e.Kind, e.Err = iothub.KindForbidden, fmt.Errorf("a hierarchy of the TPM is disabled: enable it in the firmware: %w", e.Err)
	case is(tpm2.TPMRCNVSpace):
		e.Kind, e.Err = iothub.KindConflict, fmt.Errorf("the TPM has no room for another key: list them with tpm2_getcap handles-persistent and remove one with tpm2_evictcontrol: %w", e.Err)
	case is(tpm2.TPMRCInitialize):
		e.Kind, e.Err = iothub.KindUnavailable, fmt.Errorf("the TPM is not started: %w", e.Err)
	case code.IsWarning(): // passes by itself
		e.Kind, e.Retryable = iothub.KindUnavailable, true
	}
}
