package edgehub

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/atomicfile"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/mqtt"
)

const (
	// reportEvery bounds how often $edgeHub reports who is connected.
	reportEvery = time.Second
	// maxClients bounds the clients in one report.
	maxClients = 100
	// schemaVersion is that of the desired properties that are understood, and of
	// the reported ones.
	schemaVersion = "1.1"
)

// config is what the twin of $edgeHub says and is told.
type config struct {
	hub     *Hub
	changed chan struct{} // room for one: something is to be reported

	mu      sync.Mutex
	desired map[string]any
	report  map[string]any // to be reported next
}

func (c *config) init(h *Hub) {
	c.hub, c.changed = h, make(chan struct{}, 1)
	c.report = map[string]any{"schemaVersion": schemaVersion, "version": map[string]any{"version": mqtt.Version}}
}

func (c *config) path() string { return filepath.Join(c.hub.opts.DataDir, "config.json") }

// openSystem opens the connection upstream of $edgeHub itself.
func (h *Hub) openSystem() error {
	c := &h.config
	data, err := os.ReadFile(c.path())
	if err == nil {
		err = engine.DecodeJSON(data, &c.desired)
	}
	if err == nil {
		err = c.apply()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("the desired properties that $edgeHub had are not applied", "error", err)
	}
	s, err := h.newSession(h.self)
	if err != nil {
		return err
	}
	h.sessions.mu.Lock()
	h.sessions.system = s
	h.sessions.mu.Unlock()
	s.client.HandleMethod("RefreshDeviceScopeIdentityCache", h.refreshCalled)
	if err := s.client.HandleDesired(c.told); err != nil {
		return err
	}
	s.client.Open()
	return nil
}

// routes makes routes of their texts.
func (h *Hub) routes(texts []string) ([]hub.Route, error) {
	list := make([]hub.Route, len(texts))
	for i, text := range texts {
		list[i].Text = text
	}
	return list, hub.CheckRoutes(list)
}

// told takes a change of the desired properties of $edgeHub.
func (c *config) told(change *iothub.DesiredChange) {
	var patch map[string]any
	if err := engine.DecodeJSON(change.Patch, &patch); err != nil {
		return // the client has made it
	}
	c.mu.Lock()
	if change.Complete || c.desired == nil {
		c.desired = make(map[string]any)
	}
	engine.MergePatch(c.desired, patch)
	data, err := json.Marshal(c.desired)
	c.mu.Unlock()
	if err == nil {
		err = atomicfile.Write(c.path(), data)
	}
	if err != nil {
		c.hub.log.Error("the desired properties of $edgeHub are not kept", "error", err)
	}
	status := map[string]any{"code": http.StatusOK, "description": ""}
	if err := c.apply(); err != nil {
		c.hub.log.Error("the desired properties of $edgeHub are not applied", "error", err)
		status = map[string]any{"code": http.StatusBadRequest, "description": err.Error()}
	}
	c.say(map[string]any{"lastDesiredVersion": change.Version, "lastDesiredStatus": status})
}

// apply does what the desired properties say. What is not right changes nothing.
func (c *config) apply() error {
	c.mu.Lock()
	data, err := json.Marshal(c.desired)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	var d desired
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("desired properties: %w", err)
	}
	texts, err := d.routes()
	if err != nil {
		return err
	}
	h := c.hub
	ttl := h.opts.TTL
	if s := d.StoreAndForward; s != nil {
		if s.TimeToLiveSecs < 0 || s.TimeToLiveSecs > 1<<31 {
			return fmt.Errorf("storeAndForwardConfiguration.timeToLiveSecs is %d, allowed are 0 to %d", s.TimeToLiveSecs, int64(1)<<31)
		}
		ttl = time.Duration(s.TimeToLiveSecs) * time.Second
	}
	if len(texts) == 0 {
		texts = h.opts.Routes
	}
	routes, err := h.routes(texts)
	if err != nil {
		return err
	}
	h.forward.ttl.Store(int64(ttl))
	return h.server.SetRoutes(routes)
}

// desired is what counts of the desired properties of $edgeHub.
type desired struct {
	Routes          map[string]json.RawMessage
	StoreAndForward *struct{ TimeToLiveSecs int64 } `json:"storeAndForwardConfiguration"`
}

// routes are the texts of the routes, by their names. A route is a text, or from
// schema 1.1 on an object that has one; priorities make no difference.
func (d *desired) routes() ([]string, error) {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(d.Routes)) {
		var text string
		var object struct{ Route string }
		if json.Unmarshal(d.Routes[name], &text) != nil {
			if err := json.Unmarshal(d.Routes[name], &object); err != nil || object.Route == "" {
				return nil, fmt.Errorf("routes.%s is neither a text nor an object with a route", name)
			}
			text = object.Route
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// refreshCalled is the method by which the hub upstream tells that identities have
// changed.
func (h *Hub) refreshCalled(r *iothub.MethodRequest) *iothub.MethodResponse {
	var body struct{ DeviceIDs []string }
	if len(r.Payload) > 0 {
		if err := json.Unmarshal(r.Payload, &body); err != nil {
			return &iothub.MethodResponse{Status: http.StatusBadRequest, Payload: []byte(`{"message":"the payload is not {\"deviceIds\":[…]}"}`)}
		}
	}
	h.gate.Go(func() {
		status := http.StatusOK
		if err := h.refreshThese(body.DeviceIDs); err != nil {
			h.log.Warn("the identities in scope could not be refreshed", "error", err)
			status = http.StatusInternalServerError
		}
		_ = r.Respond(status, nil) // a caller that is gone asks again
	})
	return nil
}

// refreshThese looks identities up, or all of them when none is named.
func (h *Hub) refreshThese(ids []string) error {
	if len(ids) == 0 || len(ids) > maxLooking {
		return h.refreshScope(h.ctx)
	}
	for _, text := range ids {
		device, module, _ := strings.Cut(text, "/")
		if _, _, err := h.lookUp(h.ctx, iothub.Identity{DeviceID: device, ModuleID: module}); err != nil {
			return err
		}
	}
	return nil
}

// say adds to what is reported next.
func (c *config) say(patch map[string]any) {
	c.mu.Lock()
	for name, v := range patch {
		if sub, ok := v.(map[string]any); ok && name == "clients" {
			if all, ok := c.report[name].(map[string]any); ok {
				maps.Copy(all, sub)
				continue
			}
		}
		c.report[name] = v
	}
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// clientChanged notes that somebody has connected here or gone.
func (c *config) clientChanged(id iothub.Identity) {
	if strings.ContainsAny(id.String(), ".$#") {
		return // such a name cannot stand in a twin
	}
	state, when := "Disconnected", "lastDisconnectedTimeUtc"
	if c.hub.server.IsConnected(id.DeviceID, id.ModuleID) {
		state, when = "Connected", "lastConnectedTimeUtc"
	}
	c.say(map[string]any{"clients": map[string]any{
		id.String(): map[string]any{"status": state, when: c.hub.opts.Clock().UTC().Format(time.RFC3339)},
	}})
}

// clientGone notes that an identity is not in scope any more.
func (c *config) clientGone(id iothub.Identity) {
	if !strings.ContainsAny(id.String(), ".$#") {
		c.say(map[string]any{"clients": map[string]any{id.String(): nil}})
	}
}

// reportClients reports what there is to say of $edgeHub, not more than once a
// second.
func (h *Hub) reportClients() {
	c := &h.config
	c.say(nil)
	for {
		select {
		case <-c.changed:
		case <-h.ctx.Done():
			return
		}
		c.mu.Lock()
		report := c.report
		c.report = make(map[string]any)
		c.mu.Unlock()
		if clients, ok := report["clients"].(map[string]any); ok && len(clients) > maxClients {
			for id := range clients {
				if len(clients) > maxClients {
					delete(clients, id)
				}
			}
		}
		clients := report["clients"]
		delete(report, "clients")
		h.report(report)
		if clients != nil { // by themselves: a twin that they have filled has room for the rest
			h.report(map[string]any{"clients": clients})
		}
		if !h.wait(reportEvery) {
			return
		}
	}
}

func (h *Hub) report(patch map[string]any) {
	if len(patch) == 0 {
		return
	}
	if _, err := h.sessions.system.client.UpdateReported(h.ctx, patch); err != nil && h.ctx.Err() == nil {
		h.log.Warn("$edgeHub could not report", "error", err)
	}
}
