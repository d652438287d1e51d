package core

import (
	"encoding/json"
	"log/slog"
	"time"
)

// The values of the text fields of [Device], [Module] and [Authentication].
const (
	StatusEnabled  = "enabled"
	StatusDisabled = "disabled"

	Connected    = "Connected"
	Disconnected = "Disconnected"

	AuthSAS                  = "sas"
	AuthSelfSigned           = "selfSigned"
	AuthCertificateAuthority = "certificateAuthority"
	AuthNone                 = "none"
)

// Device is a device identity in the form of IoT Hub's REST API.
type Device struct {
	DeviceID                   string         `json:"deviceId"`
	GenerationID               string         `json:"generationId"`
	ETag                       string         `json:"etag"`
	ConnectionState            string         `json:"connectionState"`
	Status                     string         `json:"status"`
	StatusReason               *string        `json:"statusReason"`
	ConnectionStateUpdatedTime Time           `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          Time           `json:"statusUpdatedTime"`
	LastActivityTime           Time           `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int            `json:"cloudToDeviceMessageCount"`
	Authentication             Authentication `json:"authentication"`
	Capabilities               Capabilities   `json:"capabilities"`
	DeviceScope                string         `json:"deviceScope,omitempty"`
	ParentScopes               []string       `json:"parentScopes,omitempty"`
}

// Module is a module identity in the form of IoT Hub's REST API.
type Module struct {
	ModuleID                   string         `json:"moduleId"`
	ManagedBy                  string         `json:"managedBy,omitempty"`
	DeviceID                   string         `json:"deviceId"`
	GenerationID               string         `json:"generationId"`
	ETag                       string         `json:"etag"`
	ConnectionState            string         `json:"connectionState"`
	ConnectionStateUpdatedTime Time           `json:"connectionStateUpdatedTime"`
	LastActivityTime           Time           `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int            `json:"cloudToDeviceMessageCount"`
	Authentication             Authentication `json:"authentication"`
}

// Authentication says how an identity proves itself. An empty Type asks for the
// default on creation (sas with generated keys) and for no change on an update.
type Authentication struct {
	SymmetricKey   SymmetricKey   `json:"symmetricKey"`
	X509Thumbprint X509Thumbprint `json:"x509Thumbprint"`
	Type           string         `json:"type"`
}

// SymmetricKey holds two keys, base64 of 16 to 64 bytes; both are valid at once.
// It prints as "REDACTED".
type SymmetricKey struct {
	PrimaryKey   NullString `json:"primaryKey"`
	SecondaryKey NullString `json:"secondaryKey"`
}

// String hides the keys.
func (SymmetricKey) String() string { return "REDACTED" }

// GoString hides the keys.
func (SymmetricKey) GoString() string { return "core.SymmetricKey{REDACTED}" }

// LogValue hides the keys.
func (SymmetricKey) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// X509Thumbprint holds the thumbprints of self-signed certificates: SHA-1 (40
// hexadecimal digits) or SHA-256 (64). Either certificate is accepted.
type X509Thumbprint struct {
	PrimaryThumbprint   NullString `json:"primaryThumbprint"`
	SecondaryThumbprint NullString `json:"secondaryThumbprint"`
}

// Capabilities marks IoT Edge devices.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"`

	given bool // by a client: an update that says false means it
}

// UnmarshalJSON notes that a client has said it, whatever it said.
func (c *Capabilities) UnmarshalJSON(data []byte) error {
	type plain Capabilities
	var p plain
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*c = Capabilities{IoTEdge: p.IoTEdge, given: string(data) != "null"}
	return nil
}

// NullString is a text that is null in JSON when it is empty.
type NullString string

// MarshalJSON gives null for the empty text.
func (s NullString) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(s))
}

// Time is a time in the form IoT Hub writes: UTC, seven decimals, and the year 1
// for "never".
type Time struct{ time.Time }

// MarshalJSON gives for example "2026-01-31T12:34:56.1234567Z".
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte(`"0001-01-01T00:00:00Z"`), nil
	}
	return []byte(`"` + t.UTC().Format("2006-01-02T15:04:05.0000000Z") + `"`), nil
}

// UnmarshalJSON takes any of the forms in use. Clients send these fields back as
// they got them and the hub ignores them, so a text that is no time is "never"
// instead of an error.
func (t *Time) UnmarshalJSON(data []byte) error {
	t.Time = time.Time{}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if v, err := time.Parse(layout, text); err == nil {
			t.Time = v.UTC()
			return nil
		}
	}
	return nil
}

// Statistics counts the identity registry and the live connections.
type Statistics struct {
	TotalDeviceCount     int `json:"totalDeviceCount"`
	EnabledDeviceCount   int `json:"enabledDeviceCount"`
	DisabledDeviceCount  int `json:"disabledDeviceCount"`
	ConnectedDeviceCount int `json:"-"`
}
