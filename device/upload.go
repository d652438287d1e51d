package device

import (
	"context"
	"io"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/upload"
)

// UploadOptions say how a file is uploaded.
type UploadOptions = iothub.UploadOptions

// UploadFile uploads all that r has as a file of that name, a path behind the id of
// the device, and tells the hub when it is there. It goes over HTTPS beside the
// client's transport, through the same proxy and with the same trust, and keeps one
// block in memory. Requests that fail for a moment are repeated.
//
// After an error, and when ctx ends first, the hub has been told that the upload
// failed, if it could be reached, and the blocks that were sent wait for some days:
// UploadFile with the same name and content, by this process or another one, sends
// the others only. Errors are *iothub.Error. o may be nil. Uploads may run side by
// side, ten of one device.
func (c *Client) UploadFile(ctx context.Context, name string, r io.Reader, o *UploadOptions) error {
	return upload.File(ctx, c.c.Params(), name, r, o)
}

// BeginUpload asks the hub for a place for a file of that name, for programs that
// put it there by themselves. Each ticket has to be given to EndUpload: ten may be
// open. port is that of the hub's HTTPS endpoint, 0 being 443. Errors are
// *iothub.Error.
func (c *Client) BeginUpload(ctx context.Context, name string, port int) (*iothub.UploadTicket, error) {
	return upload.Begin(ctx, c.c.Params(), name, port)
}

// EndUpload tells the hub that the upload of a ticket is over: well when failed is
// nil, or why not. After a success it tells its back ends. When ctx ends first the
// hub may have been told.
func (c *Client) EndUpload(ctx context.Context, t *iothub.UploadTicket, failed error, port int) error {
	return upload.End(ctx, c.c.Params(), t, failed, port)
}
