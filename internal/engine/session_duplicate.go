package engine

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/iothub-go/iothub"
)

// Two programs with one identity: the hub closes the older connection for the
// newer one, so each throws the other out, as fast as both reconnect, for ever.
// All that this side sees is a hub that accepts it and closes the connection
// moments later, again and again, and never refuses it or is out of reach in
// between, as a hub that restarts or a network that fails would be.
const (
	kickedWithin = 10 * time.Second // of being accepted
	kicksToTell  = 3                // that make a duplicate
	kicksSpan    = time.Minute      // in which they must come
	duplicateMin = time.Minute
	duplicateMax = 10 * time.Minute
)

// duplicate notes the signs of a second client with the same identity.
type duplicate struct {
	kicks []time.Time // the last ones, oldest first
	level int         // how often the wait was doubled, plus one; 0 is no suspicion
}

// suspect looks at the end of a link, or of an attempt to get one. When it is
// the work of a duplicate, le becomes the error that says so and that makes the
// retry wait long enough to leave the other client alone.
func (s *Session) suspect(now time.Time, le *linkError, wasConnected bool) {
	d := &s.kicked
	up := now.Sub(s.upSince)
	switch {
	case !wasConnected || up >= stableLink:
		*d = duplicate{}
		return
	case up >= kickedWithin || !closedByPeer(le):
		d.kicks = d.kicks[:0]
		return
	}
	d.kicks = append(d.kicks, now)
	if len(d.kicks) > kicksToTell {
		d.kicks = append(d.kicks[:0], d.kicks[1:]...)
	}
	if d.level == 0 && (len(d.kicks) < kicksToTell || now.Sub(d.kicks[0]) > kicksSpan) {
		return
	}
	wait := min(duplicateMin<<min(d.level, 8), duplicateMax)
	d.level++
	// A tenth of chance on top, so that the two do not come back in step.
	wait += time.Duration(s.cfg.Random() * float64(wait/10))
	id := s.cfg.MQTT.ClientID
	le.reason = iothub.ReasonCommunicationError
	le.err = &iothub.Error{Op: "connect", Kind: iothub.KindDuplicateIdentity, Retryable: true, RetryAfter: min(wait, duplicateMax),
		Err: fmt.Errorf("the hub accepts the connection and closes it moments later, again and again: another program is probably connected as %q (%w)", id, le.err.Err)}
}

// closedByPeer reports whether the link ended because the peer closed it,
// rather than by silence or by what it said.
func closedByPeer(le *linkError) bool {
	if le.err.Kind != iothub.KindNetwork {
		return false
	}
	ne, ok := errors.AsType[net.Error](le.err.Err)
	return !ok || !ne.Timeout()
}
