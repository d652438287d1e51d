package provisioning

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/rest"
)

const (
	// pollInterval is how long to wait before asking what has become of a registration,
	// where the service does not say.
	pollInterval = 2 * time.Second
	// maxPoll bounds what the service says.
	maxPoll = 5 * time.Minute
	// answerTimeout is how long one answer may take.
	answerTimeout = 30 * time.Second

	// apiVersion of the API for devices.
	apiVersion = "2021-06-01"
)

// Register registers a device and waits until the service has assigned it to a hub.
//
// What may pass by itself is tried again with the wait of Options.Retry, or the longer
// one that the service asks for, until ctx ends or the limit of the policy is reached: a
// network that is down, 429, 5xx. With iothub.RetryNone there is one attempt. A refusal
// is an *iothub.Error at once, whose Kind, Code and Action say what to do:
// KindInvalidArgument where cfg is wrong, KindUnauthorized where the credential does not
// hold, which the service does not tell from a wrong id scope or an enrollment that does
// not exist, KindDeviceDisabled for an enrollment that is disabled, KindNotFound where
// there is no hub to be assigned to.
//
// When ctx ends first, the error wraps ctx's and says what was waited for, or what the last
// attempt failed of; the service may go on with the registration, and nothing is left
// behind here. Register may be called again at any time: a device may register as often as
// it likes. It is safe for concurrent use.
func Register(ctx context.Context, cfg *Config) (*Assignment, error) {
	c, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	r := &registration{Config: c}
	if r.request, err = r.encode(ctx); err != nil {
		return nil, err
	}
	if r.dial, err = r.dialer(); err != nil {
		return nil, err
	}
	begun := time.Now()
	for n := 1; ; n++ {
		a, err := r.attempt(ctx)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, r.ended(ctx, err)
		}
		wait := max(c.Options.Retry.Delay(n, rand.Float64()), iothub.RetryAfter(err))
		limit := c.Options.Retry.Limit
		if !passes(err) || c.Options.Retry.Strategy == iothub.RetryNone || limit > 0 && time.Since(begun)+wait > limit {
			return nil, err
		}
		r.log("trying to register again", "error", err, "wait", wait)
		if sleep(ctx, wait) != nil {
			return nil, r.ended(ctx, err)
		}
	}
}

// passes reports whether err may pass by itself. A certificate that is not trusted does
// not, though a client would try again.
func passes(err error) bool { return iothub.Retryable(err) && iothub.KindOf(err).Retryable() }

// ended is the error when ctx ended before the device was assigned.
func (r *registration) ended(ctx context.Context, last error) error {
	e := &iothub.Error{Op: op, Kind: iothub.KindTimeout, Retryable: true}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Kind, e.Retryable = iothub.KindUnknown, false
	}
	if errors.Is(last, ctx.Err()) {
		e.Err = fmt.Errorf("%w while %s", ctx.Err(), r.step)
	} else {
		e.Err = fmt.Errorf("%w; the last attempt: %w", ctx.Err(), last)
	}
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// registration is one call of Register.
type registration struct {
	*Config
	request   []byte // JSON, of all attempts
	dial      dial
	operation string // the one that an attempt has begun; the next one asks for it
	token     string // of a TPM, while it is good for the operation
	step      string // what is waited for, in words
}

// conversation is a connection to the service.
type conversation interface {
	// ask begins the registration, or asks what has become of an operation.
	ask(ctx context.Context, operation string) (*answer, error)
	close()
}

// encode makes the body of the request.
func (r *registration) encode(ctx context.Context) ([]byte, error) {
	var body struct {
		RegistrationID string          `json:"registrationId"`
		TPM            *tpmKeys        `json:"tpm,omitempty"`
		Payload        json.RawMessage `json:"payload,omitempty"`
	}
	body.RegistrationID, body.Payload = r.RegistrationID, r.Payload
	if t := r.Attestation.tpm; t != nil {
		body.TPM = &tpmKeys{}
		var err error
		if body.TPM.EndorsementKey, err = t.EndorsementKey(ctx); err == nil {
			body.TPM.StorageRootKey, err = t.StorageRootKey(ctx)
		}
		if err != nil {
			return nil, tpmError(err)
		}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, invalid("what is sent does not encode as JSON: %w", err)
	}
	if len(data) > MaxRequest {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindMessageTooLarge,
			Err: fmt.Errorf("the request has %d bytes, the limit is %d: the Payload is too large", len(data), MaxRequest)}
	}
	return data, nil
}

type tpmKeys struct {
	EndorsementKey []byte `json:"endorsementKey"`
	StorageRootKey []byte `json:"storageRootKey"`
}

// attempt registers over one connection. An operation that an attempt before has begun
// is asked for, not begun again.
func (r *registration) attempt(ctx context.Context) (*Assignment, error) {
	r.step = fmt.Sprintf("connecting to %s over %v", r.Endpoint, r.Transport)
	c, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r.tell(ProgressConnected)
	for {
		r.step = "waiting for an answer of " + r.Endpoint
		a, err := c.ask(ctx, r.operation)
		if err != nil {
			if iothub.KindOf(err) == iothub.KindNotFound && r.operation != "" {
				r.operation = "" // the service has forgotten it: begin again
				err = sleep(ctx, pollInterval)
			}
			if err == nil {
				continue
			}
			return nil, err
		}
		if a.OperationID != "" {
			r.operation = a.OperationID
		}
		switch a.Status {
		case "assigned":
			return r.assigned(ctx, a)
		case "failed":
			r.operation = ""
			return nil, a.failed()
		case "disabled", "blacklisted":
			return nil, errDisabled(r.RegistrationID)
		case "assigning":
			r.tell(ProgressAssigning)
		case "unassigned":
			r.tell(ProgressUnassigned)
		default:
			return nil, errBroken("the status of the registration is %.40q", a.Status)
		}
		if r.operation == "" {
			return nil, errBroken("the registration is under way, but the answer does not say how to ask for it")
		}
		wait := pollInterval
		if a.retryAfter > 0 {
			wait = min(a.retryAfter, maxPoll)
		}
		r.step = "waiting for the service to find a hub"
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (r *registration) assigned(ctx context.Context, a *answer) (*Assignment, error) {
	result, err := a.assignment(r.Config)
	if err != nil {
		return nil, err
	}
	if t := r.Attestation.tpm; t != nil {
		if a.State.TPM == nil || len(a.State.TPM.AuthenticationKey) == 0 {
			return nil, errBroken("the device is assigned, but there is no key for its TPM")
		}
		if err := t.Activate(ctx, a.State.TPM.AuthenticationKey); err != nil {
			return nil, tpmError(err)
		}
	}
	r.log("registered", "hub", result.HubHostName, "device_id", result.DeviceID, "substatus", result.Substatus)
	return result, nil
}

func (r *registration) open(ctx context.Context) (conversation, error) {
	if r.Transport == HTTPS {
		return r.openHTTPS(ctx)
	}
	return r.openMQTT(ctx)
}

func (r *registration) tell(p Progress) {
	r.log("registering", "progress", p.String())
	if r.OnProgress != nil {
		r.OnProgress(p)
	}
}

func (r *registration) log(text string, attrs ...any) {
	if l := r.Options.Logger; l != nil {
		l.Info(text, append([]any{"registration_id", r.RegistrationID}, attrs...)...)
	}
}

// refused makes an error of an answer that is a refusal: its status and its body.
func (r *registration) refused(status int, body []byte, retryAfter time.Duration) error {
	code, text, _ := rest.ParseError(body)
	if code == 0 || iothub.KindOfStatus(code) == iothub.KindUnknown {
		code = status
	}
	e := rest.Error(op, code, text)
	e.RetryAfter = retryAfter
	if e.Kind == iothub.KindUnauthorized {
		e.Err = r.unauthorized(text)
	}
	return e
}

// unauthorized says all that the cause may be: the service tells nobody which it is.
func (r *registration) unauthorized(text string) error {
	if text == "" {
		text = "no reason given"
	}
	proof := "the key is one of its keys, or derived from one of those of its group"
	switch {
	case r.Attestation.cert != nil:
		proof = "the certificate is the one enrolled, or is sent with all authorities between it and the one enrolled"
	case r.Attestation.tpm != nil:
		proof = "the endorsement key is the one enrolled"
	}
	return fmt.Errorf("the provisioning service does not take the credential (%s): check that the id scope %q is right, that %q is enrolled and %s, and the clock of this machine",
		text, r.IDScope, r.RegistrationID, proof)
}
