package delivery

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxAnswer is how much of an answer is read, so that the connection can be used
// again.
const maxAnswer = 64 << 10

// webhook posts events.
type webhook struct {
	endpoint  *core.WebhookEndpoint
	hub       string
	transport *http.Transport
	client    *http.Client
}

// Deliver posts the events as one JSON array. Any answer of the 2xx kind is a
// confirmation.
func (w *webhook) Deliver(ctx context.Context, events []core.StoredEvent) error {
	list := make([]record, len(events))
	for i := range events {
		list[i] = recordOf(&events[i])
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the URL of endpoint %s is not valid", w.endpoint.Name)
	}
	for name, value := range w.endpoint.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("iothub-name", w.hub)
	// Both stay the same when the events come again.
	req.Header.Set("iothub-first-offset", events[0].Offset)
	req.Header.Set("iothub-count", strconv.Itoa(len(events)))
	resp, err := w.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address, which may hold a secret
		}
		return fmt.Errorf("post to endpoint %s: %w", w.endpoint.Name, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // only to use the connection again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("endpoint %s answered %s", w.endpoint.Name, resp.Status)
	}
	return nil
}

// Close closes idle connections.
func (w *webhook) Close() { w.transport.CloseIdleConnections() }

func recordOf(e *core.StoredEvent) record {
	r := record{EnqueuedTime: e.EnqueuedTime, Properties: e.Properties, System: map[string]string{
		"connectionDeviceId": e.DeviceID, "connectionDeviceGenerationId": e.GenerationID, "messageSource": e.Source,
	}}
	for name, value := range map[string]string{
		"connectionModuleId": e.ModuleID, "connectionAuthMethod": e.AuthMethod, "dt-dataschema": e.ModelID,
	} {
		if value != "" {
			r.System[name] = value
		}
	}
	for name, value := range e.System {
		if known, ok := systemNames[name]; ok {
			name = known
		}
		r.System[name] = value
	}
	r.Body = bodyOf(e)
	return r
}

// bodyOf is the body as JSON when the message says that it is, and base64
// otherwise.
func bodyOf(e *core.StoredEvent) any {
	kind, _, _ := strings.Cut(e.System["content-type"], ";")
	encoding := e.System["content-encoding"]
	isJSON := strings.EqualFold(kind, "application/json") || strings.EqualFold(kind, "application/json-patch+json")
	if isJSON && (encoding == "" || strings.EqualFold(encoding, "utf-8")) && json.Valid(e.Body) {
		return json.RawMessage(e.Body)
	}
	return base64.StdEncoding.EncodeToString(e.Body)
}
