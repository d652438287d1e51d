package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/atomicfile"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/transport"
	"github.com/iothub-go/iothub/provisioning"
)

const (
	// unreachable is how long a hub has to be out of reach before the provisioning
	// service is asked whether the device has another one.
	unreachable = 5 * time.Minute
	// seldom is the least time between two registrations of a device whose hub has not let
	// it in between, whatever became of the first: one that is refused there for ever is
	// no burden for the service, however short its retry policy has it wait.
	seldom = 30 * time.Second
	// registerTimeout bounds one registration, so that a service that assigns for ever
	// becomes a connection event.
	registerTimeout = 5 * time.Minute
)

// FromProvisioning makes the client of a device that registers by itself. It touches no
// network. Errors are *iothub.Error of kind KindInvalidArgument.
func FromProvisioning(cfg *provisioning.Config, o *iothub.ClientOptions) (*Client, error) {
	if cfg == nil {
		return nil, (*provisioning.Config)(nil).Validate()
	}
	opts, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	r := &registrar{cfg: *cfg}
	if r.cfg.Options == nil {
		r.cfg.Options = opts
	}
	own := *r.cfg.Options
	// The session of the client paces and reports the attempts.
	own.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryNone}
	r.cfg.Options = &own
	if r.cfg.RegistrationID, err = r.cfg.ID(); err != nil {
		return nil, err
	}
	if opts.Logger != nil {
		opts.Logger = opts.Logger.With("registration_id", r.cfg.RegistrationID)
	}
	r.restore(opts)
	st, err := r.setup(opts)
	if err != nil {
		return nil, err
	}
	return &Client{Setup: st, Identity: st.Params.Identity, Options: opts}, nil
}

// FromAssignment makes the client of a device that has been registered.
func FromAssignment(a *provisioning.Assignment, o *iothub.ClientOptions) (*Client, error) {
	if a == nil || a.Credential() == nil {
		return nil, &iothub.Error{Op: "assignment", Kind: iothub.KindInvalidArgument,
			Err: errors.New("it has no credential: use one of provisioning.Register or Config.Restore")}
	}
	opts, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	if opts.Credential == nil {
		opts.Credential = a.Credential()
	}
	return client(target{ConnectionString: hubOf(a)}, opts)
}

func hubOf(a *provisioning.Assignment) *iothub.ConnectionString {
	return &iothub.ConnectionString{HostName: a.HubHostName, DeviceID: a.DeviceID}
}

// registrar knows which hub a device is assigned to. One client has it.
type registrar struct {
	cfg provisioning.Config

	mu       sync.Mutex
	assigned *provisioning.Assignment // nil: none yet
	asked    time.Time                // when the service has assigned it last
	tried    time.Time                // when it was asked last, with whatever result
	connects uint64                   // connections until then
	failed   bool                     // the last attempt was one to register
}

// restore takes what the process before has kept.
func (r *registrar) restore(o *iothub.ClientOptions) {
	if r.cfg.StateFile == "" {
		return
	}
	data, err := os.ReadFile(r.cfg.StateFile)
	if err == nil {
		r.assigned, err = r.cfg.Restore(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && o.Logger != nil {
		o.Logger.Warn("the assignment that was kept is of no use, the device registers again", "file", r.cfg.StateFile, "error", err)
	}
}

// setup makes a setup for what is known now.
func (r *registrar) setup(o *iothub.ClientOptions) (*transport.Setup, error) {
	if o.Credential != nil {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument,
			Err: errors.New("a device that registers by itself presents to its hub what it has registered with, so it takes no other credential: make a new client with another Attestation")}
	}
	r.mu.Lock()
	a := r.assigned
	r.mu.Unlock()
	// Until it is assigned the device is taken to have the id that it registers with, as
	// it most often has; messages that wait are readdressed if not.
	to := target{ConnectionString: &iothub.ConnectionString{HostName: "unassigned", DeviceID: r.cfg.RegistrationID}, reassignable: true}
	with := *o
	with.Credential = &iothub.Credential{}
	if a != nil {
		to.ConnectionString, with.Credential = hubOf(a), a.Credential()
	}
	st, err := build(to, &with)
	if err != nil {
		return nil, err
	}
	if a == nil {
		st.Params.HostName = "" // for uploads, which would ask a hub
		st.Dial = func(context.Context) (net.Conn, error) { return nil, transport.Unassigned("connect") }
	}
	st.Again = r.setup
	st.Locate = func(ctx context.Context, outage engine.Outage) (*transport.Setup, error) {
		now, err := r.locate(ctx, outage, o)
		if err != nil || now == a {
			return st, err
		}
		return r.setup(o)
	}
	return st, nil
}

// locate returns the assignment to connect with, after a registration if there is a
// reason for one.
func (r *registrar) locate(ctx context.Context, outage engine.Outage, o *iothub.ClientOptions) (*provisioning.Assignment, error) {
	r.mu.Lock()
	a, asked, failed := r.assigned, r.asked, r.failed
	rested := outage.Connects > r.connects || time.Since(r.tried) >= seldom
	r.failed = false
	r.mu.Unlock()
	now := time.Now()
	gone := refused(outage.Cause) && !failed
	switch {
	case a == nil:
	case !rested:
		return a, nil
	case gone:
	case outage.Cause != nil && now.Sub(outage.Since) >= unreachable && now.Sub(asked) >= unreachable:
	default:
		return a, nil
	}
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	found, err := provisioning.Register(ctx, &r.cfg)
	// Unless the hub has refused, it may be the network on this side: the hub that is
	// known is as good.
	known := err != nil && a != nil && !gone
	r.mu.Lock()
	r.tried, r.connects = time.Now(), outage.Connects
	if r.failed = err != nil && !known; err == nil {
		r.assigned, r.asked = found, r.tried
	}
	r.mu.Unlock()
	if known {
		if o.Logger != nil {
			o.Logger.Info("the hub is out of reach, and the provisioning service too", "error", err)
		}
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	r.keep(found, o)
	if r.cfg.OnAssigned != nil {
		r.cfg.OnAssigned(found)
	}
	return found, nil
}

// refused reports whether a hub that says so does not know the device, or not any more.
// A token that is too old is another matter.
func refused(cause error) bool {
	switch iothub.KindOf(cause) {
	case iothub.KindUnauthorized, iothub.KindNotFound, iothub.KindForbidden, iothub.KindDeviceDisabled:
		return true
	}
	return false
}

// keep writes the state file. A client that cannot is no worse than one that has none.
func (r *registrar) keep(a *provisioning.Assignment, o *iothub.ClientOptions) {
	if r.cfg.StateFile == "" {
		return
	}
	data, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = atomicfile.Write(r.cfg.StateFile, append(data, '\n'))
	}
	if err != nil && o.Logger != nil {
		o.Logger.Warn("the assignment could not be kept, the next process registers again", "file", r.cfg.StateFile, "error", fmt.Sprint(err))
	}
}
