package service

import (
	"context"
	"errors"

	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/rest"
)

// conditions are the codes of AMQP error conditions, where the description of an
// error has none (IoT Hub AMQP support).
var conditions = map[amqp.ErrCond]int{
	amqp.ErrCondNotFound:                       404000,
	amqp.ErrCondNotAllowed:                     400003,
	amqp.ErrCondUnauthorizedAccess:             401002,
	amqp.ErrCondResourceLimitExceeded:          403004,
	amqp.ErrCondMessageSizeExceeded:            413001,
	amqp.ErrCondPreconditionFailed:             412001,
	amqp.ErrCondInternalError:                  500001,
	amqp.ErrCondInvalidField:                   400004,
	amqp.ErrCondDecodeError:                    400006,
	"com.microsoft:timeout":                    504101,
	"com.microsoft:device-already-exists":      409001,
	"com.microsoft:device-container-throttled": 429001,
	"com.microsoft:quota-exceeded":             403002,
	"com.microsoft:precondition-failed":        412001,
	"com.microsoft:iot-hub-suspended":          403001,
	"com.microsoft:iot-hub-not-found-error":    401001,
	"com.microsoft:message-lock-lost":          412002,
	"com.microsoft:argument-error":             400004,
	"com.microsoft:argument-out-of-range":      400004,
	"com.microsoft:server-busy":                503005,
	"com.microsoft:entity-not-found":           404000,
	"com.microsoft:link-creation-conflict":     409002,
}

// amqpError makes an error of AMQP an *iothub.Error. ctx is the caller's: its end
// is why things fail that are broken off.
func amqpError(ctx context.Context, op string, err error) error {
	if err == nil || errors.Is(err, iothub.ErrClosed) {
		return err
	}
	if e, ok := errors.AsType[*iothub.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		e := &iothub.Error{Op: op, Kind: iothub.KindTimeout, Retryable: true, Err: ctx.Err()}
		if errors.Is(ctx.Err(), context.Canceled) {
			e.Kind, e.Retryable = iothub.KindUnknown, false
		}
		return e
	}
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok {
		return &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
	}
	code, text, parsed := rest.ParseError([]byte(e.Description))
	if !parsed {
		text = e.Description
	}
	if n, ok := e.Info["com.microsoft:error-code"]; ok && code == 0 {
		switch n := n.(type) {
		case int32:
			code = int(n)
		case int64:
			code = int(n)
		case string:
			code = rest.CodeOf(n)
		}
	}
	if code == 0 || iothub.KindOfStatus(code) == iothub.KindUnknown {
		code = conditions[e.Condition]
	}
	if text == "" {
		text = string(e.Condition)
	}
	if code == 0 { // detach-forced, connection:forced, …: the link is gone
		return &iothub.Error{Op: op, Kind: iothub.KindUnavailable, Retryable: true, Err: errors.New(text)}
	}
	return rest.Error(op, code, text)
}
