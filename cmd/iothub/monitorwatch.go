package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
)

const (
	// maxPause bounds the wait between attempts to connect again.
	maxPause = 5 * time.Second
	// maxLine bounds a line of the stream: the largest event is 256 KiB, and
	// base64 and escapes make it longer.
	maxLine = 4 << 20
)

// watcher reads the events of a hub, partition by partition, because each has
// offsets of its own to go on from.
type watcher struct {
	flags  *monitorFlags
	cs     *iothub.ConnectionString
	client *http.Client
	warn   func(format string, args ...any)
}

// watchedEvent is a line of the stream: what it says, and the line itself.
type watchedEvent struct {
	Partition        int               `json:"partition"`
	Offset           string            `json:"offset"`
	EnqueuedTime     time.Time         `json:"enqueuedTime"`
	DeviceID         string            `json:"deviceId"`
	ModuleID         string            `json:"moduleId"`
	Properties       map[string]string `json:"properties"`
	SystemProperties map[string]string `json:"systemProperties"`
	Body             []byte            `json:"body"`

	line []byte
}

// refusedError is an answer of the hub that is no stream of events.
type refusedError struct {
	status  int
	code    string // the hub's name for it
	message string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the hub answered %d: %s", e.status, e.message)
}

// run prints events until there is a reason to end, which is nil for the good
// ones.
func (w *watcher) run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	partitions, err := w.partitions(ctx)
	if err != nil {
		return w.explain(ctx, err)
	}
	events, failed := make(chan *watchedEvent, 64), make(chan error, len(partitions))
	var wg sync.WaitGroup
	for _, p := range partitions {
		wg.Go(func() {
			if err := w.follow(ctx, p, events); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	go func() {
		wg.Wait()
		close(events)
	}()
	printed, err := 0, error(nil)
	for e := range events {
		if err != nil || w.flags.max > 0 && printed >= w.flags.max {
			continue // lets the readers end
		}
		if _, err = out.Write(w.format(e)); err != nil {
			cancel()
		}
		if printed++; printed == w.flags.max {
			cancel()
		}
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	select {
	case err := <-failed:
		return w.explain(ctx, err)
	default:
		return nil
	}
}

func (w *watcher) format(e *watchedEvent) []byte {
	if w.flags.json {
		return append(e.line, '\n')
	}
	return formatEvent(e)
}

// partitions finds out which partitions to read: the one asked for, or all that
// the hub has.
func (w *watcher) partitions(ctx context.Context) ([]int, error) {
	first := max(w.flags.partition, 0)
	var found []int
	for p := first; ; p++ {
		body, err := w.open(ctx, p, "now", false)
		if e, ok := errors.AsType[*refusedError](err); ok && e.code == "PartitionNotFound" && p > first {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		_ = body.Close() // nothing is read from it
		if found = append(found, p); w.flags.partition >= 0 {
			return found, nil
		}
	}
}

// follow reads one partition, connecting again for as long as that may help.
func (w *watcher) follow(ctx context.Context, partition int, events chan<- *watchedEvent) error {
	from, pause := w.flags.from, 100*time.Millisecond
	for {
		began := time.Now()
		next, err := w.read(ctx, partition, from, events)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && w.flags.noFollow:
			return nil
		case err == nil:
			err = io.ErrUnexpectedEOF
		case !w.retryable(err):
			return err
		}
		switch {
		case next != "":
			from = next
		case from == "now":
			// What came while the hub was away must not be missed.
			from = began.UTC().Format(time.RFC3339)
		}
		if next != "" || time.Since(began) > maxPause {
			pause = 100 * time.Millisecond
		}
		w.warn("partition %d: %v; connecting again", partition, err)
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, maxPause)
	}
}

// retryable reports whether an error can go away by itself.
func (w *watcher) retryable(err error) bool {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.status >= 500 || e.status == http.StatusTooManyRequests
	}
	return !isTrustError(err)
}

// read opens one stream and passes its events on until it ends. It returns the
// offset of the last one, or "".
func (w *watcher) read(ctx context.Context, partition int, from string, events chan<- *watchedEvent) (last string, err error) {
	body, err := w.open(ctx, partition, from, !w.flags.noFollow)
	if err != nil {
		return "", err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		e := &watchedEvent{line: append([]byte(nil), lines.Bytes()...)}
		if err := json.Unmarshal(e.line, e); err != nil {
			return last, &refusedError{message: "a line that is no event: " + err.Error()}
		}
		select {
		case events <- e:
			last = e.Offset
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
	return last, lines.Err()
}

// open requests a stream of events.
func (w *watcher) open(ctx context.Context, partition int, from string, wait bool) (io.ReadCloser, error) {
	q := url.Values{
		"partition": {strconv.Itoa(partition)}, "from": {from}, "wait": {strconv.FormatBool(wait)},
	}
	if w.flags.device != "" {
		q.Set("device", w.flags.device)
	}
	token, err := w.token(ctx)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.cs.HostName+"/iothub/events?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", token)
	resp, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, refusedFrom(resp)
}

func refusedFrom(resp *http.Response) error {
	e := &refusedError{status: resp.StatusCode, code: resp.Header.Get("iothub-errorcode"), message: resp.Status}
	var body struct{ Message string }
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body) == nil && body.Message != "" {
		_, text, found := strings.Cut(body.Message, ";")
		if !found {
			text = body.Message
		}
		e.message = text
	}
	return e
}

func isTrustError(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return unknown || name || invalid
}

// explain says what to do about an error.
func (w *watcher) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // interrupted
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the authority of %s is not trusted: give its ca.pem with --ca; iothub hub prints where it is", w.cs.HostName)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%w: start the hub with --hostname for the name you use", err)
	}
	if e, ok := errors.AsType[*refusedError](err); ok {
		switch {
		case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden:
			return &exitError{exitRefused, fmt.Errorf("%w; is the connection string that of this hub?", err)}
		case e.status == http.StatusNotFound:
			return fmt.Errorf("%w; %s is not a hub of this program (monitor does not read from the cloud yet)", err, w.cs.HostName)
		}
		return err
	}
	return fmt.Errorf("%s cannot be reached: %w; is the hub running?", w.cs.HostName, err)
}
