package pnp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/pnp"
)

var (
	_ pnp.Client = (*device.Client)(nil)
	_ pnp.Client = (*module.Client)(nil)
)

// fake is a client without a hub.
type fake struct {
	sent    []*iothub.Message
	reports []string
	desired iothub.DesiredHandler
	methods map[string]iothub.MethodHandler
	err     error // of reports, later
	refuse  error // of reports, at once
}

func (f *fake) SendEvent(_ context.Context, m *iothub.Message) error {
	f.sent = append(f.sent, m)
	return nil
}
func (f *fake) SendEventAsync(m *iothub.Message, confirm iothub.ConfirmFunc) error {
	f.sent = append(f.sent, m)
	if confirm != nil {
		confirm(iothub.Confirmation{})
	}
	return nil
}
func (f *fake) UpdateReported(_ context.Context, patch any) (int64, error) {
	b, err := json.Marshal(patch)
	f.reports = append(f.reports, string(b))
	return 1, errors.Join(err, f.err)
}
func (f *fake) UpdateReportedAsync(patch any, done iothub.ReportedFunc) error {
	if f.refuse != nil {
		return f.refuse
	}
	v, err := f.UpdateReported(context.Background(), patch)
	if done != nil {
		done(v, err)
	}
	return nil
}
func (f *fake) HandleDesired(h iothub.DesiredHandler) error { f.desired = h; return nil }
func (f *fake) HandleMethod(name string, h iothub.MethodHandler) {
	if f.methods == nil {
		f.methods = map[string]iothub.MethodHandler{}
	}
	f.methods[name] = h
}

func (f *fake) call(name, payload string) string {
	r := f.methods[name](iothub.NewMethodRequest(name, []byte(payload), nil))
	return fmt.Sprintf("%d %s", r.Status, r.Payload)
}

func TestTelemetry(t *testing.T) {
	f := &fake{}
	d := pnp.New(f, nil)
	confirmed := 0
	if err := errors.Join(d.SendTelemetry(t.Context(), "thermostat1", map[string]any{"temperature": 21.5}),
		d.SendTelemetryAsync("", struct {
			Humidity int `json:"humidity"`
		}{40}, func(iothub.Confirmation) { confirmed++ })); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`thermostat1 {"temperature":21.5}`, ` {"humidity":40}`} {
		m := f.sent[i]
		if got := m.Component + " " + string(m.Payload); got != want || m.ContentType != "application/json" || m.ContentEncoding != "utf-8" {
			t.Errorf("%q (%s, %s), want %q", got, m.ContentType, m.ContentEncoding, want)
		}
	}
	if confirmed != 1 {
		t.Error("not confirmed")
	}
	for _, bad := range []any{1, nil, []int{1}, func() {}, "{}"} {
		if err := d.SendTelemetry(t.Context(), "", bad); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%T: %v", bad, err)
		}
		if err := d.SendTelemetryAsync("", bad, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%T: %v", bad, err)
		}
	}
}

func TestParseDesired(t *testing.T) {
	show := func(ps []pnp.Property) string {
		var all []string
		for _, p := range ps {
			v := "deleted"
			if p.Value != nil {
				v = string(p.Value)
			}
			all = append(all, fmt.Sprintf("%s/%s=%s@%d", p.Component, p.Name, v, p.Version))
		}
		return strings.Join(all, " ")
	}
	for patch, want := range map[string]string{
		`{}`:                                     "",
		`{"$version":7,"b":1,"a":{}}`:            "/a={}@7 /b=1@7",
		`{"t1":{"__t":"c","x":1,"y":null}}`:      "t1/x=1@7 t1/y=deleted@7",
		`{"t2":{"x":{"y":null}},"o":{"x":null}}`: `/o={"x":null}@7 t2/x={"y":null}@7`,
		`{"t2":null,"o": null }`:                 "/o=deleted@7 t2/=deleted@7",
		`{"t1":{"__t":"d","x":1}}`:               `/t1={"__t":"d","x":1}@7`,
		`{"t1":{"__t":1}}`:                       `/t1={"__t":1}@7`,
		`{"t2":5}`:                               "/t2=5@7",
		`{"t2":{"__t":"c","$x":1}}`:              "",
	} {
		ps, err := pnp.ParseDesired(&iothub.DesiredChange{Version: 7, Patch: []byte(patch)}, "t2")
		if got := show(ps); err != nil || got != want {
			t.Errorf("%s: %q, want %q; %v", patch, got, want, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", "{"} {
		if _, err := pnp.ParseDesired(&iothub.DesiredChange{Patch: []byte(bad)}); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPatch(t *testing.T) {
	p := pnp.Patch{}
	p.Set("", "serial", "x")
	p.Set("t1", "max", 3)
	p.Set("t1", "old", nil)
	p.Acknowledge("t1", "target", 4, pnp.Ack{Value: 20.5, Status: 202, Description: `"soon"`})
	p.Acknowledge("", "mode", 4, pnp.Ack{Value: "eco"})
	b, err := json.Marshal(p)
	if want := `{"mode":{"value":"eco","ac":200,"av":4},"serial":"x","t1":{"__t":"c","max":3,"old":null,"target":{"value":20.5,"ac":202,"av":4,"ad":"\"soon\""}}}`; string(b) != want || err != nil {
		t.Errorf("%s, want %s; %v", b, want, err)
	}
}

func TestWritable(t *testing.T) {
	f := &fake{}
	var errs []error
	d := pnp.New(f, &pnp.Options{Components: []string{"t1"}, OnError: func(err error) { errs = append(errs, err) }})
	var got []string
	pnp.HandleWritable(d, "t1", "target", func(u pnp.Update[float64]) pnp.Ack {
		got = append(got, fmt.Sprintf("target %v %v %v", u.Value, u.Deleted, u.Version))
		if u.Value > 100 {
			return pnp.Ack{Status: 400, Description: "too hot", Value: 50}
		}
		return pnp.Ack{}
	})
	pnp.HandleWritable(d, "", "mode", func(u pnp.Update[string]) pnp.Ack {
		got = append(got, fmt.Sprintf("mode %v %v %v", u.Value, u.Deleted, u.Version))
		if u.Deleted {
			return pnp.Ack{Value: "default"}
		}
		return pnp.Ack{Status: 202}
	})
	pnp.HandleWritable(d, "", "gone", func(pnp.Update[int]) pnp.Ack { return pnp.Ack{} })
	pnp.HandleWritable[int](d, "", "gone", nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ patch, told, report string }{
		{`{"t1":{"target":20},"mode":"eco","gone":1,"other":2}`, "mode eco false 9, target 20 false 9",
			`{"mode":{"value":"eco","ac":202,"av":9},"t1":{"__t":"c","target":{"value":20,"ac":200,"av":9}}}`},
		{`{"t1":{"__t":"c","target":2e9}}`, "target 2e+09 false 9", `{"t1":{"__t":"c","target":{"value":50,"ac":400,"av":9,"ad":"too hot"}}}`},
		{`{"t1":{"target":"warm"}}`, "", `{"t1":{"__t":"c","target":{"value":"warm","ac":400,"av":9,"ad":"the value cannot be used: json: cannot unmarshal string into Go value of type float64"}}}`},
		{`{"t1":{"target":null},"mode":null}`, "mode  true 9, target 0 true 9",
			`{"mode":{"value":"default","ac":200,"av":9},"t1":{"__t":"c","target":null}}`},
		{`{"t1":null}`, "target 0 true 9", `{"t1":{"__t":"c","target":null}}`},
		{`{"other":1}`, "", ""},
	} {
		got, f.reports = nil, nil
		f.desired(&iothub.DesiredChange{Version: 9, Patch: []byte(c.patch)})
		if s := strings.Join(got, ", "); s != c.told {
			t.Errorf("%s: told %q, want %q", c.patch, s, c.told)
		}
		if s := strings.Join(f.reports, " "); s != c.report {
			t.Errorf("%s: reported\n%s, want\n%s", c.patch, s, c.report)
		}
	}
	if len(errs) > 0 {
		t.Error(errs)
	}
	f.desired(&iothub.DesiredChange{Patch: []byte("x")})
	f.err = errors.New("refused")
	f.desired(&iothub.DesiredChange{Patch: []byte(`{"mode":"x"}`)})
	f.refuse = iothub.ErrClosed
	f.desired(&iothub.DesiredChange{Patch: []byte(`{"mode":"x"}`)})
	if len(errs) != 3 || !strings.Contains(errs[1].Error(), "refused") || !errors.Is(errs[2], iothub.ErrClosed) {
		t.Error(errs)
	}
}

func TestReport(t *testing.T) {
	f := &fake{}
	d := pnp.New(f, nil)
	done := false
	if err := errors.Join(d.Report(t.Context(), "t1", map[string]any{"max": 3}),
		d.ReportAsync("", map[string]any{"serial": "x"}, func(int64, error) { done = true })); err != nil {
		t.Fatal(err)
	}
	if want := []string{`{"t1":{"__t":"c","max":3}}`, `{"serial":"x"}`}; !slices.Equal(f.reports, want) || !done {
		t.Errorf("%q", f.reports)
	}
}

func TestCommands(t *testing.T) {
	f := &fake{}
	d := pnp.New(f, nil)
	pnp.HandleCommand(d, "t1", "getReport", func(since string) (map[string]any, error) {
		switch since {
		case "never":
			return nil, &pnp.CommandError{Status: 404, Message: "no report"}
		case "bug":
			return nil, errors.New("broken")
		case "odd":
			return map[string]any{"x": func() {}}, nil
		}
		return map[string]any{"since": since}, nil
	})
	pnp.HandleCommand(d, "", "reboot", func(struct{}) (any, error) { return nil, nil })
	for _, c := range []struct{ name, payload, want string }{
		{"t1*getReport", `"monday"`, `200 {"since":"monday"}`},
		{"t1*getReport", ``, `200 {"since":""}`},
		{"t1*getReport", `null`, `200 {"since":""}`},
		{"t1*getReport", `"never"`, `404 {"message":"no report"}`},
		{"t1*getReport", `"bug"`, `500 {"message":"broken"}`},
		{"t1*getReport", `5`, `400 {"message":"the request cannot be used: json: cannot unmarshal number into Go value of type string"}`},
		{"t1*getReport", `"odd"`, `500 {"message":"json: unsupported type: func()"}`},
		{"reboot", ``, `200 null`},
	} {
		if got := f.call(c.name, c.payload); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.payload, got, c.want)
		}
	}
	pnp.HandleCommand[int, int](d, "", "reboot", nil)
	if f.methods["reboot"] != nil {
		t.Error("the command is still handled")
	}
	for _, c := range [][3]string{{"a", "b", "a*b"}, {"", "b", "b"}, {"a", "b*c", "a*b*c"}} {
		component, command := pnp.SplitCommand(c[2])
		if pnp.CommandName(c[0], c[1]) != c[2] || component != c[0] || command != c[1] {
			t.Errorf("%v: %s, %s", c, component, command)
		}
	}
}

// The whole way with a client and a hub.
func TestWithClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, hub := simnet.New(nil), &simhub.Hub{}
		go hub.Serve(n)
		c, err := device.NewClientFromConnectionString("HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
			&iothub.ClientOptions{DialTLS: n.Dial, ModelID: "dtmi:com:example:TemperatureController;1"})
		if err != nil {
			t.Fatal(err)
		}
		hub.PatchDesired(map[string]any{"thermostat1": map[string]any{"__t": "c", "targetTemperature": 20.0}})
		d := pnp.New(c, &pnp.Options{Components: []string{"thermostat1"}, OnError: func(err error) { t.Error(err) }})
		pnp.HandleWritable(d, "thermostat1", "targetTemperature", func(pnp.Update[float64]) pnp.Ack { return pnp.Ack{} })
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		if err := d.SendTelemetry(t.Context(), "thermostat1", map[string]float64{"temperature": 20}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		hub.PatchDesired(map[string]any{"thermostat1": map[string]any{"targetTemperature": 21.0}})
		synctest.Wait()
		_, version := hub.Desired()
		if got, _ := hub.Reported(); got != fmt.Sprintf(`{"thermostat1":{"__t":"c","targetTemperature":{"ac":200,"av":%d,"value":21}}}`, version) {
			t.Errorf("reported %s, desired version %d", got, version)
		}
		for _, r := range hub.Received() {
			if r.Properties["$.sub"] == "thermostat1" {
				version = 0
			}
		}
		if version != 0 {
			t.Error("the telemetry does not name its component")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		n.Close()
		hub.Wait()
	})
}
