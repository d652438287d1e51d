// Package setup turns what a user gives, a connection string and options, into
// what a client runs on. Every client of every layer is made through it.
package setup

import (
	"context"
	"fmt"
	"net"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
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
	c, err := WithoutCredential(s, kind, o)
	if err == nil && c.Credential == nil {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoCredential}
	}
	return c, err
}

// WithoutCredential is FromConnectionString that lets the certificate for
// x509=true come later; until then the client cannot connect.
func WithoutCredential(s string, kind Kind, o *iothub.ClientOptions) (*Client, error) {
	cs, err := iothub.ParseConnectionString(s)
	if err != nil {
		return nil, err
	}
	if err := checkKind(cs, kind); err != nil {
		return nil, err
	}
	return client(target{ConnectionString: cs}, o)
}

// OnBehalf returns a client by which the hub of an IoT Edge device acts for an
// identity below it, see [transport.Params.AuthChain]. cs names the hub and the
// identity, and o has the credential of the device's $edgeHub.
func OnBehalf(cs *iothub.ConnectionString, chain string, o *iothub.ClientOptions) (*Client, error) {
	return client(target{ConnectionString: cs, chain: chain}, o)
}

// target is where a client connects to, as whom, and whom it trusts there.
type target struct {
	*iothub.ConnectionString
	chain        string     // see [transport.Params.AuthChain]
	reassignable bool       // see [transport.Params.Reassignable]
	roots        link.Roots // nil, and where the program names its own, those of the options
}

func client(to target, o *iothub.ClientOptions) (*Client, error) {
	opts, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	id := to.Identity()
	if opts.Logger != nil {
		attrs := []any{"device_id", id.DeviceID}
		if id.IsModule() {
			attrs = append(attrs, "module_id", id.ModuleID)
		}
		opts.Logger = opts.Logger.With(attrs...)
	}
	st, err := build(to, opts)
	if err != nil {
		return nil, err
	}
	return &Client{Setup: st, Identity: id, Options: opts}, nil
}

func build(to target, o *iothub.ClientOptions) (*transport.Setup, error) {
	t, err := transportOf(o)
	if err != nil {
		return nil, err
	}
	cred := o.Credential
	if cred == nil {
		cred = to.Credential()
	}
	p := &transport.Params{
		Identity: to.Identity(), HostName: to.HostName, GatewayHostName: to.GatewayHostName,
		AuthChain: to.chain, Credential: cred, Options: o, Reassignable: to.reassignable,
	}
	if o.TLS == nil || o.TLS.RootCAs == nil {
		p.Roots = to.roots
	}
	if cred == nil {
		p.Credential = &iothub.Credential{}
	}
	st, err := t.Setup(p)
	if err != nil {
		return nil, err
	}
	if st.Credential = cred; cred == nil {
		st.Dial = func(context.Context) (net.Conn, error) {
			return nil, &iothub.Error{Op: "connect", Kind: iothub.KindUnauthorized, Retryable: true, Err: iothub.ErrNoCredential}
		}
	}
	st.Params = p
	st.Again = func(o *iothub.ClientOptions) (*transport.Setup, error) { return build(to, o) }
	return st, nil
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
			Err: fmt.Errorf("the option Transport is a %T: use one of this module's, such as mqtt.New(nil)", o.Transport)}
	}
	return t, nil
}
