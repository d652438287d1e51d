package core

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxConfigurations is how many a hub may have, maxMetrics how many metrics of
	// its own one may have (H.1).
	maxConfigurations = 100
	maxMetrics        = 5

	contentTypeAssignment = "assignment"
)

// Configuration is an automatic device configuration or an IoT Edge deployment,
// in the form of IoT Hub's REST API.
type Configuration struct {
	ID            string               `json:"id"`
	SchemaVersion string               `json:"schemaVersion"`
	Labels        map[string]string    `json:"labels"`
	Content       ConfigurationContent `json:"content"`
	ContentType   string               `json:"contentType"`
	// TargetCondition says which twins it is for: none when it is empty, all for
	// "*", else those that meet the condition.
	TargetCondition string `json:"targetCondition"`
	CreatedTime     Time   `json:"createdTimeUtc"`
	LastUpdatedTime Time   `json:"lastUpdatedTimeUtc"`
	// Priority decides between several for one twin: the highest applies, among
	// equal ones the newest.
	Priority int `json:"priority"`
	// SystemMetrics are the hub's own, Metrics those that the configuration asks
	// for.
	SystemMetrics ConfigurationMetrics `json:"systemMetrics"`
	Metrics       ConfigurationMetrics `json:"metrics"`
	ETag          string               `json:"etag"`
}

// ConfigurationMetrics are queries, by name, and how many rows each has.
type ConfigurationMetrics struct {
	Results map[string]int64  `json:"results"`
	Queries map[string]string `json:"queries"`
}

// configDoc is a configuration as it is used. It is never changed in place.
type configDoc struct {
	Configuration
	version uint64
	rev     uint64
	content *parsedContent
	target  *target
}

// storedConfig is how it is stored.
type storedConfig struct {
	Configuration
	Version uint64 `json:"version"`
}

// configETag is base64 of the version in decimal digits.
func configETag(version uint64) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, version, 10))
}

func configNotFound(id string) *Error {
	return NewError(CodeConfigurationNotFound, "there is no configuration %.140q", id)
}

// validateConfigID checks the id of a configuration.
func validateConfigID(id string) error {
	if id == "" {
		return NewError(CodeArgumentNull, "the id of the configuration is missing")
	}
	if len(id) > maxIDLength {
		return NewError(CodeArgumentInvalid, "the id of the configuration has %d characters, the limit is %d", len(id), maxIDLength)
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') && strings.IndexByte("-:.+%_#*?!(),=@$';", c) < 0 {
			return NewError(CodeArgumentInvalid,
				"the id %q of the configuration holds %q; allowed are lower-case letters, digits and - : . + %% _ # * ? ! ( ) , = @ $ ' ;", id, c)
		}
	}
	return nil
}

// prepare checks a configuration and parses what is to be parsed.
func (s *configStore) prepare(c *Configuration) (*configDoc, error) {
	doc := &configDoc{Configuration: *c}
	var err error
	if doc.content, err = c.Content.parse(); err != nil {
		return nil, err
	}
	if doc.target, err = parseTarget(c.TargetCondition, doc.content.kind); err != nil {
		return nil, err
	}
	if c.Priority < 0 {
		return nil, NewError(CodeArgumentInvalid, "priority is %d, it has to be 0 or more", c.Priority)
	}
	if len(c.Metrics.Queries) > maxMetrics {
		return nil, NewError(CodeArgumentInvalid, "metrics has %d queries, the limit is %d", len(c.Metrics.Queries), maxMetrics)
	}
	for name, query := range c.Metrics.Queries {
		if err := s.hub.checkMetric(query); err != nil {
			return nil, NewError(CodeInvalidMetricsQuery, "the query of the metric %.100q: %s", name, messageOf(err))
		}
	}
	return doc, nil
}

func messageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// CreateConfiguration adds a configuration, which is put into the twins it is for
// soon after. Errors are *Error: 409401 when there is one of that id, 413101 above
// 100, 400401 for the content, 400404 for the target condition, 400405 for a query
// of a metric, else 400xxx.
func (h *Hub) CreateConfiguration(ctx context.Context, c Configuration) (Configuration, error) {
	s := &h.configs
	if err := validateConfigID(c.ID); err != nil {
		return Configuration{}, err
	}
	now := Time{h.now().UTC()}
	c.CreatedTime, c.LastUpdatedTime, c.ContentType = now, now, contentTypeAssignment
	if c.SchemaVersion == "" {
		c.SchemaVersion = "1.0"
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	exists, count := s.docs[c.ID] != nil, len(s.docs)
	s.mu.Unlock()
	if exists {
		return Configuration{}, NewError(CodeConfigurationAlreadyExists, "there is a configuration %q already", c.ID)
	}
	if count >= maxConfigurations {
		return Configuration{}, NewError(CodeConfigurationCountLimit, "the hub holds its maximum of %d configurations", maxConfigurations)
	}
	doc, err := s.prepare(&c)
	if err != nil {
		return Configuration{}, err
	}
	doc.version = 1
	data, err := doc.encode()
	if err == nil {
		doc.rev, err = s.bucket.Create(ctx, c.ID, data)
	}
	if err != nil {
		return Configuration{}, storageError("create configuration", err)
	}
	s.put(doc)
	return s.view(doc, s.counts()), nil
}

// UpdateConfiguration changes the labels, the target condition, the priority and
// the metrics of a configuration whose ETag is etag ([AnyETag] for any). Its
// content cannot be changed and may be left out. Errors are *Error: 404301,
// 412001, 400403 for another content, else as for [Hub.CreateConfiguration].
func (h *Hub) UpdateConfiguration(ctx context.Context, c Configuration, etag string) (Configuration, error) {
	s := &h.configs
	s.write.Lock()
	defer s.write.Unlock()
	old, err := s.get(c.ID, etag)
	if err != nil {
		return Configuration{}, err
	}
	if !c.Content.isEmpty() && !c.Content.equals(&old.Content) {
		return Configuration{}, NewError(CodeImmutableConfigContent,
			"the content of configuration %q cannot be changed; create another one with a higher priority", c.ID)
	}
	next := old.Configuration
	next.Labels, next.TargetCondition, next.Priority, next.Metrics.Queries = c.Labels, c.TargetCondition, c.Priority, c.Metrics.Queries
	next.LastUpdatedTime = Time{h.now().UTC()}
	doc, err := s.prepare(&next)
	if err != nil {
		return Configuration{}, err
	}
	doc.version = old.version + 1
	data, err := doc.encode()
	if err == nil {
		doc.rev, err = s.bucket.Update(ctx, c.ID, data, old.rev)
	}
	if err != nil {
		return Configuration{}, storageError("update configuration", err)
	}
	s.put(doc)
	return s.view(doc, s.counts()), nil
}

// DeleteConfiguration removes a configuration whose ETag is etag ([AnyETag] for
// any). What it has set in twins is removed soon after, and the next one applies.
// Errors are *Error: 404301, 412001.
func (h *Hub) DeleteConfiguration(ctx context.Context, id, etag string) error {
	s := &h.configs
	s.write.Lock()
	defer s.write.Unlock()
	old, err := s.get(id, etag)
	if err != nil {
		return err
	}
	if _, err := s.bucket.Delete(ctx, id, old.rev); err != nil {
		return storageError("delete configuration", err)
	}
	s.mu.Lock()
	delete(s.docs, id)
	s.order = nil
	s.mu.Unlock()
	s.touchAll()
	return nil
}

func (s *configStore) get(id, etag string) (*configDoc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc := s.docs[id]
	switch {
	case doc == nil:
		return nil, configNotFound(id)
	case etag != AnyETag && etag != configETag(doc.version):
		return nil, NewError(CodePreconditionFailed, "Precondition failed: Configuration version did not match, existing ETag: %s, given: %s",
			configETag(doc.version), etag)
	}
	return doc, nil
}

func (s *configStore) put(doc *configDoc) {
	s.mu.Lock()
	s.docs[doc.ID], s.order = doc, nil
	s.mu.Unlock()
	s.active.Store(true)
	s.touchAll()
}

// encode gives what is stored: without what follows from the rest.
func (d *configDoc) encode() ([]byte, error) {
	c := storedConfig{d.Configuration, d.version}
	c.SystemMetrics, c.Metrics.Results = ConfigurationMetrics{}, nil
	return json.Marshal(c)
}

// GetConfiguration returns a configuration with its metrics; 404301 when there is
// none.
func (h *Hub) GetConfiguration(ctx context.Context, id string) (Configuration, error) {
	doc, err := h.configs.get(id, AnyETag)
	if err != nil {
		return Configuration{}, err
	}
	c := h.configs.view(doc, h.configs.counts())
	h.customMetrics(ctx, &c)
	return c, nil
}

// ListConfigurations returns up to max configurations in the order of their ids,
// with their metrics.
func (h *Hub) ListConfigurations(ctx context.Context, max int) []Configuration {
	s := &h.configs
	counts := s.counts()
	s.mu.Lock()
	docs := make([]*configDoc, 0, len(s.docs))
	for _, doc := range s.docs {
		docs = append(docs, doc)
	}
	s.mu.Unlock()
	slices.SortFunc(docs, func(a, b *configDoc) int { return strings.Compare(a.ID, b.ID) })
	list := make([]Configuration, 0, len(docs))
	for _, doc := range docs[:min(max, len(docs))] {
		c := s.view(doc, counts)
		h.customMetrics(ctx, &c)
		list = append(list, c)
	}
	return list
}

// customMetrics runs the queries that a configuration asks for. One that cannot
// be answered now has no result.
func (h *Hub) customMetrics(ctx context.Context, c *Configuration) {
	for name, query := range c.Metrics.Queries {
		if n, err := h.countRows(ctx, query); err == nil {
			c.Metrics.Results[name] = n
		}
	}
}

func (c *ConfigurationContent) isEmpty() bool {
	return len(c.DeviceContent) == 0 && len(c.ModuleContent) == 0 && len(c.ModulesContent) == 0
}

// equals compares contents as JSON values, numbers by their digits.
func (c *ConfigurationContent) equals(other *ConfigurationContent) bool {
	a, errA := c.canonical()
	b, errB := other.canonical()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (c *ConfigurationContent) canonical() ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	v, err := decodeTwinJSON(data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v) // members sorted
}

// ApplyConfigurationContent puts a content into the twins of one device at once:
// device content into its own, modules content into those of its modules, which are
// created where they are missing. Errors are *Error: 404001, 400401, and those of
// [Hub.UpdateTwin].
func (h *Hub) ApplyConfigurationContent(ctx context.Context, deviceID string, content ConfigurationContent) error {
	h.mu.RLock()
	dev := h.registry[deviceID]
	h.mu.RUnlock()
	if dev == nil {
		return deviceNotFound(deviceID)
	}
	p, err := content.parse()
	if err != nil {
		return err
	}
	switch {
	case p.kind == moduleContent:
		return invalidContent("moduleContent is for modules; a device takes deviceContent or modulesContent")
	case p.kind == edgeContent && !dev.IoTEdge:
		return invalidContent("modulesContent is for IoT Edge devices, and %s is none", deviceID)
	}
	for module, part := range p.parts {
		if err := h.assign(ctx, identityKey{deviceID, module}, part, nil); err != nil {
			return err
		}
	}
	return nil
}

// TestedQueries says what is wrong with a target condition and with queries;
// nil is nothing.
type TestedQueries struct {
	TargetConditionError    *string            `json:"targetConditionError"`
	CustomMetricQueryErrors map[string]*string `json:"customMetricQueryErrors"`
}

// TestConfigurationQueries checks them without a configuration.
func (h *Hub) TestConfigurationQueries(targetCondition string, metrics map[string]string) TestedQueries {
	t := TestedQueries{CustomMetricQueryErrors: make(map[string]*string)}
	text := func(err error) *string {
		if err == nil {
			return nil
		}
		message := messageOf(err)
		return &message
	}
	kind := deviceContent
	if isModuleTarget(targetCondition) {
		kind = moduleContent
	}
	_, err := parseTarget(targetCondition, kind)
	t.TargetConditionError = text(err)
	for name, query := range metrics {
		t.CustomMetricQueryErrors[name] = text(h.checkMetric(query))
	}
	return t
}

// newer sorts configurations as they win: by priority, then by age.
func newer(a, b *configDoc) int {
	if a.Priority != b.Priority {
		return b.Priority - a.Priority
	}
	if c := b.CreatedTime.Compare(a.CreatedTime.Time); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// reconcileEvery is how often all twins are looked at, whatever has changed.
const reconcileEvery = 5 * time.Minute
