package core

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/routing"
)

// builtinEndpoint is the name of the endpoint of the built-in event hub.
const builtinEndpoint = "events"

// The limits of IoT Hub (wire-service F1, F4).
const (
	maxRoutes      = 100
	maxEndpoints   = 10
	maxEnrichments = 10
	// maxRoutingBytes bounds the configuration as JSON.
	maxRoutingBytes = 1 << 20
)

// EventSource says what kind of event an event is. Its values are stored.
type EventSource uint8

// The sources.
const (
	SourceTelemetry EventSource = iota
	SourceTwinChange
	SourceDeviceLifecycle
	SourceConnectionState
	SourceDigitalTwinChange
	SourceJobLifecycle
)

// sources have two names: in routes, and on the events themselves.
var sources = []struct{ route, event, schema string }{
	{"DeviceMessages", "Telemetry", ""},
	{"TwinChangeEvents", "twinChangeEvents", "twinChangeNotification"},
	{"DeviceLifecycleEvents", "deviceLifecycleEvents", "deviceLifecycleNotification"},
	{"DeviceConnectionStateEvents", "deviceConnectionStateEvents", "deviceConnectionStateNotification"},
	{"DigitalTwinChangeEvents", "digitalTwinChangeEvents", "digitalTwinChangeNotification"},
	{"DeviceJobLifecycleEvents", "deviceJobLifecycleEvents", "deviceJobLifecycleNotification"},
}

// String is the name that events carry, for example "Telemetry".
func (s EventSource) String() string {
	if int(s) < len(sources) {
		return sources[s].event
	}
	return "unknown"
}

func parseSource(name string) (EventSource, bool) {
	for i, s := range sources {
		if strings.EqualFold(s.route, name) {
			return EventSource(i), true
		}
	}
	return 0, false
}

// RoutingConfig says where events go, in the form of properties.routing of an IoT
// Hub in Azure Resource Manager. Endpoints are this hub's own kinds.
type RoutingConfig struct {
	Endpoints RoutingEndpoints `json:"endpoints"`
	Routes    []RouteConfig    `json:"routes"`
	// Fallback takes the messages of devices that no route does; nil is one to
	// the built-in event hub.
	Fallback    *RouteConfig `json:"fallbackRoute,omitempty"`
	Enrichments []Enrichment `json:"enrichments,omitempty"`
}

// RoutingEndpoints are the endpoints beside the built-in one. Names are those of
// event hubs, and no two are the same.
type RoutingEndpoints struct {
	EventHubs []EventHubEndpoint `json:"eventHubs,omitempty"`
	Webhooks  []WebhookEndpoint  `json:"webhooks,omitempty"`
	NATS      []NATSEndpoint     `json:"nats,omitempty"`
}

// EventHubEndpoint is a further event hub of this hub.
type EventHubEndpoint struct {
	Name           string   `json:"name"`
	Partitions     int      `json:"partitionCount,omitempty"`
	RetentionDays  int      `json:"retentionTimeInDays,omitempty"`
	ConsumerGroups []string `json:"consumerGroups,omitempty"`
}

// WebhookEndpoint gets events by HTTP POST, as JSON arrays.
type WebhookEndpoint struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Headers are sent with each request, for example an Authorization.
	Headers map[string]string `json:"headers,omitempty"`
	// MaxBatch is how many events a request carries at the most, 1 to 1000;
	// default 100.
	MaxBatch int `json:"maxBatchSize,omitempty"`
}

// NATSEndpoint gets events as messages of NATS.
type NATSEndpoint struct {
	Name string `json:"name"`
	// URL may hold user and password, or a token.
	URL string `json:"url"`
	// Subject may hold {deviceId}, {moduleId} and {source}.
	Subject string `json:"subject"`
	// JetStream waits for a stream to have stored each message.
	JetStream bool `json:"jetStream,omitempty"`
}

// RouteConfig is a route.
type RouteConfig struct {
	Name      string   `json:"name"`
	Source    string   `json:"source"`
	Condition string   `json:"condition,omitempty"`
	Endpoints []string `json:"endpointNames"`
	// Enabled is true unless given.
	Enabled *bool `json:"isEnabled,omitempty"`
}

func (r *RouteConfig) enabled() bool { return r.Enabled == nil || *r.Enabled }

// Enrichment stamps a property on the events that go to endpoints. The value is a
// text, $iothubname, or $twin. and a path into the twin of the device.
type Enrichment struct {
	Key       string   `json:"key"`
	Value     string   `json:"value"`
	Endpoints []string `json:"endpointNames"`
}

var (
	validEnrichmentKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)
	validRouteName     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// parseRouting reads and checks a configuration.
func parseRouting(data []byte) (*RoutingConfig, error) {
	if len(data) > maxRoutingBytes {
		return nil, NewError(CodeArgumentInvalid, "the routing has %d bytes, the limit is %d", len(data), maxRoutingBytes)
	}
	c := new(RoutingConfig)
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields() // a word that is not understood would route otherwise than meant
	if err := d.Decode(c); err != nil {
		return nil, NewError(CodeIotHubFormatError, "the routing is not the JSON that it should be: %v", err)
	}
	return c, c.check()
}

func (c *RoutingConfig) check() error {
	names := map[string]bool{builtinEndpoint: true}
	count := 0
	add := func(name string) error {
		if err := validEventHubName(name); err != nil {
			return err
		}
		if count++; count > maxEndpoints {
			return NewError(CodeArgumentInvalid, "there are more than %d endpoints", maxEndpoints)
		}
		if key := strings.ToLower(name); names[key] {
			return NewError(CodeArgumentInvalid, "there are two endpoints %q", name)
		} else {
			names[key] = true
		}
		return nil
	}
	for _, e := range c.Endpoints.EventHubs {
		if err := add(e.Name); err != nil {
			return err
		}
	}
	for _, e := range c.Endpoints.Webhooks {
		if err := add(e.Name); err != nil {
			return err
		}
		if e.MaxBatch < 0 || e.MaxBatch > 1000 {
			return NewError(CodeArgumentInvalid, "endpoint %s: maxBatchSize is %d, allowed are 1 to 1000", e.Name, e.MaxBatch)
		}
	}
	for _, e := range c.Endpoints.NATS {
		if err := add(e.Name); err != nil {
			return err
		}
		if e.Subject == "" || strings.ContainsAny(e.Subject, " \t\r\n*>") {
			return NewError(CodeArgumentInvalid, "endpoint %s: %q is no subject to publish to", e.Name, e.Subject)
		}
	}
	return c.checkRoutes(names)
}

func (c *RoutingConfig) checkRoutes(endpoints map[string]bool) error {
	if len(c.Routes) > maxRoutes {
		return NewError(CodeArgumentInvalid, "there are %d routes, the limit is %d", len(c.Routes), maxRoutes)
	}
	known := func(what string, names []string) error {
		if len(names) == 0 {
			return NewError(CodeArgumentInvalid, "%s names no endpoint", what)
		}
		for _, name := range names {
			if !endpoints[strings.ToLower(name)] {
				return NewError(CodeArgumentInvalid, "%s: there is no endpoint %q", what, name)
			}
		}
		return nil
	}
	seen := make(map[string]bool)
	for i := range c.Routes {
		r := &c.Routes[i]
		if !validRouteName.MatchString(r.Name) || seen[strings.ToLower(r.Name)] {
			return NewError(CodeArgumentInvalid, "%q is no name for a route: 1 to 64 letters, digits, '.', '_' and '-', and no two the same", r.Name)
		}
		seen[strings.ToLower(r.Name)] = true
		if _, ok := parseSource(r.Source); !ok {
			return NewError(CodeArgumentInvalid, "route %s: there is no source %q", r.Name, r.Source)
		}
		if err := known("route "+r.Name, r.Endpoints); err != nil {
			return err
		}
	}
	if f := c.Fallback; f != nil && f.enabled() {
		if f.Source != "" && !strings.EqualFold(f.Source, sources[SourceTelemetry].route) {
			return NewError(CodeArgumentInvalid, "the fallback route is for %s only", sources[SourceTelemetry].route)
		}
		if err := known("the fallback route", f.Endpoints); err != nil {
			return err
		}
	}
	if len(c.Enrichments) > maxEnrichments {
		return NewError(CodeArgumentInvalid, "there are %d enrichments, the limit is %d", len(c.Enrichments), maxEnrichments)
	}
	for _, e := range c.Enrichments {
		if !validEnrichmentKey.MatchString(e.Key) || e.Value == "" {
			return NewError(CodeArgumentInvalid, "the enrichment %q needs a key of letters, digits, '-', '_' and '.', and a value", e.Key)
		}
		if err := known("enrichment "+e.Key, e.Endpoints); err != nil {
			return err
		}
	}
	return nil
}

// compiledRoute is a route that is switched on.
type compiledRoute struct {
	name      string
	condition *routing.Condition
	targets   []*endpoint
	matched   *counter
}

// compileCondition compiles the condition of a route.
func compileCondition(name, text string, source EventSource) (*routing.Condition, error) {
	c, err := routing.Compile(text, &routing.Options{TwinChanges: source == SourceTwinChange})
	if err != nil {
		return nil, NewError(CodeArgumentInvalid, "route %s: %v", name, err)
	}
	return c, nil
}

// eventHubConfigs are the event hubs that the configuration needs: those that are
// endpoints, and one behind each endpoint that is delivered to, which keeps what
// was not delivered yet.
func (c *RoutingConfig) eventHubConfigs() []EventHubConfig {
	var list []EventHubConfig
	for _, e := range c.Endpoints.EventHubs {
		list = append(list, EventHubConfig{
			Name: e.Name, Partitions: e.Partitions, ConsumerGroups: e.ConsumerGroups,
			Retention: time.Duration(e.RetentionDays) * 24 * time.Hour,
		})
	}
	for _, d := range c.deliveries() {
		list = append(list, EventHubConfig{Name: d.name(), Partitions: 1})
	}
	return list
}

// deliveries are the endpoints that events are delivered to.
func (c *RoutingConfig) deliveries() []Delivery {
	var list []Delivery
	for i := range c.Endpoints.Webhooks {
		list = append(list, Delivery{Webhook: &c.Endpoints.Webhooks[i]})
	}
	for i := range c.Endpoints.NATS {
		list = append(list, Delivery{NATS: &c.Endpoints.NATS[i]})
	}
	return list
}

func (c *RoutingConfig) isDelivery(name string) bool {
	return slices.ContainsFunc(c.deliveries(), func(d Delivery) bool { return strings.EqualFold(d.name(), name) })
}
