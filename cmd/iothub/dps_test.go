package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/internal/testkit"
)

func beginDPSVerbs(t *testing.T) *verbs {
	t.Helper()
	_, r := beginHub(t, t.TempDir())
	return &verbs{t, []string{"--connection-string", r.ProvisioningConnectionString, "--ca", r.CAFile}}
}

func TestEnrollmentVerbs(t *testing.T) {
	v := beginDPSVerbs(t)
	out := v.ok("dps", "enrollment", "create", "dev-1", "--device-id", "Device1", "--edge", "--tags", `{"site":"north"}`, "--desired", `{"interval":30}`, "--reprovision", "reset")
	primary := v.field(out, "primary")
	if v.field(out, "device") != "Device1" || v.field(out, "tags") != `{"site":"north"}` || v.field(out, "reprovisioning") != "reset" || v.field(out, "registered") != "no" {
		t.Error(out)
	}
	v.fails(exitFailure, "409204", "dps", "enrollment", "create", "dev-1")
	if out = v.ok("dps", "enrollment", "show", "dev-1"); strings.Contains(out, primary) || v.field(out, "IoT Edge") != "yes" {
		t.Error(out)
	}
	out = v.ok("dps", "enrollment", "update", "dev-1", "--status", "disabled", "--desired", `{"interval":60}`)
	if v.field(out, "status") != "disabled" || v.field(out, "tags") != `{"site":"north"}` || v.field(out, "desired") != `{"interval":60}` || strings.Contains(out, primary) {
		t.Error(out)
	}
	if keys := v.ok("dps", "enrollment", "keys", "dev-1"); v.field(keys, "primary") != primary {
		t.Errorf("the keys are others than before the update: %s", keys)
	}
	v.fails(exitFailure, "precondition", "dps", "enrollment", "update", "dev-1", "--status", "enabled", "--etag", `"999"`)
	v.ok("dps", "enrollment", "create", "dev-2")
	if out = v.ok("dps", "enrollment", "list"); !regexp.MustCompile(`(?m)\AENROLLMENT +STATUS +ATTESTATION +ALLOCATION +REGISTERED\ndev-1 +disabled +symmetricKey +hashed +no\ndev-2 `).MatchString(out) {
		t.Error(out)
	}
	var list []struct{ RegistrationID string }
	out = v.ok("dps", "enrollment", "list", "-o", "json", "--query", "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].RegistrationID != "dev-1" {
		t.Error(out, err)
	}
	v.fails(exitFailure, "404204", "dps", "registration", "show", "dev-1")
	v.fails(exitFailure, "404204", "dps", "registration", "delete", "dev-1")
	if out = v.ok("dps", "enrollment", "delete", "dev-1"); out != "" {
		t.Error(out)
	}
	v.fails(exitFailure, "404204", "dps", "enrollment", "show", "dev-1")
	v.fails(exitFailure, "400004", "dps", "enrollment", "create", "dev-3", "--hub", "elsewhere.example")
	for _, args := range [][]string{
		{"--status", "maybe"}, {"--allocation", "nearest"}, {"--allocation", "custom"}, {"--reprovision", "always"}, {"--tags", "7"},
		{"--secondary-key", "x"}, {"--primary-key", "x", "--root-ca", "y"}, {"--endorsement-key", "x", "--certificate", "y"},
	} {
		code, _, errs := v.run(append([]string{"dps", "enrollment", "create", "dev-3"}, args...)...)
		if code == exitOK || !strings.Contains(errs, strings.TrimPrefix(args[0], "--")) && !strings.Contains(errs, "secondary") {
			t.Errorf("%q: exit code %d, %s", args, code, errs)
		}
	}
}

// fileOf writes a certificate to a file.
func fileOf(t *testing.T, c *testkit.Certificate) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, c.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestGroupAndCertificateVerbs(t *testing.T) {
	v := beginDPSVerbs(t)
	root := testkit.Authority(t, "factory", nil)
	out := v.ok("dps", "certificate", "create", "factory", fileOf(t, root))
	if v.field(out, "verified") != "no" || v.field(out, "subject") != "CN=factory" {
		t.Error(out)
	}
	v.fails(exitFailure, "400004", "dps", "group", "create", "line-1", "--root-ca", "factory")
	code := v.field(v.ok("dps", "certificate", "code", "factory"), "verification code")
	v.fails(exitFailure, "400004", "dps", "certificate", "verify", "factory", fileOf(t, testkit.Leaf(t, "guess", root)))
	if out = v.ok("dps", "certificate", "verify", "factory", fileOf(t, testkit.Leaf(t, code, root))); v.field(out, "verified") != "yes" {
		t.Error(out)
	}
	if out = v.ok("dps", "certificate", "list"); !regexp.MustCompile(`(?m)\ACERTIFICATE +VERIFIED +EXPIRES +SUBJECT\nfactory +yes `).MatchString(out) {
		t.Error(out)
	}
	if out = v.ok("dps", "group", "create", "line-1", "--root-ca", "factory"); v.field(out, "authority") != "factory" {
		t.Error(out)
	}
	v.fails(exitFailure, "409204", "dps", "certificate", "delete", "factory")
	out = v.ok("dps", "group", "update", "line-1", "--certificate", fileOf(t, root), "--allocation", "geoLatency")
	if !strings.HasPrefix(v.field(out, "certificate"), "CN=factory, until ") || v.field(out, "allocation") != "geoLatency" || strings.Contains(out, "authority") {
		t.Error(out)
	}
	if out = v.ok("dps", "certificate", "delete", "factory"); out != "" {
		t.Error(out)
	}
	v.fails(exitFailure, "404204", "dps", "certificate", "show", "factory")
	v.fails(exitFailure, "no symmetric keys", "dps", "group", "keys", "line-1")
	if out = v.ok("dps", "group", "list"); !regexp.MustCompile(`(?m)\AGROUP +STATUS +ATTESTATION +ALLOCATION\nline-1 +enabled +x509 +geoLatency\n\z`).MatchString(out) {
		t.Error(out)
	}
	if out = v.ok("dps", "registration", "list", "line-1"); !strings.HasPrefix(out, "REGISTRATION ") || strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
	if out = v.ok("dps", "registration", "list", "line-1", "-o", "json"); out != "[]\n" {
		t.Error(out)
	}
	v.ok("dps", "group", "delete", "line-1")
	v.fails(exitFailure, "no certificate", "dps", "group", "create", "line-2", "--certificate", os.Args[0])
}

// The commands say which connection string they need, and take it from a variable of
// their own.
func TestDPSConnectionString(t *testing.T) {
	_, r := beginHub(t, t.TempDir())
	t.Setenv(provisioningTarget.variable, "")
	t.Setenv(connectionStringVariable, r.ServiceConnectionString)
	if code, _, errs := once(t, "dps", "group", "list"); code != exitUsage || !strings.Contains(errs, "which provisioning service?") || !strings.Contains(errs, provisioningTarget.variable) {
		t.Error(code, errs)
	}
	t.Setenv(provisioningTarget.variable, r.ProvisioningConnectionString)
	if code, out, errs := once(t, "dps", "group", "list", "--ca", r.CAFile); code != exitOK || !strings.HasPrefix(out, "GROUP ") {
		t.Error(code, errs)
	}
	// That of the hub is for the hub.
	if code, _, errs := once(t, "dps", "group", "list", "--ca", r.CAFile, "--connection-string", r.ServiceConnectionString); code != exitRefused {
		t.Error(code, errs)
	}
}
