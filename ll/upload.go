package ll

import (
	"context"
	"io"
	"time"

	"github.com/iothub-go/iothub"
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

func (c *client) upload(name string, r io.Reader, o *UploadOptions, done func(error)) error {
	if done == nil {
		return &iothub.Error{Op: "upload", Kind: iothub.KindInvalidArgument, Err: errNoCallback}
	}
	return c.during(func(time.Time) error {
		params := c.setup.Params
		c.gate.Go(func() {
			ctx, cancel := context.WithCancel(c.ctx)
			defer cancel()
			err := upload.File(ctx, params, name, r, o)
			c.finished.add(func() { done(err) })
			c.notify()
		})
		return nil
	})
}
