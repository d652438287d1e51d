// Package blobfront is the hub's own blob endpoint: the few operations of the Blob
// service's REST API that uploads, and readers of what was uploaded, need. Whoever
// has a shared access signature of this hub may do what it says, and nobody else
// anything.
package blobfront

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/blobstore"
)

// Container is the name of the one container there is. It is the first segment of
// the path of every blob.
const Container = "iothub-uploads"

const (
	// maxList bounds the body of a list of blocks.
	maxList = 8 << 20
	// maxPage is how many blobs a list has at once.
	maxPage = 5000

	apiVersion = "2021-08-06"
)

// Front serves the endpoint. It is safe for use by many goroutines.
type Front struct {
	store *blobstore.Store
	key   []byte
	now   func() time.Time
	log   *slog.Logger
}

// New returns the endpoint over a store. The key signs and checks signatures.
func New(store *blobstore.Store, key []byte, clock func() time.Time, logger *slog.Logger) *Front {
	if clock == nil {
		clock = time.Now
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Front{store, key, clock, logger}
}

// Serves reports whether a path is one of the endpoint's.
func Serves(path string) bool {
	return path == "/"+Container || strings.HasPrefix(path, "/"+Container+"/")
}

// Sign makes the query, with its question mark, that lets its holder do with a blob
// what permissions say, of r(ead), w(rite), d(elete) and l(ist), until then. An
// empty blob stands for all of them.
func (f *Front) Sign(blob, permissions string, until time.Time) string {
	kind := "b"
	if blob == "" {
		kind = "c"
	}
	ends := until.UTC().Format("2006-01-02T15:04:05Z")
	return "?" + url.Values{
		"sv": {apiVersion}, "sr": {kind}, "sp": {permissions}, "se": {ends},
		"sig": {base64.StdEncoding.EncodeToString(f.signature(kind, blob, permissions, ends))},
	}.Encode()
}

func (f *Front) signature(kind, blob, permissions, ends string) []byte {
	mac := hmac.New(sha256.New, f.key)
	fmt.Fprintf(mac, "%s\n%s\n%s\n/%s/%s", kind, permissions, ends, Container, blob)
	return mac.Sum(nil)
}

// problem is an error as the Blob service tells it.
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

func refuse(status int, code, format string, args ...any) error {
	return &problem{status, code, fmt.Sprintf(format, args...)}
}

// authorize checks the signature of a request for a right.
func (f *Front) authorize(q url.Values, blob, right string) error {
	kind := q.Get("sr")
	signed := blob
	if kind == "c" {
		signed = ""
	}
	sig, err := base64.StdEncoding.DecodeString(q.Get("sig"))
	if err != nil || kind != "b" && kind != "c" || !hmac.Equal(sig, f.signature(kind, signed, q.Get("sp"), q.Get("se"))) {
		return refuse(http.StatusForbidden, "AuthenticationFailed", "the signature is not one of this hub's for this blob")
	}
	ends, err := time.Parse("2006-01-02T15:04:05Z", q.Get("se"))
	if err != nil || f.now().After(ends) {
		return refuse(http.StatusForbidden, "AuthenticationFailed", "the signature has expired")
	}
	if !strings.Contains(q.Get("sp"), right) {
		return refuse(http.StatusForbidden, "AuthorizationPermissionMismatch", "the signature does not allow this: it allows %s", q.Get("sp"))
	}
	return nil
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-version", apiVersion)
	w.Header().Set("x-ms-request-id", strconv.FormatInt(f.now().UnixNano(), 36))
	if id := r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 1024 {
		w.Header().Set("x-ms-client-request-id", id)
	}
	err := f.serve(w, r)
	if err == nil {
		return
	}
	p, known := errors.AsType[*problem](err)
	switch {
	case known:
	case errors.Is(err, blobstore.ErrNotFound):
		p = &problem{http.StatusNotFound, "BlobNotFound", "there is no such blob"}
	case errors.Is(err, blobstore.ErrNoBlock):
		p = &problem{http.StatusBadRequest, "InvalidBlockList", "a block of the list was never put"}
	case errors.Is(err, blobstore.ErrTooLarge):
		p = &problem{http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "it is larger than a block may be"}
	case errors.Is(err, blobstore.ErrFull):
		p = &problem{http.StatusInsufficientStorage, "InsufficientStorage", "the store in memory is full"}
	case r.Context().Err() != nil:
		return // nobody is there any more
	default:
		f.log.Error("a blob request failed", "method", r.Method, "error", err)
		p = &problem{http.StatusInternalServerError, "InternalError", "the request failed"}
	}
	w.Header().Set("x-ms-error-code", p.code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		body, _ := xml.Marshal(struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
			Message string
		}{Code: p.code, Message: p.message}) // two texts always encode
		_, _ = w.Write(body) // it may have gone
	}
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request) error {
	blob, err := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), "/"+Container), "/"))
	if err != nil || len(blob) > 1024 {
		return refuse(http.StatusBadRequest, "InvalidUri", "the name of the blob is not valid")
	}
	q := r.URL.Query()
	comp := strings.ToLower(q.Get("comp"))
	for _, o := range operations {
		if o.method != r.Method || o.comp != comp || (blob == "") != o.container {
			continue
		}
		if err := f.authorize(q, blob, o.right); err != nil {
			return err
		}
		return o.serve(f, w, r, blob)
	}
	return refuse(http.StatusBadRequest, "UnsupportedOperation", "this hub has only what uploads need: Put Blob, Put Block, Put Block List, Get Block List, Get, Head, Delete and List")
}

var operations = []struct {
	method, comp string
	container    bool
	right        string
	serve        func(f *Front, w http.ResponseWriter, r *http.Request, blob string) error
}{
	{http.MethodPut, "", false, "w", (*Front).put},
	{http.MethodPut, "block", false, "w", (*Front).putBlock},
	{http.MethodPut, "blocklist", false, "w", (*Front).putList},
	{http.MethodGet, "blocklist", false, "r", (*Front).getList},
	{http.MethodGet, "", false, "r", (*Front).get},
	{http.MethodHead, "", false, "r", (*Front).get},
	{http.MethodDelete, "", false, "d", (*Front).delete},
	{http.MethodGet, "list", true, "l", (*Front).list},
}

// checked reads a body and, where the request has its MD5, compares it at the end.
type checked struct {
	io.Reader
	sum  interface{ Sum([]byte) []byte }
	want []byte
}

func body(r *http.Request) (io.Reader, []byte, error) {
	text := r.Header.Get("Content-MD5")
	if text == "" {
		return r.Body, nil, nil
	}
	want, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(want) != md5.Size {
		return nil, nil, refuse(http.StatusBadRequest, "InvalidMd5", "Content-MD5 is not base64 of 16 bytes")
	}
	sum := md5.New()
	return &checked{io.TeeReader(r.Body, sum), sum, want}, want, nil
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF && !hmac.Equal(c.sum.Sum(nil), c.want) {
		return n, refuse(http.StatusBadRequest, "Md5Mismatch", "the body does not have the MD5 that was sent with it")
	}
	return n, err
}

func contentType(r *http.Request) string {
	if t := r.Header.Get("x-ms-blob-content-type"); t != "" {
		return t
	}
	return "application/octet-stream"
}

func created(w http.ResponseWriter, info blobstore.Info) error {
	describe(w, info)
	w.Header().Set("x-ms-request-server-encrypted", "false")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func describe(w http.ResponseWriter, info blobstore.Info) {
	w.Header().Set("ETag", `"`+strconv.FormatInt(info.Modified.UnixNano(), 16)+strconv.FormatInt(info.Size, 16)+`"`)
	w.Header().Set("Last-Modified", info.Modified.Format(http.TimeFormat))
}

func (f *Front) put(w http.ResponseWriter, r *http.Request, blob string) error {
	if kind := r.Header.Get("x-ms-blob-type"); !strings.EqualFold(kind, "BlockBlob") {
		return refuse(http.StatusBadRequest, "InvalidBlobType", "x-ms-blob-type is %q, only BlockBlob is possible", kind)
	}
	in, sum, err := body(r)
	if err != nil {
		return err
	}
	info, err := f.store.Put(r.Context(), blob, contentType(r), sum, in)
	if err != nil {
		return err
	}
	return created(w, info)
}

func (f *Front) putBlock(w http.ResponseWriter, r *http.Request, blob string) error {
	id, err := base64.StdEncoding.DecodeString(r.URL.Query().Get("blockid"))
	if err != nil || len(id) == 0 || len(id) > blobstore.MaxBlockID {
		return refuse(http.StatusBadRequest, "InvalidQueryParameterValue", "blockid is not base64 of 1 to %d bytes", blobstore.MaxBlockID)
	}
	in, _, err := body(r)
	if err != nil {
		return err
	}
	if err := f.store.PutBlock(r.Context(), blob, string(id), in); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (f *Front) putList(w http.ResponseWriter, r *http.Request, blob string) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxList))
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidInput", "the list of blocks cannot be read, or is larger than %d bytes", maxList)
	}
	ids, err := parseList(data)
	if err != nil {
		return err
	}
	var sum []byte
	if text := r.Header.Get("x-ms-blob-content-md5"); text != "" {
		sum, _ = base64.StdEncoding.DecodeString(text) // kept as it is, for readers
	}
	info, err := f.store.PutList(r.Context(), blob, contentType(r), sum, ids)
	if err != nil {
		return err
	}
	return created(w, info)
}

// parseList reads the ids of a list of blocks.
func parseList(data []byte) ([]string, error) {
	bad := refuse(http.StatusBadRequest, "InvalidXmlDocument", "the list of blocks is not the XML that it should be")
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Blocks  []struct {
			XMLName xml.Name
			ID      string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(data, &list); err != nil {
		return nil, bad
	}
	if len(list.Blocks) > blobstore.MaxBlocks {
		return nil, refuse(http.StatusBadRequest, "BlockListTooLong", "a blob has at most %d blocks", blobstore.MaxBlocks)
	}
	var ids []string
	for _, b := range list.Blocks {
		id, err := base64.StdEncoding.DecodeString(strings.TrimSpace(b.ID))
		if err != nil || len(id) == 0 || len(id) > blobstore.MaxBlockID {
			return nil, bad
		}
		ids = append(ids, string(id))
	}
	return ids, nil
}

// xmlBlocks is the answer to Get Block List.
type xmlBlocks struct {
	XMLName     xml.Name   `xml:"BlockList"`
	Committed   []xmlBlock `xml:"CommittedBlocks>Block"`
	Uncommitted []xmlBlock `xml:"UncommittedBlocks>Block"`
}

type xmlBlock struct {
	Name string
	Size int64
}

func (f *Front) getList(w http.ResponseWriter, r *http.Request, blob string) error {
	kind := strings.ToLower(r.URL.Query().Get("blocklisttype"))
	info, err := f.store.Stat(blob)
	known := err == nil
	if err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		return err
	}
	var answer xmlBlocks
	if kind != "uncommitted" {
		answer.Committed = blocksOf(info.Blocks)
	}
	if kind == "uncommitted" || kind == "all" {
		waiting, err := f.store.Waiting(blob)
		if err != nil {
			return err
		}
		known = known || len(waiting) > 0
		answer.Uncommitted = blocksOf(waiting)
	}
	if !known {
		return blobstore.ErrNotFound
	}
	w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(info.Size, 10))
	return writeXML(w, answer)
}

func blocksOf(list []blobstore.Block) []xmlBlock {
	var out []xmlBlock
	for _, b := range list {
		out = append(out, xmlBlock{base64.StdEncoding.EncodeToString([]byte(b.ID)), b.Size})
	}
	return out
}

func writeXML(w http.ResponseWriter, v any) error {
	data, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header+string(data)) // it may have gone
	return nil
}

func (f *Front) get(w http.ResponseWriter, r *http.Request, blob string) error {
	info, data, err := f.store.Open(blob)
	if err != nil {
		return err
	}
	defer data.Close()
	describe(w, info)
	w.Header().Set("Content-Type", info.ContentType)
	// What a device has uploaded is never a page of this host.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("Content-Disposition", "attachment")
	w.Header().Set("x-ms-blob-type", "BlockBlob")
	w.Header().Set("Accept-Ranges", "bytes")
	if len(info.MD5) > 0 {
		w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(info.MD5))
	}
	if ms := r.Header.Get("x-ms-range"); ms != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Range", ms)
	}
	http.ServeContent(w, r, "", info.Modified, io.NewSectionReader(data, 0, info.Size))
	return nil
}

func (f *Front) delete(w http.ResponseWriter, _ *http.Request, blob string) error {
	if err := f.store.Delete(blob); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// xmlList is the answer to List Blobs.
type xmlList struct {
	XMLName   xml.Name  `xml:"EnumerationResults"`
	Container string    `xml:"ContainerName,attr"`
	Prefix    string    `xml:"Prefix,omitempty"`
	Blobs     []xmlBlob `xml:"Blobs>Blob"`
	Next      string    `xml:"NextMarker"`
}

type xmlBlob struct {
	Name       string
	Properties struct {
		Modified    string `xml:"Last-Modified"`
		Size        int64  `xml:"Content-Length"`
		ContentType string `xml:"Content-Type"`
		BlobType    string
	}
}

func (f *Front) list(w http.ResponseWriter, r *http.Request, _ string) error {
	q := r.URL.Query()
	most := maxPage
	if n, err := strconv.Atoi(q.Get("maxresults")); err == nil && n > 0 {
		most = min(n, maxPage)
	}
	blobs, err := f.store.List(q.Get("prefix"), q.Get("marker"), most+1)
	if err != nil {
		return err
	}
	answer := xmlList{Container: Container, Prefix: q.Get("prefix")}
	if len(blobs) > most {
		blobs = blobs[:most]
		answer.Next = blobs[most-1].Name
	}
	for _, info := range blobs {
		b := xmlBlob{Name: info.Name}
		b.Properties.Modified, b.Properties.Size = info.Modified.Format(http.TimeFormat), info.Size
		b.Properties.ContentType, b.Properties.BlobType = info.ContentType, "BlockBlob"
		answer.Blobs = append(answer.Blobs, b)
	}
	return writeXML(w, answer)
}
