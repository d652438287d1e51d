package dps_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

const (
	version  = "?api-version=2021-10-01"
	enrolled = `{"registrationId":"r1","attestation":{"type":"symmetricKey"},"capabilities":{"iotEdge":true},"etag":"\"0100\"","provisioningStatus":"enabled","reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true},"createdDateTimeUtc":"2026-01-31T12:00:00.1234567Z","lastUpdatedDateTimeUtc":"2026-01-31T12:00:01Z","allocationPolicy":"hashed","iotHubs":["h.example"],"initialTwin":{"tags":{"n":12345678901234567890},"properties":{"desired":{"a":1}}},"registrationState":{"registrationId":"r1","createdDateTimeUtc":"2026-01-31T12:00:00Z","assignedHub":"h.example","deviceId":"r1","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2026-01-31T12:00:00Z","etag":"\"0200\""}}`
	// sent back, without what only the service sets
	sentBack = `"capabilities":{"iotEdge":true},"provisioningStatus":"enabled","allocationPolicy":"hashed","iotHubs":["h.example"],"reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true},"initialTwin":{"tags":{"n":12345678901234567890},"properties":{"desired":{"a":1}}}`
	keys     = `{"type":"symmetricKey","symmetricKey":{"primaryKey":"` + keyA + `","secondaryKey":"` + keyB + `"}}`
)

// Each call sends what the REST API of the service asks for and reads what it
// answers. (REST API of the Device Provisioning Service, 2021-10-01)
func TestEnrollmentOnTheWire(t *testing.T) {
	ctx := t.Context()
	c := script(t,
		answer{request: `PUT /enrollments/r1` + version + ` {"registrationId":"r1","attestation":{"type":"symmetricKey"},"capabilities":{"iotEdge":true}}`, body: enrolled},
		answer{request: `POST /enrollments/r1/attestationmechanism` + version, body: keys},
		answer{request: `PUT /enrollments/r1` + version + ` If-Match:"0100" {"registrationId":"r1","attestation":` + keys + `,` + sentBack + `,"etag":"\"0100\""}`, body: enrolled},
		answer{request: `GET /enrollments/r1` + version, body: enrolled},
		answer{request: `DELETE /enrollments/r1` + version + ` If-Match:"0100"`, status: 204},
		answer{request: `DELETE /enrollments/r1` + version + ` If-Match:*`, status: 404, body: `{"errorCode":404204,"trackingId":"x","message":"Not Found.","timestampUtc":"2019-12-20T21:30:46.6730046Z"}`},
	)
	e, err := c.CreateIndividualEnrollment(ctx, &dps.IndividualEnrollment{RegistrationID: "r1", Capabilities: service.Capabilities{IoTEdge: true}, ETag: "old"})
	if err != nil {
		t.Fatal(err)
	}
	if s := e.RegistrationState; e.ETag != `"0100"` || s.Status != dps.RegistrationAssigned || s.Substatus != dps.InitialAssignment || s.AssignedHub != "h.example" ||
		e.LastUpdatedTime.Sub(e.CreatedTime.Time) <= 0 || e.AllocationPolicy != dps.HashedAllocation {
		t.Errorf("%+v", e)
	}
	// What is read can be sent back, and the keys, which are not in it, stay.
	if _, err := c.UpdateIndividualEnrollment(ctx, e); err != nil {
		t.Error(err)
	}
	if e.RegistrationState == nil || e.Attestation.SymmetricKey != nil {
		t.Error("what the caller has was changed")
	}
	if g, err := c.GetIndividualEnrollment(ctx, "r1"); err != nil || g.RegistrationID != "r1" {
		t.Error(g, err)
	}
	if err := c.DeleteIndividualEnrollment(ctx, "r1", e.ETag); err != nil {
		t.Error(err)
	}
	wantKind(t, c.DeleteIndividualEnrollment(ctx, "r1", service.AnyETag), iothub.KindNotFound, 404204)
}

func TestGroupOnTheWire(t *testing.T) {
	ctx := t.Context()
	const group = `{"enrollmentGroupId":"g1","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"info":{"subjectName":"CN=ca","issuerName":"CN=ca","sha1Thumbprint":"AA","sha256Thumbprint":"BB","notBeforeUtc":"2026-01-01T00:00:00Z","notAfterUtc":"2027-01-01T00:00:00Z","serialNumber":"1","version":3}}}}},"capabilities":{"iotEdge":false},"etag":"\"1\""}`
	c := script(t,
		answer{request: `PUT /enrollmentGroups/g1` + version + ` {"enrollmentGroupId":"g1","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":"QUJD"},"secondary":{"certificate":"REVG"}}}},"capabilities":{"iotEdge":false}}`, body: group},
		answer{request: `PUT /enrollmentGroups/g1` + version + ` If-Match:* ` + strings.Replace(group, `,"etag":"\"1\""`, ``, 1), body: group},
		answer{request: `PUT /enrollmentGroups/g2` + version + ` {"enrollmentGroupId":"g2","attestation":{"type":"x509","x509":{"caReferences":{"primary":"root"}}},"capabilities":{"iotEdge":false},"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"https://w.example","apiVersion":"2021-10-01"}}`,
			status: 409, body: `{"code":409204,"message":"Enrollment already exists.","trackingId":"x"}`},
		answer{request: `POST /enrollmentGroups/g1/attestationmechanism` + version, body: keys},
	)
	g, err := c.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "g1",
		Attestation: dps.SigningCertificates(&x509.Certificate{Raw: []byte("ABC")}, &x509.Certificate{Raw: []byte("DEF")})})
	if err != nil {
		t.Fatal(err)
	}
	if info := g.Attestation.X509.SigningCertificates.Primary.Info; info.SubjectName != "CN=ca" || info.NotAfter.Year() != 2027 || info.Version != 3 {
		t.Errorf("%+v", info)
	}
	// The certificates, which are not in what is read, stay by what they say.
	g.ETag = service.AnyETag
	if _, err = c.UpdateEnrollmentGroup(ctx, g); err != nil {
		t.Error(err)
	}
	_, err = c.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "g2", Attestation: dps.CAReferences("root", ""),
		AllocationPolicy: dps.CustomAllocation, CustomAllocationDefinition: &dps.CustomAllocationDefinition{WebhookURL: "https://w.example", APIVersion: "2021-10-01"}})
	wantKind(t, err, iothub.KindConflict, 409204)
	a, err := c.GetEnrollmentGroupAttestation(ctx, "g1")
	if err != nil || a.SymmetricKey.Primary != keyA || a.SymmetricKey.Secondary != keyB {
		t.Error(err)
	}
	// Keys do not get into what is printed by accident.
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", a.SymmetricKey)
	if text := fmt.Sprintf("%v %+v %#v %s", *a.SymmetricKey, *a.SymmetricKey, *a.SymmetricKey, log.String()); strings.Contains(text, keyA) || !strings.Contains(text, "[redacted]") {
		t.Error(text)
	}
}

func TestQueriesOnTheWire(t *testing.T) {
	ctx := t.Context()
	c := script(t,
		answer{request: `POST /enrollments/query` + version + ` X-Ms-Max-Item-Count:2 {"query":"SELECT * FROM enrollments"}`, header: [2]string{"x-ms-continuation", "next"}, body: `[{"registrationId":"a"},{"registrationId":"b"}]`},
		answer{request: `POST /enrollments/query` + version + ` X-Ms-Max-Item-Count:2 X-Ms-Continuation:next {"query":"SELECT * FROM enrollments"}`, body: `[{"registrationId":"c"}]`},
		answer{request: `POST /enrollmentGroups/query` + version + ` {"query":"SELECT * FROM enrollmentGroups WHERE x = 1"}`, status: 400, body: `{"errorCode":400004,"message":"no such column"}`},
		answer{request: `POST /registrations/g1/query` + version, body: `[{"registrationId":"d","status":"failed","errorCode":400208,"errorMessage":"no hub","createdDateTimeUtc":"2026-01-31T12:00:00Z"}]`},
	)
	var ids []string
	for e, err := range c.QueryIndividualEnrollments(ctx, "", &service.QueryOptions{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.RegistrationID)
	}
	if fmt.Sprint(ids) != "[a b c]" {
		t.Error(ids)
	}
	for _, err := range c.QueryEnrollmentGroups(ctx, "SELECT * FROM enrollmentGroups WHERE x = 1", nil) {
		wantKind(t, err, iothub.KindInvalidArgument, 400004)
	}
	for r, err := range c.QueryRegistrations(ctx, "g1", nil) {
		if err != nil || r.Status != dps.RegistrationFailed || r.ErrorCode != 400208 || r.ErrorMessage != "no hub" {
			t.Errorf("%+v %v", r, err)
		}
	}
}

func TestRegistrationsOnTheWire(t *testing.T) {
	ctx := t.Context()
	c := script(t,
		answer{request: `GET /registrations/r1` + version, body: `{"registrationId":"r1","status":"assigned","payload":{"a":1},"etag":"\"7\""}`},
		answer{request: `DELETE /registrations/r1` + version + ` If-Match:"7"`, status: 204},
	)
	r, err := c.GetRegistration(ctx, "r1")
	if err != nil || string(r.Payload) != `{"a":1}` {
		t.Fatalf("%+v %v", r, err)
	}
	if err := c.DeleteRegistration(ctx, "r1", r.ETag); err != nil {
		t.Error(err)
	}
}

func TestCertificatesOnTheWire(t *testing.T) {
	ctx := t.Context()
	const shown = `{"name":"root","etag":"\"1\"","properties":{"subject":"CN=root","expiry":"2027-01-01T00:00:00Z","thumbprint":"AA","isVerified":false,"certificate":"QUJD","verificationCode":"C0DE"}}`
	c := script(t,
		answer{request: `PUT /certificates/root` + version + ` {"properties":{"certificate":"QUJD","isVerified":false}}`, body: shown},
		answer{request: `POST /certificates/root/generateVerificationCode` + version + ` If-Match:"1"`, body: shown},
		answer{request: `POST /certificates/root/verify` + version + ` If-Match:* {"certificate":"REVG"}`, body: shown},
		answer{request: `GET /certificates` + version, body: `{"value":[` + shown + `]}`},
		answer{request: `GET /certificates/root` + version, body: shown},
		answer{request: `DELETE /certificates/root` + version + ` If-Match:"1"`, status: 204},
	)
	r, err := c.CreateCertificate(ctx, "root", &x509.Certificate{Raw: []byte("ABC")}, false)
	if err != nil || r.Properties.Subject != "CN=root" || r.Properties.Expiry.Year() != 2027 {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err = c.GenerateVerificationCode(ctx, "root", r.ETag); err != nil || r.Properties.VerificationCode != "C0DE" {
		t.Error(r, err)
	}
	if _, err = c.VerifyCertificate(ctx, "root", &x509.Certificate{Raw: []byte("DEF")}, service.AnyETag); err != nil {
		t.Error(err)
	}
	if l, err := c.ListCertificates(ctx); err != nil || len(l) != 1 || l[0].Name != "root" {
		t.Error(l, err)
	}
	if r, err = c.GetCertificate(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.X509(); err == nil {
		t.Error("three bytes are a certificate")
	}
	if err := c.DeleteCertificate(ctx, "root", r.ETag); err != nil {
		t.Error(err)
	}
}

// Many changes go ten at a time, those that fail are named, and keys stay.
func TestBulkOnTheWire(t *testing.T) {
	ctx := t.Context()
	var eleven []*dps.EnrollmentGroup
	list := make([]string, 11)
	for i := range list {
		eleven = append(eleven, &dps.EnrollmentGroup{EnrollmentGroupID: fmt.Sprint("g", i), ETag: `"3"`})
		list[i] = fmt.Sprintf(`{"enrollmentGroupId":"g%d","attestation":{"type":"symmetricKey"},"capabilities":{"iotEdge":false},"etag":"\"3\""}`, i)
	}
	c := script(t,
		answer{request: `POST /enrollmentGroups` + version + ` {"enrollmentGroups":[` + strings.Join(list[:10], ",") + `],"mode":"delete"}`, body: `{"isSuccessful":false,"errors":[{"enrollmentGroupId":"g1","errorCode":404204,"errorStatus":"gone"}]}`},
		answer{request: `POST /enrollmentGroups` + version + ` {"enrollmentGroups":[` + list[10] + `],"mode":"delete"}`, body: `{"isSuccessful":true,"errors":[]}`},
		answer{request: `POST /enrollments/r1/attestationmechanism` + version, body: keys},
		answer{request: `POST /enrollments` + version + ` {"enrollments":[{"registrationId":"r1","attestation":` + keys + `,"capabilities":{"iotEdge":false},"etag":"\"4\""}],"mode":"updateIfMatchETag"}`,
			status: 400, body: `{"isSuccessful":false,"errors":[{"registrationId":"r1","errorCode":412204,"errorStatus":"changed"}]}`},
		answer{request: `POST /enrollments` + version + ` {"enrollments":[{"registrationId":"r2","attestation":{"type":"tpm","tpm":{"endorsementKey":"RUs="}},"capabilities":{"iotEdge":false}}],"mode":"create"}`,
			status: 400, body: `{"errorCode":400004,"message":"no such TPM"}`},
	)
	failed, ok := errors.AsType[*dps.BulkEnrollmentError](c.BulkEnrollmentGroups(ctx, service.BulkDelete, eleven))
	if !ok || failed.Total != 11 || len(failed.Items) != 1 || failed.Items[0].ID != "g1" || !strings.Contains(failed.Error(), "1 of 11") {
		t.Fatal(failed)
	}
	wantKind(t, failed, iothub.KindNotFound, 404204)
	err := c.BulkIndividualEnrollments(ctx, service.BulkUpdateIfMatch, []*dps.IndividualEnrollment{{RegistrationID: "r1", ETag: `"4"`}})
	wantKind(t, err, iothub.KindPreconditionFailed, 412204)
	err = c.BulkIndividualEnrollments(ctx, service.BulkCreate, []*dps.IndividualEnrollment{{RegistrationID: "r2", Attestation: dps.TPM([]byte("EK")), ETag: `"5"`}})
	wantKind(t, err, iothub.KindInvalidArgument, 400004)
}

// What no service could do is refused before it is sent.
func TestInvalid(t *testing.T) {
	c, ctx := double(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.URL) }), t.Context()
	individual := func(id string) *dps.IndividualEnrollment { return &dps.IndividualEnrollment{RegistrationID: id} }
	for name, call := range map[string]func() error{
		"no enrollment":    func() error { _, err := c.CreateIndividualEnrollment(ctx, nil); return err },
		"no group":         func() error { _, err := c.UpdateEnrollmentGroup(ctx, nil); return err },
		"no id":            func() error { _, err := c.CreateIndividualEnrollment(ctx, individual("")); return err },
		"a slash":          func() error { _, err := c.CreateIndividualEnrollment(ctx, individual("a/b")); return err },
		"dots":             func() error { _, err := c.GetIndividualEnrollment(ctx, ".."); return err },
		"a dot at the end": func() error { _, err := c.GetEnrollmentGroup(ctx, "a."); return err },
		"too long":         func() error { _, err := c.GetEnrollmentGroupAttestation(ctx, strings.Repeat("a", 129)); return err },
		"update, no ETag":  func() error { _, err := c.UpdateIndividualEnrollment(ctx, individual("a")); return err },
		"delete, no ETag":  func() error { return c.DeleteEnrollmentGroup(ctx, "a", "") },
		"delete, no id":    func() error { return c.DeleteIndividualEnrollment(ctx, "", service.AnyETag) },
		"registration":     func() error { _, err := c.GetRegistration(ctx, "ä"); return err },
		"no registration":  func() error { return c.DeleteRegistration(ctx, "a b", service.AnyETag) },
		"registrations": func() error {
			for _, err := range c.QueryRegistrations(ctx, "", nil) {
				return err
			}
			return nil
		},
		"page size": func() error {
			for _, err := range c.QueryEnrollmentGroups(ctx, "", &service.QueryOptions{PageSize: 1001}) {
				return err
			}
			return nil
		},
		"bulk mode": func() error { return c.BulkEnrollmentGroups(ctx, service.BulkUpdateTwin, nil) },
		"bulk nil":  func() error { return c.BulkEnrollmentGroups(ctx, service.BulkDelete, []*dps.EnrollmentGroup{nil}) },
		"bulk, no ETag": func() error {
			return c.BulkIndividualEnrollments(ctx, service.BulkUpdateIfMatch, []*dps.IndividualEnrollment{individual("a")})
		},
		"no certificate":  func() error { _, err := c.CreateCertificate(ctx, "a", nil, false); return err },
		"no name":         func() error { _, err := c.GetCertificate(ctx, ".."); return err },
		"no proof":        func() error { _, err := c.VerifyCertificate(ctx, "a", nil, service.AnyETag); return err },
		"code, no ETag":   func() error { _, err := c.GenerateVerificationCode(ctx, "a", ""); return err },
		"no such name":    func() error { return c.DeleteCertificate(ctx, "a b", service.AnyETag) },
		"no token source": func() error { _, err := dps.NewClient("h", nil, nil); return err },
		"a device's string": func() error {
			_, err := dps.NewClientFromConnectionString("HostName=h;DeviceId=d;SharedAccessKey="+keyA, nil)
			return err
		},
		"options": func() error {
			_, err := dps.NewClientFromConnectionString("HostName=h;SharedAccessKeyName=p;SharedAccessKey="+keyA, &dps.ClientOptions{RequestTimeout: -1})
			return err
		},
	} {
		if err := call(); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A request that was throttled is sent again when the service says, and tokens of
// Entra ID are asked for with the scope of the service.
func TestTokenSource(t *testing.T) {
	seen := make(chan string, 4)
	other := double(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		if len(seen) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"errorCode":429001,"message":"slow down"}`)
			return
		}
		fmt.Fprint(w, `{"registrationId":"r1"}`)
	})
	c, err := dps.NewClient(other.HostName(), service.TokenSourceFunc(func(_ context.Context, scope string) (iothub.Token, error) {
		return iothub.Token{Value: "for " + scope, Expires: time.Now().Add(time.Hour)}, nil
	}), &dps.ClientOptions{HTTPTransport: dps.TransportOf(other), Retry: &iothub.RetryPolicy{Strategy: iothub.RetryImmediate, Limit: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	if _, err := c.CreateIndividualEnrollment(t.Context(), &dps.IndividualEnrollment{RegistrationID: "r1"}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if got := <-seen; got != "Bearer for https://azure-devices-provisioning.net/.default" {
			t.Error(got)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.GetRegistration(t.Context(), "r1"); !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
	if c.String() != "dps.Client("+other.HostName()+")" {
		t.Error(c)
	}
}

// The constructors make what the REST API calls these attestations.
func TestAttestationJSON(t *testing.T) {
	for _, test := range []struct {
		a    dps.AttestationMechanism
		want string
	}{
		{dps.TPM([]byte("EK")), `{"type":"tpm","tpm":{"endorsementKey":"RUs="}}`},
		{dps.ClientCertificates(&x509.Certificate{Raw: []byte("ABC")}, nil), `{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"QUJD"}}}}`},
		{dps.CAReferences("a", "b"), `{"type":"x509","x509":{"caReferences":{"primary":"a","secondary":"b"}}}`},
	} {
		if b, err := json.Marshal(test.a); err != nil || string(b) != test.want {
			t.Errorf("%s %v", b, err)
		}
	}
}
