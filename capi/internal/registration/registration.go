// Package registration is what Prov_Device handles of C stand for: clients that register a
// device, driven by DoWork or by a thread of their own. It knows no C: functions of the
// program are numbers, and its host calls them.
package registration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/provisioning"
)

// Result is PROV_DEVICE_RESULT.
type Result int

// The results.
const (
	OK              Result = 0
	InvalidArg      Result = 1
	Parsing         Result = 4
	Transport       Result = 5
	DevAuthError    Result = 7
	TimedOut        Result = 8
	Failed          Result = 10
	HubNotSpecified Result = 11
	Unauthorized    Result = 12
	Disabled        Result = 13
)

// Status is PROV_DEVICE_REG_STATUS.
type Status int

// The statuses that a registration comes by.
const (
	StatusConnected   Status = 0
	StatusRegistering Status = 1
	StatusAssigning   Status = 2
)

// patience bounds how long what may pass by itself is tried again where the program has
// set no time-out: it is told then, and may register again.
const patience = time.Minute

// Callback is a function of the program with its context; Func is 0 for none.
type Callback struct{ Func, Context uintptr }

// Record is a call of a function of the program that is due.
type Record struct {
	Callback
	Final  bool // of the register callback, otherwise of the status callback
	Result Result
	Status Status
	Hub    string // of a Final one that is OK
	Device string
}

// Host calls functions of the program.
type Host interface {
	// Dispatch calls one, with no lock held.
	Dispatch(r *Record)
	// Thread is a number that only this thread has.
	Thread() uintptr
	// Log takes why something failed.
	Log(err error)
}

// Client registers one device at a time. Its methods are safe for concurrent use and
// inside every callback.
type Client struct {
	host     Host
	threaded bool

	mu          sync.Mutex
	cfg         provisioning.Config
	options     iothub.ClientOptions
	timeout     time.Duration
	cert, key   string // PEM
	running     bool
	closed      bool
	dispatching bool
	records     []Record
	payload     *string // of the last assignment
	cancel      context.CancelFunc
	thread      uintptr       // that runs the callbacks now, 0 for none
	quiet       sync.Cond     // dispatching has ended
	ended       chan struct{} // of the last registration
}

// New returns a client for a service. Errors are *iothub.Error of kind
// KindInvalidArgument.
func New(host Host, endpoint, scope string, t provisioning.Transport, threaded bool) (*Client, error) {
	c := &Client{host: host, threaded: threaded, cfg: provisioning.Config{Endpoint: endpoint, IDScope: scope, Transport: t}}
	c.quiet.L = &c.mu
	probe, err := provisioning.NewKeyAttestation("AAAAAAAAAAAAAAAAAAAAAA==")
	if err != nil {
		return nil, err
	}
	check := c.cfg
	check.RegistrationID, check.Attestation = "probe", probe
	if err := check.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Secret returns what the device proves itself with, and its registration id, which may be
// empty. cert and key are PEM, and may be empty.
type Secret func(cert, key string) (a *provisioning.Attestation, registrationID string, err error)

// Register begins a registration. done is called once, unless the client is destroyed
// first; status may be none. Failed: one is under way, or the device has nothing to prove
// itself with.
func (c *Client) Register(secret Secret, done, status Callback) Result {
	if done.Func == 0 {
		return InvalidArg
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.running {
		c.host.Log(errors.New("Register_Device: a registration is under way"))
		return Failed
	}
	cfg, options := c.cfg, c.options
	var id string
	var err error
	if cfg.Attestation, id, err = secret(c.cert, c.key); err != nil {
		c.host.Log(fmt.Errorf("Register_Device: %w", err))
		return Failed
	}
	if cfg.RegistrationID == "" { // the option goes before
		cfg.RegistrationID = id
	}
	if c.timeout == 0 {
		retry := *iothub.DefaultRetryPolicy()
		retry.Limit = patience
		options.Retry = &retry
	}
	cfg.Options = &options
	cfg.OnProgress = func(p provisioning.Progress) { c.progress(p, status) }
	if err := cfg.Validate(); err != nil {
		c.host.Log(fmt.Errorf("Register_Device: %w", err))
		return Failed
	}
	ctx, cancel := context.WithCancel(context.Background())
	if c.timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), c.timeout)
	}
	c.running, c.cancel, c.ended = true, cancel, make(chan struct{})
	go c.run(ctx, &cfg, done, c.ended)
	return OK
}

// run registers. In a client with a thread it is that thread.
func (c *Client) run(ctx context.Context, cfg *provisioning.Config, done Callback, ended chan struct{}) {
	defer close(ended)
	if c.threaded {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	a, err := provisioning.Register(ctx, cfg)
	expired := errors.Is(ctx.Err(), context.DeadlineExceeded)
	r := Record{Callback: done, Final: true, Result: result(err, expired)}
	if err != nil {
		c.host.Log(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	if c.closed {
		return
	}
	c.payload = nil
	if err == nil {
		r.Hub, r.Device = a.HubHostName, a.DeviceID
		if len(a.Payload) > 0 {
			text := string(a.Payload)
			c.payload = &text
		}
	}
	c.due(r)
}

// due notes a call that is due; a thread of the client's makes it at once, unless one
// makes calls already. The caller holds mu.
func (c *Client) due(r Record) {
	c.records = append(c.records, r)
	if c.threaded {
		c.dispatch()
	}
}

// progress notes a step.
func (c *Client) progress(p provisioning.Progress, status Callback) {
	steps := map[provisioning.Progress]Status{
		provisioning.ProgressConnected: StatusConnected, provisioning.ProgressUnassigned: StatusRegistering, provisioning.ProgressAssigning: StatusAssigning,
	}
	s, ok := steps[p]
	if status.Func == 0 || !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due(Record{Callback: status, Status: s})
}

// DoWork runs the functions of the program that are due, on this thread. Inside one of
// them it does nothing.
func (c *Client) DoWork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dispatch()
}

// dispatch calls the program until nothing is due, or the client is destroyed. It does
// nothing while it is under way already, here or on another thread. The caller holds mu,
// which is free while functions of the program run.
func (c *Client) dispatch() {
	if c.dispatching {
		return
	}
	c.dispatching, c.thread = true, c.host.Thread()
	for len(c.records) > 0 && !c.closed {
		r := c.records[0]
		c.records = c.records[1:]
		if r.Final {
			c.running = false // it may register again inside its callback
		}
		c.mu.Unlock()
		c.host.Dispatch(&r)
		c.mu.Lock()
	}
	c.dispatching, c.thread = false, 0
	c.quiet.Broadcast()
}

// Destroy ends the client and a registration that is under way: nobody is called any more
// when it returns, but for the function of the program that it may have been called from.
func (c *Client) Destroy() {
	c.mu.Lock()
	c.closed, c.records = true, nil
	ended := c.ended
	inside := c.thread != 0 && c.thread == c.host.Thread()
	if c.cancel != nil {
		c.cancel()
	}
	for c.dispatching && !inside {
		c.quiet.Wait()
	}
	c.mu.Unlock()
	if ended != nil && !inside {
		<-ended
	}
}

// result maps how a registration ended. (c-sdk 6.3)
func result(err error, expired bool) Result {
	e, _ := errors.AsType[*iothub.Error](err)
	switch {
	case err == nil:
		return OK
	case expired:
		return TimedOut
	case e == nil:
		return Failed
	case e.Code == 400208:
		return HubNotSpecified
	case e.Code == 400209:
		return Unauthorized
	}
	switch e.Kind {
	case iothub.KindDeviceDisabled:
		return Disabled
	case iothub.KindUnauthorized, iothub.KindTokenExpired, iothub.KindForbidden:
		return DevAuthError
	case iothub.KindProtocol:
		return Parsing
	case iothub.KindNetwork, iothub.KindTLS, iothub.KindProxy, iothub.KindTimeout, iothub.KindUnavailable, iothub.KindThrottled, iothub.KindServer:
		return Transport
	}
	return Failed
}

// SetPayload sets the JSON for a custom allocation, from the next registration on; "" is
// none.
func (c *Client) SetPayload(text string) Result {
	if text != "" && !json.Valid([]byte(text)) {
		c.host.Log(errors.New("Set_Provisioning_Payload: it is no JSON"))
		return InvalidArg
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Payload = nil; text != "" {
		c.cfg.Payload = json.RawMessage(text)
	}
	return OK
}

// Payload returns the JSON of the last assignment, nil where there was none.
func (c *Client) Payload() *string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.payload
}

// Set changes what the next registration goes by, under the client's lock.
func (c *Client) Set(f func(s *Settings) error) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Settings{Options: c.options, RegistrationID: c.cfg.RegistrationID, Timeout: c.timeout, Certificate: c.cert, PrivateKey: c.key}
	if err := f(&s); err != nil {
		c.host.Log(fmt.Errorf("SetOption: %w", err))
		return Failed
	}
	c.options, c.cfg.RegistrationID, c.timeout, c.cert, c.key = s.Options, s.RegistrationID, s.Timeout, s.Certificate, s.PrivateKey
	return OK
}

// Settings are what options change.
type Settings struct {
	Options                 iothub.ClientOptions
	RegistrationID          string
	Timeout                 time.Duration
	Certificate, PrivateKey string // PEM
}
