package hub

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Options say what a [Server] is like. The zero value, and nil, are a usable
// server in memory. New copies the options.
type Options struct {
	// DataDir is the folder that keeps everything: identities, keys, events
	// and the certificate authority. It is created when missing and locked
	// while in use. Empty keeps everything in memory: nothing is written to
	// disk and all is gone with the server, the authority included.
	DataDir string
	// HostNames are the names that clients reach this hub by, DNS names or
	// IP addresses, without port. The first one stands in connection strings;
	// default 127.0.0.1. The server certificate is for all of them and for
	// localhost, 127.0.0.1 and ::1, by which the hub can always be reached.
	HostNames []string
	// Partitions is how many partitions events are spread over, 1 to 32. It
	// is fixed when the data folder is made. Zero takes what the folder has;
	// 4 for a new one.
	Partitions int
	// Retention is how long events are kept, 1 minute to 7 days; default 24 h.
	Retention time.Duration
	// RetentionBytes bounds what each partition keeps; the oldest events go
	// first. Zero is no bound.
	RetentionBytes int64
	// NoSync acknowledges events before they are synced to disk. A crash of
	// the process then loses nothing, a crash of the machine up to about a
	// second. Default is to sync first.
	NoSync bool
	// Logger takes the log; nil discards it. Secrets are never logged.
	Logger *slog.Logger

	// MessageTTL is how long a cloud-to-device message without an expiry of
	// its own is kept, 1 minute to 48 h; default 48 h.
	MessageTTL time.Duration
	// MaxDeliveryCount is how often a device may give a cloud-to-device
	// message back before it is given up, 1 to 100; default 10.
	MaxDeliveryCount int
	// Routes say where messages of modules go. Default is to the events of
	// the hub.
	Routes []Route

	// Routing says where events go, as the JSON of properties.routing in Azure
	// Resource Manager; see docs/routing.md. Without it the hub has the routing
	// that was last set over REST or by [Server.SetRouting], at first none: all
	// messages of devices go to the built-in event hub. With it, neither can
	// change it.
	Routing []byte
	// EventHubName is the name of the built-in event hub for Event Hubs clients;
	// default the first label of the first host name, or "iothub" when that is an
	// IP address. ConsumerGroups are its consumer groups beside $Default, at most
	// 20.
	EventHubName   string
	ConsumerGroups []string

	// Tier is the tier of IoT Hub whose rate limits and daily quota apply, one
	// of [Tiers]; see docs/throttling.md. Empty, the default, limits nothing.
	Tier string
	// Units is how many units of the tier there are; default 1.
	Units int
	// FaultInjection lets a device ask for faults of its own connection, by
	// the properties that the test suites of the official SDKs use; see
	// docs/fault-injection.md. Default is not to: the messages that ask are
	// then events like any other.
	FaultInjection bool

	// Gateway makes the server one before another hub. Default is that it is none.
	Gateway *Gateway
	// Clock is what the hub takes for the time of events, expiries and tokens of
	// back ends; nil is time.Now. Certificates and the tokens of devices go by the
	// time of the system.
	Clock func() time.Time

	// NoUploads refuses file uploads. Default is to take them, at the hub's own
	// blob endpoint on the HTTPS listener, or with UploadAccount in an account of
	// Azure Storage.
	NoUploads     bool
	UploadAccount *StorageAccount

	// NoProvisioning leaves out the Device Provisioning Service, which the server
	// has otherwise, beside the hub, unless it is a Gateway; see
	// docs/provisioning.md. IDScope is its id scope, letters and digits; default is
	// one that is made once and kept in the data folder.
	NoProvisioning bool
	IDScope        string
	// LinkedHubs are further hubs that devices are assigned to, at most 49, by
	// connection strings of policies that may write to their registries and change
	// twins. One may end in ;AllocationWeight=N, 1 to 100, its share in hashed
	// allocation; this hub has 1.
	LinkedHubs []string

	// DeviceAuthorities are certificates, in PEM, of authorities for devices and modules
	// whose authentication is certificateAuthority, beside those that the provisioning
	// service has as verified; see docs/provisioning.md.
	DeviceAuthorities []byte

	// NoPage leaves out the web page that the HTTPS listener has at /. It holds
	// no secret and opens nothing that the REST API does not.
	NoPage bool

	// RootCAs are the authorities that the hub trusts where it is a client
	// itself, of the storage accounts that import and export jobs name, of linked
	// hubs and of webhooks, besides its own. Default are those of the system.
	RootCAs *x509.CertPool

	// MaxDevices bounds the identity registry; default 1,000,000.
	MaxDevices int
	// MaxUnauthenticated bounds the connections that have not proved yet who
	// they are, over all listeners. While it is reached no further one is
	// accepted; each has HandshakeTimeout to move on. Default 1024.
	MaxUnauthenticated int
	// HandshakeTimeout bounds the TLS handshake, and after it the wait for
	// the first packet or request; default 10 s.
	HandshakeTimeout time.Duration
	// MaxUnacked is how many bytes of messages of one connection may wait to
	// become durable before the hub stops reading from it; default 1 MiB.
	MaxUnacked int
}

const (
	defaultHostName           = "127.0.0.1"
	defaultMaxUnauthenticated = 1024
	defaultHandshakeTimeout   = 10 * time.Second
)

// alwaysNames are the names of every hub, beside those of the options.
var alwaysNames = []string{"localhost", "127.0.0.1", "::1"}

// withDefaults returns a copy of o, nil or not, complete and checked. What core
// checks is left to it.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	names := c.HostNames
	if len(names) == 0 {
		names = []string{defaultHostName}
	}
	c.HostNames = nil
	seen := map[string]bool{}
	for _, name := range append(names[:len(names):len(names)], alwaysNames...) {
		if err := validateHostName("HostNames", name); err != nil {
			return c, err
		}
		if key := strings.ToLower(name); !seen[key] {
			seen[key] = true
			c.HostNames = append(c.HostNames, name)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxUnauthenticated == 0 {
		c.MaxUnauthenticated = defaultMaxUnauthenticated
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	for _, check := range []struct {
		bad   bool
		field string
		limit string
	}{
		{c.Retention < 0, "Retention", "1 minute to 7 days"},
		{c.RetentionBytes < 0, "RetentionBytes", "0 or more"},
		{c.Tier != "" && !isTier(c.Tier), "Tier", "empty or one of " + strings.Join(Tiers(), ", ")},
		{c.Units < 0, "Units", "0 or more"},
		{c.Units > 0 && c.Tier == "", "Units", "0 without a Tier"},
		{c.MessageTTL < 0, "MessageTTL", "1 minute to 48 h"},
		{c.MaxDeliveryCount < 0, "MaxDeliveryCount", "1 to 100"},
		{c.MaxDevices < 0, "MaxDevices", "0 or more"},
		{c.MaxUnauthenticated < 0, "MaxUnauthenticated", "0 or more"},
		{c.HandshakeTimeout < 0, "HandshakeTimeout", "0 or more"},
		{c.MaxUnacked < 0, "MaxUnacked", "0 or more"},
	} {
		if check.bad {
			return c, fmt.Errorf("hub: Options.%s must be %s", check.field, check.limit)
		}
	}
	return c, c.Gateway.validate()
}

func validateHostName(field, name string) error {
	ip := strings.Count(name, ":") > 1 // an IPv6 address
	if name == "" || strings.ContainsAny(name, "/ ;=") || !ip && strings.Contains(name, ":") {
		return fmt.Errorf("hub: Options.%s: %q is no host name: give a DNS name or an IP address, without port", field, name)
	}
	return nil
}
