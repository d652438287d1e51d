// Package setup turns what a user gives, a connection string and options, into
// what a client runs on. Every client of every layer is made through it.
package setup

import (
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/transport"
	"github.com/iothub-go/iothub/mqtt"
)

// Kind is what a connection string has to be for.
type Kind string

// The kinds of clients.
const (
	Device Kind = "device"
	Module Kind = "module"
)

// Client is what a client is made of.
type Client struct {
	*transport.Setup
	Identity iothub.Identity
	Options  *iothub.ClientOptions
}

// FromConnectionString checks everything that can be checked without a
// network. Errors are *iothub.Error of kind KindInvalidArgument.
func FromConnectionString(s string, kind Kind, o *iothub.ClientOptions) (*Client, error) {
	cs, err := iothub.ParseConnectionString(s)
	if err != nil {
		return nil, err
	}
	if err := checkKind(cs, kind); err != nil {
		return nil, err
	}
	opts, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	cred := cs.Credential()
	if opts.Credential != nil {
		cred = opts.Credential
	}
	if cred == nil {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoCredential}
	}
	t, err := transportOf(opts)
	if err != nil {
		return nil, err
	}
	st, err := t.Setup(&transport.Params{
		Identity: cs.Identity(), HostName: cs.HostName, GatewayHostName: cs.GatewayHostName,
		Credential: cred, Options: opts,
	})
	if err != nil {
		return nil, err
	}
	return &Client{Setup: st, Identity: cs.Identity(), Options: opts}, nil
}

func checkKind(cs *iothub.ConnectionString, kind Kind) error {
	problem := ""
	switch {
	case cs.DeviceID == "":
		problem = "DeviceId is missing: this is the connection string of a service policy"
	case kind == Module && cs.ModuleID == "":
		problem = "ModuleId is missing: this is the connection string of a device; use package device"
	case kind == Device && cs.ModuleID != "":
		problem = "ModuleId is set: this is the connection string of a module; use package module"
	default:
		return nil
	}
	return &iothub.Error{Op: "connection string", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("%s", problem)}
}

func transportOf(o *iothub.ClientOptions) (transport.Transport, error) {
	if o.Transport == nil {
		return mqtt.New(nil), nil
	}
	t, ok := o.Transport.(transport.Transport)
	if !ok {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("Transport is a %T: use one of this module's, such as mqtt.New(nil)", o.Transport)}
	}
	return t, nil
}
