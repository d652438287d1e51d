package core

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// ImportConfiguration is one line of the configurations of an import; an export
// writes the configuration alone. The mode createOrUpdateIfMatchETag is the only one
// that there is, and the default (ConfigurationImportMode of the Azure IoT SDK for C#).
type ImportConfiguration struct {
	Configuration
	ImportMode string `json:"importMode,omitempty"`
}

// ImportConfiguration makes a configuration, or changes the one there is when the
// ETag is its own. Errors are those of [Hub.CreateConfiguration] and
// [Hub.UpdateConfiguration], and 412001 when the ETag is missing.
func (h *Hub) ImportConfiguration(ctx context.Context, c ImportConfiguration) error {
	const only = "createOrUpdateIfMatchETag"
	if c.ImportMode != "" && !strings.EqualFold(c.ImportMode, only) {
		return NewError(CodeArgumentInvalid, "importMode is %.40q, for configurations there is only %s", c.ImportMode, only)
	}
	if _, err := h.configs.get(c.ID, AnyETag); err != nil {
		_, err = h.CreateConfiguration(ctx, c.Configuration)
		return err
	}
	etag := unquoteETag(c.ETag)
	if etag == "" {
		return NewError(CodePreconditionFailed, "there is a configuration %.140q already, and the line has no etag", c.ID)
	}
	_, err := h.UpdateConfiguration(ctx, c.Configuration, etag)
	return err
}

// exportConfigurations writes every configuration as one line.
func (h *Hub) exportConfigurations(ctx context.Context, container, name string) error {
	blob := h.cfg.Blobs.Create(ctx, container, name)
	lines := json.NewEncoder(blob)
	lines.SetEscapeHTML(false)
	for _, c := range h.ListConfigurations(ctx, maxConfigurations) {
		if err := lines.Encode(c); err != nil {
			return fmt.Errorf("write the configurations: %w", err)
		}
	}
	if err := blob.Close(); err != nil {
		return fmt.Errorf("write the configurations: %w", err)
	}
	return nil
}

// configurations takes configurations in, one after the other.
func (m *importer) configurations(body io.Reader, read func(int64)) (count int, err error) {
	return m.eachLine(body, read, func(n int, line []byte) {
		var c ImportConfiguration
		if err := json.Unmarshal(line, &c); err != nil {
			m.fail(importError{}, NewError(CodeIotHubFormatError, "line %d is not the JSON of a configuration", n))
			return
		}
		if err := m.hub.ImportConfiguration(m.ctx, c); err != nil && m.ctx.Err() == nil {
			m.fail(importError{ConfigurationID: c.ID}, err)
		}
	})
}
