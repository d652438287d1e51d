package core

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"
)

// Config is what a hub is told about itself. The zero value is usable.
type Config struct {
	// HostName is the name in the connection strings of this hub; default
	// "localhost". Names are further ones it answers to. Both are compared
	// without regard to case and port.
	HostName string
	Names    []string
	// Partitions is how many partitions telemetry is spread over, 1 to 32. Zero
	// takes what the storage was created with, or 4 for a new one. The number is
	// fixed when the storage is created, because devices are mapped by it.
	Partitions int
	// Retention is how long events are kept; default 24 h, at most 7 days.
	Retention time.Duration
	// RetentionBytes bounds what each partition keeps; zero is no bound.
	RetentionBytes int64
	// EventHubName is the name of the built-in event hub for Event Hubs clients;
	// default the first label of HostName, or "iothub" when that is an IP address.
	EventHubName string
	// ConsumerGroups are those of the built-in event hub beside $Default.
	ConsumerGroups []string
	// Routing is the routing as the JSON of a [RoutingConfig]; without one the hub
	// has what [Hub.SetRouting] has stored. Deliver makes what delivers to the
	// endpoints outside; nil delivers nothing.
	Routing []byte
	Deliver func(Delivery) (Deliverer, error)
	// Uploads is where devices upload files to; nil refuses uploads.
	Uploads UploadTarget
	// MaxDevices bounds the identity registry; default 1,000,000.
	MaxDevices int
	// MaxWaiting bounds the bytes accepted and not yet durable per partition;
	// default 256 MiB. Above it [Attachment.Ingest] answers 503005. The changes
	// of twins that wait have the same bound, or 64 MiB if that is less.
	MaxWaiting int
	// MessageTTL is how long a cloud-to-device message without an expiry of its
	// own is kept, 1 minute to 48 h; default 48 h.
	MessageTTL time.Duration
	// MaxDeliveryCount is how often a device may give a message back before it is
	// given up, 1 to 100; default 10.
	MaxDeliveryCount int
	// Routes say where the messages of modules go; see [Route].
	Routes []Route
	// InputTTL is how long a message waits for the module it was routed to;
	// default 2 h.
	InputTTL time.Duration
	// MaxQueued bounds the bytes in the queues of all devices and modules; default
	// 256 MiB. Above it senders get 503005.
	MaxQueued int
	// Tier is the tier of IoT Hub whose limits apply, one of [Tiers], and Units
	// how many units of it there are, 0 being 1. Without a tier nothing is
	// throttled.
	Tier  string
	Units int
	// Gateway, unless it is nil, makes this a hub before another one. It then keeps
	// events until [EventHub.Trim] lets go of them, or RetentionBytes are reached;
	// Retention does not count.
	Gateway *Gateway
	// Authorities reports whether an authority that this hub trusts stands behind a
	// certificate, the first one, over those shown with it; nil trusts none.
	Authorities func(now time.Time, shown []*x509.Certificate) bool
	// FaultInjection lets devices ask for faults, see [ParseFault].
	FaultInjection bool
	// Blobs is where import and export jobs read and write; without it there are
	// no such jobs.
	Blobs Blobs
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
	// Logger takes the hub's log; nil discards it.
	Logger *slog.Logger
}

const (
	defaultPartitions = 4
	maxPartitions     = 32
	maxRetention      = 7 * 24 * time.Hour
)

// withDefaults fills in and checks a copy of the configuration. Partitions stays
// zero when it is to follow the storage.
func (c Config) withDefaults() (Config, error) {
	if c.HostName == "" {
		c.HostName = "localhost"
	}
	if c.Retention == 0 {
		c.Retention = 24 * time.Hour
	}
	if c.EventHubName == "" {
		c.EventHubName = hubName(c.HostName)
	}
	if c.MaxDevices == 0 {
		c.MaxDevices = 1_000_000
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 256 << 20
	}
	if c.MessageTTL == 0 {
		c.MessageTTL = maxMessageTTL
	}
	if c.MaxDeliveryCount == 0 {
		c.MaxDeliveryCount = 10
	}
	if c.InputTTL == 0 {
		c.InputTTL = 2 * time.Hour
	}
	if c.MaxQueued == 0 {
		c.MaxQueued = 256 << 20
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, check := range []struct {
		bad   bool
		field string
		limit string
	}{
		{c.Partitions < 0 || c.Partitions > maxPartitions, "Partitions", "1 to 32"},
		{c.Retention < time.Minute || c.Retention > maxRetention, "Retention", "1 minute to 7 days"},
		{c.RetentionBytes < 0, "RetentionBytes", "0 or more"},
		{c.MaxDevices < 0, "MaxDevices", "0 or more"},
		{c.MaxWaiting < 0, "MaxWaiting", "0 or more"},
		{c.MessageTTL < time.Minute || c.MessageTTL > maxMessageTTL, "MessageTTL", "1 minute to 48 hours"},
		{c.MaxDeliveryCount < 1 || c.MaxDeliveryCount > 100, "MaxDeliveryCount", "1 to 100"},
		{c.InputTTL < 0, "InputTTL", "0 or more"},
		{c.MaxQueued < 0, "MaxQueued", "0 or more"},
	} {
		if check.bad {
			return c, fmt.Errorf("core: Config.%s must be %s", check.field, check.limit)
		}
	}
	return c, nil
}
