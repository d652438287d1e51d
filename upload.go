package iothub

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
)

// DefaultUploadBlock is the size of the blocks of an upload unless it says
// otherwise: 4 MiB.
const DefaultUploadBlock = 4 << 20

// UploadOptions say how a file is uploaded. The zero value, or nil, are the
// defaults.
type UploadOptions struct {
	// BlockSize is how many bytes are sent at once and kept in memory, 64 KiB to
	// 100 MiB; default [DefaultUploadBlock]. A file has at most 50,000 blocks.
	BlockSize int
	// ContentType is what the file is; default application/octet-stream.
	ContentType string
	// Progress, if not nil, is called after each block with how many bytes of the
	// file are there, those included that were there before. It is called by the
	// goroutine that uploads.
	Progress func(bytes int64)
	// Port is that of the hub's HTTPS endpoint; 0 is 443.
	Port int
}

// Validate checks the fields. The error is an *Error of KindInvalidArgument.
func (o *UploadOptions) Validate() error {
	bad := func(format string, args ...any) error {
		return &Error{Op: "upload", Kind: KindInvalidArgument, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case o.BlockSize != 0 && (o.BlockSize < 64<<10 || o.BlockSize > 100<<20):
		return bad("the block size is %d bytes, it can be 64 KiB to 100 MiB", o.BlockSize)
	case o.Port < 0 || o.Port > 65535:
		return bad("the port is %d, it can be 1 to 65535, 0 is 443", o.Port)
	}
	return nil
}

// UploadTicket is a place for one file, which the hub has given to a device. It
// prints without its signature.
type UploadTicket struct {
	// CorrelationID names the upload to the hub when it is over.
	CorrelationID string
	// BlobName is the name of the file there: that of the device and the one that
	// was asked for.
	BlobName string
	// URL is where it is to be put, with a signature: whoever has it can write and
	// read the file, for about an hour.
	URL string
}

// ErrNoUploadTicket is the cause of an error about a ticket that is none.
var ErrNoUploadTicket = errors.New("the ticket of the upload is missing or not valid")

// String gives the name and the host, not the signature.
func (t UploadTicket) String() string {
	host := ""
	if u, err := url.Parse(t.URL); err == nil {
		host = u.Host
	}
	return "upload of " + t.BlobName + " to " + host
}

// GoString is String.
func (t UploadTicket) GoString() string { return t.String() }

// LogValue is String.
func (t UploadTicket) LogValue() slog.Value { return slog.StringValue(t.String()) }
