package hub

import (
	"context"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Routing returns where events go, as the JSON of properties.routing, and its
// ETag. It may hold secrets of endpoints.
func (s *Server) Routing() (data []byte, etag string, err error) {
	data, etag, err = s.hub.Routing()
	if err != nil {
		return nil, "", s.failed("routing", err)
	}
	return data, etag, nil
}

// SetRouting replaces where events go if the ETag of what is there is etag, or
// whatever it is when etag is empty. What comes in from then on goes by it, and
// nothing that was taken in before is lost. Errors are [iothub.Error]: one with the
// code 400004 says what is wrong with the routing, and at which column with a
// condition.
func (s *Server) SetRouting(ctx context.Context, data []byte, etag string) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	if etag == "" {
		etag = core.AnyETag
	}
	if err := s.hub.SetRouting(ctx, data, etag); err != nil {
		return s.contextFailed(ctx, "set routing", err)
	}
	return nil
}

// RoutingStats counts what routes have done since the server was made.
type RoutingStats struct {
	// Matched is how many events each route took, by its name; "$fallback" is the
	// fallback route.
	Matched map[string]int64
	// Unrouted is how many messages of devices no route took: they are dropped.
	Unrouted int64
	// Deliveries are the webhooks and the endpoints of NATS, by name.
	Deliveries map[string]DeliveryStats
}

// DeliveryStats tells how an endpoint outside does.
type DeliveryStats struct {
	// Delivered counts events, and Failures attempts that failed.
	Delivered, Failures int64
	// LastError is why the last attempt failed; empty when it did not.
	LastError string
}

// RoutingStats reads the counters.
func (s *Server) RoutingStats() RoutingStats {
	have := s.hub.RoutingStats()
	out := RoutingStats{Matched: have.Matched, Unrouted: have.Unrouted, Deliveries: make(map[string]DeliveryStats)}
	for name, d := range have.Deliveries {
		out.Deliveries[name] = DeliveryStats(d)
	}
	return out
}
