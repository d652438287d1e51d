package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// fleet is a hub with five devices, three of them in the attic.
func fleet(t *testing.T) (*hub.Server, *service.Client) {
	t.Helper()
	s := startHub(t, nil)
	c := connect(t, s, nil)
	for i := range 5 {
		id := fmt.Sprint("dev", i)
		if _, err := s.CreateDevice(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		u := &service.TwinUpdate{Tags: map[string]any{"room": "cellar", "floor": -1}}
		if i < 3 {
			u.Tags = map[string]any{"room": "attic", "floor": i}
		}
		if _, err := c.PatchTwin(t.Context(), id, "", u); err != nil {
			t.Fatal(err)
		}
	}
	return s, c
}

// Queries go page by page, give rows of any shape, and say where they are wrong.
func TestQueriesOfTheHub(t *testing.T) {
	_, c := fleet(t)
	var ids []string
	for twin, err := range c.QueryTwins(t.Context(), "SELECT * FROM devices WHERE tags.room = 'attic'", &service.QueryOptions{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, twin.DeviceID)
	}
	if slices.Sort(ids); !slices.Equal(ids, []string{"dev0", "dev1", "dev2"}) {
		t.Errorf("in the attic: %v", ids)
	}
	page, err := c.QueryPage(t.Context(), "SELECT * FROM devices", &service.QueryOptions{PageSize: 4})
	if err != nil || len(page.Rows) != 4 || page.Continuation == "" {
		t.Fatalf("%+v %v", page, err)
	}
	if page, err = c.QueryPage(t.Context(), "SELECT * FROM devices", &service.QueryOptions{PageSize: 4, Continuation: page.Continuation}); err != nil || len(page.Rows) != 1 || page.Continuation != "" {
		t.Errorf("%+v %v", page, err)
	}
	type count struct {
		Room string `json:"room"`
		N    int    `json:"n"`
	}
	counts := map[string]int{}
	for r, err := range service.QueryAs[count](t.Context(), c, "SELECT tags.room AS room, COUNT() AS n FROM devices GROUP BY tags.room", nil) {
		if err != nil {
			t.Fatal(err)
		}
		counts[r.Room] = r.N
	}
	if !maps.Equal(counts, map[string]int{"attic": 3, "cellar": 2}) {
		t.Errorf("counts: %v", counts)
	}
	for _, err := range c.Query(t.Context(), "SELECT * FROM devices WHERE tags.room ==", nil) {
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), "column") {
			t.Errorf("a wrong query: %v", err)
		}
	}
}

// Jobs run over devices that a query chooses, tell what became of each, are listed,
// and can be cancelled while they wait.
func TestJobsOfTheHub(t *testing.T) {
	_, c := fleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	u := &service.TwinUpdate{Desired: map[string]any{"interval": 30}}
	if _, err := c.ScheduleTwinUpdate(ctx, "slow-down", u, &service.JobOptions{Query: "tags.room = 'attic'"}); err != nil {
		t.Fatal(err)
	}
	_, err := c.ScheduleTwinUpdate(ctx, "slow-down", u, &service.JobOptions{Query: "*"})
	if iothub.KindOf(err) != iothub.KindConflict {
		t.Errorf("a second job of that id: %v", err)
	}
	job, err := c.WaitForJob(ctx, "slow-down", 50*time.Millisecond)
	if err != nil || job.Status != service.JobCompleted || job.Devices.Succeeded != 3 {
		t.Fatalf("%+v %v", job, err)
	}
	n := 0
	for d, err := range c.JobResults(ctx, "slow-down") {
		if err != nil || d.Status != "completed" || d.JobID != "slow-down" {
			t.Fatalf("%+v %v", d, err)
		}
		twin, err := c.GetTwin(ctx, d.DeviceID, "")
		if err != nil || !strings.Contains(string(twin.Properties.Desired.Values), `"interval":30`) {
			t.Errorf("%s: %s %v", d.DeviceID, twin.Properties.Desired.Values, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d results", n)
	}

	late := &service.JobOptions{Query: "*", StartTime: time.Now().Add(time.Hour)}
	if _, err := c.ScheduleMethod(ctx, "later", "reboot", nil, nil, late); err != nil {
		t.Fatal(err)
	}
	if job, err = c.CancelJob(ctx, "later"); err != nil || job.Status != service.JobCancelled {
		t.Errorf("%+v %v", job, err)
	}
	var ids []string
	for job, err := range c.ListJobs(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, job.ID)
	}
	if !slices.Equal(ids, []string{"later", "slow-down"}) {
		t.Errorf("jobs: %v", ids)
	}
	_, err = c.GetJob(ctx, "nothing")
	wantKind(t, err, iothub.KindNotFound, 404002)
}

// A configuration reaches the twins that its condition chooses, counts them, depends
// on its version, and takes what it set away again.
func TestConfigurationsOfTheHub(t *testing.T) {
	_, c := fleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	interval := func(id string) any {
		t.Helper()
		twin, err := c.GetTwin(ctx, id, "")
		if err != nil {
			t.Fatal(err)
		}
		var desired map[string]any
		if err := json.Unmarshal(twin.Properties.Desired.Values, &desired); err != nil {
			t.Fatal(err)
		}
		return desired["interval"]
	}
	// until asks again and again, because the hub works behind its answers.
	until := func(what string, holds func() bool) {
		t.Helper()
		for !holds() {
			select {
			case <-ctx.Done():
				t.Fatalf("in time: %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	conf, err := c.CreateConfiguration(ctx, &service.Configuration{
		ID: "attic", TargetCondition: "tags.room = 'attic'", Priority: 5,
		Content: service.ConfigurationContent{DeviceContent: map[string]any{"properties.desired.interval": 7}},
		Metrics: &service.ConfigurationMetrics{Queries: map[string]string{"all": "SELECT deviceId FROM devices"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	until("it is applied", func() bool { return interval("dev0") == 7.0 && interval("dev2") == 7.0 })
	if v := interval("dev4"); v != nil {
		t.Errorf("in the cellar: %v", v)
	}
	until("it is counted", func() bool {
		got, err := c.GetConfiguration(ctx, "attic")
		if err != nil {
			t.Fatal(err)
		}
		conf = got
		return got.SystemMetrics.Results["appliedCount"] == 3 && got.Metrics.Results["all"] == 5
	})
	stale := *conf
	stale.ETag = "stale"
	if _, err := c.UpdateConfiguration(ctx, &stale); iothub.KindOf(err) != iothub.KindPreconditionFailed {
		t.Errorf("an update of an old version: %v", err)
	}
	if list, err := c.ListConfigurations(ctx, 0); err != nil || len(list) != 1 || list[0].ID != "attic" {
		t.Errorf("%+v %v", list, err)
	}
	if e, err := c.TestConfigurationQueries(ctx, "tags.room ==", nil); err != nil || e.TargetCondition == "" {
		t.Errorf("%+v %v", e, err)
	}
	if err := c.DeleteConfiguration(ctx, "attic", service.AnyETag); err != nil {
		t.Fatal(err)
	}
	until("it is taken away", func() bool { return interval("dev0") == nil })
	if err := c.ApplyConfigurationContent(ctx, "dev4", &service.ConfigurationContent{DeviceContent: map[string]any{"properties.desired.interval": 9}}); err != nil {
		t.Fatal(err)
	}
	if v := interval("dev4"); v != 9.0 {
		t.Errorf("applied once: %v", v)
	}
}

// Events are read where the hub's redirect says, over TCP and WebSockets, and by the
// connection strings that the hub prints.
func TestEventsOfTheHub(t *testing.T) {
	s := startHub(t, &hub.Options{ConsumerGroups: []string{"dashboard"}, Partitions: 2})
	ports := map[hub.Protocol]int{}
	for _, p := range []hub.Protocol{hub.AMQP, hub.AMQPPlain} {
		address, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[p] = address.(*net.TCPAddr).Port
	}
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	d := connectDevice(t, s, "dev1")
	const n = 20
	for i := range n {
		m := &iothub.Message{Payload: fmt.Append(nil, i), MessageID: fmt.Sprint("m", i), Properties: map[string]string{"level": "high"}}
		if err := d.SendEvent(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	tcp, ws := &service.ClientOptions{AMQPPort: ports[hub.AMQP]}, &service.ClientOptions{WebSocket: true}
	byString := func(text string, o service.ClientOptions, e *service.EventsOptions) *service.Events {
		o.TLS = tlsOf(s)
		events, err := service.NewEventsFromConnectionString(text, &o, e)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	for name, events := range map[string]*service.Events{
		"redirect":            connect(t, s, tcp).Events(&service.EventsOptions{ConsumerGroup: "dashboard"}),
		"redirect, WebSocket": connect(t, s, ws).Events(nil),
		"connection string":   byString(s.EventHubConnectionString(""), *tcp, nil),
		"emulator":            byString(s.EventHubEmulatorConnectionString(""), service.ClientOptions{}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			partitions, err := events.Partitions(ctx)
			if err != nil || len(partitions) != 2 {
				t.Fatalf("%v %v", partitions, err)
			}
			// A device's events are all in one partition, in order.
			seen := make(map[string][]string)
			enough := errors.New("enough")
			err = events.Run(ctx, func(_ context.Context, e *service.Event) error {
				if e.DeviceID != "dev1" || e.Source != "Telemetry" || e.AuthMethod.Type != "sas" || e.Properties["level"] != "high" || e.MessageID != "m"+string(e.Body) {
					t.Errorf("%+v", e)
				}
				if seen[e.Partition] = append(seen[e.Partition], string(e.Body)); len(seen[e.Partition]) == n {
					return enough
				}
				return nil
			}, nil)
			if !errors.Is(err, enough) || len(seen) != 1 {
				t.Errorf("%v, %v", err, seen)
			}
			for _, bodies := range seen {
				for i, body := range bodies {
					if body != fmt.Sprint(i) {
						t.Errorf("event %d is %s", i, body)
					}
				}
			}
			if err := events.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// What Run has handled does not come again, even in another process: a second Run
// begins where the checkpoints on disk say.
func TestCheckpointsOfTheHub(t *testing.T) {
	s := startHub(t, nil)
	address, err := s.Listen(hub.AMQP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	d := connectDevice(t, s, "dev1")
	store := service.FileCheckpoints(filepath.Join(t.TempDir(), "checkpoints"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for round := range 3 {
		for i := range 5 {
			if err := d.SendEvent(ctx, &iothub.Message{Payload: fmt.Append(nil, round, ".", i)}); err != nil {
				t.Fatal(err)
			}
		}
		events := connect(t, s, &service.ClientOptions{AMQPPort: address.(*net.TCPAddr).Port}).Events(nil)
		var got []string
		running, stop := context.WithCancel(ctx)
		err := events.Run(running, func(_ context.Context, e *service.Event) error {
			if got = append(got, string(e.Body)); len(got) == 5 {
				stop() // behind this one
			}
			return nil
		}, &service.RunOptions{Store: store})
		stop()
		if err != nil || len(got) != 5 || got[0] != fmt.Sprint(round, ".", 0) {
			t.Errorf("round %d: %q %v", round, got, err)
		}
		if err := events.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// A device uploads a file, and its notice comes with where the file is.
func TestFileNoticesOfTheHub(t *testing.T) {
	s := startHub(t, nil)
	address, err := s.Listen(hub.AMQP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s, &service.ClientOptions{AMQPPort: address.(*net.TCPAddr).Port})
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(c.HostName())
	if err != nil {
		t.Fatal(err)
	}
	var o iothub.UploadOptions
	if _, err := fmt.Sscan(port, &o.Port); err != nil {
		t.Fatal(err)
	}
	if err := connectDevice(t, s, "dev1").UploadFile(ctx, "log.txt", strings.NewReader("all is well"), &o); err != nil {
		t.Fatal(err)
	}
	notice, err := c.FileNotices(nil).Receive(ctx)
	if err != nil || notice.Body.DeviceID != "dev1" || notice.Body.BlobName != "dev1/log.txt" || notice.Body.BlobSize != 11 || !strings.HasSuffix(notice.Body.BlobURI, "/dev1/log.txt") {
		t.Fatalf("%+v %v", notice, err)
	}
	if err := notice.Complete(ctx); err != nil {
		t.Error(err)
	}
}

// What a hub has exported, configurations included, it takes in again.
func TestTransfer(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	made, err := c.CreateDevice(ctx, &service.Device{DeviceID: "dev1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateConfiguration(ctx, &service.Configuration{ID: "c1", Priority: 3, TargetCondition: "*",
		Content: service.ConfigurationContent{DeviceContent: map[string]any{"properties.desired.x": 1}}}); err != nil {
		t.Fatal(err)
	}
	container, err := s.BlobContainerURI(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	run := func(what service.JobType) {
		t.Helper()
		j, err := c.StartTransfer(ctx, &service.Transfer{Type: what, InputContainer: container, OutputContainer: container, IncludeConfigurations: true})
		if err == nil {
			j, err = c.WaitForTransfer(ctx, j.ID, 5*time.Millisecond)
		}
		if err != nil || j.Status != service.JobCompleted || j.FailureReason != "" || j.ConfigurationsBlob != "configurations.txt" {
			t.Fatalf("%s: %+v %v", what, j, err)
		}
	}
	run(service.ExportJob)
	if err := errors.Join(c.DeleteDevice(ctx, "dev1", service.AnyETag), c.DeleteConfiguration(ctx, "c1", service.AnyETag)); err != nil {
		t.Fatal(err)
	}
	run(service.ImportJob)
	d, err := c.GetDevice(ctx, "dev1")
	if err != nil || d.Authentication.SymmetricKey.Primary != made.Authentication.SymmetricKey.Primary {
		t.Errorf("%+v %v", d, err)
	}
	if conf, err := c.GetConfiguration(ctx, "c1"); err != nil || conf.Priority != 3 {
		t.Errorf("%+v %v", conf, err)
	}
}
