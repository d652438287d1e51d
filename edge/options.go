package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/edge/internal/supervisor"
)

// Defaults of [Options].
const (
	DefaultHostName    = "127.0.0.1"
	DefaultStoreLimit  = edgehub.DefaultStoreLimit
	DefaultGracePeriod = supervisor.DefaultGrace
)

// Module is a program to run as a module.
type Module struct {
	// Name is the module's id at the hub. It must not begin with a dollar sign: such
	// are the system modules.
	Name string
	// Command is the program and its arguments.
	Command []string
	// Env is added to this process's environment, as "name=value". What IoT Edge sets
	// for a module counts more.
	Env []string
	// Dir is the working directory; empty is this process's.
	Dir string
	// Restart says when the program is started again after it has ended: "always",
	// "on-failure" or "never"; empty is "always". The waits between begin with a second
	// and double up to a minute.
	Restart string
}

// Options say what a [Runtime] is like. ConnectionString and DataDir are required.
type Options struct {
	// ConnectionString is that of the IoT Edge device at the hub upstream.
	ConnectionString string
	// Credential proves the device where the connection string says x509=true.
	Credential *iothub.Credential
	// HTTPSPort is the port of the REST API of the hub upstream; 0 is 443.
	HTTPSPort int
	// Authorities are certificates, in PEM, that the hub upstream is trusted by beside
	// the system's. Modules are told to trust them too.
	Authorities []byte
	// Proxy is the proxy to the hub upstream; nil connects directly.
	Proxy *iothub.Proxy
	// Dial opens the network connections to the hub upstream; nil is a net.Dialer. It
	// must return when ctx ends.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// DataDir is the folder that keeps everything: the edge hub's events, twins and
	// authority, and the keys of the modules. It is created when missing and locked
	// while in use.
	DataDir string
	// HostName is the name by which modules and leaf devices reach the edge hub, a DNS
	// name or an IP address; empty is DefaultHostName. The edge hub's certificate is for
	// it, for localhost and for 127.0.0.1.
	HostName string
	// MQTT and HTTPS are the addresses on which the edge hub listens; empty is port 8883
	// and 443 of 127.0.0.1. "none" for HTTPS does without it: modules can then call no
	// methods, and nobody connects over WebSockets.
	MQTT, HTTPS string

	// LeafAuthorities are certificates, in PEM, of authorities for leaf devices that
	// authenticate with a certificate of one.
	LeafAuthorities []byte

	// Modules are the programs to run.
	Modules []Module
	// Routes say where messages go, as in IoT Edge:
	// FROM /messages/modules/a/outputs/* INTO BrokeredEndpoint("/modules/b/inputs/in").
	// What no route matches goes upstream. Desired properties of $edgeHub replace them.
	Routes []string
	// StoreLimit bounds the bytes of events that wait to go upstream, at least 1 MiB; 0
	// is DefaultStoreLimit. At the limit publishes wait, or, with DropOldest, the oldest
	// events go.
	StoreLimit int64
	// DropOldest is what happens at the StoreLimit.
	DropOldest bool
	// TimeToLive is how long an event waits to go upstream; 0 is for as long as it
	// takes.
	TimeToLive time.Duration

	// WorkloadHTTP serves the workload API over HTTP on loopback ports instead of Unix
	// sockets, for modules that know no sockets. Any program on this machine that finds
	// a port may then have tokens signed. It is the default on Windows.
	WorkloadHTTP bool
	// GracePeriod is how long a module has to end before it is killed; 0 is
	// DefaultGracePeriod.
	GracePeriod time.Duration
	// Output takes what modules print, each line with the module's name before it; nil
	// discards it.
	Output io.Writer
	// Logger takes the log; nil discards it. Secrets are never logged.
	Logger *slog.Logger
}

func bad(format string, args ...any) error {
	return &iothub.Error{Op: "edge", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// none, as an address, is not to listen.
const none = "none"

func (o *Options) withDefaults() (*Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.HostName = cmp.Or(c.HostName, DefaultHostName)
	c.MQTT = cmp.Or(c.MQTT, "127.0.0.1:8883")
	c.HTTPS = cmp.Or(c.HTTPS, "127.0.0.1:443")
	c.GracePeriod = cmp.Or(c.GracePeriod, DefaultGracePeriod)
	if runtime.GOOS == "windows" {
		c.WorkloadHTTP = true
	}
	if c.HTTPS == none {
		c.HTTPS = ""
	}
	if c.Output == nil {
		c.Output = io.Discard
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DataDir == "" {
		return nil, bad("DataDir is empty: what is kept for the hub upstream needs a folder")
	}
	if strings.ContainsAny(c.HostName, "/ ") || net.ParseIP(c.HostName) == nil && strings.Contains(c.HostName, ":") {
		return nil, bad("HostName %q is neither a DNS name nor an IP address", c.HostName)
	}
	seen := map[string]bool{}
	for _, m := range c.Modules {
		if err := m.check(); err != nil {
			return nil, err
		}
		if seen[m.Name] {
			return nil, bad("module %s stands twice", m.Name)
		}
		seen[m.Name] = true
	}
	return &c, nil
}

func (m *Module) check() error {
	if err := (iothub.Identity{DeviceID: "d", ModuleID: m.Name}).Validate(); err != nil || m.Name == "" {
		return bad("the module name %q: use ASCII letters, digits and -:.+%%_#*?!(),=@'", m.Name)
	}
	if strings.HasPrefix(m.Name, "$") {
		return bad("module %s: names that begin with a dollar sign are those of system modules", m.Name)
	}
	if len(m.Command) == 0 || m.Command[0] == "" {
		return bad("module %s has no command", m.Name)
	}
	if err := supervisor.Restart(m.Restart).Check(); err != nil {
		return bad("module %s: %w", m.Name, err)
	}
	return nil
}

// device parses the connection string and checks whose it is.
func (o *Options) device() (*iothub.ConnectionString, *iothub.Credential, error) {
	cs, err := iothub.ParseConnectionString(o.ConnectionString)
	switch {
	case err != nil:
		return nil, nil, err
	case cs.DeviceID == "" || cs.ModuleID != "":
		return nil, nil, bad("the connection string is not that of a device: iothub edge needs the one of an IoT Edge device")
	}
	cred := o.Credential
	if cred == nil {
		cred = cs.Credential()
	}
	if cred == nil {
		return nil, nil, &iothub.Error{Op: "edge", Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoCredential}
	}
	return cs, cred, nil
}

// upstreamTLS is how the hub upstream is trusted.
func (o *Options) upstreamTLS() (*tls.Config, error) {
	if len(o.Authorities) == 0 {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(o.Authorities) {
		return nil, &iothub.Error{Op: "edge", Kind: iothub.KindInvalidArgument, Err: errors.New("no certificate in PEM is in Authorities")}
	}
	return &tls.Config{RootCAs: roots}, nil
}
