package hub

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/blobfront"
	"github.com/iothub-go/iothub/hub/internal/blobstore"
	"github.com/iothub-go/iothub/hub/internal/core"
)

// StorageAccount is an account of Azure Storage, or of an emulator, that devices
// upload files to instead of to the hub itself.
type StorageAccount struct {
	// Name and Key are those of the account; the key is base64.
	Name, Key string
	// Container is the name of a container that exists.
	Container string
	// Endpoint is the host of the Blob service, with a port if it has one; default
	// {Name}.blob.core.windows.net. Devices reach it by https.
	Endpoint string
}

// String gives the name, not the key.
func (a StorageAccount) String() string {
	return "storage account " + a.Name + ", container " + a.Container
}

// GoString gives the name, not the key.
func (a StorageAccount) GoString() string { return a.String() }

// openUploads makes the place that devices upload to: the account of the options,
// or the hub's own blob endpoint.
func (s *Server) openUploads() error {
	if s.opts.NoUploads {
		return nil
	}
	if a := s.opts.UploadAccount; a != nil {
		key, err := base64.StdEncoding.DecodeString(a.Key)
		if err != nil || a.Name == "" || a.Container == "" || len(key) == 0 {
			return errors.New("hub: Options.UploadAccount needs a name, a key in base64, and a container")
		}
		account := *a
		if account.Endpoint == "" {
			account.Endpoint = account.Name + ".blob.core.windows.net"
		}
		s.uploads = &accountUploads{account: account, key: key, client: s.newHTTPClient()}
		return nil
	}
	dir := ""
	if s.opts.DataDir != "" {
		dir = filepath.Join(s.opts.DataDir, "blobs")
	}
	store, err := blobstore.Open(dir, nil)
	if err != nil {
		return fmt.Errorf("hub: open the blobs: %w", err)
	}
	s.blobStore = store
	s.uploads = &ownUploads{s}
	return nil
}

// openBlobEndpoint begins to serve the blobs. Its key is made of the owner's, so
// that signatures hold across restarts.
func (s *Server) openBlobEndpoint() {
	if s.blobStore == nil {
		return
	}
	mac := hmac.New(sha256.New, []byte(s.hub.Policies()[0].PrimaryKey))
	_, _ = io.WriteString(mac, "iothub blob endpoint") // never fails (hash.Hash)
	s.blobEndpoint = blobfront.New(s.blobStore, mac.Sum(nil), nil, s.log)
}

// ownUploads is the hub's own blob endpoint as a place for uploads.
type ownUploads struct{ server *Server }

// host is where devices reach the HTTPS listener.
func (u *ownUploads) host() (string, error) {
	u.server.mu.Lock()
	addr := u.server.addrs[HTTPS]
	u.server.mu.Unlock()
	if addr == nil {
		return "", errors.New("hub: nothing listens for HTTPS, so that nothing can be uploaded")
	}
	host := u.server.opts.HostNames[0]
	_, port, _ := net.SplitHostPort(addr.String()) // a listener's own
	if port != strconv.Itoa(HTTPS.Port()) {
		return net.JoinHostPort(host, port), nil
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host, nil
}

func (u *ownUploads) Grant(blob string, until time.Time) (host, container, sas string, err error) {
	host, err = u.host()
	return host, blobfront.Container, u.server.blobEndpoint.Sign(blob, "rw", until), err
}

func (u *ownUploads) Stat(_ context.Context, blob string) (uri string, size int64, modified time.Time, err error) {
	info, err := u.server.blobStore.Stat(blob)
	if err != nil {
		return "", 0, time.Time{}, err
	}
	host, err := u.host()
	return "https://" + host + "/" + blobfront.Container + "/" + escapePath(blob), info.Size, info.Modified, err
}

func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// accountUploads is an account of Azure Storage as a place for uploads.
type accountUploads struct {
	account StorageAccount
	key     []byte
	client  *http.Client
}

const storageVersion = "2020-12-06"

// Grant makes a service SAS for the blob (Azure Storage: create a service SAS,
// version 2020-12-06).
func (u *accountUploads) Grant(blob string, until time.Time) (host, container, sas string, err error) {
	a := u.account
	ends := until.UTC().Format("2006-01-02T15:04:05Z")
	const permissions = "rcw"
	fields := []string{
		permissions, "", ends, "/blob/" + a.Name + "/" + a.Container + "/" + blob, "", "", "https", storageVersion, "b", "", "",
		"", "", "", "", "",
	}
	mac := hmac.New(sha256.New, u.key)
	_, _ = io.WriteString(mac, strings.Join(fields, "\n")) // never fails (hash.Hash)
	q := url.Values{
		"sv": {storageVersion}, "sr": {"b"}, "sp": {permissions}, "se": {ends}, "spr": {"https"},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
	return a.Endpoint, a.Container, "?" + q.Encode(), nil
}

func (u *accountUploads) Stat(ctx context.Context, blob string) (uri string, size int64, modified time.Time, err error) {
	uri = "https://" + u.account.Endpoint + "/" + u.account.Container + "/" + escapePath(blob)
	_, _, sas, err := u.Grant(blob, time.Now().Add(5*time.Minute))
	if err != nil {
		return "", 0, time.Time{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, uri+sas, nil)
	if err != nil {
		return "", 0, time.Time{}, errors.New("hub: the endpoint of the storage account is not valid")
	}
	resp, err := u.client.Do(r)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL, which holds a signature
		}
		return "", 0, time.Time{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, time.Time{}, fmt.Errorf("hub: the storage account answered %s", resp.Status)
	}
	modified, err = http.ParseTime(resp.Header.Get("Last-Modified"))
	return uri, resp.ContentLength, modified, err
}

// withBlobs serves the blob endpoint, if the hub has one, and the rest by next.
func (s *Server) withBlobs(next http.Handler) http.Handler {
	if s.blobEndpoint == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if blobfront.Serves(r.URL.Path) {
			s.blobEndpoint.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// BlobURL returns an address at which a file that a device has uploaded to the hub
// can be read by HTTPS until then; anybody who has the address may. The name is
// that of the notification. The error says that there is no such file, or that the
// hub has no blob endpoint.
func (s *Server) BlobURL(name string, until time.Time) (string, error) {
	own, ok := s.uploads.(*ownUploads)
	if !ok {
		return "", errors.New("hub: this hub has no blob endpoint of its own")
	}
	uri, _, _, err := own.Stat(context.Background(), name)
	if err != nil {
		return "", fmt.Errorf("hub: blob %q: %w", name, err)
	}
	return uri + s.blobEndpoint.Sign(name, "r", until), nil
}

// OpenBlob opens a file that a device has uploaded to the hub for reading; it has
// to be closed. The name is that of the notification. The error says that there is
// no such file, or that the hub has no blob endpoint.
func (s *Server) OpenBlob(name string) (io.ReadCloser, int64, error) {
	if s.blobStore == nil {
		return nil, 0, errors.New("hub: this hub has no blob endpoint of its own")
	}
	info, blob, err := s.blobStore.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("hub: blob %q: %w", name, err)
	}
	return &blobReader{io.NewSectionReader(blob, 0, info.Size), blob}, info.Size, nil
}

type blobReader struct {
	io.Reader
	io.Closer
}

// BlobContainerURI returns the address of the container of the hub's own blob
// endpoint, for import and export jobs: whoever has it may read, write, list and
// delete every file until then.
func (s *Server) BlobContainerURI(until time.Time) (string, error) {
	own, ok := s.uploads.(*ownUploads)
	if !ok {
		return "", errors.New("hub: this hub has no blob endpoint of its own")
	}
	host, err := own.host()
	return "https://" + host + "/" + blobfront.Container + s.blobEndpoint.Sign("", "rwdl", until), err
}

// FileNotification tells that a device has uploaded a file.
type FileNotification struct {
	// DeviceID is who, BlobName what: the id of the device and the path that it
	// gave. BlobURI is where, without a signature.
	DeviceID, BlobName, BlobURI string
	// Size is in bytes.
	Size int64
	// LastUpdated is when the file was written, Time when the hub was told.
	LastUpdated, Time time.Time
}

// FileNotification takes the oldest notification of an upload, waiting for one. It
// is taken for good: readers over AMQP and REST do not get it any more. Errors are
// that of ctx and [ErrServerClosed].
func (s *Server) FileNotification(ctx context.Context) (*FileNotification, error) {
	n, err := s.hub.FileNotification(ctx)
	if err != nil {
		return nil, s.contextFailed(ctx, "file notification", err)
	}
	if err := s.hub.SettleFileNotification(n.LockToken, core.Complete); err != nil {
		return nil, s.failed("file notification", err)
	}
	return &FileNotification{
		DeviceID: n.DeviceID, BlobName: n.BlobName, BlobURI: n.BlobURI, Size: n.Size,
		LastUpdated: n.LastUpdated.Time, Time: n.EnqueuedTime.Time,
	}, nil
}
