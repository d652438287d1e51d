package ll

import (
	"context"
	"io"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/transport"
	"github.com/iothub-go/iothub/internal/upload"
)

// UploadOptions say how a file is uploaded.
type UploadOptions = iothub.UploadOptions

// UploadFileAsync uploads all that r has as a file of that name: see UploadFile of
// package device. It returns at once, and r is read on a goroutine of the client;
// done runs once, inside DoWork or Destroy, with the error or nil. Destroy ends an
// upload that is under way. o may be nil.
func (c *DeviceClient) UploadFileAsync(name string, r io.Reader, o *UploadOptions, done func(error)) error {
	return c.c.upload(name, r, o, done)
}

// UploadFileAsync uploads all that r has as a file of that name: see UploadFile of
// package module. The rest is as for [DeviceClient.UploadFileAsync].
func (c *ModuleClient) UploadFileAsync(name string, r io.Reader, o *UploadOptions, done func(error)) error {
	return c.c.upload(name, r, o, done)
}

// BeginUploadAsync asks the hub for a place for a file of that name, for programs
// that send it block by block, or by themselves: see BeginUpload of package device.
// done runs once, inside DoWork or Destroy, with the ticket or the error.
func (c *DeviceClient) BeginUploadAsync(name string, port int, done func(*iothub.UploadTicket, error)) error {
	return c.c.beginUpload(name, port, done)
}

// BeginUploadAsync is as for [DeviceClient.BeginUploadAsync].
func (c *ModuleClient) BeginUploadAsync(name string, port int, done func(*iothub.UploadTicket, error)) error {
	return c.c.beginUpload(name, port, done)
}

// EndUploadAsync tells the hub that the upload of a ticket is over: see EndUpload of
// package device. An *iothub.Error in failed whose Code is an HTTP status has the hub
// told that. done runs once, inside DoWork or Destroy, with the error or nil.
func (c *DeviceClient) EndUploadAsync(t *iothub.UploadTicket, failed error, port int, done func(error)) error {
	return c.c.endUpload(t, failed, port, done)
}

// EndUploadAsync is as for [DeviceClient.EndUploadAsync].
func (c *ModuleClient) EndUploadAsync(t *iothub.UploadTicket, failed error, port int, done func(error)) error {
	return c.c.endUpload(t, failed, port, done)
}

// OpenUpload returns the place of a ticket, of which the URL is all that matters.
// Nothing touches the network yet. The error is an *iothub.Error of
// KindInvalidArgument for a ticket that is none.
func (c *DeviceClient) OpenUpload(t *iothub.UploadTicket) (*Upload, error) { return c.c.openUpload(t) }

// OpenUpload is as for [DeviceClient.OpenUpload].
func (c *ModuleClient) OpenUpload(t *iothub.UploadTicket) (*Upload, error) { return c.c.openUpload(t) }

// Upload is the place of one file whose blocks the program sends by itself, beside
// the client's transport, through the same proxy and with the same trust. It belongs
// to the goroutine of its client, and ends with it.
type Upload struct {
	c      *client
	blocks *upload.Blocks
}

// PutBlockAsync sends a block of the file, 0 to 49,999, of 1 byte to 100 MiB. Requests
// that fail for a moment are repeated. A block that was sent before is replaced and
// keeps its place. data may not be changed until done, which runs once, inside DoWork
// or Destroy, with the error or nil.
func (u *Upload) PutBlockAsync(number int, data []byte, done func(error)) error {
	return u.c.uploading(done, func(ctx context.Context, _ *transport.Params) error {
		return u.blocks.Put(ctx, number, data)
	})
}

// CommitAsync makes the file of the blocks that were sent, in the order in which they
// first were; contentType "" is application/octet-stream. done runs once, inside
// DoWork or Destroy, with the error or nil.
func (u *Upload) CommitAsync(contentType string, done func(error)) error {
	return u.c.uploading(done, func(ctx context.Context, _ *transport.Params) error {
		return u.blocks.Commit(ctx, contentType)
	})
}

// Close lets go of the connection to the storage. What was sent and not committed
// waits there for some days.
func (u *Upload) Close() { u.blocks.Close() }

func (c *client) upload(name string, r io.Reader, o *UploadOptions, done func(error)) error {
	return c.uploading(done, func(ctx context.Context, p *transport.Params) error {
		return upload.File(ctx, p, name, r, o)
	})
}

func (c *client) beginUpload(name string, port int, done func(*iothub.UploadTicket, error)) error {
	if done == nil {
		return c.uploading(nil, nil)
	}
	var t *iothub.UploadTicket
	return c.uploading(func(err error) { done(t, err) }, func(ctx context.Context, p *transport.Params) (err error) {
		t, err = upload.Begin(ctx, p, name, port)
		return err
	})
}

func (c *client) endUpload(t *iothub.UploadTicket, failed error, port int, done func(error)) error {
	return c.uploading(done, func(ctx context.Context, p *transport.Params) error {
		return upload.End(ctx, p, t, failed, port)
	})
}

func (c *client) openUpload(t *iothub.UploadTicket) (u *Upload, err error) {
	err = c.during(func(time.Time) error {
		b, err := upload.Open(c.setup.Params, t)
		u = &Upload{c, b}
		return err
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// uploading runs f on a goroutine of the client, and done with its error inside
// DoWork or Destroy.
func (c *client) uploading(done func(error), f func(context.Context, *transport.Params) error) error {
	if done == nil {
		return &iothub.Error{Op: "upload", Kind: iothub.KindInvalidArgument, Err: errNoCallback}
	}
	return c.during(func(time.Time) error {
		params := c.setup.Params
		c.gate.Go(func() {
			ctx, cancel := context.WithCancel(c.ctx)
			defer cancel()
			err := f(ctx, params)
			c.finished.add(func() { done(err) })
			c.notify()
		})
		return nil
	})
}
