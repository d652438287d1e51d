package core

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/guid"
)

// The outcomes that feedback tells of (wire-service D5).
const (
	feedbackSuccess       = "Success"
	feedbackExpired       = "Expired"
	feedbackDeliveryCount = "DeliveryCountExceeded"
	feedbackRejected      = "Rejected"
	feedbackPurged        = "Purged"
)

const (
	// MaxFeedbackBatch is how many records are given out at once (H.1).
	MaxFeedbackBatch = 64
	// maxFeedback bounds the records kept; the oldest go first.
	maxFeedback = 10_000
)

// FeedbackRecord tells the back end what has become of a cloud-to-device message,
// in the form of IoT Hub's JSON.
type FeedbackRecord struct {
	OriginalMessageID string `json:"originalMessageId"`
	// EnqueuedTime is when it was decided.
	EnqueuedTime       Time   `json:"enqueuedTimeUtc"`
	StatusCode         string `json:"statusCode"`
	Description        string `json:"description"`
	DeviceID           string `json:"deviceId"`
	DeviceGenerationID string `json:"deviceGenerationId"`

	seq uint64
}

// FeedbackBatch is records that were taken together.
type FeedbackBatch struct {
	LockToken string
	Records   []FeedbackRecord
}

// feedback is the queue of feedback records. Its lock is the last one taken.
type feedback struct {
	hub   *Hub
	spool Spool

	mu      sync.Mutex
	records []FeedbackRecord // by seq; not locked
	locked  map[string]*lockedFeedback
	lastSeq uint64
	changed bell
}

type lockedFeedback struct {
	records []FeedbackRecord
	until   time.Time
}

func newFeedback(h *Hub) *feedback {
	return &feedback{hub: h, locked: make(map[string]*lockedFeedback)}
}

// open reads what the storage holds; nothing is added before.
func (f *feedback) open(ctx context.Context, storage Storage) error {
	var err error
	if f.spool, err = storage.Spool(ctx, "feedback"); err != nil {
		return err
	}
	err = f.spool.Each(ctx, func(key string, value []byte) error {
		var r FeedbackRecord
		if _, err := fmt.Sscanf(key, "%016x", &r.seq); err != nil || json.Unmarshal(value, &r) != nil {
			f.hub.log.Error("a stored feedback record is damaged and left out", "key", key)
			return nil
		}
		f.records = append(f.records, r)
		f.lastSeq = max(f.lastSeq, r.seq)
		return nil
	})
	f.sort()
	return err
}

func (f *feedback) sort() {
	slices.SortFunc(f.records, func(x, y FeedbackRecord) int { return cmp.Compare(x.seq, y.seq) })
}

func feedbackKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// add appends a record. m.mu is held: the record is stored before whatever else
// follows from what it tells.
func (f *feedback) add(m *mail, r FeedbackRecord) {
	data, err := json.Marshal(r)
	if err != nil {
		f.hub.log.Error("a feedback record was not stored", "error", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastSeq++
	r.seq = f.lastSeq
	f.records = append(f.records, r)
	m.putLocked(f.spool, feedbackKey(r.seq), data)
	if len(f.records) > maxFeedback {
		f.hub.log.Warn("a feedback record was dropped: nobody reads them", "device", f.records[0].DeviceID)
		m.dropFeedbackLocked(f.records[:1])
		f.records = f.records[1:]
	}
	f.changed.ringLocked()
}

// putLocked has a document stored that nobody waits for.
func (m *mail) putLocked(s Spool, key string, data []byte) {
	m.choreLocked(func() {
		if err := s.Put(context.Background(), key, data); err != nil {
			m.hub.log.Error("what has become of a message was not stored", "error", err)
		}
	})
}

func (m *mail) dropFeedbackLocked(records []FeedbackRecord) {
	spool := m.hub.feedback.spool
	for _, r := range records {
		m.choreLocked(func() {
			if err := spool.Remove(context.Background(), feedbackKey(r.seq)); err != nil {
				m.hub.log.Error("a feedback record is still stored, and will come again after a restart", "error", err)
			}
		})
	}
}

// TryFeedback takes up to max of the oldest records, at most [MaxFeedbackBatch];
// nil when there are none. They come again unless they are settled with
// [Hub.SettleFeedback] within a minute.
func (h *Hub) TryFeedback(max int) *FeedbackBatch {
	f, now := h.feedback, h.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lapseLocked(now)
	n := min(max, MaxFeedbackBatch, len(f.records))
	if n <= 0 {
		return nil
	}
	b := &FeedbackBatch{LockToken: guid.New(), Records: slices.Clone(f.records[:n])}
	f.records = slices.Delete(f.records, 0, n)
	f.locked[b.LockToken] = &lockedFeedback{b.Records, now.Add(lockTime)}
	return b
}

// lapseLocked gives back what was locked for too long.
func (f *feedback) lapseLocked(now time.Time) {
	for token, b := range f.locked {
		if !now.Before(b.until) {
			f.returnLocked(token, b)
		}
	}
}

func (f *feedback) returnLocked(token string, b *lockedFeedback) {
	delete(f.locked, token)
	f.records = append(f.records, b.records...)
	f.sort()
}

// Feedback is TryFeedback that waits for the first record. Errors are that of ctx
// and an *Error when the hub closes.
func (h *Hub) Feedback(ctx context.Context, max int) (*FeedbackBatch, error) {
	f := h.feedback
	return await(ctx, h, &f.mu, &f.changed, func() *FeedbackBatch { return h.TryFeedback(max) }, f.untilLapse)
}

// untilLapse is how long it takes until something may come back.
func (f *feedback) untilLapse() time.Duration {
	now := f.hub.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := lockTime
	for _, b := range f.locked {
		wait = min(wait, b.until.Sub(now))
	}
	return max(wait, time.Millisecond)
}

// SettleFeedback settles a batch: Complete and Reject remove it, Abandon has it
// come again. 412002 when its lock is lost.
func (h *Hub) SettleFeedback(lockToken string, s Settlement) error {
	f := h.feedback
	h.mail.mu.Lock()
	defer h.mail.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lapseLocked(h.now())
	b := f.locked[lockToken]
	if b == nil {
		return NewError(CodeMessageLockLost, "the lock of the feedback is lost: it lasts %s", lockTime)
	}
	if s == Abandon {
		f.returnLocked(lockToken, b)
		f.changed.ringLocked()
		return nil
	}
	delete(f.locked, lockToken)
	h.mail.dropFeedbackLocked(b.records)
	return nil
}
