package hub

import (
	"slices"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Tiers are the tiers of IoT Hub that [Options.Tier] can name: F1, B1 to B3 and
// S1 to S3.
func Tiers() []string { return core.Tiers() }

func isTier(name string) bool {
	return slices.ContainsFunc(core.Tiers(), func(t string) bool { return strings.EqualFold(t, name) })
}

// Usage is what a server with a tier has counted. Without a tier all of it is
// zero.
type Usage struct {
	// Tier and Units are those of the options.
	Tier  string
	Units int
	// Day is midnight UTC of the day that Messages and Quota are about, the
	// messages counted so far and how many there may be. A message larger than
	// the meter of the tier, 4 KB or 0.5 KB, counts as several.
	Day             time.Time
	Messages, Quota int64
	// Operations are the operations that have a rate limit.
	Operations []OperationUsage
}

// OperationUsage is what has been counted of one operation since the server was
// made.
type OperationUsage struct {
	// Operation is its name, for example "DeviceToCloudSend".
	Operation string
	// PerMinute is the limit; for "DirectMethod" it is one of bytes.
	PerMinute int64
	// Accepted is how many were let through, Delayed how many of these had to
	// wait, and Rejected how many were refused because of the rate or the quota.
	Accepted, Delayed, Rejected int64
}

// Usage reads the counters of the rate limits and of the daily quota.
func (s *Server) Usage() Usage {
	u := s.hub.Usage()
	out := Usage{Tier: u.Tier, Units: u.Units, Day: u.Day, Messages: u.Messages, Quota: u.Quota}
	for _, op := range u.Operations {
		out.Operations = append(out.Operations, OperationUsage{
			Operation: op.Operation.String(), PerMinute: op.PerMinute,
			Accepted: op.Accepted, Delayed: op.Delayed, Rejected: op.Rejected,
		})
	}
	return out
}

// Disconnect ends the connection of a device, or of a module of it, as if the
// network had failed, and reports whether there was one. Messages that were not
// acknowledged yet may or may not have been stored. Nothing keeps the client from
// connecting again; that is what tests want to see. moduleID is empty for a
// device.
func (s *Server) Disconnect(deviceID, moduleID string) bool {
	return s.hub.Disconnect(deviceID, moduleID)
}
