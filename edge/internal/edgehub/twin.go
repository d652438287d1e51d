package edgehub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/atomicfile"
	"github.com/iothub-go/iothub/internal/engine"
)

const (
	// freshTimeout bounds how long the reading of a twin waits for the hub upstream.
	freshTimeout = 5 * time.Second
	// twinTimeout bounds one request about a twin upstream, twinRetry is the wait
	// after one that failed.
	twinTimeout = 30 * time.Second
	twinRetry   = 5 * time.Second
)

// twinSync keeps the twin of an identity here and upstream the same.
type twinSync struct {
	wake chan struct{} // room for one

	mu      sync.Mutex
	running bool
	full    bool // the whole twin has to be read upstream
	dirty   bool // reported properties may have changed here
	online  bool
	desired map[string]any // as notices made them; nil before the first
	version int64          // of desired
	synced  chan struct{}  // closed once the twin here is as upstream
	was     bool           // synced is closed
}

// init comes before anything else.
func (t *twinSync) init() {
	t.wake = make(chan struct{}, 1)
	t.synced = make(chan struct{})
	t.full = true
}

func (t *twinSync) notify() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// connected notes that the connection upstream came or went. What has happened
// upstream meanwhile has to be read.
func (t *twinSync) connected(online bool) {
	t.mu.Lock()
	t.online = online
	t.full = t.full || online
	t.mu.Unlock()
	t.notify()
}

// pending reports whether something has to go upstream.
func (t *twinSync) pending() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running && t.dirty
}

func (t *twinSync) markDirty() {
	t.mu.Lock()
	t.dirty = true
	t.mu.Unlock()
	t.notify()
}

// startTwin begins to keep the twin, unless that is so already.
func (s *session) startTwin() {
	t := &s.twin
	t.mu.Lock()
	started := t.running
	t.running = true
	t.mu.Unlock()
	if started {
		return
	}
	if err := s.client.HandleDesired(s.desired); err != nil {
		s.hub.log.Error("desired properties are not followed", "identity", s.id.String(), "error", err)
	}
	s.hub.gate.Go(s.keepTwin)
}

// desired takes a change of desired properties upstream.
func (s *session) desired(c *iothub.DesiredChange) {
	var patch map[string]any
	if err := engine.DecodeJSON(c.Patch, &patch); err != nil {
		return // the client has made it
	}
	t := &s.twin
	t.mu.Lock()
	if c.Complete || t.desired == nil {
		t.desired = make(map[string]any)
	}
	engine.MergePatch(t.desired, patch)
	t.version = c.Version
	t.mu.Unlock()
	t.notify()
}

// keepTwin does what has to be done until the session ends.
func (s *session) keepTwin() {
	b := s.hub.loadBase(s.id)
	var mirrored int64 // version of the desired properties here
	for {
		select {
		case <-s.twin.wake:
		case <-s.ctx.Done():
			return
		}
		for s.ctx.Err() == nil {
			err := s.syncTwin(b, &mirrored)
			if err == nil {
				break
			}
			if s.ctx.Err() != nil {
				return
			}
			s.hub.log.Debug("a twin is not the same as upstream for a moment", "identity", s.id.String(), "error", err)
			if iothub.KindOf(err) != iothub.KindPreconditionFailed && !s.hub.wait(twinRetry) {
				return
			}
		}
	}
}

// syncTwin makes the twin here and upstream the same. Without a connection it does
// nothing.
func (s *session) syncTwin(b *base, mirrored *int64) error {
	t := &s.twin
	t.mu.Lock()
	online, full := t.online, t.full
	t.full, t.dirty = t.full && !t.online, t.dirty && !t.online
	t.mu.Unlock()
	if !online {
		return nil
	}
	fail := func(err error) error {
		t.mu.Lock()
		t.full, t.dirty = t.full || full, true
		t.mu.Unlock()
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, twinTimeout)
	defer cancel()
	if full {
		if err := s.pull(ctx, b, mirrored); err != nil {
			return fail(err)
		}
	}
	if err := s.mirrorDesired(ctx, mirrored); err != nil {
		return fail(err)
	}
	if err := s.push(ctx, b); err != nil {
		return fail(err)
	}
	t.mu.Lock()
	if !t.was {
		t.was = true
		close(t.synced)
	}
	t.mu.Unlock()
	return nil
}

// mirrorDesired has the desired properties here be what the notices have made them.
func (s *session) mirrorDesired(ctx context.Context, mirrored *int64) error {
	t := &s.twin
	t.mu.Lock()
	version := t.version
	if t.desired == nil || version <= *mirrored {
		t.mu.Unlock()
		return nil
	}
	text, err := json.Marshal(t.desired) // while it is held: the next notice changes it in place
	t.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.hub.server.MirrorTwin(ctx, s.id.DeviceID, s.id.ModuleID, hub.MirroredTwin{Desired: text, DesiredVersion: version})
	if err == nil {
		*mirrored = version
	}
	return err
}

// pull reads the twin upstream and makes it the one here, with what was reported
// here and is not upstream yet.
func (s *session) pull(ctx context.Context, b *base, mirrored *int64) error {
	up, err := s.client.Twin(ctx)
	if err != nil {
		return err
	}
	upstream, err := propertiesOf(up.Reported.Values)
	if err != nil {
		return err
	}
	local, version, err := s.hub.reported(ctx, s.id)
	if err != nil {
		return err
	}
	merged, err := propertiesOf(up.Reported.Values)
	if err != nil {
		return err
	}
	engine.MergePatch(merged, engine.Difference(b.Reported, local))
	text, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	err = s.hub.server.MirrorTwin(ctx, s.id.DeviceID, s.id.ModuleID, hub.MirroredTwin{
		Desired: up.Desired.Values, DesiredVersion: up.Desired.Version, Reported: text, ReportedVersion: version,
	})
	if err != nil {
		return err // also when the device has reported something in between
	}
	*mirrored = up.Desired.Version
	b.Reported = upstream
	return nil
}

// push reports upstream what was reported here.
func (s *session) push(ctx context.Context, b *base) error {
	local, version, err := s.hub.reported(ctx, s.id)
	if err != nil {
		return err
	}
	if patch := engine.Difference(b.Reported, local); len(patch) > 0 {
		_, err := s.client.UpdateReported(ctx, patch)
		if iothub.KindOf(err) == iothub.KindInvalidArgument || iothub.KindOf(err) == iothub.KindMessageTooLarge {
			s.hub.log.Error("the hub upstream does not take what was reported; later changes are tried again",
				"identity", s.id.String(), "error", err)
		} else if err != nil {
			return err
		}
	} else if b.Version == version {
		return nil
	}
	b.Reported, b.Version = local, version
	if err := s.ctx.Err(); err != nil {
		return err // it may have been let go of
	}
	return b.save()
}

// reported returns the reported properties here, without what the hub adds.
func (h *Hub) reported(ctx context.Context, id iothub.Identity) (values map[string]any, version int64, err error) {
	t, err := h.server.Twin(ctx, id.DeviceID, id.ModuleID)
	if err != nil {
		return nil, 0, err
	}
	var head struct {
		Version int64 `json:"$version"`
	}
	if err := json.Unmarshal(t.Reported, &head); err != nil {
		return nil, 0, err
	}
	values, err = propertiesOf(t.Reported)
	return values, head.Version, err
}

// propertiesOf decodes properties, without those that begin with '$'.
func propertiesOf(text []byte) (map[string]any, error) {
	values := make(map[string]any)
	if len(text) == 0 {
		return values, nil
	}
	if err := engine.DecodeJSON(text, &values); err != nil {
		return nil, err
	}
	maps.DeleteFunc(values, func(name string, _ any) bool { return strings.HasPrefix(name, "$") })
	return values, nil
}

// base is what the hub upstream is known to have of the reported properties, and
// which version of those here that is. It is what tells after a restart what was
// reported here and not there.
type base struct {
	Reported map[string]any `json:"reported"`
	Version  int64          `json:"version"`

	path string
}

func (h *Hub) loadBase(id iothub.Identity) *base {
	b := &base{path: h.basePath(id)}
	data, err := os.ReadFile(b.path)
	if err == nil {
		err = engine.DecodeJSON(data, b)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("what the hub upstream has of a twin cannot be read: all that was reported is sent again", "file", b.path, "error", err)
	}
	if _, version, err := h.reported(h.ctx, id); err == nil && version < b.Version {
		b.Reported, b.Version = nil, 0 // the twin here is another one by now
	}
	if b.Reported == nil {
		b.Reported = make(map[string]any)
	}
	return b
}

// forgetBase removes what loadBase reads.
func (h *Hub) forgetBase(id iothub.Identity) {
	if err := os.Remove(h.basePath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("what the hub upstream has of a twin cannot be forgotten", "identity", id.String(), "error", err)
	}
}

// basePath is a name that every file system takes and keeps apart from others,
// however long the ids are and wherever they differ in case only.
func (h *Hub) basePath(id iothub.Identity) string {
	sum := sha256.Sum256([]byte(id.String()))
	return filepath.Join(h.opts.DataDir, "twins", hex.EncodeToString(sum[:])+".json")
}

func (b *base) save() error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return atomicfile.Write(b.path, data)
}

// reportedChanged is called by the server, which it must not hold up.
func (h *Hub) reportedChanged(deviceID, moduleID string) {
	id := iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}
	h.sessions.mu.Lock()
	s := h.sessions.open[id]
	if s == nil {
		h.sessions.unsent[id] = true
	}
	h.sessions.mu.Unlock()
	if s != nil {
		s.twin.markDirty()
		return
	}
	h.touch(id)
}

// findUnsent finds the twins with reported properties that an earlier process did
// not get to send upstream.
func (h *Hub) findUnsent() {
	for _, i := range h.server.Identities() {
		id := iothub.Identity{DeviceID: i.DeviceID, ModuleID: i.ModuleID}
		values, version, err := h.reported(h.ctx, id)
		if err != nil || version == h.loadBase(id).Version || len(values) == 0 && version <= 1 {
			continue
		}
		h.reportedChanged(id.DeviceID, id.ModuleID)
	}
}

// fresh lets the reading of a twin wait until the twin here is as upstream, for an
// identity that has only just connected.
func (h *Hub) fresh(deviceID, moduleID string, ready func()) {
	id := iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}
	s, err := h.session(id)
	if !h.online() || err != nil || s.twin.isSynced() || !h.gate.Go(func() {
		timer := time.NewTimer(freshTimeout)
		defer timer.Stop()
		select {
		case <-s.twin.synced:
		case <-timer.C:
		case <-s.ctx.Done():
		}
		ready()
	}) {
		ready()
	}
}

func (t *twinSync) isSynced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.was
}
