package core

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/query"
)

// The types of a [ScheduledJob], and those of its states that a [RegistryJob] does
// not have.
const (
	JobMethodType = "scheduleDeviceMethod"
	JobTwinType   = "scheduleUpdateTwin"

	JobScheduled = "scheduled"
	JobQueued    = "queued"
)

// The states of a device in a job.
const (
	rowPending   = "pending"
	rowRunning   = "running"
	rowCompleted = "completed"
	rowFailed    = "failed"
	rowCanceled  = "canceled"
)

const (
	maxJobID = 64
	// defaultJobTime and maxJobTime are how long a job may take.
	defaultJobTime = time.Hour
	maxJobTime     = 48 * time.Hour
	// maxJobDelay is how far ahead a job may start.
	maxJobDelay = 30 * 24 * time.Hour
	// keepJobs is how long a job is remembered after its end.
	keepJobs = 30 * 24 * time.Hour
	// maxRunningJobs run at once, and maxWaitingJobs have not ended.
	maxRunningJobs = 10
	maxWaitingJobs = 100
	// jobWorkers is how many devices of a job are worked on at once, and
	// jobChunk how many share a document.
	jobWorkers = 10
	jobChunk   = 200
)

// ScheduledJob is a method call or a change of twins on all devices that meet a
// condition (wire-service B9).
type ScheduledJob struct {
	JobID          string `json:"jobId"`
	QueryCondition string `json:"queryCondition"`
	CreatedTime    Time   `json:"createdTime"`
	StartTime      Time   `json:"startTime"`
	// EndTime is zero until the job has ended.
	EndTime Time `json:"endTime"`
	// MaxSeconds is how long it may take from its start; default 3600.
	MaxSeconds int64  `json:"maxExecutionTimeInSeconds"`
	Type       string `json:"type"`
	// Method is what is called, Twin the merge patch of tags and desired
	// properties: one of the two.
	Method *JobMethod      `json:"cloudToDeviceMethod,omitempty"`
	Twin   json.RawMessage `json:"updateTwin,omitempty"`

	Status        string        `json:"status"`
	FailureReason *string       `json:"failureReason,omitempty"`
	StatusMessage *string       `json:"statusMessage,omitempty"`
	Statistics    JobStatistics `json:"deviceJobStatistics"`
}

// JobMethod is the method that a job calls.
type JobMethod struct {
	Name            string          `json:"methodName"`
	Payload         json.RawMessage `json:"payload,omitempty"`
	ResponseSeconds *int            `json:"responseTimeoutInSeconds,omitempty"`
	ConnectSeconds  *int            `json:"connectTimeoutInSeconds,omitempty"`
}

// JobStatistics counts the devices of a job by their states.
type JobStatistics struct {
	Devices   int `json:"deviceCount"`
	Failed    int `json:"failedCount"`
	Succeeded int `json:"succeededCount"`
	Running   int `json:"runningCount"`
	Pending   int `json:"pendingCount"`
}

// jobRow is a device's part of a job: a row of devices.jobs.
type jobRow struct {
	DeviceID string      `json:"deviceId"`
	JobID    string      `json:"jobId"`
	JobType  string      `json:"jobType"`
	Status   string      `json:"status"`
	Start    Time        `json:"startTimeUtc"`
	End      Time        `json:"endTimeUtc"`
	Created  Time        `json:"createdDateTimeUtc"`
	Updated  Time        `json:"lastUpdatedDateTimeUtc"`
	Outcome  *jobOutcome `json:"outcome,omitempty"`
	Error    *jobError   `json:"error,omitempty"`
}

type jobOutcome struct {
	Method *jobMethodResult `json:"deviceMethodResponse,omitempty"`
}

type jobMethodResult struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

type jobError struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

var _ query.Row = (*jobRow)(nil)

// Lookup returns the value at a path.
func (r *jobRow) Lookup(path []string) query.Value {
	switch path[0] {
	case "deviceId":
		return only(path, query.Text(r.DeviceID))
	case "jobId":
		return only(path, query.Text(r.JobID))
	case "jobType":
		return only(path, query.Text(r.JobType))
	case "status":
		return only(path, query.Text(r.Status))
	case "createdTimeUtc": // the name in the documentation
		path = append([]string{"createdDateTimeUtc"}, path[1:]...)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return query.Value{}
	}
	return jsonAt(data, path)
}

// scheduledJobs holds the jobs.
type scheduledJobs struct {
	hub    *Hub
	bucket Bucket
	rows   Spool
	ctx    context.Context // ends when the hub closes
	cancel context.CancelFunc
	wake   chan struct{} // room for one

	mu      sync.Mutex
	jobs    map[string]*scheduledJob
	running int
}

// scheduledJob is a job with its devices, guarded by scheduledJobs.mu.
type scheduledJob struct {
	ScheduledJob
	condition *query.Condition
	chunks    [][]*jobRow
	rev       uint64
	active    bool               // its goroutine runs
	stop      context.CancelFunc // of that
	canceled  bool
}

// CreateJob takes a job on. Its id must be new. Errors are *Error: 400004 for what
// is wrong with it, 409104 when there is such a job, 429004 when too many wait.
func (h *Hub) CreateJob(ctx context.Context, j ScheduledJob) (ScheduledJob, error) {
	now := h.now().UTC()
	made, err := newJob(j, now)
	if err != nil {
		return ScheduledJob{}, err
	}
	s := &h.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.isClosing() {
		return ScheduledJob{}, errClosed()
	}
	if s.jobs[made.JobID] != nil {
		return ScheduledJob{}, NewError(CodeJobAlreadyExists, "there is a job %q already", made.JobID)
	}
	waiting := 0
	for _, other := range s.jobs {
		if !other.done() {
			waiting++
		}
	}
	if waiting >= maxWaitingJobs {
		return ScheduledJob{}, NewError(CodeTooManyJobs, "%d jobs have not ended, which is the limit", waiting)
	}
	if err := s.storeLocked(ctx, made); err != nil {
		return ScheduledJob{}, err
	}
	s.jobs[made.JobID] = made
	s.tell()
	return made.ScheduledJob, nil
}

// newJob checks a job and fills it in.
func newJob(j ScheduledJob, now time.Time) (*scheduledJob, error) {
	fail := func(format string, args ...any) (*scheduledJob, error) {
		return nil, NewError(CodeArgumentInvalid, format, args...)
	}
	if len(j.JobID) > maxJobID || validateID("jobId", j.JobID) != nil {
		return fail("jobId is %q: it has to be 1 to %d characters as in ids of devices", j.JobID, maxJobID)
	}
	switch {
	case strings.EqualFold(j.Type, JobMethodType):
		j.Type, j.Twin = JobMethodType, nil
		if j.Method == nil {
			return fail("cloudToDeviceMethod is missing")
		}
		c := j.Method.call()
		if err := c.check(); err != nil {
			return nil, err
		}
	case strings.EqualFold(j.Type, JobTwinType):
		j.Type, j.Method = JobTwinType, nil
		if len(j.Twin) == 0 || string(j.Twin) == "null" {
			return fail("updateTwin is missing")
		}
		if _, err := parseTwinUpdate(identityKey{}, withoutIDs(j.Twin), false); err != nil {
			return nil, err
		}
	default:
		return fail("type is %q, allowed are %s and %s", j.Type, JobMethodType, JobTwinType)
	}
	if strings.TrimSpace(j.QueryCondition) == "" {
		return fail("queryCondition is missing; * is every device")
	}
	condition, err := parseTwinCondition(j.QueryCondition)
	if err != nil {
		return nil, err
	}
	if j.MaxSeconds == 0 {
		j.MaxSeconds = int64(defaultJobTime / time.Second)
	}
	if j.MaxSeconds < 1 || j.MaxSeconds > int64(maxJobTime/time.Second) {
		return fail("maxExecutionTimeInSeconds is %d, allowed are 1 to %d", j.MaxSeconds, int64(maxJobTime/time.Second))
	}
	if j.StartTime.IsZero() || j.StartTime.Before(now) {
		j.StartTime = Time{now}
	}
	if j.StartTime.Sub(now) > maxJobDelay {
		return fail("startTime is more than 30 days ahead")
	}
	j.CreatedTime, j.EndTime, j.Status = Time{now}, Time{}, JobScheduled
	j.FailureReason, j.StatusMessage, j.Statistics = nil, nil, JobStatistics{}
	return &scheduledJob{ScheduledJob: j, condition: condition}, nil
}

// withoutIDs leaves the ids out of a twin: a job is for many.
func withoutIDs(twin json.RawMessage) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(twin, &object) != nil {
		return twin
	}
	for name := range object {
		if strings.EqualFold(name, "deviceId") || strings.EqualFold(name, "moduleId") {
			delete(object, name)
		}
	}
	data, err := json.Marshal(object)
	if err != nil {
		return twin
	}
	return data
}

func (m *JobMethod) call() MethodCall {
	c := MethodCall{Name: m.Name, Payload: m.Payload, ResponseTimeout: DefaultResponseTimeout}
	if m.ResponseSeconds != nil {
		c.ResponseTimeout = time.Duration(*m.ResponseSeconds) * time.Second
	}
	if m.ConnectSeconds != nil {
		c.ConnectTimeout = time.Duration(*m.ConnectSeconds) * time.Second
	}
	return c
}

func (j *scheduledJob) done() bool {
	return j.Status == JobCompleted || j.Status == JobFailed || j.Status == JobCancelled
}

// view is the job as the back end sees it. scheduledJobs.mu is held.
func (j *scheduledJob) view() ScheduledJob {
	v := j.ScheduledJob
	v.Statistics = JobStatistics{}
	for _, chunk := range j.chunks {
		for _, r := range chunk {
			v.Statistics.Devices++
			switch r.Status {
			case rowPending:
				v.Statistics.Pending++
			case rowRunning:
				v.Statistics.Running++
			case rowCompleted:
				v.Statistics.Succeeded++
			default:
				v.Statistics.Failed++
			}
		}
	}
	return v
}

// Job returns a job; 404002 when there is none.
func (h *Hub) Job(id string) (ScheduledJob, error) {
	s := &h.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return ScheduledJob{}, NewError(CodeJobNotFound, "there is no job %q", id)
	}
	return j.view(), nil
}

// Jobs returns the jobs of a type and a state, either of which may be empty for
// any, in the order of their ids: up to pageSize of them behind the id that the
// continuation names. next is the continuation of the next page, or empty.
func (h *Hub) Jobs(jobType, status string, pageSize int, continuation string) (list []ScheduledJob, next string, err error) {
	if pageSize == 0 {
		pageSize = defaultPage
	}
	if pageSize < 1 || pageSize > maxPage {
		return nil, "", NewError(CodeArgumentInvalid, "the page size is %d, allowed are 1 to %d", pageSize, maxPage)
	}
	about := "jobs " + strings.ToLower(jobType) + " " + strings.ToLower(status)
	from, err := parseToken(about, continuation)
	if err != nil {
		return nil, "", err
	}
	s := &h.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, j := range s.jobs {
		if id > from.Job && (jobType == "" || strings.EqualFold(jobType, j.Type)) && (status == "" || strings.EqualFold(status, j.Status)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	list = make([]ScheduledJob, 0, min(len(ids), pageSize))
	for i, id := range ids {
		if i == pageSize {
			return list, pageToken{Rows: from.Rows + i, Job: ids[i-1]}.encode(about), nil
		}
		list = append(list, s.jobs[id].view())
	}
	return list, "", nil
}

// CancelJob ends a job: devices that it has not got to are left alone. What has
// ended cannot be cancelled. Errors are *Error: 404002, 400003.
func (h *Hub) CancelJob(ctx context.Context, id string) (ScheduledJob, error) {
	s := &h.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return ScheduledJob{}, NewError(CodeJobNotFound, "there is no job %q", id)
	}
	if j.done() {
		return ScheduledJob{}, NewError(CodeInvalidOperation, "the job %q has ended already: %s", id, j.Status)
	}
	before := j.ScheduledJob
	j.Status, j.EndTime, j.canceled = JobCancelled, Time{h.now().UTC()}, true
	if err := s.storeLocked(ctx, j); err != nil {
		j.ScheduledJob, j.canceled = before, false
		return ScheduledJob{}, err
	}
	if j.stop != nil {
		j.stop()
	}
	return j.view(), nil
}

// eachRow calls fn with a copy of every row until it returns false.
func (s *scheduledJobs) eachRow(ctx context.Context, fn func(*jobRow) bool) error {
	s.mu.Lock()
	var rows []*jobRow
	for _, j := range s.jobs {
		for _, chunk := range j.chunks {
			for _, r := range chunk {
				c := *r
				rows = append(rows, &c)
			}
		}
	}
	s.mu.Unlock()
	for _, r := range rows {
		if !fn(r) {
			break
		}
	}
	return ctx.Err()
}

// storeLocked stores a job without its devices. s.mu is held.
func (s *scheduledJobs) storeLocked(ctx context.Context, j *scheduledJob) error {
	data, err := json.Marshal(j.ScheduledJob)
	if err != nil {
		return storageError("job", err)
	}
	var rev uint64
	if j.rev == 0 {
		rev, err = s.bucket.Create(ctx, j.JobID, data)
	} else {
		rev, err = s.bucket.Update(ctx, j.JobID, data, j.rev)
	}
	if err != nil {
		return storageError("job", err)
	}
	j.rev = rev
	return nil
}

func chunkKey(jobID string, n int) string { return fmt.Sprintf("%s/%06d", jobID, n) }
