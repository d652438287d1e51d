package core

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"
)

// deviceDoc is a device and its modules as stored: one document, so that a
// module cannot outlive its device and the limit of modules holds under
// compare-and-set. A document in the registry is never changed in place.
type deviceDoc struct {
	ID           string         `json:"id"`
	GenerationID string         `json:"gen"`
	Version      uint64         `json:"ver"` // the ETag
	Status       string         `json:"status"`
	StatusReason *string        `json:"reason,omitempty"`
	StatusTime   time.Time      `json:"statusTime,omitzero"`
	Auth         Authentication `json:"auth"`
	IoTEdge      bool           `json:"edge,omitempty"`
	Scope        string         `json:"scope,omitempty"`
	ParentScopes []string       `json:"parents,omitempty"`
	Modules      []moduleDoc    `json:"modules,omitempty"`

	rev  uint64 // revision in the bucket
	twin *twinCell
}

// twinCell leads from an identity to its twin without a look-up, for queries that
// read all of them. It is shared by the documents of one generation of the
// identity; an empty one is the twin that nobody has changed.
type twinCell = atomic.Pointer[twinDoc]

// takeCells gives the identities of a document their cells: those of the document
// before, where the generation is the same.
func (d *deviceDoc) takeCells(old *deviceDoc) {
	if old != nil && old.GenerationID == d.GenerationID {
		d.twin = old.twin
	}
	if d.twin == nil {
		d.twin = new(twinCell)
	}
	for i := range d.Modules {
		m := &d.Modules[i]
		if old != nil {
			if was := old.module(m.ID); was != nil && was.GenerationID == m.GenerationID {
				m.twin = was.twin
			}
		}
		if m.twin == nil {
			m.twin = new(twinCell)
		}
	}
}

// moduleDoc is a module as stored inside its device.
type moduleDoc struct {
	ID           string         `json:"id"`
	GenerationID string         `json:"gen"`
	Version      uint64         `json:"ver"`
	ManagedBy    string         `json:"managedBy,omitempty"`
	Auth         Authentication `json:"auth"`

	twin *twinCell
}

func (d *deviceDoc) module(id string) *moduleDoc {
	if i := d.moduleIndex(id); i >= 0 {
		return &d.Modules[i]
	}
	return nil
}

func (d *deviceDoc) moduleIndex(id string) int {
	for i := range d.Modules {
		if d.Modules[i].ID == id {
			return i
		}
	}
	return -1
}

// clone gives a copy whose module list can be changed.
func (d *deviceDoc) clone() *deviceDoc {
	c := *d
	c.Modules = append([]moduleDoc(nil), d.Modules...)
	return &c
}

// etagOf gives a version in the form of IoT Hub: base64 of 8 bytes, big end first.
func etagOf(version uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], version)
	return base64.StdEncoding.EncodeToString(b[:])
}

// AnyETag is the etag argument that lets every version pass.
const AnyETag = "*"

func etagMatches(etag string, version uint64) bool {
	return etag == AnyETag || etag == etagOf(version)
}

// generation gives a generation id and the first version of what is made with it.
// Both come from the clock, so that an ETag from before a deletion never fits
// what was created again under the same id.
func (h *Hub) generation() (string, uint64) {
	ticks := h.newTicks()
	return strconv.FormatInt(ticks, 10), uint64(ticks)
}

// deviceView is the REST form of a document. h.mu is held for reading.
func (h *Hub) deviceViewLocked(d *deviceDoc) Device {
	v := Device{
		DeviceID: d.ID, GenerationID: d.GenerationID, ETag: etagOf(d.Version),
		Status: d.Status, StatusReason: d.StatusReason, StatusUpdatedTime: Time{d.StatusTime},
		Authentication: d.Auth, Capabilities: Capabilities{IoTEdge: d.IoTEdge},
		DeviceScope: d.Scope, ParentScopes: d.ParentScopes,
	}
	v.ConnectionState, v.ConnectionStateUpdatedTime, v.LastActivityTime = h.connectionLocked(identityKey{device: d.ID})
	v.CloudToDeviceMessageCount = h.mail.count(identityKey{device: d.ID})
	return v
}

func (h *Hub) moduleViewLocked(d *deviceDoc, m *moduleDoc) Module {
	v := Module{
		ModuleID: m.ID, ManagedBy: m.ManagedBy, DeviceID: d.ID, GenerationID: m.GenerationID,
		ETag: etagOf(m.Version), Authentication: m.Auth,
	}
	v.ConnectionState, v.ConnectionStateUpdatedTime, v.LastActivityTime = h.connectionLocked(identityKey{d.ID, m.ID})
	return v
}

func (h *Hub) connectionLocked(k identityKey) (state string, changed, activity Time) {
	if a := h.live[k]; a != nil {
		return Connected, Time{a.since.UTC()}, Time{a.lastActivity()}
	}
	s := h.seen[k]
	return Disconnected, Time{s.changed.UTC()}, Time{s.activity}
}

// registryChanged takes what the bucket reports: at first everything, later what
// this or another node has changed.
func (h *Hub) registryChanged(c Change) {
	h.mu.Lock()
	h.watchedRev = max(h.watchedRev, c.Revision)
	known := h.registry[c.Key]
	stale := h.removed[c.Key] >= c.Revision || (known != nil && known.rev >= c.Revision)
	if h.removed[c.Key] <= c.Revision {
		delete(h.removed, c.Key)
	}
	h.mu.Unlock()
	if stale {
		return
	}
	if c.Deleted {
		h.apply(c.Key, nil, c.Revision)
		return
	}
	doc := new(deviceDoc)
	if err := json.Unmarshal(c.Value, doc); err != nil || doc.ID != c.Key {
		h.log.Error("a stored identity is damaged and left out", "device", c.Key, "error", err)
		return
	}
	doc.rev = c.Revision
	h.apply(c.Key, doc, c.Revision)
}

// apply puts a stored state (nil: removed) into the registry, unless a newer one
// is there already, and drops the connections that it no longer allows.
func (h *Hub) apply(id string, doc *deviceDoc, rev uint64) {
	h.mu.Lock()
	old := h.registry[id]
	if h.removed[id] > rev || (old != nil && old.rev >= rev) {
		h.mu.Unlock()
		return
	}
	if doc == nil {
		delete(h.registry, id)
		// The watch may still report older states of this key: they must not
		// bring it back.
		if rev > h.watchedRev {
			h.removed[id] = rev
		}
	} else {
		doc.takeCells(old)
		h.registry[id] = doc
	}
	h.applied.ringLocked()
	kicked := h.revokeLocked(old)
	h.forgetLocked(old, doc)
	h.mu.Unlock()
	kickAll(kicked)
	h.lifecycleEvents(old, doc)
	h.mail.identityGone(old, doc)
	h.twins.identityGone(old, doc)
	h.configs.touchDevice(old, doc)
}

// catchUp waits until the registry shows something newer than rev for a device
// whose write has failed because there is something newer.
func (h *Hub) catchUp(ctx context.Context, id string, rev uint64) error {
	for {
		h.mu.Lock()
		known := h.registry[id]
		if known == nil || known.rev > rev {
			h.mu.Unlock()
			return nil
		}
		applied := h.applied.nextLocked()
		h.mu.Unlock()
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closing:
			return errClosed()
		}
	}
}

// forgetLocked removes the connection history of identities that are gone.
func (h *Hub) forgetLocked(old, doc *deviceDoc) {
	if old == nil {
		return
	}
	if doc == nil || doc.GenerationID != old.GenerationID {
		delete(h.seen, identityKey{device: old.ID})
	}
	for i := range old.Modules {
		if doc == nil || doc.module(old.Modules[i].ID) == nil {
			delete(h.seen, identityKey{old.ID, old.Modules[i].ID})
		}
	}
}
