package provisioning

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/iothub-go/iothub"
)

const (
	// DefaultEndpoint is the host name of the service for all of Azure.
	DefaultEndpoint = "global.azure-devices-provisioning.net"
	// MaxRegistrationID is the longest registration id, in characters.
	MaxRegistrationID = 128
	// MaxRequest is the largest request that the service takes, in bytes; the custom
	// payload is most of it.
	MaxRequest = 96 << 10
)

// Transport is the protocol that is spoken with the service. The client that is
// opened with the result may speak another one.
type Transport uint8

// The transports, with the ports they have unless the end point names one.
const (
	Auto          Transport = iota // MQTT, or HTTPS for a TPM
	MQTT                           // MQTT 3.1.1 over TLS, port 8883
	MQTTWebSocket                  // the same over WebSockets, port 443
	HTTPS                          // port 443
)

var transportNames = [...]string{"auto", "mqtt", "mqtt-ws", "https"}

// String returns "auto", "mqtt", "mqtt-ws" or "https".
func (t Transport) String() string {
	if int(t) < len(transportNames) {
		return transportNames[t]
	}
	return fmt.Sprintf("Transport(%d)", uint8(t))
}

// ParseTransport returns the transport with that name, the empty one being Auto.
// Errors are *iothub.Error of kind KindInvalidArgument.
func ParseTransport(name string) (Transport, error) {
	for t, n := range transportNames {
		if strings.EqualFold(cmp.Or(name, "auto"), n) {
			return Transport(t), nil
		}
	}
	return 0, invalid("the transport is %.40q, known are %s", name, strings.Join(transportNames[:], ", "))
}

// Progress is what a registration has come to.
type Progress uint8

// The steps of a registration. Those after the first may be told more than once, or
// never.
const (
	ProgressConnected  Progress = iota + 1 // the service takes the credential, or has not looked at it yet
	ProgressUnassigned                     // the registration is known, its hub is not looked for yet
	ProgressAssigning                      // the hub is being looked for
)

var progressNames = [...]string{"none", "connected", "unassigned", "assigning"}

// String returns the step in lower case.
func (p Progress) String() string {
	if int(p) < len(progressNames) {
		return progressNames[p]
	}
	return fmt.Sprintf("Progress(%d)", uint8(p))
}

// Config says who registers, where and how. IDScope and Attestation are required.
// Functions that take one copy it.
type Config struct {
	// Endpoint is the host name of the service, with ":port" where that is not the
	// usual one of the transport; "" is DefaultEndpoint.
	Endpoint string
	// IDScope names one provisioning service among all.
	IDScope string
	// RegistrationID names the device in it: at most 128 of the ASCII letters and
	// digits and "-._:", ending in a letter, a digit or "-". With a certificate it may
	// be left out, and otherwise has to be the same, up to case, as the common name.
	RegistrationID string
	// Attestation is what the device proves itself with.
	Attestation *Attestation
	// Transport is the protocol; the zero value chooses one that can do it.
	Transport Transport
	// Payload is JSON for a custom allocation; nil is none.
	Payload json.RawMessage
	// Options configure the connection to the service: TLS, Dial, DialTLS, Proxy,
	// ConnectTimeout, TokenLifetime, Retry, ProductInfo and Logger count, the rest does
	// not. Nil is all defaults, and in a device client the options of that client.
	Options *iothub.ClientOptions
	// OnProgress is told what a registration has come to, on the goroutine that
	// registers; nil is nobody.
	OnProgress func(Progress)

	// The rest is for device clients, see device.NewClientFromProvisioning.

	// StateFile keeps the assignment across restarts of the program, as JSON without
	// secrets, so that those need no provisioning service; "" registers each time.
	StateFile string
	// OnAssigned is told of each new assignment, before the client connects to the
	// hub, on the goroutine that dials: the client waits for it. Nil is nobody.
	OnAssigned func(*Assignment)
}

// Validate reports what can be known to be wrong without a network, as an
// *iothub.Error of kind KindInvalidArgument.
func (c *Config) Validate() error {
	_, err := c.prepare()
	return err
}

// ID returns the registration id: RegistrationID, or the common name of the certificate.
// The error is that of Validate.
func (c *Config) ID() (string, error) {
	p, err := c.prepare()
	if err != nil {
		return "", err
	}
	return p.RegistrationID, nil
}

// prepare returns a copy with every default filled in.
func (c *Config) prepare() (*Config, error) {
	if c == nil {
		return nil, invalid("the configuration is nil")
	}
	p := *c
	p.Endpoint = cmp.Or(p.Endpoint, DefaultEndpoint)
	opts, err := p.Options.WithDefaults()
	if err != nil {
		return nil, err
	}
	p.Options = opts
	switch {
	case p.Attestation == nil:
		return nil, invalid("no Attestation: use one of the New…Attestation functions")
	case !idScope(p.IDScope):
		return nil, invalid("IDScope is %.40q: it is letters and digits, as the service shows it", p.IDScope)
	case p.Transport > HTTPS:
		return nil, invalid("Transport %d does not exist", p.Transport)
	case len(p.Payload) > 0 && !json.Valid(p.Payload):
		return nil, invalid("Payload is no JSON")
	}
	if err := p.Attestation.complete(&p); err != nil {
		return nil, err
	}
	if err := validateRegistrationID(p.RegistrationID); err != nil {
		return nil, err
	}
	return &p, nil
}

func idScope(s string) bool {
	return s != "" && len(s) <= 128 && strings.IndexFunc(s, func(r rune) bool { return !alphanumeric(r) }) < 0
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// validateRegistrationID is strict: the service takes nothing else. (IoT DPS concepts,
// registration id)
func validateRegistrationID(s string) error {
	switch {
	case s == "":
		return invalid("RegistrationID is empty")
	case len(s) > MaxRegistrationID:
		return invalid("RegistrationID has %d characters, the limit is %d", len(s), MaxRegistrationID)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("-._:", r) }); i >= 0 {
		return invalid("RegistrationID has %q at byte %d: use ASCII letters, digits and -._:", s[i], i)
	}
	if last := rune(s[len(s)-1]); last != '-' && !alphanumeric(last) {
		return invalid("RegistrationID ends in %q: it has to end in a letter, a digit or -", last)
	}
	return nil
}

const op = "register"

func invalid(format string, args ...any) error {
	return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// errBroken says that the service does not keep to its own protocol.
func errBroken(format string, args ...any) error {
	return &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: fmt.Errorf(format, args...)}
}

var errNoAnswer = errors.New("the provisioning service does not answer")
