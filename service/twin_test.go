package service_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func TestTwins(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	if _, err := s.CreateModule(ctx, "dev1", "m1"); err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"", "m1"} {
		tw, err := c.GetTwin(ctx, "dev1", module)
		if err != nil || tw.DeviceID != "dev1" || tw.ModuleID != module || tw.Properties.Desired.Version != 1 || string(tw.Properties.Desired.Values) != "{}" {
			t.Fatalf("%+v %v", tw, err)
		}
		old := tw.ETag
		tw, err = c.PatchTwin(ctx, "dev1", module, &service.TwinUpdate{
			Tags:    map[string]any{"site": "north", "n": 1},
			Desired: json.RawMessage(`{"interval":5,"deep":{"a":true}}`),
			IfMatch: old,
		})
		if err != nil || tw.ETag == old {
			t.Fatalf("%+v %v", tw, err)
		}
		var tags struct {
			Site string
			N    int
		}
		var desired struct {
			Interval int
			Deep     struct{ A bool }
		}
		if err := errors.Join(tw.DecodeTags(&tags), tw.Properties.Desired.Decode(&desired)); err != nil || tags.Site != "north" || tags.N != 1 || desired.Interval != 5 || !desired.Deep.A {
			t.Errorf("%+v %+v %v", tags, desired, err)
		}
		if v := tw.Properties.Desired; v.Version != 2 || strings.Contains(string(v.Values), "$") || !strings.Contains(string(v.Metadata), "$lastUpdated") {
			t.Errorf("%+v", v)
		}
		_, err = c.PatchTwin(ctx, "dev1", module, &service.TwinUpdate{Tags: map[string]any{"n": 2}, IfMatch: old})
		wantKind(t, err, iothub.KindPreconditionFailed, 412001)
		// Whatever the version is, and null deletes.
		tw, err = c.PatchTwin(ctx, "dev1", module, &service.TwinUpdate{Desired: map[string]any{"deep": nil}})
		if err != nil || string(tw.Properties.Desired.Values) != `{"interval":5}` {
			t.Errorf("%+v %v", tw, err)
		}
		tw, err = c.ReplaceTwin(ctx, "dev1", module, &service.TwinUpdate{Tags: map[string]any{}, Desired: map[string]any{"only": 1}})
		if err != nil || string(tw.Properties.Desired.Values) != `{"only":1}` || string(tw.Tags) != "{}" && tw.Tags != nil {
			t.Errorf("%+v %s %v", tw, tw.Tags, err)
		}
	}
	_, err := c.GetTwin(ctx, "nobody", "")
	wantKind(t, err, iothub.KindNotFound, 404001)
	_, err = c.PatchTwin(ctx, "dev1", "", &service.TwinUpdate{})
	wantKind(t, err, iothub.KindInvalidArgument, 0)
	_, err = c.PatchTwin(ctx, "dev1", "", &service.TwinUpdate{Tags: make(chan int)})
	wantKind(t, err, iothub.KindInvalidArgument, 0)
}

// An edit that somebody else was faster than begins again.
func TestEditTwin(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	if _, err := s.CreateDevice(ctx, "dev1"); err != nil {
		t.Fatal(err)
	}
	rounds := 0
	tw, err := c.EditTwin(ctx, "dev1", "", func(tw *service.Twin) (*service.TwinUpdate, error) {
		if rounds++; rounds == 1 {
			if _, err := c.PatchTwin(ctx, "dev1", "", &service.TwinUpdate{Tags: map[string]any{"n": 41}}); err != nil {
				return nil, err
			}
		}
		var tags struct{ N int }
		err := tw.DecodeTags(&tags)
		return &service.TwinUpdate{Tags: map[string]any{"n": tags.N + 1}}, err
	})
	if err != nil || rounds != 2 || string(tw.Tags) != `{"n":42}` {
		t.Errorf("%d rounds: %s %v", rounds, tw.Tags, err)
	}
	stop := errors.New("stop")
	if _, err := c.EditTwin(ctx, "dev1", "", func(*service.Twin) (*service.TwinUpdate, error) { return nil, stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// The twin of the documentation is read whole, and comes out as it went in.
func TestTwinJSON(t *testing.T) {
	const text = `{"deviceId":"dev1","moduleId":"m1","modelId":"dtmi:x;1","etag":"AAAAAAAAAAE=","deviceEtag":"MTUzODYxNjQ0","status":"enabled","statusReason":null,"statusUpdateTime":"0001-01-01T00:00:00","connectionState":"Disconnected","lastActivityTime":"2026-01-31T12:34:56.1234567Z","cloudToDeviceMessageCount":0,"authenticationType":"sas","x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":2,"tags":{"a":9007199254740993},"properties":{"desired":{"x":1,"$metadata":{"$lastUpdated":"2026-01-31T12:00:00.0000000Z"},"$version":3},"reported":{"$metadata":{"$lastUpdated":"2026-01-31T12:00:00.0000000Z"},"$version":1}},"capabilities":{"iotEdge":true},"configurations":{"cfg1":{"status":"Applied"}},"deviceScope":"s","parentScopes":["p"],"unknown":{}}`
	var tw service.Twin
	if err := json.Unmarshal([]byte(text), &tw); err != nil {
		t.Fatal(err)
	}
	if !tw.StatusUpdateTime.IsZero() || tw.LastActivityTime.Nanosecond() != 123456700 || tw.Configurations["cfg1"].Status != "Applied" ||
		tw.Properties.Desired.Version != 3 || string(tw.Properties.Desired.Values) != `{"x":1}` || string(tw.Tags) != `{"a":9007199254740993}` || !tw.Capabilities.IoTEdge {
		t.Errorf("%+v", tw)
	}
	b, err := json.Marshal(tw)
	if err != nil || !strings.Contains(string(b), `"desired":{"$metadata":{"$lastUpdated":"2026-01-31T12:00:00.0000000Z"},"$version":3,"x":1}`) {
		t.Errorf("%s %v", b, err)
	}
}

// Pages follow each other by their continuation, and no further than the reader.
func TestQueryPages(t *testing.T) {
	var asked []string
	c := replay(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at := r.Header.Get("x-ms-continuation")
		asked = append(asked, fmt.Sprint(r.Method, " ", r.URL.Path, " ", string(body), " ", r.Header.Get("x-ms-max-item-count"), " ", at))
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("x-ms-item-type", "Raw")
		switch at {
		case "":
			w.Header().Set("x-ms-continuation", "a+/=")
			fmt.Fprint(w, `[{"deviceId":"1"},{"deviceId":"2"}]`)
		case "a+/=":
			w.Header().Set("x-ms-continuation", "b")
			fmt.Fprint(w, `[]`) // a page may be empty
		default:
			fmt.Fprint(w, `[{"deviceId":"3"}]`)
		}
	})
	var got []string
	for row, err := range service.QueryAs[struct{ DeviceID string }](t.Context(), c, "SELECT deviceId FROM devices", &service.QueryOptions{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row.DeviceID)
	}
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q", got)
	}
	if want := `POST /devices/query {"query":"SELECT deviceId FROM devices"} 2 a+/=`; len(asked) != 3 || asked[1] != want {
		t.Errorf("%q", asked)
	}
	asked = nil
	for range c.Query(t.Context(), "SELECT deviceId FROM devices", nil) {
		break
	}
	if len(asked) != 1 {
		t.Errorf("%q", asked)
	}
	p, err := c.QueryPage(t.Context(), "x", &service.QueryOptions{Continuation: "b"})
	if err != nil || p.Type != service.RawRow || len(p.Rows) != 1 || p.Continuation != "" {
		t.Errorf("%+v %v", p, err)
	}
	for range c.QueryTwins(t.Context(), "", nil) {
		break
	}
	if _, err := c.QueryPage(t.Context(), "", nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Error(err)
	}
	if _, err := c.QueryPage(t.Context(), "x", &service.QueryOptions{PageSize: 1001}); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Error(err)
	}
}

// What is no row, and a hub that never comes to an end, are errors.
func TestQueryOfABrokenHub(t *testing.T) {
	for _, body := range []string{`{}`, `[1`, `["text"]`, `[]`} {
		c := replay(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-ms-continuation", "again")
			fmt.Fprint(w, body)
		})
		n := 0
		var last error
		for _, err := range c.QueryTwins(t.Context(), "x", nil) {
			n, last = n+1, err
		}
		if n != 1 || iothub.KindOf(last) != iothub.KindProtocol {
			t.Errorf("%s: %d %v", body, n, last)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := service.Quote(`a'b\c`); got != `'a\'b\\c'` {
		t.Error(got)
	}
}

func TestMethods(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	if _, err := s.CreateDevice(ctx, "dev1"); err != nil {
		t.Fatal(err)
	}
	_, err := c.InvokeMethod(ctx, "dev1", "", "reboot", nil, nil)
	wantKind(t, err, iothub.KindTimeout, 404103)
	_, err = c.InvokeMethod(ctx, "nobody", "", "reboot", nil, nil)
	wantKind(t, err, iothub.KindNotFound, 404001)
	d := connectDevice(t, s, "dev1")
	d.HandleMethod("echo", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 418, Payload: r.Payload}
	})
	for _, payload := range []string{"", `{"a":[1,2]}`} {
		a, err := c.InvokeMethod(ctx, "dev1", "", "echo", []byte(payload), &service.MethodOptions{ConnectTimeout: 20 * time.Second, ResponseTimeout: 10 * time.Second})
		if err != nil || a.Status != 418 || string(a.Payload) != payload {
			t.Errorf("%+v %v", a, err)
		}
	}
	for _, bad := range []struct {
		name, payload string
		o             *service.MethodOptions
	}{
		{"", "", nil}, {strings.Repeat("x", 101), "", nil}, {"x", "{", nil}, {"x", `"` + strings.Repeat("x", iothub.MaxMethodPayload) + `"`, nil},
		{"x", "", &service.MethodOptions{ResponseTimeout: time.Second}}, {"x", "", &service.MethodOptions{ConnectTimeout: time.Hour}},
	} {
		_, err := c.InvokeMethod(ctx, "dev1", "", bad.name, []byte(bad.payload), bad.o)
		wantKind(t, err, iothub.KindInvalidArgument, 0)
	}
}

func TestPurge(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	if _, err := s.CreateDevice(ctx, "dev1"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.SendC2D(ctx, "dev1", &iothub.Message{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.PurgeC2D(ctx, "dev1"); err != nil || n != 3 {
		t.Errorf("%d %v", n, err)
	}
}
