package upload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/transport"
)

// maxBlock is how many bytes a block may have.
const maxBlock = 100 << 20

// Blocks is the place of a file whose program sends block by block. It is safe for
// concurrent use and has to be closed.
type Blocks struct {
	s *storage

	mu  sync.Mutex
	put []putBlock // in the order of their first success
}

type putBlock struct {
	number int
	id     string
}

// Open returns the place of a ticket.
func Open(p *transport.Params, t *iothub.UploadTicket) (*Blocks, error) {
	if t == nil {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoUploadTicket}
	}
	s, err := newStorage(t, p)
	if err != nil {
		return nil, err
	}
	return &Blocks{s: s}, nil
}

// Put sends a block, 0 to 49,999, of 1 byte to 100 MiB. One that was sent before is
// replaced and keeps its place.
func (b *Blocks) Put(ctx context.Context, number int, data []byte) error {
	bad := func(format string, args ...any) error {
		return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case number < 0 || number >= maxBlocks:
		return bad("the number of the block is %d, it can be 0 to %d", number, maxBlocks-1)
	case len(data) == 0 || len(data) > maxBlock:
		return bad("the block has %d bytes, it can have 1 to %d", len(data), maxBlock)
	}
	id := blockID(number, data)
	if err := b.s.putBlock(ctx, id, data); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.IndexFunc(b.put, func(p putBlock) bool { return p.number == number }); i >= 0 {
		b.put[i].id = id
	} else {
		b.put = append(b.put, putBlock{number, id})
	}
	return nil
}

// Commit makes the file of the blocks that were sent, in the order of Put.
func (b *Blocks) Commit(ctx context.Context, contentType string) error {
	b.mu.Lock()
	var ids []string
	for _, p := range b.put {
		ids = append(ids, p.id)
	}
	b.mu.Unlock()
	return b.s.commit(ctx, ids, contentType)
}

// Close lets go of the connection.
func (b *Blocks) Close() { b.s.close() }
