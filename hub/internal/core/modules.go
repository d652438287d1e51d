package core

import (
	"context"
	"slices"
)

// CreateModule registers a module of a device; see [Hub.CreateDevice] for what is
// filled in. Errors are *Error: 404001 when the device is missing, 409301 when
// the module exists, 413003 above 50 modules, 400xxx when a field is not valid.
func (h *Hub) CreateModule(ctx context.Context, m Module) (Module, error) {
	if err := validateID("moduleId", m.ModuleID); err != nil {
		return Module{}, err
	}
	auth, err := newAuthentication(m.Authentication)
	if err != nil {
		return Module{}, err
	}
	doc, err := h.change(ctx, m.DeviceID, "create module", func(doc *deviceDoc) error {
		if doc.module(m.ModuleID) != nil {
			return NewError(CodeModuleAlreadyExists, "Device %s already contains Module %s.", m.DeviceID, m.ModuleID)
		}
		if len(doc.Modules) >= maxModules {
			return NewError(CodeTooManyModules, "Device %s holds its maximum of %d modules", m.DeviceID, maxModules)
		}
		made := moduleDoc{ID: m.ModuleID, ManagedBy: m.ManagedBy, Auth: auth}
		made.GenerationID, made.Version = h.generation()
		doc.Modules = append(doc.Modules, made)
		return nil
	})
	if err != nil {
		return Module{}, err
	}
	return h.moduleOf(doc, m.ModuleID), nil
}

func (h *Hub) moduleOf(doc *deviceDoc, moduleID string) Module {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.moduleViewLocked(doc, doc.module(moduleID))
}

// GetModule returns a module; 404001 or 404010 when there is none.
func (h *Hub) GetModule(deviceID, moduleID string) (Module, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	doc := h.registry[deviceID]
	if doc == nil {
		return Module{}, deviceNotFound(deviceID)
	}
	m := doc.module(moduleID)
	if m == nil {
		return Module{}, moduleNotFound(deviceID, moduleID)
	}
	return h.moduleViewLocked(doc, m), nil
}

// ListModules returns all modules of a device; 404001 when it is missing.
func (h *Hub) ListModules(deviceID string) ([]Module, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	doc := h.registry[deviceID]
	if doc == nil {
		return nil, deviceNotFound(deviceID)
	}
	list := make([]Module, len(doc.Modules))
	for i := range doc.Modules {
		list[i] = h.moduleViewLocked(doc, &doc.Modules[i])
	}
	return list, nil
}

// UpdateModule replaces a module whose ETag is etag ([AnyETag] for any); fields
// left out keep their values as in [Hub.UpdateDevice]. Errors are *Error: 404001,
// 404010, 412001, 400xxx.
func (h *Hub) UpdateModule(ctx context.Context, m Module, etag string) (Module, error) {
	doc, err := h.change(ctx, m.DeviceID, "update module", func(doc *deviceDoc) error {
		old := doc.module(m.ModuleID)
		if old == nil {
			return moduleNotFound(m.DeviceID, m.ModuleID)
		}
		if !etagMatches(etag, old.Version) {
			return preconditionFailed("Module", etag, old.Version)
		}
		auth, err := updatedAuthentication(old.Auth, m.Authentication)
		if err != nil {
			return err
		}
		old.Auth = auth
		if m.ManagedBy != "" {
			old.ManagedBy = m.ManagedBy
		}
		old.Version++
		return nil
	})
	if err != nil {
		return Module{}, err
	}
	return h.moduleOf(doc, m.ModuleID), nil
}

// DeleteModule removes a module whose ETag is etag ([AnyETag] for any) and drops
// its live connection. Errors are *Error: 404001, 404010, 412001, and 401100 for
// the system modules of an IoT Edge device.
func (h *Hub) DeleteModule(ctx context.Context, deviceID, moduleID, etag string) error {
	_, err := h.change(ctx, deviceID, "delete module", func(doc *deviceDoc) error {
		i := doc.moduleIndex(moduleID)
		if i < 0 {
			return moduleNotFound(deviceID, moduleID)
		}
		if doc.IoTEdge && slices.Contains(systemModules, moduleID) {
			return NewError(CodeSystemModuleModify, "%s is a system module of the IoT Edge device %s", moduleID, deviceID)
		}
		if !etagMatches(etag, doc.Modules[i].Version) {
			return preconditionFailed("Module", etag, doc.Modules[i].Version)
		}
		doc.Modules = append(doc.Modules[:i], doc.Modules[i+1:]...)
		return nil
	})
	return err
}

func moduleNotFound(deviceID, moduleID string) *Error {
	return NewError(CodeModuleNotFound, "Module %s on Device %s not registered", moduleID, deviceID)
}
