package iothub

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// ConnectionString is a parsed connection string of a device, a module or a
// service policy. It never prints its secrets.
type ConnectionString struct {
	// HostName is the hub, with ":port" where a local hub does not use the
	// standard ones. Tokens and user names are made for it.
	HostName string
	// GatewayHostName is what is dialled instead of HostName, if set.
	GatewayHostName string
	// DeviceID and ModuleID are raw, not percent-encoded.
	DeviceID string
	ModuleID string
	// SharedAccessKeyName is the policy the key belongs to; empty for the
	// key of a device or a module.
	SharedAccessKeyName string
	// X509 says that a certificate is supplied apart from the string.
	X509 bool

	key       SharedAccessKey
	signature func() Token // a function for the reason that SharedAccessKey has
}

// connectionStringKeys maps the lower-case spelling of every known key to the
// documented one.
var connectionStringKeys = map[string]string{
	"hostname":              "HostName",
	"gatewayhostname":       "GatewayHostName",
	"deviceid":              "DeviceId",
	"moduleid":              "ModuleId",
	"sharedaccesskey":       "SharedAccessKey",
	"sharedaccesskeyname":   "SharedAccessKeyName",
	"sharedaccesssignature": "SharedAccessSignature",
	"x509":                  "x509",
}

// ParseConnectionString parses "Key=Value;Key=Value". Names of keys are
// case-insensitive, their order is free, unknown ones are ignored. The error
// names the key at fault and never repeats a secret.
func ParseConnectionString(s string) (*ConnectionString, error) {
	if strings.TrimSpace(s) == "" {
		return nil, badConnectionString("it is empty")
	}
	values, unknown, err := splitConnectionString(s)
	if err != nil {
		return nil, err
	}
	cs := &ConnectionString{
		HostName:            values["HostName"],
		GatewayHostName:     values["GatewayHostName"],
		DeviceID:            values["DeviceId"],
		ModuleID:            values["ModuleId"],
		SharedAccessKeyName: values["SharedAccessKeyName"],
	}
	hint := ""
	if len(unknown) > 0 {
		hint = fmt.Sprintf(" (part %s has a key that is not known)", strings.Join(unknown, ", "))
	}
	if cs.HostName == "" {
		return nil, badConnectionString("HostName is missing%s", hint)
	}
	if i := strings.IndexAny(cs.HostName, "/ "); i >= 0 {
		return nil, badConnectionString("HostName is not a host name, it has %q at byte %d: no scheme, path or space", cs.HostName[i], i)
	}
	if err := cs.parseIdentity(); err != nil {
		return nil, err
	}
	if err := cs.parseSecret(values, hint); err != nil {
		return nil, err
	}
	return cs, nil
}

func splitConnectionString(s string) (values map[string]string, unknown []string, err error) {
	values = map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSpace(s), ";") {
		if pair == "" { // a trailing semicolon
			continue
		}
		k, v, ok := strings.Cut(pair, "=") // base64 keys end in "=", so only the first one splits
		k = strings.TrimSpace(k)
		name, known := connectionStringKeys[strings.ToLower(k)]
		switch {
		case !ok:
			// The text may be half a secret: say where, not what.
			return nil, nil, badConnectionString("part %d has no \"=\"", len(values)+len(unknown)+1)
		case !known:
			// The second half of a secret that a stray ";" cut in two looks
			// like a key, too: again where, not what.
			unknown = append(unknown, strconv.Itoa(len(values)+len(unknown)+1))
			continue
		case v == "":
			return nil, nil, badConnectionString("%s is empty", name)
		case strings.Contains(strings.ToLower(v), "sharedaccesskey"):
			return nil, nil, badConnectionString("%s runs into SharedAccessKey: a \";\" is missing between them", name)
		}
		if _, twice := values[name]; twice {
			return nil, nil, badConnectionString("%s stands twice", name)
		}
		values[name] = v
	}
	return values, unknown, nil
}

func (cs *ConnectionString) parseIdentity() error {
	if cs.ModuleID != "" && cs.DeviceID == "" {
		return badConnectionString("ModuleId needs a DeviceId")
	}
	if cs.DeviceID != "" {
		if err := cs.Identity().Validate(); err != nil {
			return badConnectionString("%w", errors.Unwrap(err))
		}
	}
	return nil
}

func (cs *ConnectionString) parseSecret(values map[string]string, hint string) (err error) {
	key, hasKey := values["SharedAccessKey"]
	sig, hasSig := values["SharedAccessSignature"]
	x509, hasX509 := values["x509"]
	if hasX509 {
		switch strings.ToLower(x509) {
		case "true":
			cs.X509 = true
		case "false":
		default:
			return badConnectionString("x509 is neither true nor false")
		}
	}
	switch {
	case hasKey && hasSig:
		return badConnectionString("SharedAccessKey and SharedAccessSignature exclude each other")
	case cs.X509 && (hasKey || hasSig):
		return badConnectionString("x509=true excludes SharedAccessKey and SharedAccessSignature")
	case hasKey:
		cs.key, err = ParseSharedAccessKey(key)
	case hasSig:
		var t Token
		t, err = ParseToken(sig)
		cs.signature = func() Token { return t }
	case !cs.X509:
		return badConnectionString("one of SharedAccessKey, SharedAccessSignature or x509=true is missing%s", hint)
	}
	if err != nil {
		return badConnectionString("%w", errors.Unwrap(err))
	}
	if cs.SharedAccessKeyName == "" && cs.DeviceID == "" && !hasSig {
		return badConnectionString("DeviceId is missing (or, for a service policy, SharedAccessKeyName)%s", hint)
	}
	return nil
}

// Identity returns the device or module the string is for.
func (cs *ConnectionString) Identity() Identity {
	return Identity{DeviceID: cs.DeviceID, ModuleID: cs.ModuleID}
}

// Credential returns the credential in the string; nil when X509 is set, whose
// certificate the program supplies.
func (cs *ConnectionString) Credential() *Credential {
	switch {
	case !cs.key.IsZero():
		return NewKeyCredential(cs.key, cs.SharedAccessKeyName)
	case cs.signature != nil:
		return NewTokenCredential(cs.signature())
	}
	return nil
}

// String returns the connection string with its secret redacted.
func (cs *ConnectionString) String() string {
	var b strings.Builder
	add := func(k, v string) {
		if v != "" {
			if b.Len() > 0 {
				b.WriteByte(';')
			}
			b.WriteString(k + "=" + v)
		}
	}
	add("HostName", cs.HostName)
	add("DeviceId", cs.DeviceID)
	add("ModuleId", cs.ModuleID)
	add("SharedAccessKeyName", cs.SharedAccessKeyName)
	if !cs.key.IsZero() {
		add("SharedAccessKey", redacted)
	}
	if cs.signature != nil {
		add("SharedAccessSignature", redacted)
	}
	if cs.X509 {
		add("x509", "true")
	}
	add("GatewayHostName", cs.GatewayHostName)
	return b.String()
}

// GoString is String, for %#v.
func (cs *ConnectionString) GoString() string { return cs.String() }

// LogValue is String, for log/slog.
func (cs *ConnectionString) LogValue() slog.Value { return slog.StringValue(cs.String()) }

func badConnectionString(format string, args ...any) error {
	return &Error{Op: "connection string", Kind: KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}
