package httpfront

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// streamEvents is GET /iothub/events, which only this hub has. Parameters:
//
//	hub        the event hub to read by its name; the built-in one by default
//	partition  all (the default) or numbers separated by commas
//	from       start, now (the default), an RFC 3339 time, or the offset of the
//	           last event read, which then applies to each partition
//	device     only events of this device and its modules
//	wait       true (the default) goes on until the client leaves; false ends
//	           behind the last event there was when the request came
//
// The answer is one JSON object a line.
func streamEvents(q *request) error {
	from, err := core.ParsePosition(q.query.Get("from"))
	if err != nil {
		return err
	}
	wait, err := q.boolean("wait", true)
	if err != nil {
		return err
	}
	hub := q.front.hub.BuiltIn()
	if name := q.query.Get("hub"); name != "" {
		if hub, err = q.front.hub.EventHub(name); err != nil {
			return err
		}
	}
	partitions, err := q.partitions(hub)
	if err != nil {
		return err
	}
	// The stream ends when the token that opened it does.
	ctx, cancel := context.WithTimeout(q.r.Context(), q.principal.Expires.Sub(q.front.hub.Now()))
	defer cancel()
	s := &eventStream{hub: hub, request: q, control: http.NewResponseController(q.w), device: q.query.Get("device")}
	if wait {
		reader, err := hub.NewReader(ctx, from, partitions...)
		if err != nil {
			return err
		}
		defer reader.Close()
		s.begin()
		s.follow(ctx, reader)
		return nil
	}
	// All the ends are found first: what is enqueued from now on is behind them.
	ends := make([]core.PartitionInfo, len(partitions))
	for i, p := range partitions {
		if ends[i], err = hub.PartitionInfo(ctx, p); err != nil {
			return err
		}
	}
	s.begin()
	for _, end := range ends {
		if !end.Empty && !s.readUpTo(ctx, from, end) {
			break
		}
	}
	s.flush()
	return nil
}

func (q *request) boolean(name string, fallback bool) (bool, error) {
	text := q.query.Get(name)
	if text == "" {
		return fallback, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, core.NewError(core.CodeArgumentInvalid, "%s is %q, allowed are true and false", name, text)
	}
	return v, nil
}

func (q *request) partitions(hub *core.EventHub) ([]int, error) {
	var list []int
	text := q.query.Get("partition")
	if text == "" || strings.EqualFold(text, "all") {
		for i := range hub.Partitions() {
			list = append(list, i)
		}
		return list, nil
	}
	seen := make(map[int]bool)
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || seen[n] {
			return nil, core.NewError(core.CodeArgumentInvalid, "partition is %q, allowed are all and different numbers", text)
		}
		seen[n] = true
		list = append(list, n)
	}
	return list, nil
}

type eventStream struct {
	hub     *core.EventHub
	request *request
	control *http.ResponseController
	lines   *json.Encoder
	device  string
}

// begin sends the header. What goes wrong later can only end the stream.
func (s *eventStream) begin() {
	w := s.request.w
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	// The server's time limits are for requests that end.
	_ = s.control.SetWriteDeadline(time.Time{}) // not every writer has one
	w.WriteHeader(http.StatusOK)
	s.flush()
	s.lines = json.NewEncoder(w)
}

// follow passes on what the reader gives until the client goes, flushing
// whenever it has to wait.
func (s *eventStream) follow(ctx context.Context, reader *core.EventReader) {
	for {
		e, err := reader.TryNext(ctx)
		if errors.Is(err, core.ErrNoEvent) {
			s.flush()
			e, err = reader.Next(ctx)
		}
		if err != nil {
			s.request.writeFailed(err)
			return
		}
		if !s.send(&e) {
			return
		}
	}
}

// readUpTo passes on one partition up to its end as it was, and reports whether
// the client is still there.
func (s *eventStream) readUpTo(ctx context.Context, from core.Position, end core.PartitionInfo) bool {
	reader, err := s.hub.NewReader(ctx, from, end.Partition)
	if err != nil {
		s.request.writeFailed(err)
		return false
	}
	defer reader.Close()
	for {
		e, err := reader.TryNext(ctx)
		if errors.Is(err, core.ErrNoEvent) {
			return true // it began behind the end, or retention was faster
		}
		if err != nil {
			s.request.writeFailed(err)
			return false
		}
		if e.SequenceNumber > end.LastSequenceNumber {
			return true
		}
		if !s.send(&e) {
			return false
		}
		if e.SequenceNumber == end.LastSequenceNumber {
			return true
		}
	}
}

func (s *eventStream) send(e *core.StoredEvent) bool {
	if s.device != "" && e.DeviceID != s.device {
		return true
	}
	err := s.lines.Encode(e)
	s.request.writeFailed(err)
	return err == nil
}

func (s *eventStream) flush() {
	s.request.writeFailed(s.control.Flush())
}
