package service

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// Configuration is a set of desired properties that the hub keeps on all twins
// for which a condition is true; with ModulesContent it is a deployment of IoT
// Edge.
type Configuration struct {
	// ID has lower-case letters, digits and -:+%_#*?!(),=@;', up to 128.
	ID string `json:"id"`
	// SchemaVersion is that of the content; empty is 1.0.
	SchemaVersion string `json:"schemaVersion,omitempty"`
	// Labels are for people.
	Labels map[string]string `json:"labels,omitempty"`
	// Content is what is kept on the twins; it cannot be changed later.
	Content ConfigurationContent `json:"content"`
	// TargetCondition is the part of a query behind WHERE, "*" is all twins,
	// "" none. For ModuleContent it begins with "from devices.modules where".
	TargetCondition string `json:"targetCondition"`
	// Priority decides between configurations for one twin: the highest wins,
	// of equal ones the newest.
	Priority int `json:"priority"`
	// SystemMetrics count what the hub counts by itself, Metrics what the
	// queries in them find, at most five.
	SystemMetrics *ConfigurationMetrics `json:"systemMetrics,omitempty"`
	Metrics       *ConfigurationMetrics `json:"metrics,omitempty"`
	// CreatedTime and LastUpdatedTime are set by the hub.
	CreatedTime     Time `json:"createdTimeUtc,omitzero"`
	LastUpdatedTime Time `json:"lastUpdatedTimeUtc,omitzero"`
	// ETag is the version; UpdateConfiguration depends on it.
	ETag ETag `json:"etag,omitempty"`
}

// ConfigurationContent is what a configuration keeps on twins: one of the three.
// Keys of the first two, and of the inner maps of the third, are dotted paths
// that begin with properties.desired.
type ConfigurationContent struct {
	// DeviceContent is for twins of devices.
	DeviceContent map[string]any `json:"deviceContent,omitempty"`
	// ModuleContent is for twins of modules.
	ModuleContent map[string]any `json:"moduleContent,omitempty"`
	// ModulesContent is for the modules of an IoT Edge device, by name.
	ModulesContent map[string]map[string]any `json:"modulesContent,omitempty"`
}

// ConfigurationMetrics are queries and how many twins they find.
type ConfigurationMetrics struct {
	// Results are by name of the metric.
	Results map[string]int64 `json:"results,omitempty"`
	// Queries are by name of the metric.
	Queries map[string]string `json:"queries,omitempty"`
}

// CreateConfiguration makes a configuration. It fails with iothub.KindConflict
// when there is one of this id.
func (c *Client) CreateConfiguration(ctx context.Context, conf *Configuration) (*Configuration, error) {
	const op = "create configuration"
	if conf == nil {
		return nil, backend.Invalid(op, "there is no configuration")
	}
	send := *conf
	send.ETag = ""
	return c.putConfiguration(ctx, op, &send, "")
}

// UpdateConfiguration changes labels, priority, target condition and metrics of a
// configuration whose version is conf.ETag, which [AnyETag] makes any.
func (c *Client) UpdateConfiguration(ctx context.Context, conf *Configuration) (*Configuration, error) {
	const op = "update configuration"
	if conf == nil {
		return nil, backend.Invalid(op, "there is no configuration")
	}
	if err := backend.NeedETag(op, string(conf.ETag)); err != nil {
		return nil, err
	}
	send := *conf
	return c.putConfiguration(ctx, op, &send, conf.ETag)
}

func (c *Client) putConfiguration(ctx context.Context, op string, conf *Configuration, etag ETag) (*Configuration, error) {
	if conf.ID == "" {
		return nil, backend.Invalid(op, "the id is empty")
	}
	if conf.SchemaVersion == "" {
		conf.SchemaVersion = "1.0"
	}
	r := &rest.Request{Op: op, Method: http.MethodPut, Path: []string{"configurations", conf.ID}, IfMatch: string(etag), Body: conf, Idempotent: etag == AnyETag}
	return backend.Result[Configuration](ctx, c.rest, r)
}

// GetConfiguration returns a configuration with the newest results of its metrics.
func (c *Client) GetConfiguration(ctx context.Context, id string) (*Configuration, error) {
	return backend.Result[Configuration](ctx, c.rest, &rest.Request{Op: "get configuration", Method: http.MethodGet, Path: []string{"configurations", id}, Idempotent: true})
}

// ListConfigurations returns up to top configurations; 0 is all that a hub can
// have, 100.
func (c *Client) ListConfigurations(ctx context.Context, top int) ([]*Configuration, error) {
	const op = "list configurations"
	if top < 0 {
		return nil, backend.Invalid(op, "top is negative")
	}
	if top == 0 {
		top = 100
	}
	return backend.List[Configuration](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: []string{"configurations"},
		Query: url.Values{"top": {strconv.Itoa(top)}}, Idempotent: true})
}

// DeleteConfiguration deletes a configuration and takes what it kept on twins away
// again. It fails with iothub.KindPreconditionFailed when its version is not etag,
// which [AnyETag] makes any.
func (c *Client) DeleteConfiguration(ctx context.Context, id string, etag ETag) error {
	const op = "delete configuration"
	if err := backend.NeedETag(op, string(etag)); err != nil {
		return err
	}
	_, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodDelete, Path: []string{"configurations", id}, IfMatch: string(etag), Idempotent: true}, nil)
	return err
}

// ApplyConfigurationContent puts a content on the twins of one device, once.
func (c *Client) ApplyConfigurationContent(ctx context.Context, deviceID string, content *ConfigurationContent) error {
	const op = "apply configuration content"
	if content == nil {
		return backend.Invalid(op, "there is no content")
	}
	path, err := identityPath(op, "devices", deviceID, "", "applyConfigurationContent")
	if err != nil {
		return err
	}
	_, err = c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPost, Path: path, Body: content, Idempotent: true}, nil)
	return err
}

// ConfigurationQueryErrors say what is wrong with the queries of a configuration.
type ConfigurationQueryErrors struct {
	// TargetCondition is empty for a condition that is right.
	TargetCondition string `json:"targetConditionError"`
	// Metrics has the name of each metric whose query is wrong.
	Metrics map[string]string `json:"customMetricQueryErrors"`
}

// TestConfigurationQueries has the hub check the target condition and the queries
// of metrics of a configuration to be. It returns nil when all is right.
func (c *Client) TestConfigurationQueries(ctx context.Context, targetCondition string, metricQueries map[string]string) (*ConfigurationQueryErrors, error) {
	if metricQueries == nil {
		metricQueries = map[string]string{}
	}
	e, err := backend.Result[ConfigurationQueryErrors](ctx, c.rest, &rest.Request{Op: "test configuration queries", Method: http.MethodPost,
		Path: []string{"configurations", "testQueries"}, Idempotent: true,
		Body: map[string]any{"targetCondition": targetCondition, "customMetricQueries": metricQueries}})
	if err != nil {
		return nil, err
	}
	for name, text := range e.Metrics {
		if text == "" {
			delete(e.Metrics, name)
		}
	}
	if e.TargetCondition == "" && len(e.Metrics) == 0 {
		return nil, nil
	}
	return e, nil
}
