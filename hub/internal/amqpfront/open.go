package amqpfront

import (
	"fmt"
	"slices"
	"time"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// start goes from the protocol header to Open.
func (c *conn) start() error {
	header, err := c.readHeader()
	if err != nil {
		return err
	}
	if header == amqp.HeaderSASL {
		if err := c.sasl(); err != nil {
			return err
		}
		if header, err = c.readHeader(); err != nil {
			return err
		}
	}
	if header != amqp.HeaderAMQP {
		// What is supported is the answer to what is not. (AMQP 2.2)
		c.say([]byte(amqp.HeaderSASL))
		return fmt.Errorf("the client does not speak AMQP 1.0: it begins with %q", header)
	}
	c.say([]byte(amqp.HeaderAMQP))
	return c.open()
}

// say appends raw bytes.
func (c *conn) say(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.buf = append(c.out.buf, b...)
	c.flushLocked()
}

func (c *conn) readHeader() (string, error) {
	for c.w-c.r < amqp.HeaderLen {
		if err := c.fill(0); err != nil {
			return "", fmt.Errorf("waiting for the protocol header: %w", err)
		}
	}
	header := string(c.in[c.r : c.r+amqp.HeaderLen])
	c.r += amqp.HeaderLen
	return header, nil
}

// open answers Open. (AMQP 2.7.1)
func (c *conn) open() error {
	frame, err := c.readFrame()
	if err != nil {
		return fmt.Errorf("waiting for open: %w", err)
	}
	t, channel, body, err := amqp.DecodeFrame(slices.Clone(frame))
	if err != nil {
		return err
	}
	var p amqp.Open
	if t != amqp.FrameAMQP || channel != 0 {
		return fmt.Errorf("the first frame is not open on channel 0 (type %d, channel %d)", t, channel)
	}
	if err := p.Decode(body); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = true
	c.frameLocked(amqp.FrameAMQP, 0, &amqp.Open{
		ContainerID: c.front.hub.HostName(), MaxFrameSize: maxFrame, ChannelMax: channelMax,
		IdleTimeout: uint32(idleTimeout / time.Millisecond),
	})
	c.flushLocked()
	if p.MaxFrameSize < amqp.MinMaxFrameSize {
		return &amqp.Error{Condition: amqp.ErrCondInvalidField, Description: "max-frame-size is below 512"}
	}
	c.maxFrame = int(min(p.MaxFrameSize, maxFrame))
	c.startBeatLocked(time.Duration(p.IdleTimeout) * time.Millisecond)
	return nil
}
