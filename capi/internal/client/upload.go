package client

import (
	"bytes"
	"errors"
	"io"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
)

// Results of uploads, as the program's functions are told them.
const (
	uploadOK    = 0
	uploadError = 1
)

var errAborted = errors.New("the program has ended the upload")

// UploadAndWait uploads a file and waits.
func (c *Client) UploadAndWait(name string, r io.Reader) Result {
	return c.failed(c.await(func(done func(error)) error { return c.upload(name, r, done) }))
}

// upload is called inside the lock.
func (c *Client) upload(name string, r io.Reader, done func(error)) error {
	return c.ll.UploadFileAsync(name, r, &ll.UploadOptions{Port: c.httpsPort}, done)
}

// Upload uploads data, which is the client's now, and returns at once; cb is told
// the outcome.
func (c *Client) Upload(name string, data []byte, cb Callback) Result {
	return c.uploadLater(name, bytes.NewReader(data), Record{Kind: RecordUploaded, Callback: cb})
}

// UploadBlocks uploads a file that cb provides, block by block, and returns at
// once. canAbort says that cb returns whether the upload goes on.
func (c *Client) UploadBlocks(name string, cb Callback, canAbort bool) Result {
	b := c.newBlocks(cb, canAbort)
	return c.uploadLater(name, b, b.end())
}

// uploadLater uploads a file; end is the record that tells its outcome.
func (c *Client) uploadLater(name string, r io.Reader, end Record) Result {
	return c.failed(c.call(true, func() error {
		err := c.upload(name, r, func(err error) {
			c.uploads--
			if err != nil {
				c.host.Log(err)
			}
			if end.Func != 0 {
				end.Result = uploadResult(err)
				c.records = append(c.records, end)
			}
		})
		if err == nil {
			c.uploads++
		}
		return err
	}))
}

// UploadBlocksAndWait uploads a file that cb provides, block by block, on the
// thread that has called this, and tells cb the outcome there.
func (c *Client) UploadBlocksAndWait(name string, cb Callback, canAbort bool) Result {
	b := c.newBlocks(cb, canAbort)
	started := false
	err := c.await(func(done func(error)) error {
		err := c.upload(name, b, done)
		started = err == nil
		return err
	})
	if started {
		end := b.end()
		end.Result = uploadResult(err)
		c.mu.Lock()
		c.run(end)
		c.mu.Unlock()
	}
	return c.failed(err)
}

func uploadResult(err error) int32 {
	if err != nil {
		return uploadError
	}
	return uploadOK
}

// blocks is a file that a function of the program provides. It is read by the
// goroutine that uploads it; the function runs on a thread of the program's, or on
// the client's.
type blocks struct {
	c       *Client
	record  Record // that wants a block
	answers chan blockAnswer
	rest    []byte
	err     error
}

type blockAnswer struct {
	block []byte
	abort bool
}

func (c *Client) newBlocks(cb Callback, canAbort bool) *blocks {
	b := &blocks{c: c, answers: make(chan blockAnswer, 1)}
	b.record = Record{Kind: RecordBlock, Callback: cb, Answer: func(block []byte, abort bool) {
		b.answers <- blockAnswer{block, abort}
	}}
	if !canAbort {
		b.record.Reason = noAbort
	}
	return b
}

// end is the record that tells the function the outcome.
func (b *blocks) end() Record {
	return Record{Kind: RecordBlocksEnd, Callback: b.record.Callback, Reason: b.record.Reason}
}

// Read implements io.Reader.
func (b *blocks) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.next()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if n == 0 {
		return 0, b.err
	}
	return n, nil
}

// next has the program's function called.
func (b *blocks) next() {
	select {
	case b.c.wanted <- b.record:
	case <-b.c.gone:
		b.err = iothub.ErrClosed
		return
	}
	select {
	case a := <-b.answers:
		switch b.rest = a.block; {
		case a.abort:
			b.rest, b.err = nil, errAborted
		case len(a.block) == 0:
			b.err = io.EOF
		}
	case <-b.c.gone:
		b.err = iothub.ErrClosed
	}
}

// BeginUpload asks the hub for a place for a file and waits.
func (c *Client) BeginUpload(name string) (t *iothub.UploadTicket, r Result) {
	err := c.await(func(done func(error)) error {
		return c.ll.BeginUploadAsync(name, c.httpsPort, func(ticket *iothub.UploadTicket, err error) {
			t = ticket
			done(err)
		})
	})
	return t, c.failed(err)
}

// EndUpload tells the hub that an upload is over and waits: well, or with a status
// of HTTP and a text.
func (c *Client) EndUpload(correlationID string, ok bool, status int, text string) Result {
	var failed error
	if !ok {
		failed = &uploadFailure{status, text}
	}
	return c.failed(c.await(func(done func(error)) error {
		return c.ll.EndUploadAsync(&iothub.UploadTicket{CorrelationID: correlationID}, failed, c.httpsPort, done)
	}))
}

// uploadFailure is what a program says of an upload, word for word.
type uploadFailure struct {
	status int
	text   string
}

// Error implements error.
func (e *uploadFailure) Error() string { return e.text }

// Unwrap has the hub told the status.
func (e *uploadFailure) Unwrap() error { return &iothub.Error{Op: "upload", Code: e.status} }

// Blob is the place of a file whose blocks the program sends by itself. It is safe
// for concurrent use.
type Blob struct {
	c *Client
	u *ll.Upload
}

// OpenBlob returns the place with this address.
func (c *Client) OpenBlob(url string) (*Blob, error) {
	b := &Blob{c: c}
	err := c.call(false, func() (err error) {
		b.u, err = c.ll.OpenUpload(&iothub.UploadTicket{URL: url})
		return err
	})
	return b, err
}

// Put sends a block, which is the client's now, and waits.
func (b *Blob) Put(number int, data []byte) Result {
	err := b.c.await(func(done func(error)) error { return b.u.PutBlockAsync(number, data, done) })
	if r := b.c.failed(err); r == OK || iothub.KindOf(err) != iothub.KindInvalidArgument {
		return r
	}
	return InvalidArg
}

// Commit makes the file of its blocks and waits.
func (b *Blob) Commit() Result {
	return b.c.failed(b.c.await(func(done func(error)) error { return b.u.CommitAsync("", done) }))
}

// Close lets go of the connection.
func (b *Blob) Close() { b.u.Close() }
