package hub_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
)

// A configuration is put into the twins that it is for, counted, changed and taken
// back.
func TestConfigurations(t *testing.T) {
	s, ctx := start(t, nil), t.Context()
	for _, id := range []string{"a", "b"} {
		if _, err := s.CreateDevice(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.UpdateTwin(ctx, "a", "", []byte(`{"tags":{"site":"north"}}`), ""); err != nil {
		t.Fatal(err)
	}
	c := hub.Configuration{ID: "c1", Content: json.RawMessage(`{"deviceContent":{"properties.desired.interval":30}}`), TargetCondition: "tags.site = 'north'",
		Priority: 3, Labels: map[string]string{"for": "test"}, Metrics: map[string]string{"all": "SELECT deviceId FROM devices"}}
	made, err := s.CreateConfiguration(ctx, c)
	if err != nil || made.ETag == "" || made.CreatedTime.IsZero() || string(made.Content) != string(c.Content) {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err = s.CreateConfiguration(ctx, c)
	wantCode(t, err, 409401)
	desired := func(id string) string {
		twin, err := s.Twin(ctx, id, "")
		if err != nil {
			t.Fatal(err)
		}
		return string(twin.Desired)
	}
	// until waits for what happens soon.
	until := func(what string, done func() bool) {
		t.Helper()
		tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(time.Minute)
		defer tick.Stop()
		defer end.Stop()
		for !done() {
			select {
			case <-tick.C:
			case <-end.C:
				t.Fatal(what)
			}
		}
	}
	until("the twin has the content", func() bool { return strings.Contains(desired("a"), `"interval":30`) })
	if strings.Contains(desired("b"), "interval") {
		t.Error("a twin that was not meant has the content")
	}
	until("the twin is counted", func() bool {
		got, err := s.Configuration(ctx, "c1")
		return err == nil && got.Results["appliedCount"] == 1 && got.Results["targetedCount"] == 1 && got.Results["all"] == 2 && got.Labels["for"] == "test"
	})

	c.Content, c.TargetCondition, c.Priority = nil, "*", 4
	changed, err := s.UpdateConfiguration(ctx, c, made.ETag)
	if err != nil || changed.ETag == made.ETag || changed.Priority != 4 || !changed.UpdatedTime.After(made.UpdatedTime) {
		t.Fatalf("%+v, %v", changed, err)
	}
	until("the other twin has the content", func() bool { return strings.Contains(desired("b"), `"interval":30`) })
	_, err = s.UpdateConfiguration(ctx, c, made.ETag)
	wantCode(t, err, 412001)
	c.Content = json.RawMessage(`{"deviceContent":{"properties.desired.interval":31}}`)
	_, err = s.UpdateConfiguration(ctx, c, "")
	wantCode(t, err, 400403)
	c.ID, c.Content = "c0", json.RawMessage(`[]`)
	_, err = s.CreateConfiguration(ctx, c)
	wantCode(t, err, 400004)
	c.Content = json.RawMessage(`{"modulesContent":{"$edgeAgent":{"properties.desired":{}}}}`)
	if _, err = s.CreateConfiguration(ctx, c); err != nil {
		t.Error(err)
	}
	if list, err := s.Configurations(ctx); err != nil || len(list) != 2 || list[0].ID != "c0" || list[1].ID != "c1" {
		t.Errorf("%v, %v", list, err)
	}

	wantCode(t, s.DeleteConfiguration(ctx, "c1", made.ETag), 412001)
	if err := s.DeleteConfiguration(ctx, "c1", changed.ETag); err != nil {
		t.Error(err)
	}
	until("the content is taken back", func() bool { return !strings.Contains(desired("a")+desired("b"), "interval") })
	_, err = s.Configuration(ctx, "c1")
	wantCode(t, err, 404301)
	shutdown(t, s)
	if _, err := s.Configurations(ctx); !errors.Is(err, hub.ErrServerClosed) {
		t.Error(err)
	}
}
