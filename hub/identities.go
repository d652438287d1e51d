package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub/internal/core"
)

// Identity is a device or a module with what proves it: symmetric keys, or the
// thumbprints of certificates. It prints without them.
type Identity struct {
	// DeviceID is the device's, or that of the device the module belongs to.
	DeviceID string
	ModuleID string // empty for a device
	// PrimaryKey and SecondaryKey are base64; both are valid. They are empty
	// for an identity that authenticates with a certificate.
	PrimaryKey   string
	SecondaryKey string
	// PrimaryThumbprint and SecondaryThumbprint are those of self-signed
	// certificates, hexadecimal SHA-1 or SHA-256; both are valid.
	PrimaryThumbprint   string
	SecondaryThumbprint string
	// CertificateAuthority says that it authenticates with a certificate of an
	// authority that the hub knows, see Options.DeviceAuthorities.
	CertificateAuthority bool
	// Disabled says of a device that it may not connect.
	Disabled bool
}

// String returns "device" or "device/module".
func (id Identity) String() string {
	if id.ModuleID == "" {
		return id.DeviceID
	}
	return id.DeviceID + "/" + id.ModuleID
}

// GoString is String, for %#v.
func (id Identity) GoString() string { return "hub.Identity{" + id.String() + "}" }

// LogValue is String, for log/slog.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// authentication is how it proves itself; none when nothing is said of it.
func (id *Identity) authentication() core.Authentication {
	switch {
	case id.PrimaryKey != "" || id.SecondaryKey != "":
		return core.Authentication{Type: core.AuthSAS, SymmetricKey: core.SymmetricKey{
			PrimaryKey: core.NullString(id.PrimaryKey), SecondaryKey: core.NullString(id.SecondaryKey),
		}}
	case id.PrimaryThumbprint != "" || id.SecondaryThumbprint != "":
		return core.Authentication{Type: core.AuthSelfSigned, X509Thumbprint: core.X509Thumbprint{
			PrimaryThumbprint: core.NullString(id.PrimaryThumbprint), SecondaryThumbprint: core.NullString(id.SecondaryThumbprint),
		}}
	case id.CertificateAuthority:
		return core.Authentication{Type: core.AuthCertificateAuthority}
	}
	return core.Authentication{Type: core.AuthNone}
}

// CreateDevice returns the device of that id with its keys, creating it, with
// generated keys, when there is none.
func (s *Server) CreateDevice(ctx context.Context, deviceID string) (Identity, error) {
	if s.isClosed() {
		return Identity{}, ErrServerClosed
	}
	d, err := s.hub.CreateDevice(ctx, core.Device{DeviceID: deviceID})
	if errors.Is(err, &core.Error{Code: core.CodeDeviceAlreadyExists}) {
		d, err = s.hub.GetDevice(deviceID)
	}
	if err != nil {
		return Identity{}, s.failed("create device", err)
	}
	return identityOf(deviceID, "", d.Authentication), nil
}

// CreateModule returns the module of that id with its keys, creating it, and its
// device, with generated keys, where there is none.
func (s *Server) CreateModule(ctx context.Context, deviceID, moduleID string) (Identity, error) {
	if _, err := s.CreateDevice(ctx, deviceID); err != nil {
		return Identity{}, err
	}
	m, err := s.hub.CreateModule(ctx, core.Module{DeviceID: deviceID, ModuleID: moduleID})
	if errors.Is(err, &core.Error{Code: core.CodeModuleAlreadyExists}) {
		m, err = s.hub.GetModule(deviceID, moduleID)
	}
	if err != nil {
		return Identity{}, s.failed("create module", err)
	}
	return identityOf(deviceID, moduleID, m.Authentication), nil
}

func identityOf(deviceID, moduleID string, a core.Authentication) Identity {
	return Identity{
		DeviceID: deviceID, ModuleID: moduleID,
		PrimaryKey: string(a.SymmetricKey.PrimaryKey), SecondaryKey: string(a.SymmetricKey.SecondaryKey),
		PrimaryThumbprint: string(a.X509Thumbprint.PrimaryThumbprint), SecondaryThumbprint: string(a.X509Thumbprint.SecondaryThumbprint),
		CertificateAuthority: a.Type == core.AuthCertificateAuthority,
	}
}

// failed makes an error of core a public one, an [iothub.Error]; it is
// ErrServerClosed once that is the cause.
func (s *Server) failed(op string, err error) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return fmt.Errorf("hub: %s: %w", op, err)
	}
	kind := iothub.KindOfStatus(e.Code)
	return &iothub.Error{Op: op, Kind: kind, Code: e.Code, Retryable: kind.Retryable(), Err: err}
}

// DeviceConnectionString returns the connection string of a device. The host
// name in it is the first of the options, with the port of the first MQTT
// listener where that is not 8883. The device must exist and have keys.
func (s *Server) DeviceConnectionString(deviceID string) (string, error) {
	d, err := s.hub.GetDevice(deviceID)
	if err != nil {
		return "", s.failed("connection string", err)
	}
	return s.connectionString(identityOf(deviceID, "", d.Authentication))
}

// ModuleConnectionString is DeviceConnectionString for a module.
func (s *Server) ModuleConnectionString(deviceID, moduleID string) (string, error) {
	m, err := s.hub.GetModule(deviceID, moduleID)
	if err != nil {
		return "", s.failed("connection string", err)
	}
	return s.connectionString(identityOf(deviceID, moduleID, m.Authentication))
}

func (s *Server) connectionString(id Identity) (string, error) {
	if id.PrimaryKey == "" {
		return "", fmt.Errorf("hub: connection string: %s has no symmetric key", id)
	}
	text := "HostName=" + s.hostFor(MQTT) + ";DeviceId=" + id.DeviceID
	if id.ModuleID != "" {
		text += ";ModuleId=" + id.ModuleID
	}
	return text + ";SharedAccessKey=" + id.PrimaryKey, nil
}

// ServiceConnectionString returns the connection string of the policy
// iothubowner, which may do everything. The host name in it is the first of the
// options, with the port of the first HTTPS listener where that is not 443.
func (s *Server) ServiceConnectionString() string {
	for _, p := range s.hub.Policies() {
		if p.Name == "iothubowner" {
			return p.ConnectionString(s.hostFor(HTTPS))
		}
	}
	return "" // every hub has it
}

// hostFor is the host name in connection strings that are used with p.
func (s *Server) hostFor(p Protocol) string {
	host := s.opts.HostNames[0]
	s.mu.Lock()
	addr, _ := s.addrs[p].(*net.TCPAddr)
	s.mu.Unlock()
	if addr != nil && addr.Port != p.Port() {
		return net.JoinHostPort(host, strconv.Itoa(addr.Port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
