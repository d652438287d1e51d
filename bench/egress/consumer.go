package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/go-amqp"
)

// window is how many events a consumer has the server send ahead, half of which it
// asks for at a time.
const window = 2000

// target is where to read.
type target struct {
	addr           string
	roots          *x509.CertPool
	user, password string
	source         func(partition int) string
}

// consumer reads one partition from its start, on a connection of its own.
type consumer struct {
	conn     *amqp.Conn
	receiver *amqp.Receiver
	received int
}

func (t target) open(ctx context.Context, partition int) (_ *consumer, err error) {
	conn, err := amqp.Dial(ctx, "amqps://"+t.addr, &amqp.ConnOptions{
		TLSConfig: &tls.Config{RootCAs: t.roots}, SASLType: amqp.SASLTypePlain(t.user, t.password),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, err
	}
	r, err := session.NewReceiver(ctx, t.source(partition), &amqp.ReceiverOptions{Credit: -1})
	if err != nil {
		return nil, err
	}
	return &consumer{conn: conn, receiver: r}, r.IssueCredit(window)
}

// read reads n events, whose bodies have to be of the size.
func (c *consumer) read(ctx context.Context, n, size int) error {
	for range n {
		m := c.receiver.Prefetched()
		if m == nil {
			var err error
			if m, err = c.receiver.Receive(ctx, nil); err != nil {
				return err
			}
		}
		if len(m.GetData()) != size {
			return fmt.Errorf("event %d has %d bytes instead of %d", c.received, len(m.GetData()), size)
		}
		if c.received++; c.received%(window/2) == 0 {
			if err := c.receiver.IssueCredit(window / 2); err != nil {
				return err
			}
		}
	}
	return nil
}

// readTime bounds one measurement.
const readTime = time.Minute

// once has n consumers read events of their partitions at once and returns how
// many they read in a second, together.
func once(t target, n, events, size int) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	var consumers []*consumer
	defer func() {
		for _, c := range consumers {
			_ = c.conn.Close() // it was only read from
		}
	}()
	for partition := range n {
		c, err := t.open(ctx, partition)
		if err != nil {
			return 0, err
		}
		consumers = append(consumers, c)
	}
	all := func(events int) error {
		errs := make(chan error, n)
		var wg sync.WaitGroup
		for _, c := range consumers {
			wg.Go(func() { errs <- c.read(ctx, events, size) })
		}
		wg.Wait()
		for range n {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	}
	warm := events / 10
	if err := all(warm); err != nil {
		return 0, err
	}
	start := time.Now()
	err := all(events - warm)
	return float64(n*(events-warm)) / time.Since(start).Seconds(), err
}
