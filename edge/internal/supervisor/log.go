package supervisor

import (
	"bytes"
	"sync"
	"time"
)

const (
	// maxLine is where a line without an end is cut.
	maxLine = 16 << 10
	// maxLines and maxLogBytes bound what is kept of a program.
	maxLines    = 5000
	maxLogBytes = 1 << 20
)

// Line is one line that a program has printed, without its end.
type Line struct {
	At    time.Time
	Error bool // on standard error
	Text  string
}

// Log keeps the last lines of a program, of all its starts. It is safe for use by
// many goroutines.
type Log struct {
	// Show, if it is not nil, is called with each line, one at a time.
	Show func(Line)

	mu    sync.Mutex
	lines []Line
	bytes int
}

// Lines returns what is kept, the oldest first.
func (l *Log) Lines() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Line(nil), l.lines...)
}

// Add keeps a line, and lets the oldest go.
func (l *Log) Add(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	l.bytes += len(line.Text)
	drop := 0
	for len(l.lines)-drop > maxLines || l.bytes > maxLogBytes {
		l.bytes -= len(l.lines[drop].Text)
		drop++
	}
	l.lines = l.lines[drop:]
	if l.Show != nil {
		l.Show(line)
	}
}

func (l *Log) stream(isError bool) *stream { return &stream{log: l, isError: isError} }

// stream cuts what a program prints into lines.
type stream struct {
	log     *Log
	isError bool

	mu   sync.Mutex
	rest []byte
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte{'\n'})
		if !found {
			break
		}
		s.put(bytes.TrimSuffix(line, []byte{'\r'}))
		s.rest = rest
	}
	for len(s.rest) > maxLine {
		s.put(s.rest[:maxLine])
		s.rest = s.rest[maxLine:]
	}
	s.rest = append([]byte(nil), s.rest...) // not the whole of what came
	return len(p), nil
}

func (s *stream) put(text []byte) {
	for len(text) > maxLine {
		s.log.Add(Line{time.Now(), s.isError, string(text[:maxLine])})
		text = text[maxLine:]
	}
	s.log.Add(Line{time.Now(), s.isError, string(text)})
}

// flush takes what has come without an end of line.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) > 0 {
		s.put(s.rest)
		s.rest = nil
	}
}
