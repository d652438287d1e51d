package core_test

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// Each device of a job is told of: when the job takes it on, begins with it and has
// ended with it.
func TestJobsTellOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Routing: []byte(`{"routes":[
			{"name":"all","source":"DeviceJobLifecycleEvents","condition":"$body.jobId != 'quiet'","endpointNames":["events"]}]}`)}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		for _, id := range []string{"d1", "d2", "d3"} {
			createDevice(t, h, core.Device{DeviceID: id})
		}
		defer answerMethods(t, h, "d1").Detach()
		silent := attach(t, h, login(t, h, "d2", "", deviceOf(t, h, "d2").Authentication), nil)
		silent.ServeMethods(func(core.MethodRequest) bool { return true }) // and never answers
		defer silent.Detach()
		create := func(j core.ScheduledJob) {
			t.Helper()
			if _, err := h.CreateJob(t.Context(), j); err != nil {
				t.Fatal(err)
			}
		}
		create(core.ScheduledJob{JobID: "quiet", Type: "scheduleUpdateTwin", QueryCondition: "*", Twin: json.RawMessage(`{"tags":{"a":1}}`)})
		create(core.ScheduledJob{JobID: "j1", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: &core.JobMethod{Name: "hello"}})
		<-time.After(10 * time.Second) // the others have ended
		if _, err := h.CancelJob(t.Context(), "j1"); err != nil {
			t.Fatal(err)
		}
		reader, err := h.NewReader(t.Context(), core.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		got := make(map[string][]string)
		for range 9 {
			e, err := reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var row struct{ DeviceID, JobID, JobType, Status string }
			if err := json.Unmarshal(e.Body, &row); err != nil || row.DeviceID != e.DeviceID || row.JobID != "j1" || row.JobType != "scheduleDeviceMethod" ||
				e.Source != "deviceJobLifecycleEvents" || e.Properties["iothub-message-schema"] != "deviceJobLifecycleNotification" || e.GenerationID == "" {
				t.Errorf("%s: %+v, %v", e.Body, e, err)
			}
			got[e.DeviceID] = append(got[e.DeviceID], e.Properties["opType"]+" "+row.Status)
		}
		for id, end := range map[string]string{"d1": "completed", "d2": "canceled", "d3": "failed"} {
			if want := []string{"createDeviceJob pending", "updateDeviceJob running", "updateDeviceJob " + end}; !slices.Equal(got[id], want) {
				t.Errorf("%s: %q, want %q", id, got[id], want)
			}
		}
	})
}
