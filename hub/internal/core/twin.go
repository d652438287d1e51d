package core

import (
	"context"
	"encoding/json"
)

// Twin is the twin of a device or module in the form of IoT Hub's REST API.
type Twin struct {
	DeviceID                  string         `json:"deviceId"`
	ModuleID                  string         `json:"moduleId,omitempty"`
	ModelID                   string         `json:"modelId"`
	ETag                      string         `json:"etag"`
	DeviceETag                string         `json:"deviceEtag"`
	Status                    string         `json:"status"`
	StatusReason              *string        `json:"statusReason,omitempty"`
	StatusUpdateTime          Time           `json:"statusUpdateTime"`
	ConnectionState           string         `json:"connectionState"`
	LastActivityTime          Time           `json:"lastActivityTime"`
	CloudToDeviceMessageCount int            `json:"cloudToDeviceMessageCount"`
	AuthenticationType        string         `json:"authenticationType"`
	X509Thumbprint            X509Thumbprint `json:"x509Thumbprint"`
	// Version grows with every change of tags, desired or reported properties.
	Version    uint64          `json:"version"`
	Tags       json.RawMessage `json:"tags"`
	Properties TwinProperties  `json:"properties"`
	// Capabilities are those of a device; a module has none.
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// Configurations are those that the twin is a target of.
	Configurations map[string]TwinConfiguration `json:"configurations,omitempty"`
	DeviceScope    string                       `json:"deviceScope,omitempty"`
	ParentScopes   []string                     `json:"parentScopes,omitempty"`
}

// TwinProperties are the properties of a twin, each with $metadata and $version.
type TwinProperties struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// GetTwin returns the twin of a device, or of a module when moduleID is not
// empty. Errors are *Error: 404001 or 404010 when there is no such identity.
func (h *Hub) GetTwin(deviceID, moduleID string) (Twin, error) {
	return h.twinOf(identityKey{deviceID, moduleID}, nil)
}

// UpdateTwin applies a merge patch to the tags and the desired properties of the
// twin whose ETag is etag ([AnyETag] for any): null removes, objects are merged,
// all else replaces. What else the patch holds is ignored. A change of desired
// properties is pushed to the device when it is connected. When ctx ends first
// the change may happen all the same.
//
// Errors are *Error: 404001, 404010, 412001, 400006 when the patch is not JSON,
// 400004 when it breaks a rule for twins, 503005 when too many changes wait for
// the storage.
func (h *Hub) UpdateTwin(ctx context.Context, deviceID, moduleID string, patch []byte, etag string) (Twin, error) {
	return h.changeTwin(ctx, identityKey{deviceID, moduleID}, patch, etag, false)
}

// ReplaceTwin replaces those of tags and desired properties that are in twin;
// the other stays as it is. The rest is as in [Hub.UpdateTwin]. The device is
// told null for what is gone.
func (h *Hub) ReplaceTwin(ctx context.Context, deviceID, moduleID string, twin []byte, etag string) (Twin, error) {
	return h.changeTwin(ctx, identityKey{deviceID, moduleID}, twin, etag, true)
}

func (h *Hub) changeTwin(ctx context.Context, key identityKey, data []byte, etag string, whole bool) (Twin, error) {
	// Whether there is such a twin comes before whether the body is right.
	if _, err := h.generationFor(key); err != nil {
		return Twin{}, err
	}
	u, err := parseTwinUpdate(key, data, whole)
	if err != nil {
		return Twin{}, err
	}
	u.etag = etag
	weight := 0
	for _, s := range []*sectionUpdate{u.tags, u.desired} {
		if s != nil {
			weight += s.patch.encodedLen()
		}
	}
	doc, err := h.twins.change(ctx, &twinOp{
		key: key, weight: weight, change: &twinChange{update: u},
		edit: func(doc *twinDoc, stamp int64) (*twinDoc, *twinNode, error) { return doc.update(u, stamp) },
	})
	if err != nil {
		return Twin{}, err
	}
	return h.twinOf(key, doc)
}

// generationFor gives the generation of an identity that exists.
func (h *Hub) generationFor(key identityKey) (string, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	dev, mod, err := h.documentsLocked(key)
	if err != nil {
		return "", err
	}
	return generationOf(dev, mod), nil
}

func (h *Hub) documentsLocked(key identityKey) (dev *deviceDoc, mod *moduleDoc, err error) {
	if dev = h.registry[key.device]; dev == nil {
		return nil, nil, deviceNotFound(key.device)
	}
	if key.module != "" {
		if mod = dev.module(key.module); mod == nil {
			return nil, nil, moduleNotFound(key.device, key.module)
		}
	}
	return dev, mod, nil
}

// twinOf gives the REST form of a twin: of doc, or of what is stored when it is
// nil.
func (h *Hub) twinOf(key identityKey, doc *twinDoc) (Twin, error) {
	h.mu.RLock()
	dev, mod, err := h.documentsLocked(key)
	if err != nil {
		h.mu.RUnlock()
		return Twin{}, err
	}
	t := h.twinHeadLocked(dev, mod)
	h.mu.RUnlock()
	if doc == nil {
		doc = h.twins.get(key, generationOf(dev, mod))
	}
	t.Configurations = h.configurationsOf(key)
	t.ModelID, t.ETag, t.Version = doc.model, etagOf(doc.etag), doc.version
	t.Tags = doc.tags.root.appendValue(nil)
	t.Properties.Desired = doc.desired.root.appendFull(nil, doc.desired.version)
	t.Properties.Reported = doc.reported.root.appendFull(nil, doc.reported.version)
	return t, nil
}

// twinHeadLocked gives what a twin says about its identity, of which mod is nil
// for a device. h.mu is held for reading.
func (h *Hub) twinHeadLocked(dev *deviceDoc, mod *moduleDoc) Twin {
	device := h.deviceViewLocked(dev)
	t := Twin{
		DeviceID: dev.ID, DeviceETag: device.ETag,
		Status: dev.Status, StatusReason: dev.StatusReason, StatusUpdateTime: device.StatusUpdatedTime,
		ConnectionState: device.ConnectionState, LastActivityTime: device.LastActivityTime,
		CloudToDeviceMessageCount: device.CloudToDeviceMessageCount,
		AuthenticationType:        dev.Auth.Type, X509Thumbprint: dev.Auth.X509Thumbprint,
	}
	if mod == nil {
		t.Capabilities = &device.Capabilities
		t.DeviceScope, t.ParentScopes = device.DeviceScope, device.ParentScopes
		return t
	}
	module := h.moduleViewLocked(dev, mod)
	t.ModuleID, t.DeviceETag = mod.ID, module.ETag
	t.ConnectionState, t.LastActivityTime = module.ConnectionState, module.LastActivityTime
	t.CloudToDeviceMessageCount = module.CloudToDeviceMessageCount
	t.AuthenticationType, t.X509Thumbprint = mod.Auth.Type, mod.Auth.X509Thumbprint
	return t
}
