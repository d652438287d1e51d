package core

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

const (
	maxModules = 50 // per device
	// maxConflicts bounds how often a write is tried again when another node, or
	// another request, was faster.
	maxConflicts = 16

	edgeScopePrefix = "ms-azure-iot-edge://"
	maxParents      = 1 // of a device, as IoT Hub has it
)

// systemModules are those that every IoT Edge device has.
var systemModules = []string{edgeAgent, edgeHub}

const (
	edgeAgent     = "$edgeAgent"
	managedByEdge = "iotEdge"
)

// validateScopes checks what a client says about the parents of a device.
func validateScopes(d *Device) error {
	if len(d.ParentScopes) > maxParents {
		return NewError(CodeArgumentInvalid, "parentScopes has %d entries, the limit is %d", len(d.ParentScopes), maxParents)
	}
	for _, scope := range append([]string{d.DeviceScope}, d.ParentScopes...) {
		if scope != "" && !strings.HasPrefix(scope, edgeScopePrefix) {
			return NewError(CodeArgumentInvalid, "a scope is %.200q; it has to begin with %s, as the deviceScope of the parent does", scope, edgeScopePrefix)
		}
	}
	return nil
}

// CreateDevice registers a device. What is missing is filled in: status enabled,
// authentication sas with two generated keys. Errors are *Error: 409001 when it
// exists, 400xxx when a field is not valid, 413002 when the registry is full.
func (h *Hub) CreateDevice(ctx context.Context, d Device) (Device, error) {
	if err := validateID("deviceId", d.DeviceID); err != nil {
		return Device{}, err
	}
	auth, err := newAuthentication(d.Authentication)
	if err != nil {
		return Device{}, err
	}
	status, err := statusOr(d.Status, StatusEnabled)
	if err != nil {
		return Device{}, err
	}
	if err := validateReason(d.StatusReason); err != nil {
		return Device{}, err
	}
	if err := validateScopes(&d); err != nil {
		return Device{}, err
	}
	h.mu.RLock()
	exists, full := h.registry[d.DeviceID] != nil, len(h.registry) >= h.cfg.MaxDevices
	h.mu.RUnlock()
	if exists {
		return Device{}, alreadyExists(d.DeviceID)
	}
	if full {
		return Device{}, NewError(CodeTooManyDevices, "the hub holds its maximum of %d devices", h.cfg.MaxDevices)
	}
	doc := &deviceDoc{
		ID: d.DeviceID, Status: status, StatusReason: d.StatusReason, Auth: auth,
		IoTEdge: d.Capabilities.IoTEdge,
	}
	doc.GenerationID, doc.Version = h.generation()
	h.setScopes(doc, d)
	data, err := json.Marshal(doc)
	if err != nil {
		return Device{}, storageError("create device", err)
	}
	doc.rev, err = h.devices.Create(ctx, doc.ID, data)
	if errors.Is(err, ErrKeyExists) {
		return Device{}, alreadyExists(d.DeviceID)
	}
	if err != nil {
		return Device{}, storageError("create device", err)
	}
	h.apply(doc.ID, doc, doc.rev)
	return h.viewOf(doc), nil
}

// viewOf gives the REST form of exactly this document, which by now another
// request may have replaced.
func (h *Hub) viewOf(doc *deviceDoc) Device {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.deviceViewLocked(doc)
}

// setScopes gives an edge device its own scope and system modules, and takes the
// parent's scope that the client names. An edge device keeps the parent that an
// update does not mention.
func (h *Hub) setScopes(doc *deviceDoc, d Device) {
	if !doc.IoTEdge || d.ParentScopes != nil {
		doc.ParentScopes = d.ParentScopes
	}
	if !doc.IoTEdge {
		doc.Scope = d.DeviceScope
		if doc.ParentScopes == nil && doc.Scope != "" {
			doc.ParentScopes = []string{doc.Scope}
		}
		return
	}
	doc.Scope = edgeScopePrefix + doc.ID + "-" + doc.GenerationID
	for _, id := range systemModules {
		if doc.module(id) == nil {
			m := moduleDoc{ID: id, ManagedBy: managedByEdge, Auth: generatedKeys()}
			m.GenerationID, m.Version = h.generation()
			doc.Modules = append(doc.Modules, m)
		}
	}
}

// leaveEdge makes an edge device a plain one, which has neither a scope of its
// own nor system modules.
func (d *deviceDoc) leaveEdge() {
	d.IoTEdge, d.Scope, d.ParentScopes = false, "", nil
	d.Modules = slices.DeleteFunc(d.Modules, func(m moduleDoc) bool { return slices.Contains(systemModules, m.ID) })
}

// GetDevice returns a device; 404001 when there is none.
func (h *Hub) GetDevice(deviceID string) (Device, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	doc := h.registry[deviceID]
	if doc == nil {
		return Device{}, deviceNotFound(deviceID)
	}
	return h.deviceViewLocked(doc), nil
}

// ListDevices returns up to max devices, in no particular order.
func (h *Hub) ListDevices(max int) []Device {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]Device, 0, min(max, len(h.registry)))
	for _, doc := range h.registry {
		if len(list) >= max {
			break
		}
		list = append(list, h.deviceViewLocked(doc))
	}
	return list
}

// UpdateDevice replaces a device whose ETag is etag ([AnyETag] for any). Fields
// that are left out keep their values: keys too, where IoT Hub would make new
// ones, because its own Node SDK leaves them out of every update. Errors are
// *Error: 404001, 412001, 400xxx.
func (h *Hub) UpdateDevice(ctx context.Context, d Device, etag string) (Device, error) {
	doc, err := h.change(ctx, d.DeviceID, "update device", func(doc *deviceDoc) error {
		if !etagMatches(etag, doc.Version) {
			return preconditionFailed("Device", etag, doc.Version)
		}
		auth, err := updatedAuthentication(doc.Auth, d.Authentication)
		if err != nil {
			return err
		}
		status, err := statusOr(d.Status, doc.Status)
		if err != nil {
			return err
		}
		if err := validateReason(d.StatusReason); err != nil {
			return err
		}
		if err := validateScopes(&d); err != nil {
			return err
		}
		if status != doc.Status {
			doc.StatusTime = h.now().UTC()
		}
		if d.Status != "" {
			doc.StatusReason = d.StatusReason
		}
		doc.Auth, doc.Status = auth, status
		if d.Capabilities.given && !d.Capabilities.IoTEdge && doc.IoTEdge {
			doc.leaveEdge()
		}
		if d.Capabilities.IoTEdge || d.DeviceScope != "" || d.ParentScopes != nil {
			doc.IoTEdge = doc.IoTEdge || d.Capabilities.IoTEdge
			h.setScopes(doc, d)
		}
		doc.Version++
		return nil
	})
	if err != nil {
		return Device{}, err
	}
	return h.viewOf(doc), nil
}

// change applies a function to a copy of a device's document and stores it,
// again when somebody else was faster. It returns what was stored.
func (h *Hub) change(ctx context.Context, deviceID, op string, edit func(*deviceDoc) error) (*deviceDoc, error) {
	for range maxConflicts {
		h.mu.RLock()
		known := h.registry[deviceID]
		h.mu.RUnlock()
		if known == nil {
			return nil, deviceNotFound(deviceID)
		}
		doc := known.clone()
		if err := edit(doc); err != nil {
			return nil, err
		}
		data, err := json.Marshal(doc)
		if err != nil {
			return nil, storageError(op, err)
		}
		doc.rev, err = h.devices.Update(ctx, deviceID, data, known.rev)
		if err == nil {
			h.apply(deviceID, doc, doc.rev)
			return doc, nil
		}
		if !errors.Is(err, ErrRevision) {
			return nil, storageError(op, err)
		}
		if err := h.catchUp(ctx, deviceID, known.rev); err != nil {
			return nil, err
		}
	}
	return nil, NewError(CodeServerBusy, "%s: other changes of %q came first %d times", op, deviceID, maxConflicts)
}

// DeleteDevice removes a device whose ETag is etag ([AnyETag] for any), and its
// modules with it. Live connections of all of them are dropped. Errors are
// *Error: 404001, 412001.
func (h *Hub) DeleteDevice(ctx context.Context, deviceID, etag string) error {
	for range maxConflicts {
		h.mu.RLock()
		known := h.registry[deviceID]
		h.mu.RUnlock()
		if known == nil {
			return deviceNotFound(deviceID)
		}
		if !etagMatches(etag, known.Version) {
			return preconditionFailed("Device", etag, known.Version)
		}
		rev, err := h.devices.Delete(ctx, deviceID, known.rev)
		if err == nil {
			h.apply(deviceID, nil, rev)
			return nil
		}
		if !errors.Is(err, ErrRevision) {
			return storageError("delete device", err)
		}
		if err := h.catchUp(ctx, deviceID, known.rev); err != nil {
			return err
		}
	}
	return NewError(CodeServerBusy, "delete device: other changes of %q came first %d times", deviceID, maxConflicts)
}

// Statistics counts devices and live device connections.
func (h *Hub) Statistics() Statistics {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var s Statistics
	s.TotalDeviceCount = len(h.registry)
	for _, doc := range h.registry {
		if doc.Status == StatusEnabled {
			s.EnabledDeviceCount++
		}
	}
	s.DisabledDeviceCount = s.TotalDeviceCount - s.EnabledDeviceCount
	for k := range h.live {
		if k.module == "" {
			s.ConnectedDeviceCount++
		}
	}
	return s
}

func deviceNotFound(id string) *Error {
	return NewError(CodeDeviceNotFound, "Device %s not registered", id)
}

func alreadyExists(id string) *Error {
	return NewError(CodeDeviceAlreadyExists, "A device with ID '%s' is already registered.", id)
}

func preconditionFailed(what, etag string, version uint64) *Error {
	return NewError(CodePreconditionFailed,
		"Precondition failed: %s version did not match, existing ETag: %s, given: %s", what, etagOf(version), etag)
}
