package service

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// JobType says what a job does.
type JobType string

// The job types.
const (
	TwinUpdateJob JobType = "scheduleUpdateTwin"
	MethodJob     JobType = "scheduleDeviceMethod"
	ImportJob     JobType = "import"
	ExportJob     JobType = "export"
)

// JobStatus says how far a job has come.
type JobStatus string

// The job statuses.
const (
	JobUnknown   JobStatus = "unknown"
	JobEnqueued  JobStatus = "enqueued"
	JobQueued    JobStatus = "queued"
	JobScheduled JobStatus = "scheduled"
	JobRunning   JobStatus = "running"
	JobCompleted JobStatus = "completed"
	JobFailed    JobStatus = "failed"
	JobCancelled JobStatus = "cancelled"
)

// Done reports whether the job has ended, well or not.
func (s JobStatus) Done() bool {
	return s == JobCompleted || s == JobFailed || s == JobCancelled
}

// Job is a job over many devices.
type Job struct {
	// ID is the caller's to choose.
	ID string `json:"jobId"`
	// Type is what it does, Status how far it has come.
	Type   JobType   `json:"type"`
	Status JobStatus `json:"status"`
	// Query chose the devices.
	Query string `json:"queryCondition"`
	// CreatedTime, StartTime and EndTime are zero until then.
	CreatedTime Time `json:"createdTime"`
	StartTime   Time `json:"startTime"`
	EndTime     Time `json:"endTime"`
	// MaxExecutionSeconds is how long it may run.
	MaxExecutionSeconds int64 `json:"maxExecutionTimeInSeconds"`
	// Method and Update are what it was made with, as JSON.
	Method json.RawMessage `json:"cloudToDeviceMethod,omitempty"`
	Update json.RawMessage `json:"updateTwin,omitempty"`
	// FailureReason and StatusMessage say more of the status.
	FailureReason string `json:"failureReason,omitempty"`
	StatusMessage string `json:"statusMessage,omitempty"`
	// Devices counts the devices by state.
	Devices JobStatistics `json:"deviceJobStatistics"`
}

// JobStatistics counts the devices of a job.
type JobStatistics struct {
	// Total is the sum of the others.
	Total     int `json:"deviceCount"`
	Failed    int `json:"failedCount"`
	Succeeded int `json:"succeededCount"`
	Running   int `json:"runningCount"`
	Pending   int `json:"pendingCount"`
}

// JobOptions say when a job runs and on what.
type JobOptions struct {
	// Query chooses the devices: the part of a query behind WHERE, or "*",
	// which is all. It must not be empty.
	Query string
	// StartTime is when it begins; zero is now.
	StartTime time.Time
	// MaxExecutionTime is how long it may run, in whole seconds; 0 is an hour.
	MaxExecutionTime time.Duration
}

// jobRequest is what makes a job.
type jobRequest struct {
	ID                  string      `json:"jobId"`
	Type                JobType     `json:"type"`
	Method              *methodCall `json:"cloudToDeviceMethod,omitempty"`
	Update              any         `json:"updateTwin,omitempty"`
	StartTime           string      `json:"startTime"`
	MaxExecutionSeconds int64       `json:"maxExecutionTimeInSeconds"`
	Query               string      `json:"queryCondition"`
}

// ScheduleTwinUpdate makes a job that merges u into the twins of many devices.
// jobID is the caller's to choose; it fails with iothub.KindConflict when there is
// a job of that id.
func (c *Client) ScheduleTwinUpdate(ctx context.Context, jobID string, u *TwinUpdate, o *JobOptions) (*Job, error) {
	const op = "schedule twin update"
	if u == nil || u.Tags == nil && u.Desired == nil {
		return nil, backend.Invalid(op, "there is nothing to change: set Tags or Desired")
	}
	body := u.body()
	body["etag"] = AnyETag
	if u.IfMatch != "" {
		body["etag"] = u.IfMatch
	}
	return c.schedule(ctx, op, &jobRequest{ID: jobID, Type: TwinUpdateJob, Update: body}, o)
}

// ScheduleMethod makes a job that calls a direct method of many devices; see
// [Client.InvokeMethod] for the call and [Client.ScheduleTwinUpdate] for the id.
// What the devices answer is found by [Client.JobResults].
func (c *Client) ScheduleMethod(ctx context.Context, jobID, name string, payload []byte, call *MethodOptions, o *JobOptions) (*Job, error) {
	const op = "schedule method"
	m, err := newMethodCall(op, name, payload, call)
	if err != nil {
		return nil, err
	}
	return c.schedule(ctx, op, &jobRequest{ID: jobID, Type: MethodJob, Method: m}, o)
}

func (c *Client) schedule(ctx context.Context, op string, j *jobRequest, o *JobOptions) (*Job, error) {
	switch {
	case j.ID == "" || len(j.ID) > 64:
		return nil, backend.Invalid(op, "the job id has %d characters, it can have 1 to 64", len(j.ID))
	case o == nil || o.Query == "":
		return nil, backend.Invalid(op, `JobOptions.Query is empty: say which devices, "*" is all`)
	case o.MaxExecutionTime < 0:
		return nil, backend.Invalid(op, "MaxExecutionTime is negative")
	}
	j.Query, j.MaxExecutionSeconds = o.Query, int64((o.MaxExecutionTime+time.Second-1)/time.Second)
	if j.MaxExecutionSeconds == 0 {
		j.MaxExecutionSeconds = 3600
	}
	start := o.StartTime
	if start.IsZero() {
		start = time.Now()
	}
	j.StartTime = start.UTC().Format("2006-01-02T15:04:05.000Z")
	return backend.Result[Job](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPut, Path: []string{"jobs", "v2", j.ID}, Body: j})
}

// GetJob returns a job.
func (c *Client) GetJob(ctx context.Context, jobID string) (*Job, error) {
	return backend.Result[Job](ctx, c.rest, &rest.Request{Op: "get job", Method: http.MethodGet, Path: []string{"jobs", "v2", jobID}, Idempotent: true})
}

// CancelJob ends a job. What it has done stays done.
func (c *Client) CancelJob(ctx context.Context, jobID string) (*Job, error) {
	return backend.Result[Job](ctx, c.rest, &rest.Request{Op: "cancel job", Method: http.MethodPost, Path: []string{"jobs", "v2", jobID, "cancel"}})
}

// WaitForJob waits until a job has ended, well or not, asking every interval; 0 is
// every 2 s. It returns the job as it then is. The end of ctx ends the wait, not
// the job.
func (c *Client) WaitForJob(ctx context.Context, jobID string, interval time.Duration) (*Job, error) {
	return wait(ctx, interval, func() (*Job, bool, error) {
		j, err := c.GetJob(ctx, jobID)
		return j, err == nil && j.Status.Done(), err
	})
}

// wait asks until it is done.
func wait[T any](ctx context.Context, interval time.Duration, ask func() (T, bool, error)) (T, error) {
	if interval <= 0 {
		interval = 2 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		t, done, err := ask()
		if err != nil || done {
			return t, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
}

// ListJobsOptions choose jobs. The zero value, and nil, are all of them.
type ListJobsOptions struct {
	// Type and Status are those of the jobs wanted; empty is any.
	Type   JobType
	Status JobStatus
	// PageSize is how many are fetched at once; 0 leaves it to the hub.
	PageSize int
}

// ListJobs returns the jobs of the hub, fetched page by page as they are read.
func (c *Client) ListJobs(ctx context.Context, o *ListJobsOptions) iter.Seq2[*Job, error] {
	if o == nil {
		o = &ListJobsOptions{}
	}
	query := url.Values{}
	if o.Type != "" {
		query.Set("jobType", string(o.Type))
	}
	if o.Status != "" {
		query.Set("jobStatus", string(o.Status))
	}
	const op = "list jobs"
	return backend.Decoded[*Job](op, backend.Rows(op, backend.From{PageSize: o.PageSize}, func(from backend.From) (*backend.Page, error) {
		return backend.Fetch(ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: []string{"jobs", "v2", "query"}, Query: query, Idempotent: true}, from)
	}))
}

// DeviceJob is what a job did on one device.
type DeviceJob struct {
	// DeviceID and ModuleID say where, JobID and Type which job it was.
	DeviceID string  `json:"deviceId"`
	ModuleID string  `json:"moduleId,omitempty"`
	JobID    string  `json:"jobId"`
	Type     JobType `json:"jobType"`
	// Status is pending, scheduled, running, completed, failed or canceled.
	Status string `json:"status"`
	// StartTime and EndTime are when it ran there.
	StartTime       Time `json:"startTimeUtc"`
	EndTime         Time `json:"endTimeUtc"`
	CreatedTime     Time `json:"createdDateTimeUtc"`
	LastUpdatedTime Time `json:"lastUpdatedDateTimeUtc"`
	// Outcome is there when it completed, Failure when it failed.
	Outcome *JobOutcome `json:"outcome,omitempty"`
	Failure *JobFailure `json:"error,omitempty"`
}

// JobOutcome is what came of a job on one device.
type JobOutcome struct {
	// Method is what the device answered, for a job of methods.
	Method *JobMethodResponse `json:"deviceMethodResponse,omitempty"`
}

// JobMethodResponse is what a device answered to a job.
type JobMethodResponse struct {
	// Status is the device's to choose, Payload JSON.
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

// JobFailure says why a job failed on one device.
type JobFailure struct {
	// Code is IoT Hub's, a number or a name; Description says it in words.
	Code        json.RawMessage `json:"code"`
	Description string          `json:"description"`
}

// JobResults returns what a job did on each device, fetched page by page as they
// are read.
func (c *Client) JobResults(ctx context.Context, jobID string) iter.Seq2[*DeviceJob, error] {
	return QueryAs[*DeviceJob](ctx, c, "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = "+Quote(jobID), nil)
}
