package hub

import (
	"log/slog"
	"testing"
	"time"
)

// A server that runs for months must not end up with a certificate that has
// expired, and what clients trust must stay.
func TestCertificateIsRenewed(t *testing.T) {
	for _, kept := range []bool{true, false} {
		dir := ""
		if kept {
			dir = t.TempDir()
		}
		files, err := loadTLS(dir, []string{"hub.test"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		authority, ends := string(files.authority().CAPEM()), files.authority().NotAfter()
		early, again := files.get("", ends.Add(-30*24*time.Hour)), files.get("", time.Now())
		if early != again {
			t.Error("the configuration, and with it the session tickets, changes without need")
		}
		late := files.get("", ends.Add(-time.Hour))
		if renewed := late != early; renewed != kept {
			t.Errorf("kept %v: renewed %v", kept, renewed)
		}
		if kept && !files.authority().NotAfter().After(ends) {
			t.Errorf("it still ends at %v", files.authority().NotAfter())
		}
		if string(files.authority().CAPEM()) != authority {
			t.Error("the authority has changed")
		}
		if c := files.get("http/1.1", time.Now()); len(c.NextProtos) != 1 {
			t.Errorf("HTTPS offers %v", c.NextProtos)
		}
	}
}
