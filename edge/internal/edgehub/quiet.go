package edgehub

import (
	"context"
	"log/slog"
)

// quiet is a handler for the connections that are made on behalf of others. While
// the hub upstream cannot be reached at all it says nothing: $edgeHub says so once,
// and a hundred more would bury it.
type quiet struct {
	slog.Handler
	hub *Hub
}

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.hub.online() && q.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.hub}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name), q.hub} }
