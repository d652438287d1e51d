package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

// exchange is a request and what a hub answers to it.
type exchange struct {
	name    string
	call    func(ctx context.Context, c *service.Client) (any, error)
	request string // method, path with query, If-Match, body
	status  int
	header  [2]string
	answer  string
	want    string // the result as JSON
}

const jobAnswer = `{"jobId":"j1","queryCondition":"tags.a=1","createdTime":"2026-01-01T00:00:00Z","startTime":"2026-01-01T00:00:00.000Z","endTime":"0001-01-01T00:00:00","maxExecutionTimeInSeconds":300,"type":"scheduleUpdateTwin","updateTwin":{"tags":{"a":2},"etag":"*"},"status":"running","deviceJobStatistics":{"deviceCount":3,"failedCount":1,"succeededCount":1,"runningCount":1,"pendingCount":0}}`

func exchanges() []exchange {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return []exchange{
		{name: "schedule a twin update", call: func(ctx context.Context, c *service.Client) (any, error) {
			j, err := c.ScheduleTwinUpdate(ctx, "j1", &service.TwinUpdate{Tags: map[string]any{"a": 2}},
				&service.JobOptions{Query: "tags.a=1", StartTime: start, MaxExecutionTime: 299*time.Second + 1})
			return j.Devices, err
		},
			request: `PUT /jobs/v2/j1?api-version=2021-04-12 {"jobId":"j1","type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"a":2}},"startTime":"2026-01-01T00:00:00.000Z","maxExecutionTimeInSeconds":300,"queryCondition":"tags.a=1"}`,
			answer:  jobAnswer, want: `{"deviceCount":3,"failedCount":1,"succeededCount":1,"runningCount":1,"pendingCount":0}`},
		{name: "schedule a method", call: func(ctx context.Context, c *service.Client) (any, error) {
			j, err := c.ScheduleMethod(ctx, "j1", "reboot", nil, &service.MethodOptions{ResponseTimeout: 15 * time.Second},
				&service.JobOptions{Query: "deviceId IN ['dev1']", StartTime: start})
			return j.Status, err
		},
			request: `PUT /jobs/v2/j1?api-version=2021-04-12 {"jobId":"j1","type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"reboot","payload":null,"responseTimeoutInSeconds":15},"startTime":"2026-01-01T00:00:00.000Z","maxExecutionTimeInSeconds":3600,"queryCondition":"deviceId IN ['dev1']"}`,
			answer:  jobAnswer, want: `"running"`},
		{name: "cancel a job", call: func(ctx context.Context, c *service.Client) (any, error) {
			j, err := c.CancelJob(ctx, "j1")
			return j.ID, err
		}, request: `POST /jobs/v2/j1/cancel?api-version=2021-04-12 `, answer: jobAnswer, want: `"j1"`},
		{name: "list jobs", call: func(ctx context.Context, c *service.Client) (any, error) {
			var ids []string
			for j, err := range c.ListJobs(ctx, &service.ListJobsOptions{Type: service.MethodJob, Status: service.JobRunning, PageSize: 5}) {
				if err != nil {
					return nil, err
				}
				ids = append(ids, j.ID)
			}
			return ids, nil
		}, request: `GET /jobs/v2/query?api-version=2021-04-12&jobStatus=running&jobType=scheduleDeviceMethod `,
			header: [2]string{"x-ms-item-type", "JobResponse"}, answer: "[" + jobAnswer + "]", want: `["j1"]`},
		{name: "results of a job", call: func(ctx context.Context, c *service.Client) (any, error) {
			for j, err := range c.JobResults(ctx, "it's") {
				return []any{j.DeviceID, j.Status, j.Outcome.Method.Status, string(j.Outcome.Method.Payload), j.EndTime}, err
			}
			return nil, nil
		}, request: `POST /devices/query?api-version=2021-04-12 {"query":"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'it\\'s'"}`,
			answer: `[{"deviceId":"d","jobId":"j1","jobType":"scheduleDeviceMethod","status":"completed","startTimeUtc":"2026-01-01T00:00:00Z","endTimeUtc":"2026-01-01T00:00:01Z","outcome":{"deviceMethodResponse":{"status":200,"payload":{"a":1}}},"error":null}]`,
			want:   `["d","completed",200,"{\"a\":1}","2026-01-01T00:00:01Z"]`},
		{name: "import", call: func(ctx context.Context, c *service.Client) (any, error) {
			j, err := c.StartTransfer(ctx, &service.Transfer{Type: service.ImportJob, InputContainer: "https://s/in", OutputContainer: "https://s/out"})
			return j.ID, err
		}, request: `POST /jobs/create?api-version=2021-04-12 {"type":"import","inputBlobContainerUri":"https://s/in","outputBlobContainerUri":"https://s/out"}`,
			answer: `{"jobId":"x","type":"import","status":"enqueued","progress":0,"startTimeUtc":"2026-01-01T00:00:00Z","endTimeUtc":null}`, want: `"x"`},
		{name: "transfers", call: func(ctx context.Context, c *service.Client) (any, error) {
			l, err := c.ListTransfers(ctx)
			return len(l), err
		}, request: `GET /jobs?api-version=2021-04-12 `, answer: `[{"jobId":"x"},{"jobId":"y"}]`, want: `2`},
		{name: "cancel a transfer", call: func(ctx context.Context, c *service.Client) (any, error) {
			return nil, c.CancelTransfer(ctx, "x")
		}, request: `DELETE /jobs/x?api-version=2021-04-12 `, status: 204, want: `null`},
		{name: "create a configuration", call: func(ctx context.Context, c *service.Client) (any, error) {
			conf, err := c.CreateConfiguration(ctx, &service.Configuration{ID: "c1", ETag: "*", TargetCondition: "*", Priority: 1,
				Content: service.ConfigurationContent{DeviceContent: map[string]any{"properties.desired.x": 1}}})
			return conf.ETag, err
		}, request: `PUT /configurations/c1?api-version=2021-04-12 {"id":"c1","schemaVersion":"1.0","content":{"deviceContent":{"properties.desired.x":1}},"targetCondition":"*","priority":1}`,
			answer: `{"id":"c1","schemaVersion":"1.0","labels":{"App":"x"},"content":{"deviceContent":{"properties.desired.x":1}},"contentType":"assignment","targetCondition":"*","createdTimeUtc":"2026-01-01T00:00:00Z","lastUpdatedTimeUtc":"2026-01-01T00:00:00Z","priority":10,"systemMetrics":{"results":{"targetedCount":3,"appliedCount":2},"queries":{"targetedCount":"select deviceId from devices"}},"metrics":{"results":{},"queries":{}},"etag":"MQ=="}`,
			want:   `"MQ=="`},
		{name: "update a configuration", call: func(ctx context.Context, c *service.Client) (any, error) {
			conf, err := c.UpdateConfiguration(ctx, &service.Configuration{ID: "c1", ETag: "MQ==", TargetCondition: "tags.a=1"})
			return conf.ETag, err
		}, request: `PUT /configurations/c1?api-version=2021-04-12 If-Match:"MQ==" {"id":"c1","schemaVersion":"1.0","content":{},"targetCondition":"tags.a=1","priority":0,"etag":"MQ=="}`,
			answer: `{"id":"c1","etag":"Mg=="}`, want: `"Mg=="`},
		{name: "list configurations", call: func(ctx context.Context, c *service.Client) (any, error) {
			l, err := c.ListConfigurations(ctx, 0)
			return l[0].SystemMetrics.Results, err
		}, request: `GET /configurations?api-version=2021-04-12&top=100 `,
			answer: `[{"id":"c1","systemMetrics":{"results":{"targetedCount":3}}}]`, want: `{"targetedCount":3}`},
		{name: "delete a configuration", call: func(ctx context.Context, c *service.Client) (any, error) {
			return nil, c.DeleteConfiguration(ctx, "c1", service.AnyETag)
		}, request: `DELETE /configurations/c1?api-version=2021-04-12 If-Match:"*" `, status: 204, want: `null`},
		{name: "right queries", call: func(ctx context.Context, c *service.Client) (any, error) {
			return c.TestConfigurationQueries(ctx, "tags.a=1", nil)
		}, request: `POST /configurations/testQueries?api-version=2021-04-12 {"customMetricQueries":{},"targetCondition":"tags.a=1"}`,
			answer: `{"targetConditionError":null,"customMetricQueryErrors":{"m":null}}`, want: `null`},
		{name: "wrong queries", call: func(ctx context.Context, c *service.Client) (any, error) {
			return c.TestConfigurationQueries(ctx, "x", map[string]string{"m": "select"})
		}, request: `POST /configurations/testQueries?api-version=2021-04-12 {"customMetricQueries":{"m":"select"},"targetCondition":"x"}`,
			answer: `{"targetConditionError":null,"customMetricQueryErrors":{"m":"no","n":null}}`, want: `{"targetConditionError":"","customMetricQueryErrors":{"m":"no"}}`},
		{name: "apply a content", call: func(ctx context.Context, c *service.Client) (any, error) {
			return nil, c.ApplyConfigurationContent(ctx, "dev1", &service.ConfigurationContent{ModulesContent: map[string]map[string]any{"$edgeAgent": {"properties.desired": 1}}})
		}, request: `POST /devices/dev1/applyConfigurationContent?api-version=2021-04-12 {"modulesContent":{"$edgeAgent":{"properties.desired":1}}}`, status: 204, want: `null`},
		{name: "regenerate keys", call: func(ctx context.Context, c *service.Client) (any, error) {
			return c.RegenerateKeys(ctx, service.PrimaryKey, iothub.Identity{DeviceID: "d1"}, iothub.Identity{DeviceID: "d1", ModuleID: "m1"})
		}, request: `POST /devices/keys/regenerate?api-version=2024-03-31 {"devices":[{"id":"d1"},{"id":"d1","moduleId":"m1"}],"policyKey":"primaryKey"}`,
			answer: `{"policyKey":"primaryKey","rotatedKeys":[{"id":"d1","moduleId":null,"primaryKey":"a","secondaryKey":"b"}],"errors":[]}`,
			want:   `[{"id":"d1","primaryKey":"a","secondaryKey":"b"}]`},
		{name: "digital twin", call: func(ctx context.Context, c *service.Client) (any, error) {
			d, err := c.GetDigitalTwin(ctx, "d1")
			return []any{d.ModelID, d.ETag}, err
		}, request: `GET /digitaltwins/d1?api-version=2021-04-12 `, header: [2]string{"ETag", `"AAA="`},
			answer: `{"$dtId":"d1","$metadata":{"$model":"dtmi:x;1"}}`, want: `["dtmi:x;1","AAA="]`},
		{name: "patch a digital twin", call: func(ctx context.Context, c *service.Client) (any, error) {
			return c.PatchDigitalTwin(ctx, "d1", []map[string]any{{"op": "add", "path": "/a", "value": 1}}, "AAA=")
		}, request: `PATCH /digitaltwins/d1?api-version=2021-04-12 If-Match:"AAA=" [{"op":"add","path":"/a","value":1}]`, status: 202,
			header: [2]string{"ETag", `"BBB="`}, want: `"BBB="`},
		{name: "command", call: func(ctx context.Context, c *service.Client) (any, error) {
			a, err := c.InvokeCommand(ctx, "d1", "thermostat1", "getReport", []byte(`"now"`), &service.MethodOptions{ConnectTimeout: time.Second})
			return []any{a.Status, string(a.Payload)}, err
		}, request: `POST /digitaltwins/d1/components/thermostat1/commands/getReport?api-version=2021-04-12&connectTimeoutInSeconds=1 "now"`,
			header: [2]string{"x-ms-command-statuscode", "202"}, answer: `{"t":1}`, want: `[202,"{\"t\":1}"]`},
		{name: "bulk", call: func(ctx context.Context, c *service.Client) (any, error) {
			return nil, c.Bulk(ctx, []*service.BulkItem{{DeviceID: "a", Mode: service.BulkDeleteIfMatch, ETag: "AAAA"}})
		}, request: `POST /devices?api-version=2021-04-12 [{"id":"a","importMode":"deleteIfMatchETag","eTag":"AAAA"}]`,
			answer: `{"isSuccessful":true,"errors":[],"warnings":[]}`, want: `null`},
	}
}

// Each call sends what the REST API of IoT Hub asks for and reads what it answers.
func TestWire(t *testing.T) {
	for _, x := range exchanges() {
		t.Run(x.name, func(t *testing.T) {
			c := replay(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got := r.Method + " " + r.URL.RequestURI() + " "
				if etag := r.Header.Get("If-Match"); etag != "" {
					got += "If-Match:" + etag + " "
				}
				if got += string(body); got != x.request {
					t.Errorf("sent\n%s\nwant\n%s", got, x.request)
				}
				if x.header[0] != "" {
					w.Header().Set(x.header[0], x.header[1])
				}
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				if x.status != 0 {
					w.WriteHeader(x.status)
				}
				fmt.Fprint(w, x.answer)
			})
			result, err := x.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := json.Marshal(result); err != nil || string(b) != x.want {
				t.Errorf("result %s, want %s (%v)", b, x.want, err)
			}
		})
	}
}

// Changes in bulk that fail say which, whether the hub calls that 200 or 400.
func TestBulkErrors(t *testing.T) {
	for _, status := range []int{200, 400} {
		requests := 0
		c := replay(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			w.WriteHeader(status)
			fmt.Fprint(w, `{"isSuccessful":false,"errors":[{"deviceId":"a","moduleId":null,"errorCode":"DeviceNotFound","errorStatus":"Device a not registered","operation":"delete"},{"deviceId":"b","errorCode":409001,"errorStatus":"there"}],"warnings":[]}`)
		})
		items := make([]*service.BulkItem, 101)
		for i := range items {
			items[i] = &service.BulkItem{DeviceID: fmt.Sprint("d", i), Mode: service.BulkCreate}
		}
		err := c.Bulk(t.Context(), items)
		b, ok := errors.AsType[*service.BulkError](err)
		if !ok || requests != 2 || b.Total != 101 || len(b.Items) != 4 || b.Items[0].DeviceID != "a" {
			t.Fatalf("%d requests: %+v", requests, err)
		}
		wantKind(t, b.Items[0].Err, iothub.KindNotFound, 404001)
		wantKind(t, b.Items[1].Err, iothub.KindConflict, 409001)
		if iothub.KindOf(err) != iothub.KindNotFound || !strings.Contains(err.Error(), "4 of 101") {
			t.Error(err)
		}
	}
	// An error body is none of these.
	c := replay(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"Message":"ErrorCode:ArgumentInvalid;no","ExceptionMessage":""}`)
	})
	wantKind(t, c.Bulk(t.Context(), []*service.BulkItem{{DeviceID: "d"}}), iothub.KindInvalidArgument, 400004)
	wantKind(t, c.Bulk(t.Context(), []*service.BulkItem{{DeviceID: ""}}), iothub.KindInvalidArgument, 0)
	wantKind(t, c.Bulk(t.Context(), []*service.BulkItem{nil}), iothub.KindInvalidArgument, 0)
}

// Waiting for a job ends when the job does, or the context.
func TestWaitForJob(t *testing.T) {
	asked := 0
	c := replay(t, func(w http.ResponseWriter, r *http.Request) {
		status := "running"
		if asked++; asked == 3 {
			status = "completed"
		}
		fmt.Fprintf(w, `{"jobId":"j1","status":%q}`, status)
	})
	if j, err := c.WaitForJob(t.Context(), "j1", time.Millisecond); err != nil || asked != 3 || j.Status != service.JobCompleted {
		t.Errorf("%+v %v after %d", j, err, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked = 3
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := c.WaitForTransfer(ctx, "j1", time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What no hub could do is refused before it is sent.
func TestInvalidJobs(t *testing.T) {
	c := replay(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.URL) })
	ctx, twin, all := t.Context(), &service.TwinUpdate{Tags: map[string]any{}}, &service.JobOptions{Query: "*"}
	for i, call := range []func() (*service.Job, error){
		func() (*service.Job, error) { return c.ScheduleTwinUpdate(ctx, "", twin, all) },
		func() (*service.Job, error) { return c.ScheduleTwinUpdate(ctx, "j", nil, all) },
		func() (*service.Job, error) { return c.ScheduleTwinUpdate(ctx, "j", twin, nil) },
		func() (*service.Job, error) { return c.ScheduleTwinUpdate(ctx, "j", twin, &service.JobOptions{}) },
		func() (*service.Job, error) { return c.ScheduleMethod(ctx, "j", "", nil, nil, all) },
		func() (*service.Job, error) { return c.GetJob(ctx, "") },
	} {
		_, err := call()
		if iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%d: %v", i, err)
		}
	}
}
