package core

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/guid"
)

// The types and the states of a [RegistryJob].
const (
	JobImport = "import"
	JobExport = "export"

	JobEnqueued  = "enqueued"
	JobRunning   = "running"
	JobCompleted = "completed"
	JobFailed    = "failed"
	JobCancelled = "cancelled"
)

const (
	defaultDevicesBlob        = "devices.txt"
	defaultConfigurationsBlob = "configurations.txt"
	importErrorsBlob          = "importErrors.log"

	// maxRegistryJobs bounds the jobs that are remembered, and keepRegistryJobs
	// for how long.
	maxRegistryJobs  = 100
	keepRegistryJobs = 30 * 24 * time.Hour
)

// Blobs is a storage account as import and export jobs need it. No error of it
// holds a signature.
type Blobs interface {
	// Check says whether a text can be the URI of a container.
	Check(containerURI string) error
	// Get opens a blob; size is -1 when that is not known.
	Get(ctx context.Context, containerURI, name string) (body io.ReadCloser, size int64, err error)
	// Create begins a blob, which is there once the writer is closed without an
	// error.
	Create(ctx context.Context, containerURI, name string) io.WriteCloser
}

// RegistryJob is the import or the export of all identities, and of configurations
// if it says so (wire-service B10).
type RegistryJob struct {
	JobID string `json:"jobId"`
	Type  string `json:"type"`
	// StartTime and EndTime are zero before the job has started or ended.
	StartTime Time   `json:"startTimeUtc"`
	EndTime   Time   `json:"endTimeUtc"`
	Status    string `json:"status"`
	// Progress is how much is done, in percent.
	Progress int `json:"progress"`
	// InputContainer and OutputContainer are the URIs of containers. Those of a
	// job that was taken on are without the signature, which is kept nowhere.
	InputContainer  string `json:"inputBlobContainerUri,omitempty"`
	InputBlob       string `json:"inputBlobName,omitempty"`
	OutputContainer string `json:"outputBlobContainerUri,omitempty"`
	OutputBlob      string `json:"outputBlobName,omitempty"`
	ExcludeKeys     bool   `json:"excludeKeysInExport"`
	// IncludeConfigurations has the job take configurations along, which are in a
	// blob of their own, in the container that the identities are in.
	IncludeConfigurations bool   `json:"includeConfigurations,omitempty"`
	ConfigurationsBlob    string `json:"configurationsBlobName,omitempty"`
	// StorageAuthentication is keyBased, the default; there is no other here.
	StorageAuthentication string  `json:"storageAuthenticationType,omitempty"`
	FailureReason         *string `json:"failureReason"`
}

// Done reports whether the job has ended.
func (j *RegistryJob) Done() bool {
	return j.Status == JobCompleted || j.Status == JobFailed || j.Status == JobCancelled
}

// registryJobs holds the jobs there were of late, of which one may be running.
type registryJobs struct {
	hub    *Hub
	bucket Bucket

	mu      sync.Mutex
	jobs    map[string]*registryJob
	running *registryJob
	closed  bool
}

type registryJob struct {
	RegistryJob // guarded by registryJobs.mu
	rev         uint64
	cancel      context.CancelFunc // of the one that is running
}

// open reads the jobs. One that did not end with the hub's last run has failed.
func (r *registryJobs) open(ctx context.Context, storage Storage) error {
	var err error
	if r.bucket, err = storage.Bucket(ctx, "registry-jobs"); err != nil {
		return err
	}
	stop, err := r.bucket.Watch(ctx, func(c Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c.Deleted {
			return
		}
		j := &registryJob{rev: c.Revision}
		if err := json.Unmarshal(c.Value, &j.RegistryJob); err != nil {
			r.hub.log.Error("a stored job is damaged and left out", "job", c.Key, "error", err)
			return
		}
		r.jobs[c.Key] = j
	})
	if err != nil {
		return err
	}
	stop()
	for _, j := range r.jobs {
		if !j.Done() {
			if err := r.end(ctx, j, JobFailed, "the hub was restarted before the job had ended; create it again"); err != nil {
				return err
			}
		}
	}
	return nil
}

// end stores how a job has ended. It shows once it is stored, and then there is
// room for the next one.
func (r *registryJobs) end(ctx context.Context, j *registryJob, status, reason string) error {
	r.mu.Lock()
	ended := j.RegistryJob
	r.mu.Unlock()
	ended.Status, ended.EndTime = status, Time{r.hub.now().UTC()}
	if reason != "" {
		ended.FailureReason = &reason
	}
	if status == JobCompleted {
		ended.Progress = 100
	}
	rev := j.rev
	data, err := json.Marshal(ended)
	if err == nil {
		rev, err = r.bucket.Update(ctx, j.JobID, data, j.rev)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		j.rev = rev
	}
	j.RegistryJob = ended
	if r.running == j {
		r.running = nil
	}
	return err
}

// CreateRegistryJob begins an import or an export. What is missing is filled in.
// Errors are *Error: 403003 while another one has not ended, 400xxx for what is
// not valid.
//
// An import reads one [ImportIdentity] a line from its blob, and then one
// [ImportConfiguration] a line if it includes configurations, and does what each
// says; what goes wrong is appended to importErrors.log in the output container. An
// export writes such lines.
func (h *Hub) CreateRegistryJob(ctx context.Context, j RegistryJob) (RegistryJob, error) {
	r := &h.registryJobs
	if h.cfg.Blobs == nil {
		return RegistryJob{}, NewError(CodeArgumentInvalid, "this hub has no access to blobs")
	}
	if err := j.complete(h.cfg.Blobs); err != nil {
		return RegistryJob{}, err
	}
	input, output := j.InputContainer, j.OutputContainer
	j.InputContainer, j.OutputContainer = unsigned(input), unsigned(output)
	j.JobID, j.Status, j.StartTime = guid.New(), JobRunning, Time{h.now().UTC()}
	j.EndTime, j.Progress, j.FailureReason = Time{}, 0, nil
	made := &registryJob{RegistryJob: j}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return RegistryJob{}, errClosed()
	}
	if r.running != nil {
		r.mu.Unlock()
		return RegistryJob{}, NewError(CodeJobQuotaExceeded, "the job %s has not ended, and there is one import or export at a time", r.running.JobID)
	}
	r.running = made
	r.mu.Unlock()
	free := func() {
		r.mu.Lock()
		r.running = nil
		r.mu.Unlock()
	}
	if err := r.prune(ctx); err != nil {
		free()
		return RegistryJob{}, storageError("create job", err)
	}
	data, err := json.Marshal(j)
	if err == nil {
		made.rev, err = r.bucket.Create(ctx, j.JobID, data)
	}
	if err != nil {
		free()
		return RegistryJob{}, storageError("create job", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[j.JobID] = made
	run, cancel := context.WithCancel(context.Background())
	made.cancel = cancel
	if r.closed {
		cancel()
	}
	h.wg.Go(func() {
		defer cancel()
		r.run(run, made, input, output)
	})
	return j, nil
}

// complete fills in and checks a new job.
func (j *RegistryJob) complete(blobs Blobs) error {
	j.Type = strings.ToLower(j.Type)
	switch j.Type {
	case JobImport:
		if j.InputBlob == "" {
			j.InputBlob = defaultDevicesBlob
		}
		j.OutputBlob = importErrorsBlob
		if err := blobs.Check(j.InputContainer); err != nil {
			return NewError(CodeBlobContainerValidation, "inputBlobContainerUri: %v", err)
		}
	case JobExport:
		if j.OutputBlob == "" {
			j.OutputBlob = defaultDevicesBlob
		}
		j.InputContainer, j.InputBlob = "", ""
	default:
		return NewError(CodeArgumentInvalid, "type is %.40q, allowed are import and export", j.Type)
	}
	if err := blobs.Check(j.OutputContainer); err != nil {
		return NewError(CodeBlobContainerValidation, "outputBlobContainerUri: %v", err)
	}
	switch {
	case !j.IncludeConfigurations:
		j.ConfigurationsBlob = ""
	case j.ConfigurationsBlob == "":
		j.ConfigurationsBlob = defaultConfigurationsBlob
	}
	if j.StorageAuthentication != "" && !strings.EqualFold(j.StorageAuthentication, "keyBased") {
		return NewError(CodeArgumentInvalid, "storageAuthenticationType is %.40q; this hub has no managed identity, only keyBased is possible", j.StorageAuthentication)
	}
	for name, blob := range map[string]string{
		"inputBlobName": j.InputBlob, "outputBlobName": j.OutputBlob, "configurationsBlobName": j.ConfigurationsBlob,
	} {
		if len(blob) > 1024 {
			return NewError(CodeArgumentInvalid, "%s has %d characters, the limit is 1024", name, len(blob))
		}
	}
	return nil
}

// unsigned takes the signature off a URI.
func unsigned(uri string) string {
	head, _, _ := strings.Cut(uri, "?")
	return head
}

// prune forgets the jobs that ended long ago, and the oldest of too many.
func (r *registryJobs) prune(ctx context.Context) error {
	r.mu.Lock()
	var done []*registryJob
	for _, j := range r.jobs {
		if j.Done() {
			done = append(done, j)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(done, func(a, b *registryJob) int { return b.EndTime.Compare(a.EndTime.Time) })
	oldest := r.hub.now().Add(-keepRegistryJobs)
	for i, j := range done {
		if i < maxRegistryJobs-1 && j.EndTime.After(oldest) {
			continue
		}
		if _, err := r.bucket.Delete(ctx, j.JobID, j.rev); err != nil && !errors.Is(err, ErrRevision) {
			return err
		}
		r.mu.Lock()
		delete(r.jobs, j.JobID)
		r.mu.Unlock()
	}
	return nil
}

// run carries a job out, on a goroutine of its own.
func (r *registryJobs) run(ctx context.Context, j *registryJob, input, output string) {
	progress := func(percent int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		j.Progress = max(j.Progress, min(percent, 99))
	}
	var note string
	var err error
	if j.Type == JobExport {
		err = r.hub.exportTo(ctx, output, &j.RegistryJob, progress)
	} else {
		note, err = r.hub.importFrom(ctx, input, output, &j.RegistryJob, progress)
	}
	status := JobCompleted
	switch {
	case ctx.Err() != nil && r.hub.isClosing():
		status, note = JobFailed, "the hub was shut down before the job had ended; create it again"
	case ctx.Err() != nil:
		status, note = JobCancelled, "the job was cancelled"
	case err != nil:
		status, note = JobFailed, err.Error()
	}
	// However the job ended, its end is worth the write.
	if err := r.end(context.Background(), j, status, note); err != nil {
		r.hub.log.Error("the end of a job was not stored", "job", j.JobID, "error", err)
	}
}

// RegistryJob returns a job; 404002 when there is none.
func (h *Hub) RegistryJob(id string) (RegistryJob, error) {
	r := &h.registryJobs
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.jobs[id]
	if j == nil {
		return RegistryJob{}, jobNotFound(id)
	}
	return j.RegistryJob, nil
}

func jobNotFound(id string) *Error { return NewError(CodeJobNotFound, "there is no job %.100q", id) }

// RegistryJobs returns the imports and exports of the last 30 days, at most a
// hundred, the newest first.
func (h *Hub) RegistryJobs() []RegistryJob {
	r := &h.registryJobs
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]RegistryJob, 0, len(r.jobs))
	for _, j := range r.jobs {
		list = append(list, j.RegistryJob)
	}
	slices.SortFunc(list, func(a, b RegistryJob) int {
		return cmp.Or(b.StartTime.Compare(a.StartTime.Time), cmp.Compare(a.JobID, b.JobID))
	})
	return list
}

// CancelRegistryJob has a job end soon; what it has done stays done. A job that
// has ended is left as it is. 404002 when there is none.
func (h *Hub) CancelRegistryJob(id string) error {
	r := &h.registryJobs
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.jobs[id]
	if j == nil {
		return jobNotFound(id)
	}
	if j.cancel != nil {
		j.cancel()
	}
	return nil
}

// close has the running job end.
func (r *registryJobs) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.running != nil && r.running.cancel != nil {
		r.running.cancel()
	}
}

// importNote says how many lines of an import failed.
func importNote(failed, lines int) string {
	if failed == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d lines were not imported, see %s", failed, lines, importErrorsBlob)
}
