package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func inBubble(t *testing.T, test func(t *testing.T, h *core.Hub, storage core.Storage)) {
	synctest.Test(t, func(t *testing.T) {
		storage := memory.New(nil)
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, storage)
		if err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		for i := range 25 {
			id := fmt.Sprintf("d%02d", i)
			createDevice(t, h, core.Device{DeviceID: id})
			patchTwin(t, h, id, "", fmt.Sprintf(`{"tags":{"n":%d}}`, i))
		}
		test(t, h, storage)
	})
}

// answerMethods has a device answer every call.
func answerMethods(t *testing.T, h *core.Hub, id string) *core.Attachment {
	t.Helper()
	a := attach(t, h, login(t, h, id, "", deviceOf(t, h, id).Authentication), nil)
	a.ServeMethods(func(r core.MethodRequest) bool {
		go a.AnswerMethod([]byte(r.RequestID), 200, true, []byte(`{"said":"`+r.Name+`"}`))
		return true
	})
	return a
}

func job(t *testing.T, h *core.Hub, id string) core.ScheduledJob {
	t.Helper()
	j, err := h.Job(id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTwinJob(t *testing.T) {
	inBubble(t, func(t *testing.T, h *core.Hub, _ core.Storage) {
		start := time.Now().Add(time.Hour)
		j, err := h.CreateJob(t.Context(), core.ScheduledJob{
			JobID: "j1", Type: "ScheduleUpdateTwin", QueryCondition: "tags.n >= 5", StartTime: core.Time{Time: start},
			Twin: json.RawMessage(`{"deviceId":"x","etag":"*","tags":{"seen":true},"properties":{"desired":{"on":1}}}`),
		})
		if err != nil || j.Status != "scheduled" || j.Type != "scheduleUpdateTwin" || j.MaxSeconds != 3600 {
			t.Fatalf("%+v, %v", j, err)
		}
		<-time.After(30 * time.Minute)
		if _, rows := ask(t, h, "SELECT * FROM devices.jobs", 100); len(rows) != 0 || job(t, h, "j1").Status != "scheduled" {
			t.Errorf("it began early: %q", rows)
		}
		<-time.After(31 * time.Minute)
		j = job(t, h, "j1")
		if j.Status != "completed" || j.Statistics != (core.JobStatistics{Devices: 20, Succeeded: 20}) || !j.EndTime.Equal(start) {
			t.Errorf("%+v", j)
		}
		if _, rows := ask(t, h, "SELECT deviceId FROM devices WHERE tags.seen AND properties.desired.on = 1", 100); len(rows) != 20 {
			t.Errorf("%d devices were changed", len(rows))
		}
		itemType, rows := ask(t, h, "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'j1' AND devices.jobs.status = 'completed' AND createdTimeUtc > '2000-01-01T00:00:00Z'", 7)
		if len(rows) != 20 || itemType != core.ItemDeviceJob || !strings.Contains(rows[0], `"deviceId":"d05","jobId":"j1","jobType":"scheduleUpdateTwin","status":"completed"`) {
			t.Errorf("%s %q", itemType, rows)
		}
		<-time.After(31 * 24 * time.Hour)
		if _, err := h.Job("j1"); !errors.Is(err, &core.Error{Code: core.CodeJobNotFound}) {
			t.Errorf("after a month: %v", err)
		}
	})
}

func TestMethodJob(t *testing.T) {
	inBubble(t, func(t *testing.T, h *core.Hub, _ core.Storage) {
		defer answerMethods(t, h, "d01").Detach()
		defer answerMethods(t, h, "d02").Detach()
		silent := attach(t, h, login(t, h, "d03", "", deviceOf(t, h, "d03").Authentication), nil)
		silent.ServeMethods(func(core.MethodRequest) bool { return true })
		defer silent.Detach()
		if _, err := h.CreateJob(t.Context(), core.ScheduledJob{
			JobID: "j", Type: "scheduleDeviceMethod", QueryCondition: "deviceId IN ['d01','d02','d03','d04']",
			Method: &core.JobMethod{Name: "hello", Payload: json.RawMessage(`1`)},
		}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		if j := job(t, h, "j"); j.Status != "running" || j.Statistics != (core.JobStatistics{Devices: 4, Succeeded: 2, Failed: 1, Running: 1}) {
			t.Errorf("meanwhile %+v", j)
		}
		<-time.After(time.Minute)
		if j := job(t, h, "j"); j.Status != "completed" || j.Statistics != (core.JobStatistics{Devices: 4, Succeeded: 2, Failed: 2}) {
			t.Errorf("in the end %+v", j)
		}
		_, rows := ask(t, h, "SELECT * FROM devices.jobs", 100)
		for i, want := range []string{
			`"outcome":{"deviceMethodResponse":{"status":200,"payload":{"said":"hello"}}}`, `"status":"completed"`,
			`"error":{"code":"504101"`, `"error":{"code":"404103"`,
		} {
			if !strings.Contains(rows[i], want) {
				t.Errorf("row %d is %s, want %s", i, rows[i], want)
			}
		}
	})
}

func TestJobIsCanceledOrOutOfTime(t *testing.T) {
	inBubble(t, func(t *testing.T, h *core.Hub, _ core.Storage) {
		for i := range 25 {
			a := attach(t, h, login(t, h, fmt.Sprintf("d%02d", i), "", deviceOf(t, h, fmt.Sprintf("d%02d", i)).Authentication), nil)
			a.ServeMethods(func(core.MethodRequest) bool { return true }) // and never answers
			defer a.Detach()
		}
		call := func(id string, seconds int64) {
			if _, err := h.CreateJob(t.Context(), core.ScheduledJob{
				JobID: id, Type: "scheduleDeviceMethod", QueryCondition: "*", MaxSeconds: seconds, Method: &core.JobMethod{Name: "x"},
			}); err != nil {
				t.Fatal(err)
			}
		}
		call("slow", 10)
		call("cancelled", 3600)
		<-time.After(5 * time.Second)
		if _, err := h.CancelJob(t.Context(), "cancelled"); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Second)
		if j := job(t, h, "slow"); j.Status != "completed" || j.Statistics.Failed != 25 || j.EndTime.Sub(j.StartTime.Time) != 10*time.Second {
			t.Errorf("%+v", j)
		}
		if j := job(t, h, "cancelled"); j.Status != "cancelled" || j.Statistics.Succeeded != 0 || j.Statistics.Pending != 0 {
			t.Errorf("%+v", j)
		}
		if _, rows := ask(t, h, "SELECT * FROM devices.jobs WHERE jobId = 'cancelled' AND status = 'canceled'", 100); len(rows) != 25 {
			t.Errorf("%d rows are canceled", len(rows))
		}
		if _, err := h.CancelJob(t.Context(), "cancelled"); !errors.Is(err, &core.Error{Code: core.CodeInvalidOperation}) {
			t.Errorf("cancelled again: %v", err)
		}
		call("again", 10)
		if _, err := h.CreateJob(t.Context(), core.ScheduledJob{JobID: "again", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: &core.JobMethod{Name: "x"}}); !errors.Is(err, &core.Error{Code: core.CodeJobAlreadyExists}) {
			t.Errorf("the same id: %v", err)
		}
	})
}

// TestJobAcrossARestart: what was going on is finished, and no method is called
// twice.
func TestJobAcrossARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, h *core.Hub, storage core.Storage) {
		silent := attach(t, h, login(t, h, "d03", "", deviceOf(t, h, "d03").Authentication), nil)
		silent.ServeMethods(func(core.MethodRequest) bool { return true })
		create := func(j core.ScheduledJob) {
			if _, err := h.CreateJob(t.Context(), j); err != nil {
				t.Fatal(err)
			}
		}
		create(core.ScheduledJob{JobID: "m", Type: "scheduleDeviceMethod", QueryCondition: "deviceId = 'd03'", Method: &core.JobMethod{Name: "x"}})
		create(core.ScheduledJob{
			JobID: "later", Type: "scheduleUpdateTwin", QueryCondition: "tags.n < 5", Twin: json.RawMessage(`{"tags":{"late":true}}`),
			StartTime: core.Time{Time: time.Now().Add(time.Hour)},
		})
		<-time.After(time.Second)
		silent.Detach()
		closeHub(t, h)
		reopen := func() *core.Hub {
			again, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, storage)
			if err != nil {
				t.Fatal(err)
			}
			return again
		}
		again := reopen()
		<-time.After(2 * time.Hour)
		closeHub(t, again)
		again = reopen() // what has become of it is stored
		defer closeHub(t, again)
		if j := job(t, again, "m"); j.Status != "completed" || j.Statistics != (core.JobStatistics{Devices: 1, Failed: 1}) {
			t.Errorf("%+v", j)
		}
		if _, rows := ask(t, again, "SELECT * FROM devices.jobs WHERE jobId = 'm'", 10); len(rows) != 1 || !strings.Contains(rows[0], "JobInterrupted") {
			t.Errorf("%q", rows)
		}
		if j := job(t, again, "later"); j.Status != "completed" || j.Statistics.Succeeded != 5 {
			t.Errorf("%+v", j)
		}
	})
}

func TestJobsThatAreRefused(t *testing.T) {
	h := memoryHub(t)
	method := &core.JobMethod{Name: "x"}
	for _, j := range []core.ScheduledJob{
		{JobID: "", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: method},
		{JobID: "a/b", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: method},
		{JobID: strings.Repeat("x", 65), Type: "scheduleDeviceMethod", QueryCondition: "*", Method: method},
		{JobID: "a", Type: "export", QueryCondition: "*", Method: method},
		{JobID: "a", Type: "scheduleDeviceMethod", QueryCondition: "*"},
		{JobID: "a", Type: "scheduleDeviceMethod", QueryCondition: "", Method: method},
		{JobID: "a", Type: "scheduleDeviceMethod", QueryCondition: "a == 1", Method: method},
		{JobID: "a", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: &core.JobMethod{}},
		{JobID: "a", Type: "scheduleDeviceMethod", QueryCondition: "*", Method: method, MaxSeconds: -1},
		{JobID: "a", Type: "scheduleUpdateTwin", QueryCondition: "*"},
		{JobID: "a", Type: "scheduleUpdateTwin", QueryCondition: "*", Twin: json.RawMessage(`{"tags":{"a.b":1}}`)},
		{JobID: "a", Type: "scheduleUpdateTwin", QueryCondition: "*", Twin: json.RawMessage(`{}`), StartTime: core.Time{Time: time.Now().Add(31 * 24 * time.Hour)}},
	} {
		_, err := h.CreateJob(t.Context(), j)
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Status != 400 {
			t.Errorf("%+v: %v", j, err)
		}
	}
	for i := range 3 {
		if _, err := h.CreateJob(t.Context(), core.ScheduledJob{
			JobID: fmt.Sprint("j", i), Type: "scheduleDeviceMethod", QueryCondition: "false", Method: method, StartTime: core.Time{Time: time.Now().Add(time.Hour)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	list, next, err := h.Jobs("ScheduleDeviceMethod", "Scheduled", 2, "")
	if err != nil || len(list) != 2 || next == "" {
		t.Errorf("%d jobs, %q, %v", len(list), next, err)
	}
	if list, next, err = h.Jobs("ScheduleDeviceMethod", "Scheduled", 2, next); err != nil || len(list) != 1 || next != "" || list[0].JobID != "j2" {
		t.Errorf("then %d jobs, %q, %v", len(list), next, err)
	}
	if list, _, err := h.Jobs("", "running", 0, ""); err != nil || len(list) != 0 {
		t.Errorf("%d run, %v", len(list), err)
	}
}
