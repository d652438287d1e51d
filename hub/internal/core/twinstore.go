package core

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// twinStore holds the twins: all that were ever changed in memory, and the same
// in the storage, where a change is before anybody hears of it.
//
// One committer makes all changes, in the order in which they were asked for. It
// takes what has gathered while the write before was under way, applies it, and
// writes the twins that have become of it as one record: the more devices patch
// at once the more of them share one write. A twin that is patched many times in
// that while is written once.
//
// A record stays until none of its twins is current any more, or few are and
// they move on with the next write; then its place, a slot, is written over. So
// the storage never holds much more than twice what was current at its fullest,
// and a restart finds the current state of a twin by the sequence of its records.
// A crash loses nothing: a slot is written over in one step, by a record that
// holds all that was still current in it.
type twinStore struct {
	hub   *Hub
	spool Spool

	mu      sync.RWMutex
	docs    map[identityKey]*twinDoc
	queue   []*twinOp // oldest first
	waiting int       // bytes of the changes in queue
	idle    bool      // the committer waits for wake
	closed  bool

	wake chan struct{} // room for one

	// Owned by the committer (and by open before it runs).
	seq      uint64
	places   map[identityKey]*twinSlot // where the current state of a twin is stored
	reusable []*twinSlot               // at least half of what they hold is out of date
	suspect  *twinSlot                 // its last write failed, so nobody knows what it holds
	lastSlot uint64
	record   []byte
}

// twinSlot is a place for a record.
type twinSlot struct {
	id       uint64
	bytes    int           // of the twins in its record
	current  int           // of those that are current
	keys     []identityKey // of the twins in its record
	reusable bool          // it is in twinStore.reusable
}

// twinOp is a change of a twin, or with a nil edit the reading of one in its
// order among the changes.
type twinOp struct {
	key    identityKey
	gen    string // of the identity that it is for; "" when any will do
	weight int    // how much larger it can make the twin, in bytes as stored
	edit   func(old *twinDoc, stamp int64) (next *twinDoc, notice *twinNode, err error)
	// done runs on the committer's goroutine once the change is durable.
	done func(*twinDoc, error)
	// change is what the events about it tell; nil when there are none.
	change *twinChange
	// forget drops the twin of an identity that is gone.
	forget bool

	// The committer's.
	doc    *twinDoc
	notice *twinNode
	err    error
}

const (
	// targetTwinRecord is when a record is large enough.
	targetTwinRecord = 1 << 20
	// maxTwinQueue bounds the bytes of changes that wait to be written, with
	// Config.MaxWaiting; each counts for at least minTwinOp.
	maxTwinQueue = 64 << 20
	minTwinOp    = 256
	// maxCarried bounds what moves on from a slot that is to be used again.
	maxCarried = targetTwinRecord / 2
)

func newTwinStore(h *Hub) *twinStore {
	return &twinStore{hub: h, docs: make(map[identityKey]*twinDoc), wake: make(chan struct{}, 1)}
}

// open reads all twins. The registry has to be there already.
func (t *twinStore) open(ctx context.Context, storage Storage) error {
	var err error
	if t.spool, err = storage.Spool(ctx, "twins"); err != nil {
		return fmt.Errorf("core: open the twins: %w", err)
	}
	if err := t.load(ctx); err != nil {
		return fmt.Errorf("core: read the twins: %w", err)
	}
	return nil
}

// load reads every record and keeps of each twin the newest state.
func (t *twinStore) load(ctx context.Context) error {
	docs := make(map[identityKey]*twinDoc)
	t.places = make(map[identityKey]*twinSlot)
	newest := make(map[identityKey]uint64)
	var slots []*twinSlot
	err := t.spool.Each(ctx, func(name string, record []byte) error {
		s := new(twinSlot)
		var err error
		if s.id, err = strconv.ParseUint(name, 10, 64); err == nil {
			t.lastSlot = max(t.lastSlot, s.id)
			err = decodeTwins(record, func(seq uint64, key identityKey, d *twinDoc) {
				t.seq = max(t.seq, seq)
				s.bytes += d.encoded
				s.keys = append(s.keys, key)
				if seq >= newest[key] {
					newest[key], docs[key], t.places[key] = seq, d, s
				}
			})
		}
		if err != nil {
			// It stays as it is: whoever looks into it may save something.
			t.hub.log.Error("stored twins are damaged and left out", "record", name, "error", err)
			return nil
		}
		slots = append(slots, s)
		return nil
	})
	if err != nil {
		return err
	}
	for key, doc := range docs {
		if gen, err := t.hub.generationFor(key); err != nil || gen != doc.gen {
			delete(docs, key) // its identity went before it could
			delete(t.places, key)
			continue
		}
		t.places[key].current += doc.encoded
	}
	for _, s := range slots {
		t.offer(s)
	}
	t.mu.Lock()
	t.docs = docs
	t.mu.Unlock()
	t.fillCells(docs)
	return nil
}

// fillCells lets the identities of twins lead to what has become of them.
func (t *twinStore) fillCells(docs map[identityKey]*twinDoc) {
	t.hub.mu.RLock()
	defer t.hub.mu.RUnlock()
	for key, doc := range docs {
		dev, mod, err := t.hub.documentsLocked(key)
		if err == nil && generationOf(dev, mod) == doc.gen {
			cellOf(dev, mod).Store(doc)
		}
	}
}

func cellOf(dev *deviceDoc, mod *moduleDoc) *twinCell {
	if mod != nil {
		return mod.twin
	}
	return dev.twin
}

// get returns the twin of an identity of that generation.
func (t *twinStore) get(key identityKey, gen string) *twinDoc {
	t.mu.RLock()
	doc := t.docs[key]
	t.mu.RUnlock()
	if doc == nil || doc.gen != gen {
		return freshTwin(gen)
	}
	return doc
}

// ofPrincipal is get for a connection, whose identity may have gone.
func (t *twinStore) ofPrincipal(key identityKey, gen string) (*twinDoc, error) {
	current, err := t.hub.generationFor(key)
	if err != nil {
		return nil, err
	}
	if current != gen {
		return nil, recreated(key)
	}
	return t.get(key, gen), nil
}

func recreated(key identityKey) *Error {
	if key.module == "" {
		return deviceNotFound(key.device)
	}
	return moduleNotFound(key.device, key.module)
}

// enqueue hands an operation to the committer.
func (t *twinStore) enqueue(op *twinOp) error {
	op.weight = max(op.weight, minTwinOp)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed()
	}
	if t.waiting+op.weight > min(maxTwinQueue, t.hub.cfg.MaxWaiting) && !op.forget {
		return NewError(CodeServerBusy, "%d bytes of changes of twins wait for the storage already", t.waiting)
	}
	t.queue = append(t.queue, op)
	t.waiting += op.weight
	if t.idle {
		t.idle = false
		t.wake <- struct{}{} // room: the committer emptied it before it went idle
	}
	return nil
}

// change has the committer make a change, and waits until it is durable. When ctx ends
// first the change goes on.
func (t *twinStore) change(ctx context.Context, op *twinOp) (*twinDoc, error) {
	type result struct {
		doc *twinDoc
		err error
	}
	finished := make(chan result, 1)
	op.done = func(doc *twinDoc, err error) { finished <- result{doc, err} }
	if err := t.enqueue(op); err != nil {
		return nil, err
	}
	select {
	case r := <-finished:
		return r.doc, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// identityGone drops the twins of those identities of a device that there are no
// more, after old has become doc (nil: removed).
func (t *twinStore) identityGone(old, doc *deviceDoc) {
	if old == nil {
		return
	}
	if doc == nil || doc.GenerationID != old.GenerationID {
		t.forget(identityKey{device: old.ID}, old.GenerationID)
	}
	for i := range old.Modules {
		m := &old.Modules[i]
		var now *moduleDoc
		if doc != nil {
			now = doc.module(m.ID)
		}
		if now == nil || now.GenerationID != m.GenerationID {
			t.forget(identityKey{old.ID, m.ID}, m.GenerationID)
		}
	}
}

func (t *twinStore) forget(key identityKey, gen string) {
	// A hub that closes has no need to forget.
	_ = t.enqueue(&twinOp{key: key, gen: gen, forget: true})
}

// shut refuses further operations and lets the committer end.
func (t *twinStore) shut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.idle {
		t.idle = false
		t.wake <- struct{}{}
	}
}

// run is the committer. It ends when the store is shut and all is answered.
func (t *twinStore) run() {
	for {
		ops := t.next()
		if ops == nil {
			return
		}
		t.commit(ops)
	}
}

// next takes operations, waiting for one: as many as fit one record.
func (t *twinStore) next() []*twinOp {
	for {
		t.mu.Lock()
		if len(t.queue) > 0 {
			ops := t.takeLocked()
			t.mu.Unlock()
			return ops
		}
		if t.closed {
			t.mu.Unlock()
			return nil
		}
		t.idle = true
		t.mu.Unlock()
		<-t.wake
	}
}

func (t *twinStore) takeLocked() []*twinOp {
	touched := make(map[identityKey]bool)
	bytes, n := 0, 0
	for n < len(t.queue) && (n == 0 || bytes < targetTwinRecord) {
		op := t.queue[n]
		bytes += op.weight
		t.waiting -= op.weight
		if !touched[op.key] {
			touched[op.key] = true
			if doc := t.docs[op.key]; doc != nil {
				bytes += doc.encoded
			}
		}
		n++
	}
	ops := t.queue[:n:n]
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	}
	return ops
}

// commit applies operations, writes what has changed, and answers.
func (t *twinStore) commit(ops []*twinOp) {
	changed := make(map[identityKey]*twinDoc)
	stamp := t.hub.now().UnixNano()
	for _, op := range ops {
		if op.forget {
			t.drop(op, changed)
			continue
		}
		t.apply(op, changed, stamp)
	}
	if len(changed) > 0 {
		if err := t.write(changed); err != nil {
			t.hub.log.Error("twins were not stored", "twins", len(changed), "error", err)
			failed := storageError("twin", err)
			for _, op := range ops {
				if op.err == nil && changed[op.key] != nil {
					op.err = failed
				}
			}
			changed = nil
		}
		t.mu.Lock()
		for key, doc := range changed {
			t.docs[key] = doc
		}
		t.mu.Unlock()
		t.fillCells(changed)
		for key := range changed {
			t.hub.configs.touch(key)
		}
	}
	for _, op := range ops {
		if op.err == nil && op.notice != nil {
			t.hub.notifyDesired(op.key, op.doc.desired.version, op.notice)
		}
		if op.err == nil && op.change != nil {
			t.hub.twinEvents(op.key, op.change, op.doc)
			if g := t.hub.cfg.Gateway; g != nil && op.change.reported != nil {
				g.Reported(op.key.device, op.key.module)
			}
		}
		if op.done != nil {
			op.done(op.doc, op.err)
		}
	}
}

// apply carries one operation out on what the ones before it have made.
func (t *twinStore) apply(op *twinOp, changed map[identityKey]*twinDoc, stamp int64) {
	var gen string
	if gen, op.err = t.hub.generationFor(op.key); op.err != nil {
		return
	}
	if op.gen != "" && op.gen != gen {
		op.err = recreated(op.key)
		return
	}
	doc := changed[op.key]
	if doc == nil || doc.gen != gen {
		doc = t.get(op.key, gen)
	}
	op.doc = doc
	if op.edit == nil {
		return
	}
	next, notice, err := op.edit(doc, stamp)
	if err != nil {
		op.err = err
		return
	}
	op.doc, op.notice = next, notice
	switch {
	case next == doc:
		op.change = nil
	case op.change != nil:
		op.change.before = doc
	}
	if next != doc {
		changed[op.key] = next
	}
}

// drop forgets the twin of an identity that is gone, unless another one of the
// same name has one already.
func (t *twinStore) drop(op *twinOp, changed map[identityKey]*twinDoc) {
	if doc := changed[op.key]; doc != nil && doc.gen == op.gen {
		delete(changed, op.key)
	}
	t.mu.Lock()
	doc := t.docs[op.key]
	if doc == nil || doc.gen != op.gen {
		t.mu.Unlock()
		return
	}
	delete(t.docs, op.key)
	t.mu.Unlock()
	t.release(op.key, doc)
}

// write makes the changed twins durable as one record.
func (t *twinStore) write(changed map[identityKey]*twinDoc) error {
	s := t.slot()
	t.seq++
	t.record = appendRecordHead(t.record[:0], t.seq)
	var keys []identityKey
	bytes := 0
	put := func(key identityKey, doc *twinDoc) {
		t.record = appendTwin(t.record, key, doc)
		keys = append(keys, key)
		bytes += doc.encoded
	}
	for key, doc := range changed {
		put(key, doc)
	}
	for _, key := range s.keys {
		if changed[key] == nil && t.places[key] == s {
			put(key, t.docs[key])
		}
	}
	// It was accepted, and Close waits for it: no end but the storage's own.
	if err := t.spool.Put(context.Background(), strconv.FormatUint(s.id, 10), t.record); err != nil {
		// It may be there all the same. The next write is to the same place and
		// without what was refused here, which so never comes back.
		t.suspect = s
		return err
	}
	if cap(t.record) > 2*targetTwinRecord {
		t.record = nil
	}
	t.suspect = nil
	t.settle(s, keys, bytes, changed)
	return nil
}

// settle notes that the twins are in the slot now and nowhere else.
func (t *twinStore) settle(s *twinSlot, keys []identityKey, bytes int, changed map[identityKey]*twinDoc) {
	s.reusable = true // until it is full again
	for key := range changed {
		if old := t.docs[key]; old != nil {
			t.release(key, old)
		}
	}
	s.keys, s.bytes, s.current, s.reusable = keys, bytes, bytes, false
	for _, key := range keys {
		t.places[key] = s
	}
}

// release notes that what is stored of a twin is out of date.
func (t *twinStore) release(key identityKey, doc *twinDoc) {
	s := t.places[key]
	delete(t.places, key)
	if s != nil {
		s.current -= doc.encoded
		t.offer(s)
	}
}

// offer puts a slot among those to be used again, if it is one.
func (t *twinStore) offer(s *twinSlot) {
	if !s.reusable && s.current <= s.bytes/2 && s.current <= maxCarried {
		s.reusable = true
		t.reusable = append(t.reusable, s)
	}
}

// slot chooses where the next record goes.
func (t *twinStore) slot() *twinSlot {
	s := t.suspect
	if n := len(t.reusable); s == nil && n > 0 {
		// The emptiest of the last few: the less moves on the better.
		last := t.reusable[max(0, n-16):]
		s = slices.MinFunc(last, func(a, b *twinSlot) int { return a.current - b.current })
	}
	if s == nil {
		t.lastSlot++
		return &twinSlot{id: t.lastSlot}
	}
	if s.reusable {
		i := slices.Index(t.reusable, s)
		t.reusable = slices.Delete(t.reusable, i, i+1)
		s.reusable = false
	}
	return s
}
