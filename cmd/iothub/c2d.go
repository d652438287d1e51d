package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func newC2DCommand() *cobra.Command {
	return group("c2d", "Messages to devices", newC2DSend(), newC2DPurge(), newC2DFeedback())
}

func newC2DSend() *cobra.Command {
	f, m := &serviceFlags{}, &iothub.Message{}
	var properties []string
	var ttl time.Duration
	cmd := &cobra.Command{Use: "send DEVICE [BODY]", Short: "Send a message to a device; without BODY it is the standard input", Args: cobra.RangeArgs(1, 2),
		Example: `  iothub c2d send dev1 '{"open":true}' --content-type application/json --property level=high --ack full --message-id m1`}
	f.addAMQP(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&properties, "property", "p", nil, "NAME=VALUE of an application property; repeatable")
	flags.StringVar(&m.MessageID, "message-id", "", "what feedback calls it by")
	flags.StringVar(&m.CorrelationID, "correlation-id", "", "what it belongs to")
	flags.StringVar(&m.ContentType, "content-type", "", "as application/json")
	flags.StringVar(&m.ContentEncoding, "content-encoding", "", "as utf-8")
	flags.StringVar(&m.Ack, "ack", "", "feedback to ask for: none, positive, negative or full")
	flags.DurationVar(&ttl, "expires", 0, "how long it is of use; default is the hub's")
	return serviceCommand(cmd, f, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		var err error
		if m.Properties, err = pairs(cmd, "property", properties); err != nil {
			return nil, err
		}
		if m.Ack != "" {
			if err := oneOf(cmd, "ack", m.Ack, "none", "positive", "negative", "full"); err != nil {
				return nil, err
			}
		}
		if ttl < 0 {
			return nil, usage(cmd, errors.New("--expires is negative"))
		}
		if ttl > 0 {
			m.ExpiryTime = time.Now().Add(ttl)
		}
		if len(args) == 2 {
			m.Payload = []byte(args[1])
		} else if m.Payload, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), service.MaxC2DSize+1)); err != nil {
			return nil, err
		}
		return nil, c.SendC2D(ctx, args[0], m)
	})
}

func newC2DPurge() *cobra.Command {
	return serviceCommand(&cobra.Command{Use: "purge DEVICE", Short: "Delete the messages that wait for a device", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			n, err := c.PurgeC2D(ctx, args[0])
			if err != nil {
				return nil, err
			}
			return text(map[string]int{"purged": n}, "%d messages deleted", n), nil
		})
}

func newC2DFeedback() *cobra.Command {
	f := &serviceFlags{}
	var limit int
	var keep bool
	cmd := &cobra.Command{Use: "feedback", Short: "Print what became of messages to devices, as the hub tells it", Args: cobra.NoArgs,
		Long: `Print what became of messages to devices whose sender asked for it, one record a
line, until it is interrupted. A record that was printed does not come again,
unless --keep leaves it to others.`}
	f.addAMQP(cmd)
	cmd.Flags().IntVar(&limit, "max", 0, "end after at least so many records; 0 is no bound")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the records to others")
	return serviceCommand(cmd, f, func(ctx context.Context, c *service.Client, _ []string) (*result, error) {
		n := 0
		for batch, err := range c.Feedback(nil).All(ctx) {
			if err != nil {
				return nil, err
			}
			for _, r := range batch.Body {
				if err := f.line(cmd.OutOrStdout(), r, when(r.EnqueuedTime), r.DeviceID, quoted(r.MessageID), r.Status); err != nil {
					return nil, err
				}
			}
			settle := batch.Complete
			if keep {
				settle = batch.Abandon
			}
			if err := settle(ctx); err != nil {
				return nil, err
			}
			if n += len(batch.Body); limit > 0 && n >= limit {
				return nil, nil
			}
		}
		return nil, nil
	})
}

// eventsFlags are the flags of "iothub events".
type eventsFlags struct {
	serviceFlags
	eventHub  string
	group     string
	from      string
	partition string
	device    string
	max       int
}

func newEventsCommand() *cobra.Command {
	f := &eventsFlags{}
	cmd := &cobra.Command{Use: "events", Short: "Print the events of a hub, local or not, as its back ends get them", Args: cobra.NoArgs,
		Long: `Print the events of a hub, one a line, read by its Event Hubs-compatible endpoint,
until it is interrupted. It works with Azure IoT Hub and with a local hub; for a
local one iothub monitor needs no AMQP.`,
		Example: `  iothub events --from start --output json | jq .body
  iothub events --event-hub-connection-string 'Endpoint=sb://…;EntityPath=…'`}
	f.addAMQP(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.eventHub, "event-hub-connection-string", "", "of the Event Hubs-compatible endpoint; default is to ask the hub")
	flags.StringVar(&f.group, "consumer-group", service.DefaultConsumerGroup, "whose view of the stream it is")
	flags.StringVar(&f.from, "from", "now", "start, now, a time as 2026-01-31T12:00:00Z, or an offset (with --partition)")
	flags.StringVar(&f.partition, "partition", "", "only this partition")
	flags.StringVar(&f.device, "device", "", "only events of this device and its modules")
	flags.IntVar(&f.max, "max", 0, "end after so many events; 0 is no bound")
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return failure(cmd, f.run(cmd))
	}
	return cmd
}

// position reads --from.
func (f *eventsFlags) position(cmd *cobra.Command) (service.Position, error) {
	switch f.from {
	case "start":
		return service.FromStart(), nil
	case "now":
		return service.FromNow(), nil
	}
	if t, err := time.Parse(time.RFC3339, f.from); err == nil {
		return service.FromTime(t), nil
	}
	if _, err := strconv.ParseUint(f.from, 10, 63); err != nil {
		return service.Position{}, usage(cmd, fmt.Errorf("--from %q is none of start, now, a time as 2026-01-31T12:00:00Z, an offset", f.from))
	}
	if f.partition == "" {
		return service.Position{}, usage(cmd, errors.New("--from with an offset needs --partition: an offset is a place in one partition"))
	}
	return service.AfterOffset(f.from), nil
}

// open returns the reader, and what closes it.
func (f *eventsFlags) open(cmd *cobra.Command) (*service.Events, func(), error) {
	o := &service.EventsOptions{ConsumerGroup: f.group}
	closer := func(close func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), 2*time.Second)
		defer cancel()
		_ = close(ctx) // the process ends
	}
	if f.eventHub != "" {
		config, err := trust(f.ca)
		if err != nil {
			return nil, nil, fmt.Errorf("--ca: %w", err)
		}
		e, err := service.NewEventsFromConnectionString(f.eventHub, &service.ClientOptions{TLS: config, WebSocket: f.webSocket}, o)
		if err != nil {
			return nil, nil, usage(cmd, err)
		}
		return e, func() { closer(e.Close) }, nil
	}
	c, err := f.connect(cmd)
	if err != nil {
		return nil, nil, err
	}
	e := c.Events(o)
	return e, func() { closer(e.Close); closer(c.Close) }, nil
}

func (f *eventsFlags) run(cmd *cobra.Command) error {
	from, err := f.position(cmd)
	if err != nil {
		return err
	}
	if f.max < 0 {
		return usage(cmd, errors.New("--max is negative"))
	}
	events, end, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	o := &service.RunOptions{From: from}
	if f.partition != "" {
		o.Partitions = []string{f.partition}
	}
	// Partitions are read at the same time, and lines are printed one by one.
	lines := make(chan struct{}, 1)
	lines <- struct{}{}
	left := f.max
	err = events.Run(ctx, func(ctx context.Context, e *service.Event) error {
		if f.device != "" && e.DeviceID != f.device {
			return nil
		}
		select {
		case <-lines:
			defer func() { lines <- struct{}{} }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.max > 0 {
			if left == 0 {
				return ctx.Err()
			}
			if left--; left == 0 {
				defer cancel()
			}
		}
		return f.print(cmd.OutOrStdout(), e)
	}, o)
	return err
}

// print prints an event as monitor does.
func (f *eventsFlags) print(w io.Writer, e *service.Event) error {
	shown := watchedEvent{
		DeviceID: e.DeviceID, ModuleID: e.ModuleID, Offset: e.Offset, EnqueuedTime: e.EnqueuedTime, Body: e.Body, Properties: e.Properties,
		SystemProperties: map[string]string{},
	}
	shown.Partition, _ = strconv.Atoi(e.Partition) // they are numbers
	for name, value := range map[string]string{
		"message-id": e.MessageID, "correlation-id": e.CorrelationID, "user-id": e.UserID, "content-type": e.ContentType,
		"content-encoding": e.ContentEncoding, "source": e.Source,
	} {
		if value != "" && (name != "source" || value != "Telemetry") {
			shown.SystemProperties[name] = value
		}
	}
	if f.output == "json" {
		return f.line(w, shown)
	}
	_, err := w.Write(formatEvent(&shown))
	return err
}
