package hub_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"github.com/iothub-go/iothub"
	iotdevice "github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
)

// startEvents starts a hub with two event hubs and sends n events as a device.
func startEvents(t *testing.T, n int) *hub.Server {
	t.Helper()
	s := start(t, &hub.Options{ConsumerGroups: []string{"dashboard"}, Partitions: 2, Routing: []byte(`{
		"endpoints":{"eventHubs":[{"name":"alerts","partitionCount":1}]},
		"routes":[{"name":"hot","source":"DeviceMessages","condition":"level = 'hot'","endpointNames":["alerts"]},
			{"name":"all","source":"DeviceMessages","endpointNames":["events"]}]}`)})
	for _, p := range []hub.Protocol{hub.AMQP, hub.AMQPPlain} {
		if _, err := s.Listen(p, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := iotdevice.NewClientFromConnectionString(cs, &iotdevice.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}, ModelID: "dtmi:x;1"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(context.Background())
	for i := range n {
		m := &iothub.Message{
			Payload: fmt.Appendf(nil, `{"n":%d}`, i), MessageID: fmt.Sprint("m", i), ContentType: "application/json", ContentEncoding: "utf-8",
			Properties: map[string]string{"i": fmt.Sprint(i)},
		}
		if i%10 == 0 {
			m.Properties["level"] = "hot"
		}
		if err := client.SendEvent(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// consumer is a client of an event hub, over TLS or in development mode.
func consumer(t *testing.T, s *hub.Server, name, group string, plain bool) *azeventhubs.ConsumerClient {
	t.Helper()
	cs := s.EventHubConnectionString(name)
	if plain {
		cs = s.EventHubEmulatorConnectionString(name)
	}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(cs, "", group, &azeventhubs.ConsumerClientOptions{
		TLSConfig:    &tls.Config{RootCAs: s.CertPool(), ServerName: "127.0.0.1"},
		RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// full is the partition that has the events of dev1.
func full(t *testing.T, c *azeventhubs.ConsumerClient) string {
	t.Helper()
	p, err := c.GetEventHubProperties(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range p.PartitionIDs {
		info, err := c.GetPartitionProperties(t.Context(), id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsEmpty {
			return id
		}
	}
	t.Fatal("all partitions are empty")
	return ""
}

func receive(t *testing.T, p *azeventhubs.PartitionClient, n int) []*azeventhubs.ReceivedEventData {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all []*azeventhubs.ReceivedEventData
	for len(all) < n {
		events, err := p.ReceiveEvents(ctx, n-len(all), nil)
		if err != nil {
			t.Fatalf("%d of %d events: %v", len(all), n, err)
		}
		all = append(all, events...)
	}
	return all
}

func TestEventHubsClient(t *testing.T) {
	const n = 400 // more than what a client takes without asking again
	s := startEvents(t, n)
	for _, plain := range []bool{false, true} {
		c := consumer(t, s, "", "$Default", plain)
		props, err := c.GetEventHubProperties(t.Context(), nil)
		if err != nil || props.Name != "iothub" || len(props.PartitionIDs) != 2 || time.Since(props.CreatedOn) > time.Minute {
			t.Fatalf("%+v, %v", props, err)
		}
		id := full(t, c)
		info, err := c.GetPartitionProperties(t.Context(), id, nil)
		if err != nil || info.BeginningSequenceNumber != 0 || info.LastEnqueuedSequenceNumber != n-1 || info.IsEmpty {
			t.Errorf("%+v, %v", info, err)
		}
		yes := true
		p, err := c.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: &yes}})
		if err != nil {
			t.Fatal(err)
		}
		events := receive(t, p, n)
		for i, e := range events {
			if e.SequenceNumber != int64(i) || string(e.Body) != fmt.Sprintf(`{"n":%d}`, i) || e.Properties["i"] != fmt.Sprint(i) {
				t.Fatalf("event %d is %+v", i, e)
			}
		}
		e := events[7]
		if *e.MessageID != "m7" || *e.ContentType != "application/json" || e.EnqueuedTime == nil ||
			e.SystemProperties["iothub-connection-device-id"] != "dev1" || e.SystemProperties["iothub-message-source"] != "Telemetry" ||
			e.SystemProperties["dt-dataschema"] != "dtmi:x;1" || !strings.Contains(fmt.Sprint(e.SystemProperties["iothub-connection-auth-method"]), `"scope":"device"`) {
			t.Errorf("event 7: %v %v", e.SystemProperties, e.EventData)
		}
		_ = p.Close(context.Background())
		// By sequence number, by offset, by time, and at the end.
		seven, offset, at := int64(7), events[7].Offset, events[0].EnqueuedTime.Add(-time.Second)
		for what, from := range map[string]struct {
			azeventhubs.StartPosition
			first int64
		}{
			"sequence":    {azeventhubs.StartPosition{SequenceNumber: &seven}, 8},
			"with it":     {azeventhubs.StartPosition{SequenceNumber: &seven, Inclusive: true}, 7},
			"offset":      {azeventhubs.StartPosition{Offset: &offset}, 8},
			"enqueued at": {azeventhubs.StartPosition{EnqueuedTime: &at}, 0},
		} {
			p, err := c.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{StartPosition: from.StartPosition})
			if err != nil {
				t.Fatal(err)
			}
			if got := receive(t, p, 1)[0].SequenceNumber; got != from.first {
				t.Errorf("%s: begins at %d, want %d", what, got, from.first)
			}
			_ = p.Close(context.Background())
		}
	}
	alerts := consumer(t, s, "alerts", "$default", false)
	props, err := alerts.GetEventHubProperties(t.Context(), nil)
	if err != nil || len(props.PartitionIDs) != 1 {
		t.Fatalf("%+v, %v", props, err)
	}
	yes := true
	p, err := alerts.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: &yes}})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range receive(t, p, n/10) {
		if string(e.Body) != fmt.Sprintf(`{"n":%d}`, 10*i) {
			t.Errorf("alert %d is %s", i, e.Body)
		}
	}
	_ = p.Close(context.Background())
}

func TestEventHubsOwnership(t *testing.T) {
	s := startEvents(t, 10)
	c := consumer(t, s, "", "dashboard", false)
	id := full(t, c)
	open := func(owner *int64) *azeventhubs.PartitionClient {
		yes := true
		p, err := c.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{OwnerLevel: owner, StartPosition: azeventhubs.StartPosition{Earliest: &yes}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close(context.Background()) })
		return p
	}
	lost := func(p *azeventhubs.PartitionClient) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for {
			_, err := p.ReceiveEvents(ctx, 1, nil)
			if err == nil {
				continue // what it had taken already
			}
			return strings.Contains(err.Error(), "amqp:link:stolen")
		}
	}
	one, two := int64(1), int64(2)
	anybody, first := open(nil), open(&one)
	receive(t, anybody, 1)
	receive(t, first, 1)
	if !lost(anybody) {
		t.Error("a receiver without a level stays beside an owner")
	}
	second := open(&two)
	receive(t, second, 1)
	if !lost(first) {
		t.Error("a receiver stays beside an owner of a higher level")
	}
	if !lost(open(&one)) || !lost(open(nil)) {
		t.Error("a receiver of a lower level, or of none, is let in")
	}
	receive(t, second, 1)
}

func TestEventHubsProcessor(t *testing.T) {
	const n = 100
	s := startEvents(t, n)
	c := consumer(t, s, "", "$Default", false)
	store := &checkpoints{}
	yes := true
	p, err := azeventhubs.NewProcessor(c, store, &azeventhubs.ProcessorOptions{
		UpdateInterval: 100 * time.Millisecond,
		StartPositions: azeventhubs.StartPositions{Default: azeventhubs.StartPosition{Earliest: &yes}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	seen := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client := p.NextPartitionClient(ctx)
			if client == nil {
				return
			}
			wg.Go(func() {
				defer client.Close(context.Background())
				for {
					batch, cancelBatch := context.WithTimeout(ctx, time.Second)
					events, err := client.ReceiveEvents(batch, 50, nil)
					cancelBatch()
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						return
					}
					if len(events) > 0 {
						if err := client.UpdateCheckpoint(ctx, events[len(events)-1], nil); err != nil {
							t.Error(err)
						}
					}
					mu.Lock()
					seen += len(events)
					done := seen >= n
					mu.Unlock()
					if done {
						cancel()
						return
					}
				}
			})
		}
	})
	if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wg.Wait()
	if seen != n {
		t.Errorf("%d events were processed, want %d", seen, n)
	}
}

// checkpoints is a checkpoint store in memory.
type checkpoints struct {
	mu         sync.Mutex
	owners     map[string]azeventhubs.Ownership
	positions  map[string]azeventhubs.Checkpoint
	generation int
}

func (c *checkpoints) ClaimOwnership(_ context.Context, list []azeventhubs.Ownership, _ *azeventhubs.ClaimOwnershipOptions) ([]azeventhubs.Ownership, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owners == nil {
		c.owners = make(map[string]azeventhubs.Ownership)
	}
	var got []azeventhubs.Ownership
	for _, o := range list {
		have, ok := c.owners[o.PartitionID]
		if ok && (o.ETag == nil || *have.ETag != *o.ETag) {
			continue
		}
		c.generation++
		tag := azcore.ETag(fmt.Sprint(c.generation))
		o.LastModifiedTime, o.ETag = time.Now(), &tag
		c.owners[o.PartitionID] = o
		got = append(got, o)
	}
	return got, nil
}

func (c *checkpoints) ListOwnership(context.Context, string, string, string, *azeventhubs.ListOwnershipOptions) ([]azeventhubs.Ownership, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []azeventhubs.Ownership
	for _, o := range c.owners {
		all = append(all, o)
	}
	return all, nil
}

func (c *checkpoints) ListCheckpoints(context.Context, string, string, string, *azeventhubs.ListCheckpointsOptions) ([]azeventhubs.Checkpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []azeventhubs.Checkpoint
	for _, o := range c.positions {
		all = append(all, o)
	}
	return all, nil
}

func (c *checkpoints) SetCheckpoint(_ context.Context, p azeventhubs.Checkpoint, _ *azeventhubs.SetCheckpointOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.positions == nil {
		c.positions = make(map[string]azeventhubs.Checkpoint)
	}
	c.positions[p.PartitionID] = p
	return nil
}
