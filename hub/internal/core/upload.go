package core

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/iothub-go/iothub/internal/guid"
)

const (
	// uploadLife is how long a device has for an upload, and how long one that is
	// never told to be over keeps its place.
	uploadLife = time.Hour
	// maxUploads is how many uploads of one device may be under way (H.1).
	maxUploads = 10
	// maxBlobName is the longest name of a blob, with the id of the device.
	maxBlobName = 1024
)

// UploadTarget is where devices upload to.
type UploadTarget interface {
	// Grant gives the host, the container and the query, with its question mark,
	// by which the blob can be written and read until then.
	Grant(blob string, until time.Time) (host, container, sas string, err error)
	// Stat tells of a blob that was uploaded, and its URI without a signature.
	// An error says that it is not there.
	Stat(ctx context.Context, blob string) (uri string, size int64, modified time.Time, err error)
}

// Upload is what a device needs for an upload (wire-device E.4).
type Upload struct {
	CorrelationID string `json:"correlationId"`
	HostName      string `json:"hostName"`
	Container     string `json:"containerName"`
	BlobName      string `json:"blobName"`
	SASToken      string `json:"sasToken"`
}

// UploadResult is what a device says of an upload in the end.
type UploadResult struct {
	CorrelationID     string `json:"correlationId"`
	Success           bool   `json:"isSuccess"`
	StatusCode        int    `json:"statusCode"`
	StatusDescription string `json:"statusDescription"`
}

// uploads are those under way. They are remembered in memory only; what proves an
// upload is signed, so that one can end after a restart.
type uploads struct {
	key []byte

	mu     sync.Mutex
	active map[identityKey]map[string]time.Time // when each ends, by correlation id
	ended  map[string]time.Time                 // those that were told to be over
}

// uploadClaim is what a correlation id says, signed.
type uploadClaim struct {
	Device string `json:"d"`
	Module string `json:"m,omitempty"`
	Gen    string `json:"g"`
	Blob   string `json:"b"`
	Ends   int64  `json:"e"`
	Nonce  string `json:"n"`
}

func (u *uploads) init(policies []*heldPolicy) {
	mac := hmac.New(sha256.New, policies[0].keys[0])
	mac.Write([]byte("iothub upload correlation"))
	u.key = mac.Sum(nil)
	u.active, u.ended = make(map[identityKey]map[string]time.Time), make(map[string]time.Time)
}

func (u *uploads) sign(c uploadClaim) string {
	data, _ := json.Marshal(c) // of texts and numbers: it always encodes
	mac := hmac.New(sha256.New, u.key)
	mac.Write(data)
	return base64.RawURLEncoding.EncodeToString(append(mac.Sum(nil), data...))
}

func (u *uploads) verify(id string) (c uploadClaim, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(data) < sha256.Size || len(data) > 8<<10 {
		return c, false
	}
	mac := hmac.New(sha256.New, u.key)
	mac.Write(data[sha256.Size:])
	if !hmac.Equal(mac.Sum(nil), data[:sha256.Size]) {
		return c, false
	}
	return c, json.Unmarshal(data[sha256.Size:], &c) == nil
}

// sweepLocked forgets what is over. u.mu is held.
func (u *uploads) sweepLocked(now time.Time) {
	for key, list := range u.active {
		for id, ends := range list {
			if now.After(ends) {
				delete(list, id)
			}
		}
		if len(list) == 0 {
			delete(u.active, key)
		}
	}
	for id, ends := range u.ended {
		if now.After(ends) {
			delete(u.ended, id)
		}
	}
}

// CreateUpload lets an identity upload a blob of that name, which is put behind
// its id. It has an hour. Errors are *Error: 400014 when this hub takes no
// uploads, 400004 for a name that cannot be, 403006 when ten are under way.
func (h *Hub) CreateUpload(p *Principal, name string) (Upload, error) {
	if h.cfg.Uploads == nil {
		return Upload{}, NewError(CodeDefaultStorageNotConfigured, "this hub takes no file uploads")
	}
	blob := p.DeviceID + "/" + name
	if p.ModuleID != "" {
		blob = p.DeviceID + "/" + p.ModuleID + "/" + name
	}
	if err := checkBlobName(name, blob); err != nil {
		return Upload{}, err
	}
	now := h.now()
	until := now.Add(uploadLife)
	key := identityKey{p.DeviceID, p.ModuleID}
	u := &h.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sweepLocked(now)
	if len(u.active[key]) >= maxUploads {
		return Upload{}, NewError(CodeTooManyUploads, "%d uploads of %s are under way, which is the limit: each has to be reported as over", maxUploads, key)
	}
	host, container, sas, err := h.cfg.Uploads.Grant(blob, until)
	if err != nil {
		return Upload{}, storageError("upload", err)
	}
	id := u.sign(uploadClaim{p.DeviceID, p.ModuleID, p.GenerationID, blob, until.Unix(), guid.New()})
	if u.active[key] == nil {
		u.active[key] = make(map[string]time.Time)
	}
	u.active[key][id] = until
	return Upload{id, host, container, blob, sas}, nil
}

func checkBlobName(name, blob string) error {
	bad := name == "" || len(blob) > maxBlobName || !utf8.ValidString(name) || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/")
	for segment := range strings.SplitSeq(name, "/") {
		bad = bad || segment == "." || segment == ".."
	}
	for _, r := range name {
		bad = bad || isControl(r) || r == '\\'
	}
	if bad {
		return NewError(CodeArgumentInvalid, "blobName is %q: it has to be a path of up to %d bytes with the id of the device, without . and .. and control characters", name, maxBlobName)
	}
	return nil
}

// EndUpload takes what an identity says of its upload in the end. After a success
// the back end is told, unless the blob is not there. Errors are *Error: 400015 for
// a correlation id that is not of an upload of this identity, or over already,
// 400016 for one whose time is over, 400020 when there is no such blob.
func (h *Hub) EndUpload(ctx context.Context, p *Principal, r UploadResult) error {
	u := &h.uploads
	claim, ok := u.verify(r.CorrelationID)
	if !ok || claim.Device != p.DeviceID || claim.Module != p.ModuleID || claim.Gen != p.GenerationID {
		return NewError(CodeInvalidCorrelationID, "there is no upload with this correlationId")
	}
	now := h.now()
	if now.Unix() > claim.Ends {
		return NewError(CodeExpiredCorrelationID, "the time for the upload of %q is over", claim.Blob)
	}
	key := identityKey{p.DeviceID, p.ModuleID}
	u.mu.Lock()
	_, over := u.ended[r.CorrelationID]
	if !over {
		u.ended[r.CorrelationID] = time.Unix(claim.Ends, 0)
		delete(u.active[key], r.CorrelationID)
	}
	u.mu.Unlock()
	if over {
		return NewError(CodeInvalidCorrelationID, "the upload of %q is over already", claim.Blob)
	}
	if !r.Success {
		return nil
	}
	if h.cfg.Uploads == nil {
		return NewError(CodeDefaultStorageNotConfigured, "this hub takes no file uploads")
	}
	uri, size, modified, err := h.cfg.Uploads.Stat(ctx, claim.Blob)
	if err == nil {
		err = h.files.add(ctx, FileNotification{
			DeviceID: p.DeviceID, BlobURI: uri, BlobName: claim.Blob, LastUpdated: Time{modified.UTC()}, Size: size,
			EnqueuedTime: Time{now.UTC()},
		})
	}
	if err == nil {
		return nil
	}
	u.mu.Lock() // it can be said again
	delete(u.ended, r.CorrelationID)
	u.mu.Unlock()
	if _, known := errors.AsType[*Error](err); known {
		return err
	}
	e := NewError(CodeUploadStorage, "the blob %q was not found where it was to be uploaded", claim.Blob)
	e.cause = err
	return e
}
