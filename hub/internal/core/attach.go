package core

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Attachment is the one live connection of an identity. Its methods are safe for
// use by many goroutines; the order of events is that of the calls of Ingest.
type Attachment struct {
	hub       *Hub
	principal *Principal
	key       identityKey
	partition *partition
	since     time.Time
	sender    sender // to partition
	origin    origin // to everything else
	senders   routedSenders
	routes    atomic.Pointer[[]Route] // nil: none

	activity atomic.Int64 // Unix milliseconds of the last event
	revoked  atomic.Pointer[Error]

	fault atomic.Pointer[time.Timer] // one that has not happened yet
	twin  twinLink

	once sync.Once
	kick func(reason error)
}

// maxModelID is the longest model id (DTMI) that the language allows.
const maxModelID = 2048

// Attach registers a live connection. When the identity has one already, the
// newer wins: the older is kicked with 400027. kick tells a connection to go: it
// runs at most once, off every lock, from any goroutine, and must not block. It
// also runs when the identity is deleted, disabled or given other keys, and when
// the hub closes; the reason is an *Error.
//
// Attach fails when the identity has changed since it was authenticated so that
// it would not be any more. modelID is the model that the device announced, or
// empty. Every Attach is ended by a Detach.
func (h *Hub) Attach(p *Principal, modelID string, kick func(reason error)) (*Attachment, error) {
	if len(modelID) > maxModelID {
		return nil, NewError(CodeArgumentInvalid, "the model id has %d characters, the limit is %d", len(modelID), maxModelID)
	}
	a := &Attachment{
		hub: h, principal: p, kick: kick,
		key:       identityKey{p.DeviceID, p.ModuleID},
		partition: h.builtin.partitionOf(p.DeviceID),
		since:     h.now(),
		sender:    sender{entry: appendConnection(nil, p, modelID)},
	}
	a.origin = origin{
		key: a.key, gen: p.GenerationID, auth: p.AuthMethod, model: modelID, entry: a.sender.entry, senders: &a.senders,
	}
	h.mu.Lock()
	if h.isClosing() {
		h.mu.Unlock()
		return nil, errClosed()
	}
	if err := h.checkLocked(a); err != nil {
		h.mu.Unlock()
		return nil, err
	}
	a.routes.Store(h.routesForLocked(a.key))
	older := h.live[a.key]
	h.live[a.key] = a
	delete(h.seen, a.key)
	number := h.newTicks()
	h.mu.Unlock()
	h.announceModel(a.key, p.GenerationID, modelID)
	if older != nil {
		// The state stays Connected throughout: nothing saw this identity go.
		older.kickOnce(NewError(CodeConnectionForcefullyClosed, "a newer connection of %q has taken over", a.key.String()))
	} else {
		h.connectionEvent(a, "deviceConnected", number)
		h.connectionChanged(a.key)
	}
	return a, nil
}

func (h *Hub) isClosing() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// checkLocked says whether the identity would still be let in. h.mu is held.
func (h *Hub) checkLocked(a *Attachment) *Error {
	dev := h.registry[a.key.device]
	var mod *moduleDoc
	if dev != nil && a.key.module != "" {
		mod = dev.module(a.key.module)
	}
	switch {
	case dev == nil || (a.key.module != "" && mod == nil):
		return unauthorized("identity %q was deleted", a.key.String())
	case generationOf(dev, mod) != a.principal.GenerationID:
		return unauthorized("identity %q was deleted and created again", a.key.String())
	case dev.Status != StatusEnabled:
		return unauthorized("device %q was disabled", a.key.device)
	case !h.stillProvesLocked(&a.principal.proof, dev, mod):
		return unauthorized("the credentials of %q were changed", a.key.String())
	}
	return nil
}

func generationOf(dev *deviceDoc, mod *moduleDoc) string {
	if mod != nil {
		return mod.GenerationID
	}
	return dev.GenerationID
}

// Principal is who is attached.
func (a *Attachment) Principal() *Principal { return a.principal }

// Detach ends the registration, unless a newer connection has taken it over
// already. It may be called more than once.
func (a *Attachment) Detach() {
	h := a.hub
	a.stopFault(nil)
	a.ServeMethods(nil)
	now := h.now()
	h.mu.Lock()
	if h.live[a.key] != a {
		h.mu.Unlock()
		return
	}
	delete(h.live, a.key)
	if dev := h.registry[a.key.device]; dev != nil && (a.key.module == "" || dev.module(a.key.module) != nil) {
		h.seen[a.key] = seenState{changed: now, activity: a.lastActivity()}
	}
	number := h.newTicks()
	h.mu.Unlock()
	h.connectionEvent(a, "deviceDisconnected", number)
	h.connectionChanged(a.key)
}

func (a *Attachment) lastActivity() time.Time {
	if ms := a.activity.Load(); ms > a.since.UnixMilli() {
		return time.UnixMilli(ms).UTC()
	}
	return a.since.UTC()
}

// kickOnce asks the connection to go. It must be called off every lock.
func (a *Attachment) kickOnce(reason *Error) {
	a.once.Do(func() {
		if a.kick != nil {
			a.kick(reason)
		}
	})
}

// revokeLocked marks the attachments of a device whose identity no longer lets
// them in, and returns them for the caller to kick off the lock. h.mu is held.
func (h *Hub) revokeLocked(old *deviceDoc) []*Attachment {
	if old == nil {
		return nil
	}
	var out []*Attachment
	check := func(k identityKey) {
		a := h.live[k]
		if a == nil {
			return
		}
		if err := h.checkLocked(a); err != nil {
			a.revoked.Store(err)
			out = append(out, a)
		}
	}
	check(identityKey{device: old.ID})
	for i := range old.Modules {
		check(identityKey{old.ID, old.Modules[i].ID})
	}
	if old.IoTEdge { // what it was doing for others
		for k, a := range h.live {
			if k.device != old.ID && slices.ContainsFunc(a.principal.proof.chain, func(c identityKey) bool { return c.device == old.ID }) {
				check(k)
			}
		}
	}
	return out
}

func kickAll(list []*Attachment) {
	for _, a := range list {
		a.kickOnce(a.revoked.Load())
	}
}
