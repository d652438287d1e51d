package managed

import "runtime"

// goroutineID returns the number of the calling goroutine. The runtime has no
// call for it, but prints it first in every stack trace ("goroutine 42 […").
// It serves one question only, which nothing else can answer: is Close being
// called from inside a callback, which it therefore must not wait for?
func goroutineID() uint64 {
	var buf [64]byte
	s := buf[:runtime.Stack(buf[:], false)]
	var id uint64
	for _, c := range s[len("goroutine "):] {
		if c < '0' || c > '9' {
			break
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}
