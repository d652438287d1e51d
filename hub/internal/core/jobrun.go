package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A job goes through its devices in chunks. What a chunk is about to do is stored
// before it does it, and what has become of it afterwards, so that after a crash a
// change of a twin is made again, which does no harm, and a method is not called
// twice: where it is not known whether it was called, the device has failed.

// init prepares for open.
func (s *scheduledJobs) init(h *Hub) {
	s.hub, s.jobs, s.wake = h, make(map[string]*scheduledJob), make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
}

// open reads the jobs there are.
func (s *scheduledJobs) open(ctx context.Context, storage Storage) error {
	var err error
	if s.bucket, err = storage.Bucket(ctx, "jobs"); err != nil {
		return err
	}
	if s.rows, err = storage.Spool(ctx, "job-rows"); err != nil {
		return err
	}
	stop, err := s.bucket.Watch(ctx, func(c Change) {
		if c.Deleted {
			return
		}
		j := &scheduledJob{rev: c.Revision}
		err := json.Unmarshal(c.Value, &j.ScheduledJob)
		if err == nil {
			j.condition, err = parseTwinCondition(j.QueryCondition)
		}
		if err != nil {
			s.hub.log.Error("a stored job is damaged and left out", "job", c.Key, "error", err)
			return
		}
		s.mu.Lock()
		s.jobs[c.Key] = j
		s.mu.Unlock()
	})
	if err != nil {
		return err
	}
	stop() // this process is the only one that writes
	return s.readRows(ctx)
}

// readRows reads what has become of the devices. Rows of no job are removed.
func (s *scheduledJobs) readRows(ctx context.Context) error {
	var orphans []string
	err := s.rows.Each(ctx, func(key string, value []byte) error {
		i := strings.LastIndexByte(key, '/')
		if i < 0 || s.jobs[key[:i]] == nil {
			orphans = append(orphans, key)
			return nil
		}
		n, err := strconv.Atoi(key[i+1:])
		var rows []*jobRow
		if err != nil || n < 0 || n > 1<<20 || json.Unmarshal(value, &rows) != nil {
			s.hub.log.Error("stored rows of a job are damaged and left out", "key", key)
			return nil
		}
		j := s.jobs[key[:i]]
		for len(j.chunks) <= n {
			j.chunks = append(j.chunks, nil)
		}
		j.chunks[n] = rows
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range orphans {
		if err := s.rows.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// tell wakes the scheduler.
func (s *scheduledJobs) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run starts jobs when they are due, and forgets them when they are old. It ends
// when the hub closes.
func (s *scheduledJobs) run() {
	for {
		timer := time.NewTimer(s.startDue())
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// startDue starts what is due and says how long there is nothing to do.
func (s *scheduledJobs) startDue() time.Duration {
	wait := 24 * time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == 0 {
		return wait
	}
	now := s.hub.now()
	for id, j := range s.jobs {
		switch {
		case j.active:
		case j.done():
			if left := j.EndTime.Add(keepJobs).Sub(now); left > 0 {
				wait = min(wait, left)
			} else {
				s.forgetLocked(id, j)
			}
		case j.StartTime.After(now):
			wait = min(wait, j.StartTime.Sub(now))
		case s.running < maxRunningJobs:
			s.running++
			j.active = true
			var ctx context.Context
			ctx, j.stop = context.WithCancel(s.ctx)
			s.hub.wg.Go(func() { s.execute(ctx, j) })
		case j.Status == JobScheduled:
			j.Status = JobQueued // until another one ends
		}
	}
	return wait
}

// forgetLocked removes a job. What cannot be removed now goes after a restart.
func (s *scheduledJobs) forgetLocked(id string, j *scheduledJob) {
	delete(s.jobs, id)
	if _, err := s.bucket.Delete(s.ctx, id, j.rev); err != nil {
		s.hub.log.Warn("an old job is still stored", "job", id, "error", err)
		return
	}
	for n := range j.chunks {
		if err := s.rows.Remove(s.ctx, chunkKey(id, n)); err != nil {
			s.hub.log.Warn("an old job is still stored in parts", "job", id, "error", err)
		}
	}
}

// execute runs a job to its end, or until it is cancelled or the hub closes.
func (s *scheduledJobs) execute(ctx context.Context, j *scheduledJob) {
	err := s.executeAll(ctx, j)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.stop()
	j.active, j.stop = false, nil
	s.running--
	s.tell()
	if s.ctx.Err() != nil || j.canceled {
		return // it goes on after a restart, or has been stored already
	}
	j.Status, j.EndTime = JobCompleted, Time{s.hub.now().UTC()}
	if err != nil {
		reason := err.Error()
		j.Status, j.FailureReason = JobFailed, &reason
	}
	if err := s.storeLocked(s.ctx, j); err != nil {
		s.hub.log.Error("the end of a job was not stored", "job", j.JobID, "error", err)
	}
}

func (s *scheduledJobs) executeAll(ctx context.Context, j *scheduledJob) error {
	s.mu.Lock()
	fresh := j.Status != JobRunning
	j.Status = JobRunning
	started := s.hub.now()
	if !fresh && j.StartTime.Before(started) {
		started = j.StartTime.Time
	}
	s.mu.Unlock()
	limit := started.Add(time.Duration(j.MaxSeconds) * time.Second).Sub(s.hub.now())
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if fresh {
		if err := s.choose(ctx, j); err != nil {
			return err
		}
	}
	for n := range j.chunks {
		if err := s.work(ctx, j, n); err != nil {
			return err
		}
	}
	return nil
}

// choose finds the devices of a job and stores them, and that the job runs.
func (s *scheduledJobs) choose(ctx context.Context, j *scheduledJob) error {
	now := Time{s.hub.now().UTC()}
	var ids []string
	for _, dev := range s.hub.devicesNow() {
		if j.condition.Matches(&twinRow{hub: s.hub, dev: dev}) {
			ids = append(ids, dev.ID)
		}
	}
	slices.Sort(ids)
	var chunks [][]*jobRow
	for part := range slices.Chunk(ids, jobChunk) {
		var rows []*jobRow
		for _, id := range part {
			rows = append(rows, &jobRow{
				DeviceID: id, JobID: j.JobID, JobType: j.Type, Status: rowPending, Created: now, Updated: now,
			})
		}
		if err := s.put(ctx, j, len(chunks), rows); err != nil {
			return err
		}
		chunks = append(chunks, rows)
	}
	s.mu.Lock()
	j.chunks = chunks
	if j.canceled {
		s.mu.Unlock()
		return ctx.Err()
	}
	err := s.storeLocked(ctx, j)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for _, rows := range chunks {
		s.events(rows, "createDeviceJob")
	}
	return nil
}

func (s *scheduledJobs) put(ctx context.Context, j *scheduledJob, n int, rows []*jobRow) error {
	data, err := json.Marshal(rows)
	if err == nil {
		err = s.rows.Put(context.WithoutCancel(ctx), chunkKey(j.JobID, n), data)
	}
	if err != nil {
		return storageError("job", err)
	}
	return nil
}

// work goes through the devices of a chunk. The chunk belongs to it; readers look
// at rows under s.mu.
func (s *scheduledJobs) work(ctx context.Context, j *scheduledJob, n int) error {
	rows := j.chunks[n]
	var todo, ended []*jobRow
	s.mu.Lock()
	for _, r := range rows {
		switch {
		case r.Status == rowPending, r.Status == rowRunning && j.Type == JobTwinType:
			todo = append(todo, r)
			s.mark(r, rowRunning, nil)
		case r.Status == rowRunning:
			s.mark(r, rowFailed, &jobError{"JobInterrupted", "the hub was restarted while the method was being called, and nobody knows whether it was"})
			ended = append(ended, r)
		}
	}
	s.mu.Unlock()
	if len(todo)+len(ended) == 0 {
		return nil
	}
	if ctx.Err() == nil {
		if err := s.put(ctx, j, n, rows); err != nil {
			return err
		}
		s.events(append(ended, todo...), updateDeviceJob)
		ended = nil
	}
	next := make(chan *jobRow)
	var wg sync.WaitGroup
	for range min(jobWorkers, len(todo)) {
		wg.Go(func() {
			for r := range next {
				s.one(ctx, j, r)
			}
		})
	}
	for _, r := range todo {
		next <- r
	}
	close(next)
	wg.Wait()
	if s.ctx.Err() != nil {
		return s.ctx.Err() // what is stored says that it was going on
	}
	if err := s.put(ctx, j, n, rows); err != nil {
		return err
	}
	s.events(append(ended, todo...), updateDeviceJob)
	return nil
}

// mark notes what has become of a device. s.mu is held.
func (s *scheduledJobs) mark(r *jobRow, status string, failed *jobError) {
	now := Time{s.hub.now().UTC()}
	switch status {
	case rowRunning:
		r.Start = now
	default:
		r.End = now
	}
	r.Status, r.Error, r.Updated = status, failed, now
}

// one does for one device what the job is about.
func (s *scheduledJobs) one(ctx context.Context, j *scheduledJob, r *jobRow) {
	var outcome *jobOutcome
	err := ctx.Err()
	if err == nil {
		outcome, err = s.do(ctx, j, r.DeviceID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Outcome = outcome
	switch e, known := errors.AsType[*Error](err); {
	case err == nil:
		s.mark(r, rowCompleted, nil)
	case j.canceled:
		s.mark(r, rowCanceled, nil)
	case known:
		s.mark(r, rowFailed, &jobError{fmt.Sprint(e.Code), e.Message})
	default:
		s.mark(r, rowFailed, &jobError{"JobTimeout", "the time that the job may take is over"})
	}
}

func (s *scheduledJobs) do(ctx context.Context, j *scheduledJob, deviceID string) (*jobOutcome, error) {
	if j.Type == JobMethodType {
		result, err := s.hub.InvokeMethod(ctx, deviceID, "", j.Method.call())
		if err != nil {
			return nil, err
		}
		payload := json.RawMessage(result.Payload)
		if len(payload) == 0 {
			payload = json.RawMessage("null")
		}
		return &jobOutcome{Method: &jobMethodResult{result.Status, payload}}, nil
	}
	var given struct {
		ETag string `json:"etag"`
	}
	_ = json.Unmarshal(j.Twin, &given) // it was parsed when the job was made
	if given.ETag == "" {
		given.ETag = AnyETag
	}
	_, err := s.hub.UpdateTwin(ctx, deviceID, "", withoutIDs(j.Twin), given.ETag)
	return nil, err
}
