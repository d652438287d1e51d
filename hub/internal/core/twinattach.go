package core

import "sync/atomic"

// twinLink is what a connection has to do with the twin of its identity.
type twinLink struct {
	// waiting counts the patches of this connection that are not durable yet.
	waiting atomic.Int32
	desired atomic.Pointer[func(version uint64, patch []byte)]
}

// ReadTwin gives the twin as the device sees it: a JSON object with desired and
// reported, each with its $version, and neither metadata nor tags. It is the
// state after all patches of this connection so far. done runs once, at once or
// later on another goroutine; it must not block. Errors are *Error: 404001 or
// 404010 when the identity is gone, 503001 when the hub closes.
func (a *Attachment) ReadTwin(done func(twin []byte, err error)) {
	a.activity.Store(a.hub.now().UnixMilli())
	if g := a.hub.cfg.Gateway; g != nil {
		g.Fresh(a.key.device, a.key.module, func() { a.readTwin(done) })
		return
	}
	a.readTwin(done)
}

func (a *Attachment) readTwin(done func(twin []byte, err error)) {
	h := a.hub
	if a.twin.waiting.Load() == 0 {
		doc, err := h.twins.ofPrincipal(a.key, a.principal.GenerationID)
		if err != nil {
			done(nil, err)
			return
		}
		done(doc.deviceView(), nil)
		return
	}
	err := h.twins.enqueue(&twinOp{
		key: a.key, gen: a.principal.GenerationID,
		done: func(doc *twinDoc, err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(doc.deviceView(), nil)
		},
	})
	if err != nil {
		done(nil, err)
	}
}

// PatchReported applies a merge patch to the reported properties. patch is the
// caller's again when it returns. done runs once, with the new $version when the
// change is durable, at once or later on another goroutine; it must not block.
// The done functions of one attachment's patches that are in order run in the
// order of the calls. Patches of many devices share one write.
//
// Errors are *Error: 400006 when the patch is not JSON, 400004 when it breaks a
// rule for twins, 404001 or 404010 when the identity is gone, 401003 when it no
// longer lets the connection in, 503005 when too many changes wait for the
// storage.
func (a *Attachment) PatchReported(patch []byte, done func(version uint64, err error)) {
	h := a.hub
	if err := a.revoked.Load(); err != nil {
		done(0, err)
		return
	}
	a.activity.Store(h.now().UnixMilli())
	parsed, err := parseReported(patch)
	if err != nil {
		done(0, err)
		return
	}
	a.twin.waiting.Add(1)
	err = h.twins.enqueue(&twinOp{
		key: a.key, gen: a.principal.GenerationID, weight: parsed.encodedLen(), change: &twinChange{reported: parsed},
		edit: func(doc *twinDoc, stamp int64) (*twinDoc, *twinNode, error) {
			next, err := doc.report(parsed, stamp)
			return next, nil, err
		},
		done: func(doc *twinDoc, err error) {
			a.twin.waiting.Add(-1)
			if err != nil {
				done(0, err)
				return
			}
			done(doc.reported.version, nil)
		},
	})
	if err != nil {
		a.twin.waiting.Add(-1)
		done(0, err)
	}
}

// OnDesired has notify called for every later change of the desired properties
// while this is the connection of its identity: with the new $version and a JSON
// object, the patch as the back end gave it and $version. The calls are in order,
// on one goroutine, which notify must not block. It may be called once.
func (a *Attachment) OnDesired(notify func(version uint64, patch []byte)) {
	a.twin.desired.Store(&notify)
}

// notifyDesired tells the live connection of an identity, if any.
func (h *Hub) notifyDesired(key identityKey, version uint64, notice *twinNode) {
	h.mu.RLock()
	a := h.live[key]
	h.mu.RUnlock()
	if a == nil {
		return
	}
	if notify := a.twin.desired.Load(); notify != nil {
		(*notify)(version, notice.appendVersioned(nil, version))
	}
}

// announceModel keeps the model that a device announces when it connects.
func (h *Hub) announceModel(key identityKey, gen, model string) {
	if model == "" || h.twins.get(key, gen).model == model {
		return
	}
	err := h.twins.enqueue(&twinOp{
		key: key, gen: gen, weight: len(model),
		edit: func(doc *twinDoc, _ int64) (*twinDoc, *twinNode, error) {
			next := *doc
			next.model = model
			return &next, nil, nil
		},
		done: func(_ *twinDoc, err error) {
			if err != nil {
				h.log.Warn("the model that a device has announced is not kept", "identity", key.String(), "error", err)
			}
		},
	})
	if err != nil {
		h.log.Warn("the model that a device has announced is not kept", "identity", key.String(), "error", err)
	}
}
