package contract_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the README's feature table")

// capability is one thing that clients can do, and the behaviour tests that
// run it on every layer that has it. The README's table is made of this one.
type capability struct {
	what string
	// device, module say which clients have it; both layers, ll and managed,
	// always do, except where managedOnly says otherwise.
	device, module, managedOnly bool
	// tcp and ws say over which transports the tests run.
	tcp, ws bool
	tests   []string
}

var capabilities = []capability{
	{"send events, confirmed exactly once", true, true, false, true, true,
		[]string{"TestSendDoesNotBlock", "TestMessageIsCopied", "TestConfirmOnceInOrder", "TestConfirmOutOfOrder", "TestRefusedNeverConfirms", "TestSendInsideConfirm"}},
	{"order and no loss across reconnects", true, true, false, true, true,
		[]string{"TestOrderAcrossReconnect", "TestPacketIDsInFlightAreNotReused"}},
	{"message timeout and expiry", true, true, false, true, true, []string{"TestMessageTimeout"}},
	{"bounded queue", true, true, false, true, true, []string{"TestQueueIsBounded"}},
	{"close inside any callback", true, true, false, true, true,
		[]string{"TestCloseConfirmsTheRest", "TestCloseInsideConfirm", "TestCloseInsideEveryCallback"}},
	{"cloud-to-device messages, settled by the program", true, false, false, true, true, []string{"TestMessagesAreSettled", "TestMessagesAcrossReconnects"}},
	{"module inputs", false, true, false, true, true, []string{"TestMessagesAreSettled"}},
	{"direct methods, answered now or later", true, true, false, true, true, []string{"TestMethods", "TestMethodsAcrossReconnects"}},
	{"reported properties", true, true, false, true, true, []string{"TestReportedProperties"}},
	{"desired properties, followed across reconnects and restarts", true, true, false, true, true, []string{"TestDesiredPropertiesAreFollowed"}},
	{"token renewal without loss or repetition", true, true, false, true, true, []string{"TestTokenRenewal", "TestTenThousandRenewals"}},
	{"dead links found in a stated time", true, true, false, true, true, []string{"TestDeadLinkIsFound", "TestWithheldAcknowledgements"}},
	{"refusals in words, retry policies", true, true, false, true, true, []string{"TestRefusedConnection", "TestRetryGivesUp"}},
	{"slow handlers starve nothing", true, true, true, true, true, []string{"TestSlowHandlerStarvesNothing"}},
}

const (
	tableBegin = "<!-- features: go test ./internal/contract -run TestFeatureTable -update -->\n"
	tableEnd   = "<!-- end of features -->\n"
)

func featureTable() string {
	mark := func(b bool) string {
		if b {
			return "✓"
		}
		return "–"
	}
	var s strings.Builder
	s.WriteString("| | `device` | `module` | `ll` | MQTT | MQTT over WebSockets |\n|---|---|---|---|---|---|\n")
	for _, c := range capabilities {
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s |\n", c.what, mark(c.device), mark(c.module), mark(!c.managedOnly), mark(c.tcp), mark(c.ws))
	}
	return s.String()
}

// Every capability has behaviour tests that exist, and the README's table is
// the one above.
func TestFeatureTable(t *testing.T) {
	exists := tests(t)
	for _, c := range capabilities {
		for _, name := range c.tests {
			if !exists[name] {
				t.Errorf("%q is proven by %s, which does not exist", c.what, name)
			}
		}
	}
	readme := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no place for the feature table")
	}
	want := before + tableBegin + featureTable() + tableEnd + after
	if *update {
		if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("the README's feature table is not the one of this suite: run with -update")
	}
}

// tests returns the names of the tests of this package.
func tests(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}
