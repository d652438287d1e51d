package dps_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
)

// An enrollment keeps what an update leaves out because it was not shown, and
// changes only as long as its ETag fits.
func TestEnrollmentsAndETags(t *testing.T) {
	e := newEnv(t, 1)
	ctx := t.Context()
	made := e.put("One", false, `{"attestation":{"type":"symmetricKey"},"optionalDeviceInformation":{"a":1}}`)
	keys := *made.Attestation.SymmetricKey
	if keys.PrimaryKey == "" || keys.PrimaryKey == keys.SecondaryKey || made.ProvisioningStatus != "enabled" || made.AllocationPolicy != "hashed" ||
		!made.ReprovisionPolicy.UpdateHubAssignment || !made.ReprovisionPolicy.MigrateDeviceData || !strings.HasPrefix(made.ETag, `"`) || made.Created.IsZero() {
		t.Errorf("the defaults: %+v", made)
	}
	got, err := e.Get("ONE", false)
	if err != nil || got.RegistrationID != "One" || string(got.OptionalDeviceInformation) != `{"a":1}` || got.ETag != made.ETag {
		t.Fatalf("%+v, %v", got, err)
	}
	if text := fmt.Sprintf("%+v %v %#v", made.Attestation, made, *made.Attestation.SymmetricKey); strings.Contains(text, string(keys.PrimaryKey)) {
		t.Errorf("printed with its keys: %s", text)
	}
	got.DeviceID = "d1"
	changed, err := e.Put(ctx, got, got.ETag)
	if err != nil || changed.DeviceID != "d1" || *changed.Attestation.SymmetricKey != keys || changed.ETag == made.ETag || changed.Created != made.Created {
		t.Errorf("the update: %+v, %v", changed, err)
	}
	_, err = e.Put(ctx, got, made.ETag)
	wantCode(t, "an update of an older version", err, dps.CodePreconditionFailed)
	_, err = e.Put(ctx, dps.Enrollment{RegistrationID: "two", Attestation: got.Attestation}, made.ETag)
	wantCode(t, "an update of nothing", err, dps.CodeNotFound)
	wantCode(t, "deleting an older version", e.Delete(ctx, "one", false, made.ETag), dps.CodePreconditionFailed)
	if a, err := e.Attestation("one", false); err != nil || *a.SymmetricKey != keys {
		t.Errorf("the attestation: %v", err)
	}
	if err := e.Delete(ctx, "one", false, strings.Trim(changed.ETag, `"`)); err != nil {
		t.Errorf("deleting: %v", err)
	}
	_, err = e.Get("one", false)
	wantCode(t, "what was deleted", err, dps.CodeNotFound)
	_, err = e.Attestation("one", false)
	wantCode(t, "the attestation of what was deleted", err, dps.CodeNotFound)

	// What was read can be written: the certificate is not shown, only what it says.
	root := issue(t, "root", true, cert{}, time.Hour)
	e.put("x", true, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":`+root.json()+`}}}}`)
	read, err := e.Get("x", true)
	if err != nil || read.Attestation.X509.SigningCertificates.Primary.Certificate != "" || read.Attestation.X509.SigningCertificates.Primary.Info.SubjectName != "CN=root" {
		t.Fatalf("%+v, %v", read, err)
	}
	text, _ := json.Marshal(read)
	e.put("x", true, string(text))
	e.signUp(dps.Credential{RegistrationID: "dev", Certificates: []*x509.Certificate{issue(t, "dev", false, root, time.Hour).Certificate}})
}

func TestEnrollmentRules(t *testing.T) {
	e := newEnv(t, 1)
	leaf := issue(t, "leaf", false, cert{}, time.Hour).json()
	const key = `"attestation":{"type":"symmetricKey"}`
	for what, c := range map[string]struct {
		id    string
		group bool
		text  string
	}{
		"no JSON":                {"a", false, `{`},
		"another id":             {"a", false, `{"registrationId":"b",` + key + `}`},
		"an id of a group":       {"a", false, `{"enrollmentGroupId":"a",` + key + `}`},
		"an id with a slash":     {"a/b", false, `{` + key + `}`},
		"an id that ends badly":  {"a.", false, `{` + key + `}`},
		"a long id":              {strings.Repeat("a", 129), false, `{` + key + `}`},
		"no attestation":         {"a", false, `{}`},
		"an unknown one":         {"a", false, `{"attestation":{"type":"none"}}`},
		"a short key":            {"a", false, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"AAAA"}}}`},
		"a key in plain text":    {"a", false, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"not base64!"}}}`},
		"no certificate":         {"a", false, `{"attestation":{"type":"x509","x509":{"clientCertificates":{}}}}`},
		"two kinds of them":      {"a", false, `{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":` + leaf + `},"caReferences":{"primary":"x"}}}}`},
		"a broken certificate":   {"a", false, `{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"AAAA"}}}}}`},
		"signers for one":        {"a", false, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":` + leaf + `}}}}`},
		"leaves for a group":     {"a", true, `{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":` + leaf + `}}}}`},
		"a signer that is none":  {"a", true, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":` + leaf + `}}}}`},
		"an unknown reference":   {"a", true, `{"attestation":{"type":"x509","x509":{"caReferences":{"primary":"nobody"}}}}`},
		"a TPM for a group":      {"a", true, `{"attestation":{"type":"tpm","tpm":{"endorsementKey":"AAAA"}}}`},
		"a TPM key that is none": {"a", false, `{"attestation":{"type":"tpm","tpm":{"endorsementKey":"AAAA"}}}`},
		"a device id of a group": {"a", true, `{"deviceId":"d",` + key + `}`},
		"a bad device id":        {"a", false, `{"deviceId":"d/m",` + key + `}`},
		"an unknown hub":         {"a", false, `{"iotHubHostName":"other.example",` + key + `}`},
		"an unknown policy":      {"a", false, `{"allocationPolicy":"nearest",` + key + `}`},
		"static without a hub":   {"a", false, `{"allocationPolicy":"static",` + key + `}`},
		"custom without a hook":  {"a", false, `{"allocationPolicy":"custom",` + key + `}`},
		"a hook that is a file":  {"a", false, `{"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"file:///etc/passwd"},` + key + `}`},
		"an unknown status":      {"a", false, `{"provisioningStatus":"on",` + key + `}`},
		"a twin that is none":    {"a", false, `{"initialTwin":{"tags":[1]},` + key + `}`},
	} {
		parsed, err := dps.ParseEnrollment([]byte(c.text), c.id, c.group)
		if err == nil {
			_, err = e.Put(t.Context(), parsed, "")
		}
		if refusal, ok := errors.AsType[*core.Error](err); !ok || refusal.Code != dps.CodeBadRequest || refusal.Message == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestBulk(t *testing.T) {
	e := newEnv(t, 1)
	ctx := t.Context()
	bulk := func(group bool, text string) dps.BulkResult {
		t.Helper()
		var b dps.Bulk
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			t.Fatal(err)
		}
		r, err := e.Bulk(ctx, b, group)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const a, b = `{"registrationId":"a","attestation":{"type":"symmetricKey"}}`, `{"registrationId":"b","attestation":{"type":"symmetricKey"}}`
	if r := bulk(false, `{"mode":"create","enrollments":[`+a+`,`+b+`]}`); !r.IsSuccessful || r.Errors == nil {
		t.Errorf("%+v", r)
	}
	if r := bulk(false, `{"mode":"create","enrollments":[`+a+`,{"registrationId":"c"},{}]}`); r.IsSuccessful || len(r.Errors) != 3 ||
		r.Errors[0].RegistrationID != "a" || r.Errors[0].ErrorCode != dps.CodeConflict || r.Errors[1].ErrorCode != dps.CodeBadRequest || r.Errors[2].ErrorCode != dps.CodeBadRequest {
		t.Errorf("%+v", r)
	}
	if r := bulk(false, `{"mode":"update","enrollments":[{"registrationId":"a","deviceId":"x","attestation":{"type":"symmetricKey"}}]}`); !r.IsSuccessful {
		t.Errorf("%+v", r)
	}
	one, _ := e.Get("a", false)
	if one.DeviceID != "x" {
		t.Errorf("%+v", one)
	}
	tag, _ := json.Marshal(one.ETag)
	if r := bulk(false, `{"mode":"updateIfMatchETag","enrollments":[{"registrationId":"a","etag":`+string(tag)+`,"attestation":{"type":"symmetricKey"}},
		{"registrationId":"b","etag":"\"1\"","attestation":{"type":"symmetricKey"}},`+b+`]}`); len(r.Errors) != 2 ||
		r.Errors[0].ErrorCode != dps.CodePreconditionFailed || r.Errors[1].ErrorCode != dps.CodeBadRequest {
		t.Errorf("%+v", r)
	}
	if r := bulk(false, `{"mode":"delete","enrollments":[{"registrationId":"a"},{"registrationId":"z"}]}`); len(r.Errors) != 1 || r.Errors[0].ErrorCode != dps.CodeNotFound {
		t.Errorf("%+v", r)
	}
	if r := bulk(true, `{"mode":"create","enrollmentGroups":[{"enrollmentGroupId":"g","attestation":{"type":"symmetricKey"}}]}`); !r.IsSuccessful {
		t.Errorf("%+v", r)
	}
	for _, bad := range []dps.Bulk{{Mode: "create"}, {Mode: "create", Enrollments: make([]dps.Enrollment, 11)}, {Mode: "destroy", Enrollments: make([]dps.Enrollment, 1)}} {
		_, err := e.Bulk(ctx, bad, false)
		wantCode(t, "a bad bulk operation", err, dps.CodeBadRequest)
	}
}

// Queries give pages in the order of ids, also while rows come and go, and take
// conditions as twin queries do.
func TestQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		for i := range 5 {
			status := "enabled"
			if i == 3 {
				status = "disabled"
			}
			e.put(fmt.Sprintf("e%d", i), false, `{"provisioningStatus":"`+status+`","attestation":{"type":"symmetricKey"}}`)
		}
		e.group(`"allocationPolicy":"hashed"`)
		e.put("other", true, symmetricGroup(otherKey))
		ids := func(p dps.Page, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, row := range p.Rows {
				var v struct{ RegistrationID, EnrollmentGroupID string }
				if err := json.Unmarshal(row, &v); err != nil {
					t.Fatal(err)
				}
				list = append(list, v.RegistrationID+v.EnrollmentGroupID)
			}
			return strings.Join(list, " ")
		}
		for text, want := range map[string]string{
			"": "e0 e1 e2 e3 e4", "*": "e0 e1 e2 e3 e4", "SELECT * FROM enrollments": "e0 e1 e2 e3 e4", " select*from  Enrollments ": "e0 e1 e2 e3 e4",
			"SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'":                  "e3",
			"select * from enrollments where attestation.type = 'x509' OR registrationId>'e3'": "e4",
		} {
			if got := ids(e.QueryEnrollments(text, false, 0, "")); got != want {
				t.Errorf("%q: %s", text, got)
			}
		}
		if got := ids(e.QueryEnrollments("SELECT * FROM enrollmentGroups", true, 0, "")); got != "g other" {
			t.Errorf("groups: %s", got)
		}
		for _, text := range []string{"SELECT * FROM devices", "SELECT deviceId FROM enrollments", "SELECT * FROM enrollmentsX", "SELECT * FROM enrollments ORDER BY x",
			"SELECT * FROM enrollments WHERE", "SELECT * FROM enrollments WHERE (", "x"} {
			_, err := e.QueryEnrollments(text, false, 0, "")
			wantCode(t, text, err, dps.CodeBadRequest)
		}

		first, err := e.QueryEnrollments("*", false, 2, "")
		if got := ids(first, err); got != "e0 e1" || first.Continuation == "" {
			t.Errorf("the first page: %s", got)
		}
		if err := e.Delete(t.Context(), "e2", false, ""); err != nil {
			t.Fatal(err)
		}
		next, err := e.QueryEnrollments("*", false, 2, first.Continuation)
		if got := ids(next, err); got != "e3 e4" || next.Continuation != "" {
			t.Errorf("the last page: %s, %q", got, next.Continuation)
		}
		for _, token := range []string{"x", "AAAA"} {
			_, err = e.QueryEnrollments("*", false, 2, token)
			wantCode(t, "a continuation that is none", err, dps.CodeBadRequest)
		}
		_, err = e.QueryEnrollments("*", true, 2, first.Continuation)
		wantCode(t, "a continuation of another query", err, dps.CodeBadRequest)

		e.join("dev-1", "")
		e.join("dev-2", "")
		e.register(dps.Credential{RegistrationID: "x", Token: token("x", derived(otherKey, "x"))}, "")
		if got := ids(e.QueryRegistrations("G", "", 0, "")); got != "dev-1 dev-2" {
			t.Errorf("registrations of a group: %s", got)
		}
		if got := ids(e.QueryRegistrations("g", "SELECT * FROM registrations WHERE deviceId = 'dev-2' AND status='assigned'", 0, "")); got != "dev-2" {
			t.Errorf("registrations of a group that: %s", got)
		}
		_, err = e.QueryRegistrations("nobody", "", 0, "")
		wantCode(t, "registrations of no group", err, dps.CodeNotFound)

		state, err := e.Registration("dev-1")
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, "deleting another version", e.DeleteRegistration(t.Context(), "dev-1", `"1"`), dps.CodePreconditionFailed)
		if err := e.DeleteRegistration(t.Context(), "DEV-1", state.ETag); err != nil {
			t.Error(err)
		}
		wantCode(t, "deleting it again", e.DeleteRegistration(t.Context(), "dev-1", ""), dps.CodeNotFound)
		if state := e.join("dev-1", ""); state.Substatus != "initialAssignment" {
			t.Errorf("after that: %+v", state)
		}
	})
}

// Keys of back ends: the service's own and no other, for its names, in time.
func TestBackEnds(t *testing.T) {
	e := newEnv(t, 1)
	_, key, _ := strings.Cut(e.ConnectionString("dps.example"), "SharedAccessKey=")
	hubKey := e.cores[0].Policies()[0].PrimaryKey
	now := time.Now()
	sign := func(resource, key, policy string, life time.Duration) string {
		return signed(t, resource, key, policy, now.Add(life))
	}
	for what, c := range map[string]struct {
		token string
		ok    bool
	}{
		"its own":         {sign("dps.example", key, dps.Policy, time.Hour), true},
		"with a port":     {sign("DPS.example:443", key, dps.Policy, time.Hour), true},
		"for the path":    {sign("dps.example/enrollments/a", key, dps.Policy, time.Hour), true},
		"another path":    {sign("dps.example/enrollments/b", key, dps.Policy, time.Hour), false},
		"the hub's":       {sign("dps.example", hubKey, "iothubowner", time.Hour), false},
		"the hub's key":   {sign("dps.example", hubKey, dps.Policy, time.Hour), false},
		"another policy":  {sign("dps.example", key, "iothubowner", time.Hour), false},
		"no policy":       {sign("dps.example", key, "", time.Hour), false},
		"expired":         {sign("dps.example", key, dps.Policy, -time.Hour), false},
		"another service": {sign("other.example", key, dps.Policy, time.Hour), false},
		"nothing":         {"", false},
	} {
		if err := e.Authorize(now, c.token, "enrollments", "a"); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
