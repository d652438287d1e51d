package core

import (
	"slices"
	"strings"
)

// edgeHub is the module that is the hub of an IoT Edge device.
const edgeHub = "$edgeHub"

// maxChain bounds how many identities an auth chain names: IoT Edge nests five
// levels deep, and a module stands before its device.
const maxChain = 8

// ScopeDevice is a device as the hub of an IoT Edge device is told of it, with
// what it takes to authenticate it (wire-device G.6).
type ScopeDevice struct {
	DeviceID       string         `json:"deviceId"`
	GenerationID   string         `json:"generationId"`
	Status         string         `json:"status"`
	Authentication Authentication `json:"authentication"`
	Capabilities   Capabilities   `json:"capabilities"`
	DeviceScope    string         `json:"deviceScope"`
	ParentScopes   []string       `json:"parentScopes"`
}

// ScopeModule is the same of a module.
type ScopeModule struct {
	ModuleID       string         `json:"moduleId"`
	ManagedBy      string         `json:"managedBy,omitempty"`
	DeviceID       string         `json:"deviceId"`
	GenerationID   string         `json:"generationId"`
	Authentication Authentication `json:"authentication"`
}

// Scope is a part of what is in the scope of an IoT Edge device.
type Scope struct {
	Devices []ScopeDevice `json:"devices"`
	Modules []ScopeModule `json:"modules"`
}

func (s *Scope) add(d *deviceDoc, modules ...moduleDoc) {
	s.Devices = append(s.Devices, ScopeDevice{
		DeviceID: d.ID, GenerationID: d.GenerationID, Status: d.Status, Authentication: d.Auth,
		Capabilities: Capabilities{IoTEdge: d.IoTEdge}, DeviceScope: d.Scope, ParentScopes: slices.Clone(d.ParentScopes),
	})
	for _, m := range modules {
		s.Modules = append(s.Modules, ScopeModule{
			ModuleID: m.ID, ManagedBy: m.ManagedBy, DeviceID: d.ID, GenerationID: m.GenerationID, Authentication: m.Auth,
		})
	}
}

// parent reports whether d is an IoT Edge device and child one of those below it.
func (d *deviceDoc) parent(child *deviceDoc) bool {
	return d.IoTEdge && child.ID != d.ID && slices.Contains(child.ParentScopes, d.Scope)
}

// CheckEdgeHub says whether an authenticated identity is the hub of an IoT Edge
// device, the only one that may ask for the device's scope. The token of a policy
// does not do. Errors are *Error.
func (h *Hub) CheckEdgeHub(p *Principal) error {
	if p.ModuleID != edgeHub || p.proof.kind == proofPolicy || !h.isEdge(p.DeviceID) {
		return NewError(CodeUnauthorizedAccess, "Unauthorized: only %s of an IoT Edge device may ask for its scope", edgeHub)
	}
	return nil
}

// CheckEdgeDevice says whether an authenticated identity is an IoT Edge device, which
// may keep its own modules. The token of a policy does not do. Errors are *Error.
func (h *Hub) CheckEdgeDevice(p *Principal) error {
	if p.ModuleID != "" || p.proof.kind == proofPolicy || !h.isEdge(p.DeviceID) {
		return NewError(CodeUnauthorizedAccess, "Unauthorized: device %s is no IoT Edge device, which alone may keep its modules; its capabilities.iotEdge has to be true", p.DeviceID)
	}
	return nil
}

func (h *Hub) isEdge(deviceID string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	d := h.registry[deviceID]
	return d != nil && d.IoTEdge
}

// Scope returns the identities in the scope of an IoT Edge device: itself, the
// devices below it, and the modules of all of them. They come in pages of up to
// max devices, by their ids; more is where the next page begins, empty on the
// last. Errors are *Error: 404001 when there is no such device.
func (h *Hub) Scope(deviceID, from string, max int) (s Scope, more string, err error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	edge := h.registry[deviceID]
	if edge == nil || !edge.IoTEdge {
		return s, "", NewError(CodeDeviceNotFound, "IoT Edge device %s not registered", deviceID)
	}
	var found []*deviceDoc
	for id, d := range h.registry {
		if id >= from && (d == edge || edge.parent(d)) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b *deviceDoc) int { return strings.Compare(a.ID, b.ID) })
	if len(found) > max {
		more = found[max].ID
		found = found[:max]
	}
	s = Scope{Devices: []ScopeDevice{}, Modules: []ScopeModule{}}
	for _, d := range found {
		s.add(d, d.Modules...)
	}
	return s, more, nil
}

// ScopeIdentity returns one identity in the scope of an IoT Edge device, a module
// together with its device; neither when it is not there.
func (h *Hub) ScopeIdentity(edgeID, deviceID, moduleID string) Scope {
	h.mu.RLock()
	defer h.mu.RUnlock()
	edge, d := h.registry[edgeID], h.registry[deviceID]
	if edge == nil || d == nil || d != edge && !edge.parent(d) {
		return scopeOfIdentity(nil, "")
	}
	return scopeOfIdentity(d, moduleID)
}

// ScopeOf is ScopeIdentity for whom [Hub.CheckChain] has shown to be in scope.
func (h *Hub) ScopeOf(deviceID, moduleID string) Scope {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return scopeOfIdentity(h.registry[deviceID], moduleID)
}

func scopeOfIdentity(d *deviceDoc, moduleID string) Scope {
	s := Scope{Devices: []ScopeDevice{}, Modules: []ScopeModule{}}
	switch {
	case d == nil:
	case moduleID == "":
		s.add(d)
	default:
		if m := d.module(moduleID); m != nil {
			s.add(d, *m)
		}
	}
	return s
}

// CheckChain checks an auth chain, "target;parent;…;actor" (wire-device G.5): its
// last device has to be the actor, an IoT Edge device, and each the child of the
// next. It returns the device of the target, and its module if it is one. Errors
// are *Error.
func (h *Hub) CheckChain(chain, actor string) (deviceID, moduleID string, err error) {
	parsed, err := parseChain(chain)
	if err != nil {
		return "", "", err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if err := h.checkChainLocked(parsed, actor); err != nil {
		return "", "", err
	}
	return parsed[0].device, parsed[0].module, nil
}

func parseChain(text string) ([]identityKey, error) {
	parts := strings.Split(text, ";")
	if len(parts) > maxChain {
		return nil, unauthorized("the auth chain names %d identities, the limit is %d", len(parts), maxChain)
	}
	chain := make([]identityKey, len(parts))
	for i, part := range parts {
		device, module, isModule := strings.Cut(part, "/")
		if device == "" || isModule && module == "" || isModule && i > 0 {
			return nil, unauthorized("the auth chain %.200q is not target;parent;…;actor", text)
		}
		chain[i] = identityKey{device, module}
	}
	return chain, nil
}

// checkChainLocked says whether a chain leads from its target to the actor by the
// registry as it is. h.mu is held for reading.
func (h *Hub) checkChainLocked(chain []identityKey, actor string) *Error {
	if last := chain[len(chain)-1].device; last != actor {
		return unauthorized("the auth chain ends at %q, not at %q", last, actor)
	}
	for i, k := range chain {
		d := h.registry[k.device]
		switch {
		case d == nil:
			return unauthorized("the auth chain names %q, which is not registered", k.device)
		case d.Status != StatusEnabled:
			return unauthorized("the auth chain names %q, which is disabled", k.device)
		case i == len(chain)-1 && !d.IoTEdge:
			return unauthorized("the auth chain ends at %q, which is no IoT Edge device", k.device)
		case i == len(chain)-1 || k.device == chain[i+1].device:
			continue
		}
		if next := h.registry[chain[i+1].device]; next == nil || !next.parent(d) {
			return unauthorized("the auth chain is not true: %q is not a child of %q", k.device, chain[i+1].device)
		}
	}
	return nil
}
