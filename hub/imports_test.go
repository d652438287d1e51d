package hub_test

import (
	"os/exec"
	"strings"
	"testing"
)

const modulePath = "github.com/iothub-go/iothub"

// The hub must not lean on the clients it is there to test, and protocol heads
// must not get at the storage around the rules of core (DESIGN.md, section 1).
func TestImportRules(t *testing.T) {
	for pkg, banned := range map[string][]string{
		"/hub":                    {"/device", "/module", "/ll", "/provisioning", "/service", "/internal/engine", "/internal/managed"},
		"/hub/internal/mqttfront": {"/hub/internal/store", "/hub/internal/pki"},
		"/hub/internal/httpfront": {"/hub/internal/store", "/hub/internal/pki"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", modulePath+pkg).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			path, ours := strings.CutPrefix(dep, modulePath)
			for _, b := range banned {
				if ours && (path == b || strings.HasPrefix(path, b+"/")) {
					t.Errorf("%s imports %s", pkg, dep)
				}
			}
		}
	}
}
