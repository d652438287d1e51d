package core

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// lockTime is how long a message that was taken stays out of the queue.
	lockTime = time.Minute
	// maxDocBytes and maxDocMessages bound what is stored together.
	maxDocBytes    = 1 << 20
	maxDocMessages = 1000
)

// mail is all queues of the hub: cloud-to-device messages, a queue per device,
// and the inputs of modules, a queue per module. They are in memory, bounded,
// and durable in a spool before their senders hear of it.
type mail struct {
	hub   *Hub
	spool Spool

	// mu is taken after Hub.mu where both are held; it is never held across the
	// storage or a callback.
	mu      sync.Mutex
	boxes   map[identityKey]*mailbox
	lastSeq uint64
	bytes   int // in all queues
	closed  bool
	chores  []func() // what may be written later, in order
	working bool     // somebody works on the chores
}

// mailbox is the queue of one identity. mail.mu guards it.
type mailbox struct {
	key        identityKey
	generation string
	letters    []*letter // by sequence number
	bytes      int
	receivers  []*Receiver
	waiting    []*letter // to be stored
	storing    bool
	due        time.Time // when there is something to do next; zero: never
	timer      *time.Timer
}

// letter is a message in its queue.
type letter struct {
	*Message
	weight      int
	doc         *mailDoc // nil until it is stored
	parcel      *parcel
	owner       *Receiver // has it, or had it and may still complete it
	lockedUntil time.Time
	expires     time.Time
}

// parcel is what one call has put into a queue.
type parcel struct {
	left int
	err  error
	done func(error)
}

func newMail(h *Hub) *mail { return &mail{hub: h, boxes: make(map[identityKey]*mailbox)} }

// open reads what the storage holds. The registry must be there already.
func (m *mail) open(ctx context.Context, storage Storage) error {
	var err error
	if m.spool, err = storage.Spool(ctx, "mail"); err != nil {
		return err
	}
	var stale []string
	err = m.spool.Each(ctx, func(key string, value []byte) error {
		if !m.load(key, value) {
			stale = append(stale, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range stale {
		if err := m.spool.Remove(ctx, key); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.boxes {
		slices.SortFunc(b.letters, func(x, y *letter) int { return cmp.Compare(x.SequenceNumber, y.SequenceNumber) })
		m.sweepLocked(b, m.hub.now())
	}
	return nil
}

// load takes one document in; false when it is for nobody any more.
func (m *mail) load(key string, value []byte) bool {
	text, _, ok := strings.Cut(key, "\x00")
	doc := &mailDoc{key: key}
	if err := json.Unmarshal(value, doc); err != nil || !ok {
		m.hub.log.Error("stored messages are damaged and left out", "key", key, "error", err)
		return true // for somebody to look at
	}
	var k identityKey
	k.device, k.module, _ = strings.Cut(text, "/")
	dev, mod, err := m.hub.identity(k.device, k.module)
	if err != nil || generationOf(dev, mod) != doc.Generation {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxLocked(k, doc.Generation)
	for _, msg := range doc.Messages {
		l := m.newLetter(b, msg)
		l.doc = doc
		doc.left++
		b.letters = append(b.letters, l)
		b.bytes += l.weight
		m.bytes += l.weight
		m.lastSeq = max(m.lastSeq, msg.SequenceNumber)
	}
	doc.shed(b)
	return doc.left > 0
}

// newLetter says when a message of a queue expires.
func (m *mail) newLetter(b *mailbox, msg *Message) *letter {
	l := &letter{Message: msg, weight: msg.size() + messageOverhead}
	switch {
	case b.key.module != "":
		l.expires = msg.EnqueuedTime.Add(m.hub.cfg.InputTTL)
	case !msg.Expiry.IsZero():
		l.expires = msg.Expiry
	default:
		l.expires = msg.EnqueuedTime.Add(m.hub.cfg.MessageTTL)
	}
	return l
}

// boxLocked gives the queue of an identity. What a former identity of that name
// has left is dropped.
func (m *mail) boxLocked(k identityKey, generation string) *mailbox {
	b := m.boxes[k]
	if b != nil && b.generation != generation {
		m.dropLocked(b)
		b = nil
	}
	if b == nil {
		b = &mailbox{key: k, generation: generation}
		m.boxes[k] = b
	}
	return b
}

// dropLocked empties the queue of an identity that is gone, and forgets it.
func (m *mail) dropLocked(b *mailbox) {
	for _, l := range slices.Clone(b.letters) {
		if l.doc != nil {
			m.removeLocked(b, l)
		}
	}
	b.receivers = nil
	if m.boxes[b.key] == b {
		delete(m.boxes, b.key)
	}
}

// identityGone drops the queues that a change of the registry leaves without
// their identity.
func (m *mail) identityGone(old, doc *deviceDoc) {
	if old == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	drop := func(k identityKey, was, is string) {
		if b := m.boxes[k]; b != nil && was != is && b.generation == was {
			m.dropLocked(b)
		}
	}
	now := ""
	if doc != nil {
		now = doc.GenerationID
	}
	drop(identityKey{device: old.ID}, old.GenerationID, now)
	for i := range old.Modules {
		now = ""
		if doc != nil {
			if mod := doc.module(old.Modules[i].ID); mod != nil {
				now = mod.GenerationID
			}
		}
		drop(identityKey{old.ID, old.Modules[i].ID}, old.Modules[i].GenerationID, now)
	}
}

// count is how many messages the queue of an identity holds.
func (m *mail) count(k identityKey) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.boxes[k]; b != nil {
		return len(b.letters)
	}
	return 0
}

// addLocked puts a message at the end of a queue, not durable yet.
func (m *mail) addLocked(b *mailbox, msg *Message, p *parcel) *letter {
	m.lastSeq++
	msg.SequenceNumber = m.lastSeq
	l := m.newLetter(b, msg)
	l.parcel = p
	p.left++
	b.letters = append(b.letters, l)
	b.bytes += l.weight
	m.bytes += l.weight
	return l
}

// storeLocked has letters stored that were added.
func (m *mail) storeLocked(b *mailbox, letters ...*letter) {
	b.waiting = append(b.waiting, letters...)
	if !b.storing {
		b.storing = true
		m.hub.wg.Go(func() { m.storeAll(b) })
	}
}

// storeAll stores what waits in a queue. What gathers during one write goes into
// the next.
func (m *mail) storeAll(b *mailbox) {
	for {
		m.mu.Lock()
		batch := m.nextBatchLocked(b)
		if len(batch) == 0 {
			b.storing = false
			m.tidyLocked(b)
			m.mu.Unlock()
			return
		}
		doc := &mailDoc{Generation: b.generation, left: len(batch)}
		for _, l := range batch {
			doc.Messages = append(doc.Messages, l.Message)
		}
		doc.key = fmt.Sprintf("%s\x00%016x", b.key, doc.Messages[0].SequenceNumber)
		m.mu.Unlock()
		data, err := doc.encode()
		if err == nil {
			// It was accepted, and Close waits for it.
			err = m.spool.Put(context.Background(), doc.key, data)
		}
		m.stored(b, batch, doc, err)
	}
}

// nextBatchLocked takes what goes into one document. Those of devices go one by
// one, so that each can be stored again with its delivery count.
func (m *mail) nextBatchLocked(b *mailbox) []*letter {
	n, size := 0, 0
	for _, l := range b.waiting {
		size += l.weight
		if n > 0 && (size > maxDocBytes || n >= maxDocMessages || b.key.module == "") {
			break
		}
		n++
	}
	batch := slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	return batch
}

// stored makes what is durable available, or takes what is not out again, and
// answers the senders.
func (m *mail) stored(b *mailbox, batch []*letter, doc *mailDoc, err error) {
	if err != nil {
		m.hub.log.Error("messages were not stored", "queue", b.key.String(), "error", err)
		e := NewError(CodeServiceUnavailable, "the message could not be stored")
		e.cause = err
		err = e
	}
	var finished []*parcel
	m.mu.Lock()
	doc.shed(b)
	dropped := m.boxes[b.key] != b
	for _, l := range batch {
		l.doc = doc
		if err != nil || dropped {
			m.removeLocked(b, l)
		}
		m.dueLocked(b, l.expires)
		p := l.parcel
		l.parcel = nil
		if p.left--; err != nil {
			p.err = err
		}
		if p.left == 0 {
			finished = append(finished, p)
		}
	}
	wake := slices.Clone(b.receivers)
	m.mu.Unlock()
	for _, p := range finished {
		p.done(p.err)
	}
	wakeAll(wake)
}

// cancelLocked takes back letters that were added and are not to be stored.
func (m *mail) cancelLocked(b *mailbox, letters []*letter) {
	for _, l := range letters {
		l.doc = &mailDoc{} // of nothing
		m.removeLocked(b, l)
	}
	m.tidyLocked(b)
}

// removeLocked takes a letter that is stored out of its queue, and its document
// out of the storage with the last one.
func (m *mail) removeLocked(b *mailbox, l *letter) {
	i, ok := b.find(l.SequenceNumber)
	if !ok {
		return
	}
	if i == 0 {
		b.letters[0] = nil
		b.letters = b.letters[1:]
	} else {
		b.letters = slices.Delete(b.letters, i, i+1)
	}
	b.bytes -= l.weight
	m.bytes -= l.weight
	l.owner = nil
	if l.doc.left--; l.doc.left == 0 {
		m.removeDocLocked(l.doc.key)
	}
	m.tidyLocked(b)
}

func (b *mailbox) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(b.letters, seq, func(l *letter, seq uint64) int {
		return cmp.Compare(l.SequenceNumber, seq)
	})
}

// tidyLocked forgets a queue that nobody needs.
func (m *mail) tidyLocked(b *mailbox) {
	if len(b.letters) == 0 && len(b.receivers) == 0 && !b.storing && m.boxes[b.key] == b {
		if b.timer != nil {
			b.timer.Stop()
		}
		delete(m.boxes, b.key)
	}
}

func (m *mail) removeDocLocked(key string) {
	m.choreLocked(func() {
		if err := m.spool.Remove(context.Background(), key); err != nil {
			m.hub.log.Error("messages that were delivered are still stored, and will be delivered again after a restart", "error", err)
		}
	})
}

// choreLocked has something written that nobody waits for. Chores are done in
// order. After Close they are not: what is delivered then comes again.
func (m *mail) choreLocked(f func()) bool {
	if m.closed && !m.working {
		return false
	}
	m.chores = append(m.chores, f)
	if !m.working {
		m.working = true
		m.hub.wg.Go(m.work)
	}
	return true
}

func (m *mail) work() {
	for {
		m.mu.Lock()
		chores := m.chores
		m.chores = nil
		if len(chores) == 0 {
			m.working = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		for _, f := range chores {
			f()
		}
	}
}

// close stops the clocks. What waits to be stored still is.
func (m *mail) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, b := range m.boxes {
		if b.timer != nil {
			b.timer.Stop()
		}
	}
}

func wakeAll(receivers []*Receiver) {
	for _, r := range receivers {
		r.wake()
	}
}
