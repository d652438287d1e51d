//go:build !unix

package stats

import "time"

// cpuTime is not known here; the column shows 0.
func cpuTime() time.Duration { return 0 }

func childrenTime() time.Duration { return 0 }
