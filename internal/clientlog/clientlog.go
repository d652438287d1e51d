// Package clientlog writes what happens to a client into the user's log, from
// the events of the engine: never payloads, never secrets, and at no cost when
// there is no log.
package clientlog

import (
	"context"
	"log/slog"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
)

// Log is a user's log. A nil *Log writes nothing. It belongs to whoever runs
// the callbacks.
type Log struct {
	l      *slog.Logger
	resent uint64 // as last written
}

// New returns a log that writes to l, nil for a nil l.
func New(l *slog.Logger) *Log {
	if l == nil {
		return nil
	}
	return &Log{l: l}
}

// Wants reports whether Events has something to say about events that nobody
// else wants to see: messages that were not delivered.
func (l *Log) Wants(events []engine.Event) bool {
	if l == nil {
		return false
	}
	for i := range events {
		if e := &events[i]; e.Kind == engine.EventConfirm && e.Confirmation.Result != iothub.ConfirmOK {
			return true
		}
	}
	return false
}

// Events writes what a program's operator should know of events. stats returns
// the client's counters; it is called at most once.
func (l *Log) Events(events []engine.Event, stats func() iothub.Stats) {
	if l == nil || len(events) == 0 {
		return
	}
	st := stats()
	lost := map[iothub.ConfirmationResult]int{}
	var first [iothub.ConfirmError + 1]error
	for i := range events {
		switch e := &events[i]; e.Kind {
		case engine.EventDial:
			l.l.Debug("connecting")
		case engine.EventStatus:
			l.status(e.Status, &st)
		case engine.EventConfirm:
			if r := e.Confirmation.Result; r != iothub.ConfirmOK && int(r) < len(first) {
				if lost[r]++; lost[r] == 1 {
					first[r] = e.Confirmation.Err
				}
			}
		}
	}
	if st.Resent > l.resent {
		l.l.Info("messages were sent again after a reconnect", "messages", st.Resent-l.resent)
	}
	l.resent = st.Resent
	for r, err := range first {
		result := iothub.ConfirmationResult(r)
		if lost[result] == 0 {
			continue
		}
		level := slog.LevelWarn
		if result == iothub.ConfirmBecauseDestroy {
			level = slog.LevelInfo // somebody wanted it
		}
		l.l.Log(context.Background(), level, "messages were not delivered", "messages", lost[result], "result", result.String(), "error", err)
	}
}

func (l *Log) status(e *iothub.ConnectionEvent, st *iothub.Stats) {
	switch {
	case e.Status == iothub.Authenticated:
		l.l.Info("connected", "connection", st.Connects, "queued", st.Queued)
	case e.Err == nil:
		l.l.Info("replacing the connection", "reason", e.Reason.String())
	case e.RetryIn < 0 && e.Reason != iothub.ReasonRetryExpired:
		l.refused(slog.LevelWarn, "not connected", e)
	case e.RetryIn < 0:
		l.refused(slog.LevelError, "not connected and not trying any more", e)
	default:
		l.refused(slog.LevelWarn, "not connected", e, "retry_in", e.RetryIn, "queued", st.Queued)
	}
}

func (l *Log) refused(level slog.Level, text string, e *iothub.ConnectionEvent, more ...any) {
	attrs := []any{"reason", e.Reason.String(), "kind", iothub.KindOf(e.Err).String(), "error", e.Err}
	if a := iothub.ActionOf(e.Err); a != iothub.ActionNone {
		attrs = append(attrs, "advice", a.String())
	}
	l.l.Log(context.Background(), level, text, append(attrs, more...)...)
}
