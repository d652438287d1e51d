// Package blobs reads and writes blobs in containers that somebody has named by a
// URI with a shared access signature: what import and export jobs need of a
// storage account, over net/http.
package blobs

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	// blockSize is how much is sent at once; a blob that is not longer takes one
	// request.
	blockSize = 4 << 20
	// maxBlocks is what a blob may have.
	maxBlocks = 50_000

	apiVersion = "2021-08-06"
)

// Client reaches containers. It is safe for use by many goroutines.
type Client struct {
	http *http.Client
}

// New returns a client that sends requests by c, whose redirects it does not
// follow: a signature is for the account that it was made for. nil is
// http.DefaultTransport's.
func New(c *http.Client) *Client {
	var own http.Client
	if c != nil {
		own = *c
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{&own}
}

// Close ends the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Check says whether a text can be the URI of a container: absolute, http or
// https, with a path. Its errors do not repeat the text, which holds a signature.
func (c *Client) Check(containerURI string) error {
	_, err := blobURL(containerURI, "x")
	return err
}

// blobURL puts the name of a blob behind the path of its container.
func blobURL(containerURI, name string) (*url.URL, error) {
	u, err := url.Parse(containerURI)
	if err != nil {
		return nil, errors.New("it is no URI")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("it has to begin with https:// or http:// and a host name")
	}
	path := strings.Trim(u.Path, "/")
	if path == "" {
		return nil, errors.New("it names no container")
	}
	u.Path, u.RawPath, u.Fragment = "/"+path+"/"+name, "", ""
	return u, nil
}

// Get opens a blob. size is -1 when the server does not say.
func (c *Client) Get(ctx context.Context, containerURI, name string) (body io.ReadCloser, size int64, err error) {
	resp, err := c.do(ctx, http.MethodGet, containerURI, name, nil, nil, nil)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// do sends a request and makes an error of every answer that is not 2xx. No error
// holds the URI.
func (c *Client) do(ctx context.Context, method, containerURI, name string, query url.Values, header http.Header, body []byte) (*http.Response, error) {
	u, err := blobURL(containerURI, name)
	if err != nil {
		return nil, err
	}
	if len(query) > 0 {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+query.Encode(), "&")
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URI of the container cannot be used")
	}
	r.Header.Set("x-ms-version", apiVersion)
	for key, values := range header {
		r.Header[key] = values
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL, which holds the signature
		}
		return nil, fmt.Errorf("%s %q at %s: %w", method, name, u.Host, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	_ = resp.Body.Close() // the status says enough
	why := resp.Header.Get("x-ms-error-code")
	if why == "" {
		why = http.StatusText(resp.StatusCode)
	}
	return nil, fmt.Errorf("%s %q at %s: %d %s", method, name, u.Host, resp.StatusCode, why)
}

// Create begins a block blob, which is there once the writer has been closed
// without an error.
func (c *Client) Create(ctx context.Context, containerURI, name string) io.WriteCloser {
	return &writer{client: c, ctx: ctx, container: containerURI, name: name}
}

// writer gathers a block, sends it, and remembers its id.
type writer struct {
	client          *Client
	ctx             context.Context
	container, name string

	buf    []byte
	blocks []string
	err    error
}

// Write never keeps more than one block.
func (w *writer) Write(p []byte) (n int, err error) {
	for n < len(p) && w.err == nil {
		if len(w.buf) == blockSize {
			w.err = w.sendBlock()
			continue
		}
		take := min(len(p)-n, blockSize-len(w.buf))
		w.buf = append(w.buf, p[n:n+take]...)
		n += take
	}
	return n, w.err
}

func (w *writer) sendBlock() error {
	if len(w.blocks) == maxBlocks {
		return fmt.Errorf("blob %q is larger than %d blocks", w.name, maxBlocks)
	}
	id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", len(w.blocks)))
	if err := w.put(url.Values{"comp": {"block"}, "blockid": {id}}, nil, w.buf); err != nil {
		return err
	}
	w.blocks = append(w.blocks, id)
	w.buf = w.buf[:0]
	return nil
}

func (w *writer) put(query url.Values, header http.Header, body []byte) error {
	resp, err := w.client.do(w.ctx, http.MethodPut, w.container, w.name, query, header, body)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Close sends the rest and makes the blob of it.
func (w *writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if len(w.blocks) == 0 {
		return w.put(nil, http.Header{"X-Ms-Blob-Type": {"BlockBlob"}, "Content-Type": {"text/plain; charset=utf-8"}}, w.buf)
	}
	if len(w.buf) > 0 {
		if err := w.sendBlock(); err != nil {
			return err
		}
	}
	var list bytes.Buffer
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for _, id := range w.blocks {
		fmt.Fprintf(&list, "<Latest>%s</Latest>", id)
	}
	list.WriteString("</BlockList>")
	return w.put(url.Values{"comp": {"blocklist"}}, http.Header{"Content-Type": {"application/xml"}}, list.Bytes())
}
