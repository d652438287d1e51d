package core

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/guid"
)

const (
	// maxFileNotices bounds those kept; the oldest go first.
	maxFileNotices = 10_000
	// fileNoticeLife is how long one is kept, and maxFileDeliveries how often it
	// comes again.
	fileNoticeLife    = 48 * time.Hour
	maxFileDeliveries = 10
)

// FileNotification tells the back end that a file was uploaded, in the form of IoT
// Hub's JSON (wire-service D6).
type FileNotification struct {
	DeviceID     string `json:"deviceId"`
	BlobURI      string `json:"blobUri"`
	BlobName     string `json:"blobName"`
	LastUpdated  Time   `json:"lastUpdatedTime"`
	Size         int64  `json:"blobSizeInBytes"`
	EnqueuedTime Time   `json:"enqueuedTimeUtc"`

	// LockToken is what settles it.
	LockToken string `json:"-"`
}

// fileNotice is a notification in the queue.
type fileNotice struct {
	FileNotification
	seq        uint64
	deliveries int
	until      time.Time // locked until then; zero: not locked
}

// fileNotices is the queue of notifications of uploads. A notification is durable
// before its device hears that the upload is over, and stays until it is settled.
type fileNotices struct {
	hub   *Hub
	spool Spool

	mu      sync.Mutex
	list    []*fileNotice // by seq
	last    uint64
	changed bell
}

func (f *fileNotices) open(ctx context.Context, storage Storage) error {
	var err error
	if f.spool, err = storage.Spool(ctx, "file-notices"); err != nil {
		return err
	}
	err = f.spool.Each(ctx, func(key string, value []byte) error {
		n := new(fileNotice)
		if _, err := fmt.Sscanf(key, "%016x", &n.seq); err != nil || json.Unmarshal(value, &n.FileNotification) != nil {
			f.hub.log.Error("a stored notification of an upload is damaged and left out", "key", key)
			return nil
		}
		f.list = append(f.list, n)
		f.last = max(f.last, n.seq)
		return nil
	})
	slices.SortFunc(f.list, func(x, y *fileNotice) int { return strings.Compare(noticeKey(x.seq), noticeKey(y.seq)) })
	return err
}

func noticeKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// add stores a notification and puts it at the end.
func (f *fileNotices) add(ctx context.Context, n FileNotification) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock() // held while it is stored: uploads end seldom, and order is kept
	seq := f.last + 1
	if err := f.spool.Put(ctx, noticeKey(seq), data); err != nil {
		return storageError("notify of an upload", err)
	}
	f.last = seq
	f.list = append(f.list, &fileNotice{FileNotification: n, seq: seq})
	if len(f.list) > maxFileNotices {
		f.hub.log.Warn("a notification of an upload was dropped: nobody reads them", "device", f.list[0].DeviceID)
		f.removeLocked(0)
	}
	f.changed.ringLocked()
	return nil
}

// removeLocked takes one out. What stays stored comes again after a restart.
func (f *fileNotices) removeLocked(i int) {
	if err := f.spool.Remove(context.Background(), noticeKey(f.list[i].seq)); err != nil {
		f.hub.log.Error("a notification of an upload is still stored, and will come again after a restart", "error", err)
	}
	f.list = slices.Delete(f.list, i, i+1)
}

// TryFileNotification takes the oldest notification that nobody has; nil when there
// is none. It comes again unless it is settled with [Hub.SettleFileNotification]
// within a minute.
func (h *Hub) TryFileNotification() *FileNotification {
	f, now := &h.files, h.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; i < len(f.list); {
		n := f.list[i]
		switch {
		case now.After(n.EnqueuedTime.Add(fileNoticeLife)), n.deliveries >= maxFileDeliveries && !now.Before(n.until):
			f.removeLocked(i)
			continue
		case now.Before(n.until):
			i++
			continue
		}
		n.until, n.LockToken = now.Add(lockTime), guid.New()
		n.deliveries++
		out := n.FileNotification
		return &out
	}
	return nil
}

// FileNotification is TryFileNotification that waits for one. Errors are that of
// ctx and an *Error when the hub closes.
func (h *Hub) FileNotification(ctx context.Context) (*FileNotification, error) {
	f := &h.files
	return await(ctx, h, &f.mu, &f.changed, h.TryFileNotification, f.untilLapse)
}

// untilLapse is how long it takes until something may come back.
func (f *fileNotices) untilLapse() time.Duration {
	now := f.hub.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := lockTime
	for _, n := range f.list {
		if left := n.until.Sub(now); left > 0 {
			wait = min(wait, left)
		}
	}
	return max(wait, time.Millisecond)
}

// SettleFileNotification settles a notification: Complete and Reject remove it,
// Abandon has it come again. 412002 when its lock is lost.
func (h *Hub) SettleFileNotification(lockToken string, s Settlement) error {
	f, now := &h.files, h.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.list, func(n *fileNotice) bool { return n.LockToken == lockToken && now.Before(n.until) })
	if i < 0 || lockToken == "" {
		return NewError(CodeMessageLockLost, "the lock of the notification is lost: it lasts %s", lockTime)
	}
	if s == Abandon {
		f.list[i].until, f.list[i].LockToken = time.Time{}, ""
		f.changed.ringLocked()
		return nil
	}
	f.removeLocked(i)
	return nil
}
