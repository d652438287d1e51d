// Package testkit is what tests of several packages share.
package testkit

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Buffer takes what a program prints, or a log. It is safe for use by many goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String returns all that was written.
func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// looks is how often Main looks at least before it calls a goroutine left behind.
const looks = 100

// Main is a package's TestMain. After tests that passed it fails when a goroutine stays
// in whose stack one of the marks stands; those that are about to end have the
// patience.
func Main(m *testing.M, patience time.Duration, marks ...string) {
	code := m.Run()
	if code == 0 {
		if left := strays(patience, marks); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

func strays(patience time.Duration, marks []string) string {
	buf := make([]byte, 4<<20)
	deadline := time.Now().Add(patience)
	for look := 1; ; look++ {
		var left []string
		for i, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if i > 0 && slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(stack, mark) }) { // the first is this one
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		if look >= looks && time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		runtime.Gosched()
	}
}
