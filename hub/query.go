package hub

import (
	"context"
	"encoding/json"
	"iter"
)

// Query answers a query in IoT Hub's query language (docs/queries.md) over devices,
// modules or jobs, for example
//
//	SELECT deviceId, properties.reported.firmware AS fw FROM devices WHERE tags.room = 'attic'
//
// It returns an iterator over its rows, each a JSON object, which is read a page at
// a time. The iteration ends after the first error: that of ctx, ErrServerClosed, or
// an [iothub.Error] that says what is wrong with the query and at which column.
func (s *Server) Query(ctx context.Context, text string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for continuation := ""; ; {
			if s.isClosed() {
				yield(nil, ErrServerClosed)
				return
			}
			page, err := s.hub.Query(ctx, text, 1000, continuation)
			if err != nil {
				yield(nil, s.contextFailed(ctx, "query", err))
				return
			}
			for _, row := range page.Rows {
				if !yield(row, nil) {
					return
				}
			}
			if continuation = page.Continuation; continuation == "" {
				return
			}
		}
	}
}
