package repo_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

const ciScript = ".ci/run"

// ciFunctions returns the shell functions of CI that a step runs, by name,
// without comments: what is only defined, or only mentioned, does not count.
func ciFunctions(t *testing.T) (all string) {
	t.Helper()
	script := regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(read(t, ciScript), "")
	functions := map[string]string{}
	for _, m := range regexp.MustCompile(`(?ms)^(\w+)\(\) \{ (.*?) \}$|^(\w+)\(\) \{\n(.*?)^\}`).FindAllStringSubmatch(script, -1) {
		functions[m[1]+m[3]] = strings.TrimSuffix(m[2], ";") + m[4]
	}
	var queue []string
	for _, m := range regexp.MustCompile(`(?m)^step '[^']+' (\w+)$`).FindAllStringSubmatch(script, -1) {
		queue = append(queue, m[1])
	}
	if len(queue) < 10 {
		t.Fatalf("CI has only the steps %v", queue)
	}
	seen := map[string]bool{}
	for ; len(queue) > 0; queue = queue[1:] {
		body, ok := functions[queue[0]]
		if !ok || seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		all += body + "\n"
		queue = append(queue, regexp.MustCompile(`\w+`).FindAllString(body, -1)...)
	}
	return all
}

// CI does what its labels say.
func TestCIDoesWhatItSays(t *testing.T) {
	script, steps := read(t, ciScript), ciFunctions(t)
	if !strings.HasPrefix(script, "#!/usr/bin/env bash\n") || !strings.Contains(script, "\nset -euo pipefail\n") {
		t.Error("the script does not stop at errors")
	}
	if !regexp.MustCompile(`(?m)^STATICCHECK=honnef\.co/go/tools/cmd/staticcheck@v\d+\.\d+\.\d+$`).MatchString(script) {
		t.Error("staticcheck has no fixed version")
	}
	for what, want := range map[string]string{
		"race detector":         `(?m)go test .*-race.* \./\.\.\.$`,
		"shuffled tests":        `go test .*-shuffle=on`,
		"vet":                   `(?m)go vet \./\.\.\.$`,
		"vet for 32 bits":       `GOARCH=386 go vet \./\.\.\.`,
		"gofmt":                 `gofmt -l \.`,
		"staticcheck":           `go run "\$STATICCHECK" \./\.\.\.`,
		"tidy":                  `(?m)^\s*go mod tidy -diff$`,
		"tidy of bench":         `cd bench && go mod tidy -diff`,
		"tidy of hardware":      `cd hardware && go mod tidy -diff`,
		"fuzzing":               `-fuzz "\^\$target\\\$" -fuzztime`,
		"discovery of targets":  `go test -list '\^Fuzz'`,
		"benchmarks":            `-bench \. -benchtime 1x`,
		"Windows":               `windows/amd64`,
		"macOS":                 `darwin/arm64`,
		"32 bits":               `linux/386`,
		"arm64":                 `linux/arm64`,
		"builds for these":      `GOOS=.*GOARCH=.* go build \./\.\.\.`,
		"static binary":         `CGO_ENABLED=0 go build .*\./cmd/iothub`,
		"the benchmarks module": `(?s)cd bench\n.*go vet \./\.\.\.\n.*go build \./\.\.\.\n.*go test \./\.\.\.\n.*go run \./telemetry`,
		"examples":              `go run "\./examples/\$name"`,
		"the otel module":       `(?s)cd otel\n.*go vet \./\.\.\.\n.*STATICCHECK" \./\.\.\.\n.*go test -race`,
		"the hardware module":   `(?s)cd hardware\n.*go vet \./\.\.\.\n.*go test -race`,
		"the official SDKs":     `conformance/run\.sh`,
		"the README's tests":    `go test \./\.\.\.\) go test|'go test \./\.\.\.'\) go test \./\.\.\.`,
		"the quickstart":        `(?m)^\s*go run \./cmd/iothub quickstart$`,
	} {
		if !regexp.MustCompile(want).MatchString(steps) {
			t.Errorf("%s: no step of %s does it", what, ciScript)
		}
	}
	if regexp.MustCompile(`(?i)secret|token|password|api_key`).MatchString(regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(script, "")) {
		t.Error("CI seems to need a secret")
	}
	if info, err := os.Stat(filepath.Join(root, ciScript)); err != nil || (runtime.GOOS != "windows" && info.Mode()&0o111 == 0) {
		t.Errorf("%s is not executable: %v", ciScript, err)
	}
}

// Every command of the README is run by CI, and the two that it begins with
// exactly as they stand there.
func TestReadmeCommandsAreRun(t *testing.T) {
	steps := ciFunctions(t)
	var commands []string
	for _, m := range regexp.MustCompile("(?s)```(sh|bash|console|shell)\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if m[1] != "sh" {
			t.Errorf("a block of commands is marked %s, CI looks for sh: %s", m[1], m[2])
		}
		commands = append(commands, strings.Split(strings.TrimSpace(m[2]), "\n")...)
	}
	found := map[string]bool{}
	// The patterns of readme_command: 'text'), or 'text'*).
	patterns := regexp.MustCompile(`(?m)^\t('(?:[^']+)'\*?)\)`).FindAllStringSubmatch(steps, -1)
	for _, c := range commands {
		known := false
		for _, p := range patterns {
			exact := strings.Trim(p[1], "'*")
			known = known || c == exact || (strings.HasSuffix(p[1], "*") && strings.HasPrefix(c, exact))
		}
		if !known {
			t.Errorf("the README's command %q is not run by %s", c, ciScript)
		}
		found[c] = true
	}
	for _, c := range []string{"go test ./...", "go run ./cmd/iothub quickstart"} {
		if !found[c] {
			t.Errorf("the README does not have the command %q", c)
		}
	}
}

// Links in the README lead somewhere.
func TestReadmeLinks(t *testing.T) {
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(read(t, "README.md"), -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("the README links to %s: %v", m[1], err)
		}
	}
}
