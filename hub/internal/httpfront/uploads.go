package httpfront

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// authenticateDevice lets the device or module in whose path it is, by its token or
// by the certificate of the connection.
func (q *request) authenticateDevice() (*core.Principal, error) {
	r := core.AuthRequest{DeviceID: q.path[1], Token: q.r.Header.Get("Authorization")}
	if len(q.path) > 3 && strings.EqualFold(q.path[2], "modules") {
		r.ModuleID = q.path[3]
	}
	if q.r.TLS != nil {
		r.Certificates = q.r.TLS.PeerCertificates
	}
	hub := q.front.hub
	return hub.Authenticate(hub.Now(), r)
}

// createUpload lets a device upload a file (wire-device E.4).
func createUpload(q *request) error {
	var b struct{ BlobName string }
	if err := q.body(&b); err != nil {
		return err
	}
	u, err := q.front.hub.CreateUpload(q.device, b.BlobName)
	if err != nil {
		return err
	}
	return q.reply("", u)
}

// endUpload hears what has become of an upload. Older clients put the id into the
// path.
func endUpload(q *request) error {
	var r core.UploadResult
	if err := q.body(&r); err != nil {
		return err
	}
	if last := q.path[len(q.path)-1]; r.CorrelationID == "" && !strings.EqualFold(last, "notifications") {
		r.CorrelationID = last
	}
	if err := q.front.hub.EndUpload(q.r.Context(), q.device, r); err != nil {
		return err
	}
	return q.noContent()
}

// receiveFileNotification gives the oldest notification, locked for a minute.
func receiveFileNotification(q *request) error {
	n := q.front.hub.TryFileNotification()
	if n == nil {
		return q.noContent()
	}
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode the notification: %w", err)
	}
	q.w.Header().Set("ETag", `"`+n.LockToken+`"`)
	q.w.Header().Set("Content-Type", "application/vnd.microsoft.iothub.filenotification.json")
	_, err = q.w.Write(data)
	q.writeFailed(err)
	return nil
}

func completeFileNotification(q *request) error {
	s := core.Complete
	if q.query.Has("reject") {
		s = core.Reject
	}
	return q.settleFileNotification(s)
}

func abandonFileNotification(q *request) error { return q.settleFileNotification(core.Abandon) }

func (q *request) settleFileNotification(s core.Settlement) error {
	if err := q.front.hub.SettleFileNotification(unquoted(q.path[3]), s); err != nil {
		return err
	}
	return q.noContent()
}
