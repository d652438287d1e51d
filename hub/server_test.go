package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
)

// logger writes all that there is to log.
func logger(to *testkit.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// create makes an identity ("device" or "device/module") and returns its
// connection string.
func create(t testing.TB, s *hub.Server, id string) string {
	t.Helper()
	deviceID, moduleID, isModule := strings.Cut(id, "/")
	var made hub.Identity
	var cs string
	var err error
	if isModule {
		if made, err = s.CreateModule(t.Context(), deviceID, moduleID); err == nil {
			cs, err = s.ModuleConnectionString(deviceID, moduleID)
		}
	} else if made, err = s.CreateDevice(t.Context(), id); err == nil {
		cs, err = s.DeviceConnectionString(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	if made.String() != id || made.PrimaryKey == "" || made.PrimaryKey == made.SecondaryKey {
		t.Fatalf("created %v", made)
	}
	if text := fmt.Sprintf("%v %+v %#v", made, made, made); strings.Contains(text, made.PrimaryKey) {
		t.Errorf("the key prints: %s", text)
	}
	return cs
}

func TestSendAndRead(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%v", kept), func(t *testing.T) {
			o := &hub.Options{}
			if kept {
				o.DataDir = t.TempDir()
			}
			s := start(t, o)
			d, m := dial(t, s, create(t, s, "dev1")), dial(t, s, create(t, s, "dev1/mod1"))
			for i := range 10 {
				d.publish(fmt.Sprintf("body %d", i), uint16(i+1))
				if id := d.puback(); int(id) != i+1 {
					t.Fatalf("PUBACK %d", id)
				}
			}
			m.publish("from the module", 1)
			m.puback()
			got := events(t, s)
			if len(got) != 11 {
				t.Fatalf("%d events", len(got))
			}
			for i, e := range got[:10] {
				if string(e.Body) != fmt.Sprintf("body %d", i) || e.Properties["n"] != fmt.Sprint(i+1) ||
					e.DeviceID != "dev1" || e.SequenceNumber != int64(i) || time.Since(e.EnqueuedTime) > time.Minute {
					t.Errorf("event %d: %+v", i, e)
				}
			}
			if got[10].ModuleID != "mod1" {
				t.Errorf("%+v", got[10])
			}
		})
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	first := start(t, &hub.Options{DataDir: dir, Partitions: 2})
	key, _ := first.CreateDevice(t.Context(), "dev1")
	d := dial(t, first, create(t, first, "dev1"))
	for i := range 100 {
		d.publish("x", uint16(i+1))
	}
	for range 100 {
		d.puback()
	}
	service, ca, before := first.ServiceConnectionString(), first.CACertPEM(), events(t, first)
	shutdown(t, first)
	d.closed()

	second := start(t, &hub.Options{DataDir: dir})
	again, err := second.CreateDevice(t.Context(), "dev1")
	if err != nil || again != key {
		t.Errorf("the keys of the device have changed, or %v", err)
	}
	if !bytes.Equal(second.CACertPEM(), ca) {
		t.Error("the authority has changed")
	}
	onDisk, err := os.ReadFile(second.CACertFile())
	if err != nil || !bytes.Equal(onDisk, ca) {
		t.Errorf("%s: %v", second.CACertFile(), err)
	}
	_, keyBefore, _ := strings.Cut(service, "SharedAccessKeyName")
	if !strings.HasSuffix(second.ServiceConnectionString(), keyBefore) {
		t.Error("the policy has changed")
	}
	if after := events(t, second); len(after) != 100 || after[99].Offset != before[99].Offset {
		t.Errorf("%d events after the restart", len(after))
	}
	// The numbers go on.
	d = dial(t, second, create(t, second, "dev1"))
	d.publish("y", 1)
	d.puback()
	if after := events(t, second); after[100].SequenceNumber != 100 {
		t.Errorf("%+v", after[100])
	}
}

// Every event that was acknowledged is there, and every connection ends in good
// order, when a hub is shut down under load.
func TestShutdownDrains(t *testing.T) {
	dir := t.TempDir()
	s := start(t, &hub.Options{DataDir: dir})
	const devices = 4
	acked := make(chan map[string]int, devices)
	running := make(chan struct{}, devices)
	for i := range devices {
		id := fmt.Sprintf("dev%d", i)
		d := dial(t, s, create(t, s, id))
		go func() {
			for n := 1; d.tryPublish(uint16(n%65535+1)) == nil; n++ {
			}
		}()
		go func() {
			n := 0
			for {
				if _, err := d.next(); err != nil {
					break
				}
				if n++; n == 100 {
					running <- struct{}{}
				}
			}
			acked <- map[string]int{id: n}
		}()
	}
	for range devices {
		<-running
	}
	shutdown(t, s)
	want := map[string]int{}
	for range devices {
		for id, n := range <-acked {
			want[id] = n
		}
	}
	s = start(t, &hub.Options{DataDir: dir})
	got := map[string]int{}
	for _, e := range events(t, s) {
		got[e.DeviceID]++
	}
	for id, n := range want {
		if got[id] != n {
			t.Errorf("%s: %d were acknowledged, %d are there", id, n, got[id])
		}
	}
}

func TestManyInOneProcess(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	cs := create(t, a, "dev1")
	create(t, b, "dev1")
	d := dial(t, a, cs)
	d.publish("only a", 1)
	d.puback()
	if n := len(events(t, b)); n != 0 {
		t.Errorf("%d events of the other hub", n)
	}
	if bytes.Equal(a.CACertPEM(), b.CACertPEM()) {
		t.Error("they share an authority")
	}
	cs = strings.Replace(create(t, b, "dev1"), "SharedAccessKey=", "SharedAccessKey=AAAA", 1)
	if _, code := tryDial(t, b, cs); code != 5 {
		t.Errorf("CONNACK %d", code)
	}
}

func TestDataFolderIsLocked(t *testing.T) {
	dir := t.TempDir()
	start(t, &hub.Options{DataDir: dir})
	if s, err := hub.New(&hub.Options{DataDir: dir}); err == nil {
		shutdown(t, s)
		t.Error("two servers share a folder")
	}
	if entries, err := os.ReadDir(filepath.Join(dir)); err != nil || len(entries) == 0 {
		t.Error(err)
	}
}

func TestAfterShutdown(t *testing.T) {
	s := start(t, nil)
	create(t, s, "dev1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(hub.MQTT, l) }()
	reading := make(chan error, 1)
	go func() {
		for _, err := range s.Events(context.Background(), nil) {
			reading <- err
		}
	}()
	shutdown(t, s)
	shutdown(t, s) // again
	for what, err := range map[string]error{
		"Serve":      <-served,
		"Events":     <-reading,
		"Serve late": s.Serve(hub.HTTPS, l),
		"Listen": func() error {
			_, err := s.Listen(hub.MQTT, "127.0.0.1:0")
			return err
		}(),
		"CreateDevice": func() error {
			_, err := s.CreateDevice(context.Background(), "dev2")
			return err
		}(),
	} {
		if !errors.Is(err, hub.ErrServerClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	select {
	case <-s.Done():
	default:
		t.Error("Done is open")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for field, o := range map[string]hub.Options{
		"HostNames":          {HostNames: []string{"hub.test:8883"}},
		"Partitions":         {Partitions: 33},
		"Retention":          {Retention: time.Second},
		"RetentionBytes":     {RetentionBytes: -1},
		"MaxUnauthenticated": {MaxUnauthenticated: -1},
		"HandshakeTimeout":   {HandshakeTimeout: -1},
		"MaxUnacked":         {MaxUnacked: -1},
	} {
		s, err := hub.New(&o)
		if err == nil {
			shutdown(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestConnectionStrings(t *testing.T) {
	s, err := hub.New(&hub.Options{HostNames: []string{"hub.test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	create(t, s, "dev1")
	cs, err := s.DeviceConnectionString("dev1")
	if err != nil || !strings.HasPrefix(cs, "HostName=hub.test;DeviceId=dev1;SharedAccessKey=") {
		t.Errorf("%s %v", cs, err)
	}
	if cs := s.ServiceConnectionString(); !strings.HasPrefix(cs, "HostName=hub.test;SharedAccessKeyName=iothubowner;SharedAccessKey=") {
		t.Error(cs)
	}
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cs, _ = s.DeviceConnectionString("dev1")
	parsed, err := iothub.ParseConnectionString(cs)
	if err != nil || parsed.HostName != fmt.Sprintf("hub.test:%d", addr.(*net.TCPAddr).Port) {
		t.Errorf("%v %v", parsed, err)
	}
	if _, err := s.DeviceConnectionString("nobody"); iothub.KindOf(err) != iothub.KindNotFound {
		t.Errorf("a device that does not exist: %v", err)
	}
	if _, err := s.ModuleConnectionString("dev1", "nobody"); err == nil {
		t.Error("a connection string for a module that does not exist")
	}
	if _, err := s.CreateDevice(t.Context(), "not a name"); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("a device with a space in its name: %v", err)
	}
}

func TestEventsOptions(t *testing.T) {
	s := start(t, nil)
	for _, id := range []string{"dev1", "dev2", "dev3"} {
		d := dial(t, s, create(t, s, id))
		d.publish("x", 1)
		d.puback()
	}
	all := events(t, s)
	read := func(o hub.EventsOptions) (got []*hub.Event, failed error) {
		o.NoWait = true
		for e, err := range s.Events(t.Context(), &o) {
			if err != nil {
				return got, err
			}
			got = append(got, e)
		}
		return got, nil
	}
	for _, tt := range []struct {
		o    hub.EventsOptions
		want int
		bad  bool
	}{
		{hub.EventsOptions{From: "start"}, 3, false},
		{hub.EventsOptions{From: "now"}, 0, false},
		{hub.EventsOptions{DeviceID: "dev2"}, 1, false},
		{hub.EventsOptions{From: all[0].Offset, Partitions: []int{all[0].Partition}, DeviceID: all[0].DeviceID}, 0, false},
		{hub.EventsOptions{From: "2001-01-01T00:00:00Z"}, 3, false},
		{hub.EventsOptions{From: "yesterday"}, 0, true},
		{hub.EventsOptions{Partitions: []int{99}}, 0, true},
	} {
		got, err := read(tt.o)
		if len(got) != tt.want || (err != nil) != tt.bad {
			t.Errorf("%+v: %d events, %v", tt.o, len(got), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for e, err := range s.Events(ctx, nil) {
		if err != nil {
			if !errors.Is(err, context.Canceled) || e != nil {
				t.Error(err)
			}
			break
		}
		if n++; n == 3 {
			cancel()
		}
	}
}

func (d *device) tryPublish(id uint16) error {
	b := append([]byte{0x32, byte(2 + len(d.base) + 2 + 1), 0, byte(len(d.base))}, d.base...)
	_, err := d.nc.Write(append(b, byte(id>>8), byte(id), 'x'))
	return err
}
