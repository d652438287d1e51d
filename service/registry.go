package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// Status says whether an identity may connect.
type Status string

// The statuses of a device.
const (
	Enabled  Status = "enabled"
	Disabled Status = "disabled"
)

// ConnectionState says whether an identity is connected, over MQTT or AMQP.
type ConnectionState string

// The connection states.
const (
	Connected    ConnectionState = "Connected"
	Disconnected ConnectionState = "Disconnected"
)

// AuthenticationType says how an identity authenticates.
type AuthenticationType string

// The authentication types.
const (
	SASAuthentication         AuthenticationType = "sas"                  // symmetric keys
	SelfSignedAuthentication  AuthenticationType = "selfSigned"           // certificates with these thumbprints
	CertificateAuthentication AuthenticationType = "certificateAuthority" // certificates of a known authority
)

// Key is a symmetric key in base64. It prints a redaction; string(k) is the key,
// and so is its JSON, which goes to the hub.
type Key string

// String returns a redaction, or "" for no key.
func (k Key) String() string {
	if k == "" {
		return ""
	}
	return "[redacted]"
}

// GoString is String, for %#v.
func (k Key) GoString() string { return strconv.Quote(k.String()) }

// LogValue is String, for log/slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// SymmetricKey holds the two keys of an identity; both are valid.
type SymmetricKey struct {
	// Primary and Secondary are base64 of 16 to 64 bytes. Both empty, when an
	// identity is made, asks the hub for new ones.
	Primary   Key `json:"primaryKey"`
	Secondary Key `json:"secondaryKey"`
}

// Thumbprints are those of the two certificates that an identity may present:
// SHA-1 or SHA-256 in hexadecimal.
type Thumbprints struct {
	// Primary and Secondary are both valid.
	Primary   string `json:"primaryThumbprint,omitempty"`
	Secondary string `json:"secondaryThumbprint,omitempty"`
}

// Authentication says how an identity authenticates.
type Authentication struct {
	// Type is the way; empty is symmetric keys.
	Type AuthenticationType `json:"type,omitempty"`
	// SymmetricKey and Thumbprints are for the types that need them.
	SymmetricKey *SymmetricKey `json:"symmetricKey,omitempty"`
	Thumbprints  *Thumbprints  `json:"x509Thumbprint,omitempty"`
}

// orDefault returns what to send for a: symmetric keys that the hub makes.
func (a *Authentication) orDefault() *Authentication {
	if a == nil {
		a = &Authentication{}
	}
	c := *a
	if c.Type == "" {
		c.Type = SASAuthentication
	}
	if c.Type == SASAuthentication && c.SymmetricKey == nil {
		c.SymmetricKey = &SymmetricKey{}
	}
	return &c
}

// Capabilities are what a device is beyond a device.
type Capabilities struct {
	// IoTEdge says that it is an IoT Edge device.
	IoTEdge bool `json:"iotEdge"`
}

// Device is an identity in the registry of the hub. What a caller does not set is
// set by the hub.
type Device struct {
	// DeviceID is the id, see iothub.Identity.
	DeviceID string `json:"deviceId"`
	// GenerationID tells this device from earlier ones of the same id.
	GenerationID string `json:"generationId,omitempty"`
	// ETag is the version of the identity; UpdateDevice depends on it.
	ETag ETag `json:"etag,omitempty"`
	// Status says whether it may connect, StatusReason why, in up to 128
	// characters.
	Status       Status `json:"status,omitempty"`
	StatusReason string `json:"statusReason,omitempty"`
	// ConnectionState is as of ConnectionStateUpdatedTime.
	ConnectionState            ConnectionState `json:"connectionState,omitempty"`
	ConnectionStateUpdatedTime Time            `json:"connectionStateUpdatedTime,omitzero"`
	StatusUpdatedTime          Time            `json:"statusUpdatedTime,omitzero"`
	LastActivityTime           Time            `json:"lastActivityTime,omitzero"`
	// CloudToDeviceMessageCount is how many messages wait for it.
	CloudToDeviceMessageCount int `json:"cloudToDeviceMessageCount,omitempty"`
	// Authentication is nil for symmetric keys that the hub makes.
	Authentication *Authentication `json:"authentication,omitempty"`
	// Capabilities are those of an IoT Edge device.
	Capabilities Capabilities `json:"capabilities"`
	// Scope is the IoT Edge device that this one belongs to, ParentScopes
	// those above.
	Scope        string   `json:"deviceScope,omitempty"`
	ParentScopes []string `json:"parentScopes,omitempty"`
}

// Module is an identity of a module in the registry of the hub.
type Module struct {
	// DeviceID is that of its device, ModuleID its own.
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId"`
	// ManagedBy is "iotEdge" for a module that an IoT Edge runtime runs.
	ManagedBy string `json:"managedBy,omitempty"`
	// GenerationID tells this module from earlier ones of the same id.
	GenerationID string `json:"generationId,omitempty"`
	// ETag is the version of the identity; UpdateModule depends on it.
	ETag ETag `json:"etag,omitempty"`
	// ConnectionState is as of ConnectionStateUpdatedTime.
	ConnectionState            ConnectionState `json:"connectionState,omitempty"`
	ConnectionStateUpdatedTime Time            `json:"connectionStateUpdatedTime,omitzero"`
	LastActivityTime           Time            `json:"lastActivityTime,omitzero"`
	// CloudToDeviceMessageCount is how many messages wait for it.
	CloudToDeviceMessageCount int `json:"cloudToDeviceMessageCount,omitempty"`
	// Authentication is nil for symmetric keys that the hub makes.
	Authentication *Authentication `json:"authentication,omitempty"`
}

// ConnectionString returns the connection string of a device with symmetric keys
// of the hub at hostName, "" for one without. It is a secret.
func (d *Device) ConnectionString(hostName string) string {
	return connectionString(hostName, d.DeviceID, "", d.Authentication)
}

// ConnectionString is that of a module; see [Device.ConnectionString].
func (m *Module) ConnectionString(hostName string) string {
	return connectionString(hostName, m.DeviceID, m.ModuleID, m.Authentication)
}

func connectionString(host, deviceID, moduleID string, a *Authentication) string {
	if a == nil || a.SymmetricKey == nil || a.SymmetricKey.Primary == "" {
		return ""
	}
	s := "HostName=" + host + ";DeviceId=" + deviceID
	if moduleID != "" {
		s += ";ModuleId=" + moduleID
	}
	return s + ";SharedAccessKey=" + string(a.SymmetricKey.Primary)
}

// CreateDevice makes a device and returns it with what the hub has added, its keys
// for one. A nil d.Authentication is symmetric keys that the hub makes. It fails
// with iothub.KindConflict when there is one of this id.
func (c *Client) CreateDevice(ctx context.Context, d *Device) (*Device, error) {
	const op = "create device"
	if d == nil {
		return nil, backend.Invalid(op, "there is no device")
	}
	send := *d
	send.ETag, send.Authentication = "", d.Authentication.orDefault()
	return c.putDevice(ctx, op, &send, "")
}

// UpdateDevice replaces a device whose version is d.ETag, which [AnyETag] makes
// any, and returns it as it then is. Get the device, change it, update it: what
// is not set, keys too, is not kept. It fails with
// iothub.KindPreconditionFailed when the version is another one.
func (c *Client) UpdateDevice(ctx context.Context, d *Device) (*Device, error) {
	const op = "update device"
	if d == nil {
		return nil, backend.Invalid(op, "there is no device")
	}
	if err := backend.NeedETag(op, string(d.ETag)); err != nil {
		return nil, err
	}
	return c.putDevice(ctx, op, d, d.ETag)
}

func (c *Client) putDevice(ctx context.Context, op string, d *Device, etag ETag) (*Device, error) {
	path, err := identityPath(op, "devices", d.DeviceID, "")
	if err != nil {
		return nil, err
	}
	r := &rest.Request{Op: op, Method: http.MethodPut, Path: path, IfMatch: string(etag), Body: d, Idempotent: etag == AnyETag}
	return backend.Result[Device](ctx, c.rest, r)
}

// GetDevice returns a device. It fails with iothub.KindNotFound when there is
// none of this id.
func (c *Client) GetDevice(ctx context.Context, deviceID string) (*Device, error) {
	return get[Device](ctx, c, "get device", "devices", deviceID, "")
}

// DeleteDevice deletes a device and its modules. It fails with
// iothub.KindPreconditionFailed when its version is not etag, which [AnyETag]
// makes any.
func (c *Client) DeleteDevice(ctx context.Context, deviceID string, etag ETag) error {
	return c.deleteIdentity(ctx, "delete device", deviceID, "", etag)
}

// ListDevices returns up to top devices, 1 to 1000, in no particular order; 0 is
// 1000. A registry that is larger is read by [Client.Query].
func (c *Client) ListDevices(ctx context.Context, top int) ([]*Device, error) {
	const op = "list devices"
	if top < 0 || top > 1000 {
		return nil, backend.Invalid(op, "top is %d, it can be 1 to 1000", top)
	}
	if top == 0 {
		top = 1000
	}
	r := &rest.Request{Op: op, Method: http.MethodGet, Path: []string{"devices"}, Query: url.Values{"top": {strconv.Itoa(top)}}, Idempotent: true}
	return backend.List[Device](ctx, c.rest, r)
}

// CreateModule makes a module of a device, which must exist; see
// [Client.CreateDevice].
func (c *Client) CreateModule(ctx context.Context, m *Module) (*Module, error) {
	const op = "create module"
	if m == nil {
		return nil, backend.Invalid(op, "there is no module")
	}
	send := *m
	send.ETag, send.Authentication = "", m.Authentication.orDefault()
	return c.putModule(ctx, op, &send, "")
}

// UpdateModule replaces a module whose version is m.ETag; see
// [Client.UpdateDevice].
func (c *Client) UpdateModule(ctx context.Context, m *Module) (*Module, error) {
	const op = "update module"
	if m == nil {
		return nil, backend.Invalid(op, "there is no module")
	}
	if err := backend.NeedETag(op, string(m.ETag)); err != nil {
		return nil, err
	}
	return c.putModule(ctx, op, m, m.ETag)
}

func (c *Client) putModule(ctx context.Context, op string, m *Module, etag ETag) (*Module, error) {
	path, err := modulePath(op, m.DeviceID, m.ModuleID)
	if err != nil {
		return nil, err
	}
	r := &rest.Request{Op: op, Method: http.MethodPut, Path: path, IfMatch: string(etag), Body: m, Idempotent: etag == AnyETag}
	return backend.Result[Module](ctx, c.rest, r)
}

// modulePath refuses the empty module, which would be the device.
func modulePath(op, deviceID, moduleID string) ([]string, error) {
	if moduleID == "" {
		return nil, backend.Invalid(op, "ModuleID is empty")
	}
	return identityPath(op, "devices", deviceID, moduleID)
}

// GetModule returns a module. It fails with iothub.KindNotFound when the device
// or the module is not there.
func (c *Client) GetModule(ctx context.Context, deviceID, moduleID string) (*Module, error) {
	const op = "get module"
	path, err := modulePath(op, deviceID, moduleID)
	if err != nil {
		return nil, err
	}
	return backend.Result[Module](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: path, Idempotent: true})
}

// DeleteModule deletes a module; see [Client.DeleteDevice].
func (c *Client) DeleteModule(ctx context.Context, deviceID, moduleID string, etag ETag) error {
	const op = "delete module"
	if _, err := modulePath(op, deviceID, moduleID); err != nil {
		return err
	}
	return c.deleteIdentity(ctx, op, deviceID, moduleID, etag)
}

// ListModules returns the modules of a device.
func (c *Client) ListModules(ctx context.Context, deviceID string) ([]*Module, error) {
	const op = "list modules"
	path, err := identityPath(op, "devices", deviceID, "", "modules")
	if err != nil {
		return nil, err
	}
	return backend.List[Module](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: path, Idempotent: true})
}

func (c *Client) deleteIdentity(ctx context.Context, op, deviceID, moduleID string, etag ETag) error {
	if err := backend.NeedETag(op, string(etag)); err != nil {
		return err
	}
	path, err := identityPath(op, "devices", deviceID, moduleID)
	if err != nil {
		return err
	}
	_, err = c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodDelete, Path: path, IfMatch: string(etag), Idempotent: true}, nil)
	return err
}

// RegistryStatistics counts the devices of a hub.
type RegistryStatistics struct {
	// Total is Enabled and Disabled together.
	Total    int `json:"totalDeviceCount"`
	Enabled  int `json:"enabledDeviceCount"`
	Disabled int `json:"disabledDeviceCount"`
}

// RegistryStatistics returns how many devices the hub has.
func (c *Client) RegistryStatistics(ctx context.Context) (*RegistryStatistics, error) {
	return backend.Result[RegistryStatistics](ctx, c.rest, &rest.Request{Op: "registry statistics", Method: http.MethodGet, Path: []string{"statistics", "devices"}, Idempotent: true})
}

// ConnectedDevices returns how many devices are connected.
func (c *Client) ConnectedDevices(ctx context.Context) (int, error) {
	var s struct {
		ConnectedDeviceCount int `json:"connectedDeviceCount"`
	}
	_, err := c.rest.Do(ctx, &rest.Request{Op: "service statistics", Method: http.MethodGet, Path: []string{"statistics", "service"}, Idempotent: true}, &s)
	return s.ConnectedDeviceCount, err
}

// get sends a request for what belongs to an identity.
func get[T any](ctx context.Context, c *Client, op, first, deviceID, moduleID string) (*T, error) {
	path, err := identityPath(op, first, deviceID, moduleID)
	if err != nil {
		return nil, err
	}
	return backend.Result[T](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: path, Idempotent: true})
}
