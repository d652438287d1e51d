package upload

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/transport"
)

const (
	storageVersion = "2021-08-06"
	// maxBlocks is how many blocks a blob may have.
	maxBlocks = 50_000
	// attempts is how often a request is made, with pauses from firstPause on that
	// double, each cut by up to half at random.
	attempts   = 6
	firstPause = 500 * time.Millisecond
	// codeTooManyUploads is IoT Hub's DeviceMaximumActiveFileUploadLimitExceeded.
	codeTooManyUploads = 403006
	// maxBlockList bounds what is read of a list of blocks.
	maxBlockList = 16 << 20
)

// retry makes an attempt again while its error says that this may help.
func retry(ctx context.Context, attempt func() error) error {
	for n, pause := 1, firstPause; ; n, pause = n+1, 2*pause {
		err := attempt()
		e, known := errors.AsType[*iothub.Error](err)
		// Too many uploads of the device are under way: that takes longer than this.
		if err == nil || !known || !e.Retryable || e.Code == codeTooManyUploads || n == attempts || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(max(pause/2+rand.N(pause/2), e.RetryAfter))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// storage is the place of one file.
type storage struct {
	url    *url.URL
	client *http.Client
	close  func()
}

func newStorage(t *iothub.UploadTicket, p *transport.Params) (*storage, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoUploadTicket}
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	// The storage is not the hub: it gets neither token nor certificate.
	d, err := link.NewDialer(u.Hostname(), nil, p.Options, link.Path{Port: port})
	if err != nil {
		return nil, err
	}
	d.SetRoots(p.Roots)
	tr := &http.Transport{
		DialTLSContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx) },
		MaxIdleConns:          1,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
	}
	return &storage{u, &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, tr.CloseIdleConnections}, nil
}

// put sends the blocks that are not there yet, and commits all of them.
func (s *storage) put(ctx context.Context, r io.Reader, o *iothub.UploadOptions) error {
	there := s.waiting(ctx)
	var ids []string
	var sent int64
	buf := make([]byte, o.BlockSize)
	for {
		n, err := io.ReadFull(r, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("read the file: %w", err)}
		}
		if n > 0 {
			if len(ids) == maxBlocks {
				return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("the file has more than %d blocks of %d bytes: give a larger BlockSize", maxBlocks, o.BlockSize)}
			}
			id := blockID(len(ids), buf[:n])
			if there[id] != int64(n) {
				if err := s.putBlock(ctx, id, buf[:n]); err != nil {
					return err
				}
			}
			ids = append(ids, id)
			sent += int64(n)
			if o.Progress != nil {
				o.Progress(sent)
			}
		}
		if err != nil { // the end of the file
			break
		}
	}
	return s.commit(ctx, ids, o.ContentType)
}

func (s *storage) putBlock(ctx context.Context, id string, data []byte) error {
	return s.do(ctx, url.Values{"comp": {"block"}, "blockid": {id}}, "", data)
}

// commit makes the file of its blocks.
func (s *storage) commit(ctx context.Context, ids []string, contentType string) error {
	list, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}{Latest: ids})
	if err != nil {
		return err
	}
	return s.do(ctx, url.Values{"comp": {"blocklist"}}, cmp.Or(contentType, "application/octet-stream"), append([]byte(xml.Header), list...))
}

// blockID names a block by its place and its content; all are of the same length.
func blockID(n int, data []byte) string {
	sum := sha256.Sum256(data)
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%06d-%x", n, sum[:12]))
}

// waiting are the blocks that an earlier attempt has left. Where that cannot be
// found out, there are none: they are sent again.
func (s *storage) waiting(ctx context.Context) map[string]int64 {
	there := make(map[string]int64)
	req, err := s.request(ctx, http.MethodGet, url.Values{"comp": {"blocklist"}, "blocklisttype": {"uncommitted"}}, nil)
	if err != nil {
		return there
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return there
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBlockList))
	var list struct {
		Blocks []struct {
			Name string
			Size int64
		} `xml:"UncommittedBlocks>Block"`
	}
	if err != nil || resp.StatusCode != http.StatusOK || xml.Unmarshal(data, &list) != nil {
		return there
	}
	for _, b := range list.Blocks {
		there[b.Name] = b.Size
	}
	return there
}

func (s *storage) request(ctx context.Context, method string, query url.Values, body []byte) (*http.Request, error) {
	u := *s.url
	u.RawQuery += "&" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err == nil {
		req.Header.Set("x-ms-version", storageVersion)
	}
	return req, err
}

// do sends a block, or the list of them, until it is there or that is hopeless.
func (s *storage) do(ctx context.Context, query url.Values, contentType string, body []byte) error {
	return retry(ctx, func() error {
		req, err := s.request(ctx, http.MethodPut, query, body)
		if err != nil {
			return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoUploadTicket}
		}
		if contentType != "" {
			req.Header.Set("x-ms-blob-content-type", contentType)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			if e, ok := errors.AsType[*url.Error](err); ok {
				err = e.Err // without the URL, which holds the signature
			}
			if e, ok := errors.AsType[*iothub.Error](err); ok {
				return e
			}
			return &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // only to use the connection again
		if resp.StatusCode/100 == 2 {
			return nil
		}
		e := &iothub.Error{
			Op: op, Kind: iothub.KindOfStatus(resp.StatusCode), Code: resp.StatusCode,
			Err: fmt.Errorf("the storage answered %s %s", resp.Status, resp.Header.Get("x-ms-error-code")),
		}
		e.Retryable = e.Kind.Retryable() || resp.StatusCode >= 500
		return e
	})
}
