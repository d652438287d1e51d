package hub

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxConfigurations is how many a hub can have.
const maxConfigurations = 100

// Configuration is a set of desired properties that the hub keeps on all twins for
// which a condition is true, or a deployment of IoT Edge.
type Configuration struct {
	// ID has up to 128 lower-case letters, digits and - : . + % _ # * ? ! ( ) , = @ $ ' ;
	ID string
	// Labels are for people.
	Labels map[string]string
	// Content is one of
	//
	//	{"deviceContent":{"properties.desired.interval":30}}
	//	{"moduleContent":{"properties.desired.interval":30}}
	//	{"modulesContent":{"$edgeAgent":{"properties.desired":{…}},"$edgeHub":{…}}}
	//
	// It cannot be changed later.
	Content json.RawMessage
	// TargetCondition is the part of a query behind WHERE; "*" is all twins, ""
	// none. For module content it begins with "from devices.modules where".
	TargetCondition string
	// Priority, 0 or more, decides between configurations for one twin: the highest
	// applies, of equal ones the newest.
	Priority int
	// Metrics are queries by name, at most five.
	Metrics map[string]string

	// What follows is set by the hub. Results counts the rows of the metrics, and of
	// those of the hub itself, targetedCount and appliedCount among them.
	Results                  map[string]int64
	CreatedTime, UpdatedTime time.Time
	ETag                     string
}

// CreateConfiguration makes a configuration and returns when it is stored; it is put
// into the twins soon after. Errors are [iothub.Error]: code 409401 when there is one
// of that id, 413101 above 100.
func (s *Server) CreateConfiguration(ctx context.Context, c Configuration) (*Configuration, error) {
	return s.configuration(ctx, "create configuration", func() (made core.Configuration, err error) {
		if made, err = c.core(); err == nil {
			made, err = s.hub.CreateConfiguration(ctx, made)
		}
		return made, err
	})
}

// UpdateConfiguration changes the labels, the target condition, the priority and the
// metrics of a configuration. Its content may be left out. etag, unless it is empty
// or "*", has to be that of the configuration. Errors are [iothub.Error]: code 404301
// when there is none of that id, 412001, 400403 for another content.
func (s *Server) UpdateConfiguration(ctx context.Context, c Configuration, etag string) (*Configuration, error) {
	return s.configuration(ctx, "update configuration", func() (changed core.Configuration, err error) {
		if changed, err = c.core(); err == nil {
			changed, err = s.hub.UpdateConfiguration(ctx, changed, etagOrAny(etag))
		}
		return changed, err
	})
}

// Configuration returns a configuration with the results of its metrics as they now
// are; code 404301 when there is none of that id.
func (s *Server) Configuration(ctx context.Context, id string) (*Configuration, error) {
	return s.configuration(ctx, "configuration", func() (core.Configuration, error) { return s.hub.GetConfiguration(ctx, id) })
}

// Configurations returns all configurations, by id, as [Server.Configuration] does.
func (s *Server) Configurations(ctx context.Context) ([]*Configuration, error) {
	if s.isClosed() {
		return nil, ErrServerClosed
	}
	var list []*Configuration
	for _, c := range s.hub.ListConfigurations(ctx, maxConfigurations) {
		p, err := configurationOf(c)
		if err != nil {
			return nil, s.failed("configurations", err)
		}
		list = append(list, p)
	}
	return list, ctx.Err()
}

// DeleteConfiguration deletes a configuration. What it has set in twins is removed
// soon after. etag, unless it is empty or "*", has to be that of the configuration.
func (s *Server) DeleteConfiguration(ctx context.Context, id, etag string) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	if err := s.hub.DeleteConfiguration(ctx, id, etagOrAny(etag)); err != nil {
		return s.contextFailed(ctx, "delete configuration", err)
	}
	return nil
}

func (s *Server) configuration(ctx context.Context, op string, call func() (core.Configuration, error)) (*Configuration, error) {
	if s.isClosed() {
		return nil, ErrServerClosed
	}
	c, err := call()
	if err != nil {
		return nil, s.contextFailed(ctx, op, err)
	}
	return configurationOf(c)
}

// core gives the configuration as package core knows it.
func (c *Configuration) core() (core.Configuration, error) {
	made := core.Configuration{ID: c.ID, Labels: c.Labels, TargetCondition: c.TargetCondition, Priority: c.Priority}
	made.Metrics.Queries = c.Metrics
	if len(c.Content) > 0 {
		if err := json.Unmarshal(c.Content, &made.Content); err != nil {
			return made, core.NewError(core.CodeArgumentInvalid, "the content of configuration %.140q is not the JSON of one: %v", c.ID, err)
		}
	}
	return made, nil
}

func configurationOf(c core.Configuration) (*Configuration, error) {
	content, err := json.Marshal(c.Content)
	if err != nil {
		return nil, err
	}
	results := maps.Clone(c.SystemMetrics.Results)
	if results == nil {
		results = map[string]int64{}
	}
	maps.Copy(results, c.Metrics.Results)
	return &Configuration{
		ID: c.ID, Labels: c.Labels, Content: content, TargetCondition: c.TargetCondition, Priority: c.Priority, Metrics: c.Metrics.Queries,
		Results: results, CreatedTime: c.CreatedTime.Time, UpdatedTime: c.LastUpdatedTime.Time, ETag: c.ETag,
	}, nil
}
