package mqttfront

import (
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// admitted asks the hub's throttle for an operation with so many bytes of
// payload, and waits as long as it says. Meanwhile nothing is read from the
// client, which is all that MQTT has to say "slow down" (B.11).
func (c *conn) admitted(op core.Operation, bytes int) error {
	wait, err := c.front.cfg.Hub.Reserve(op, bytes)
	if err != nil {
		return err
	}
	return c.pause(wait)
}

// admittedEvents is admitted for events on their way to the storage: what is
// withheld is their acknowledgement.
func (c *conn) admittedEvents(events []core.Event) error {
	wait, err := c.att.Reserve(events)
	if err != nil {
		return err
	}
	return c.pause(wait)
}

// pause blocks the reader, but not beyond the end of the connection. It is cut
// short by a drain: what has been read by then is good.
func (c *conn) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	over := false // guarded by mu
	timer := time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		over = true
		c.room.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !over && !c.dead && !c.draining.Load() {
		c.room.Wait()
	}
	if c.dead {
		return c.reason
	}
	return nil
}
