package dps_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// startHub starts a hub with its provisioning service.
func startHub(t *testing.T) (*hub.Server, *dps.Client) {
	t.Helper()
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c, err := dps.NewClientFromConnectionString(s.ProvisioningConnectionString(), &dps.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	return s, c
}

// register registers a device with a key over HTTPS, as its SDK does.
func register(t *testing.T, s *hub.Server, c *dps.Client, id, key string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}
	defer transport.CloseIdleConnections()
	base := "/" + s.IDScope() + "/registrations/" + id
	call := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+c.HostName()+path+"?api-version=2021-06-01", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", sas.Sign(base[1:], raw, time.Now().Add(time.Hour), "registration"))
		r.Header.Set("Content-Type", "application/json")
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	status, body := call("PUT", base+"/register", fmt.Sprintf(`{"registrationId":%q}`, id))
	for status == http.StatusAccepted {
		var a struct{ OperationID string }
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		status, body = call("GET", base+"/operations/"+a.OperationID, "")
	}
	if status != http.StatusOK {
		t.Fatalf("register: %d %s", status, body)
	}
}

func TestEnrollmentsAtTheHub(t *testing.T) {
	s, c := startHub(t)
	ctx := t.Context()
	made, err := c.CreateIndividualEnrollment(ctx, &dps.IndividualEnrollment{RegistrationID: "dev-1", DeviceID: "Device1",
		InitialTwin: &dps.InitialTwin{Tags: json.RawMessage(`{"site":"north"}`), Properties: dps.InitialTwinProperties{Desired: json.RawMessage(`{"interval":30}`)}}})
	if err != nil {
		t.Fatal(err)
	}
	if made.ETag == "" || made.ProvisioningStatus != service.Enabled || made.AllocationPolicy == "" || made.CreatedTime.IsZero() || made.RegistrationState != nil {
		t.Errorf("%+v", made)
	}
	_, err = c.CreateIndividualEnrollment(ctx, &dps.IndividualEnrollment{RegistrationID: "DEV-1"})
	wantKind(t, err, iothub.KindConflict, 409204)
	before, err := c.GetIndividualEnrollmentAttestation(ctx, "dev-1")
	if err != nil || before.SymmetricKey == nil || before.SymmetricKey.Primary == "" {
		t.Fatal(err)
	}

	read, err := c.GetIndividualEnrollment(ctx, "dev-1")
	if err != nil || read.Attestation.SymmetricKey != nil || read.DeviceID != "Device1" {
		t.Fatalf("%+v %v", read, err)
	}
	read.OptionalDeviceInformation = json.RawMessage(`{"line":4}`)
	changed, err := c.UpdateIndividualEnrollment(ctx, read)
	if err != nil || changed.ETag == read.ETag || string(changed.OptionalDeviceInformation) != `{"line":4}` {
		t.Fatalf("%+v %v", changed, err)
	}
	after, err := c.GetIndividualEnrollmentAttestation(ctx, "dev-1")
	if err != nil || *after.SymmetricKey != *before.SymmetricKey {
		t.Error("the keys are others than before the update", err)
	}
	_, err = c.UpdateIndividualEnrollment(ctx, read)
	wantKind(t, err, iothub.KindPreconditionFailed, 412204)

	register(t, s, c, "dev-1", string(after.SymmetricKey.Primary))
	state, err := c.GetRegistration(ctx, "dev-1")
	if err != nil || state.Status != dps.RegistrationAssigned || state.DeviceID != "Device1" || !s.HasIdentity("Device1", "") {
		t.Fatalf("%+v %v", state, err)
	}
	if read, err = c.GetIndividualEnrollment(ctx, "dev-1"); err != nil || read.RegistrationState == nil || read.RegistrationState.AssignedHub != state.AssignedHub {
		t.Errorf("%+v %v", read, err)
	}
	read.ETag, read.ProvisioningStatus = service.AnyETag, service.Disabled
	if read, err = c.UpdateIndividualEnrollment(ctx, read); err != nil || read.ProvisioningStatus != service.Disabled {
		t.Errorf("%+v %v", read, err)
	}
	wantKind(t, c.DeleteRegistration(ctx, "dev-1", `"999"`), iothub.KindPreconditionFailed, 412204)
	if err := c.DeleteRegistration(ctx, "dev-1", state.ETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetRegistration(ctx, "dev-1")
	wantKind(t, err, iothub.KindNotFound, 404204)
	wantKind(t, c.DeleteIndividualEnrollment(ctx, "dev-1", made.ETag), iothub.KindPreconditionFailed, 412204)
	if err := c.DeleteIndividualEnrollment(ctx, "dev-1", read.ETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetIndividualEnrollment(ctx, "dev-1")
	wantKind(t, err, iothub.KindNotFound, 404204)
}

func TestGroupsAtTheHub(t *testing.T) {
	s, c := startHub(t)
	ctx := t.Context()
	_, err := c.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "line-1",
		Attestation: dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: keyA, Secondary: keyB}}})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(keyB)
	for i := range 5 {
		id := fmt.Sprint("d", i)
		mac := hmac.New(sha256.New, raw)
		mac.Write([]byte(id))
		register(t, s, c, id, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	var ids []string
	for r, err := range c.QueryRegistrations(ctx, "line-1", &service.QueryOptions{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.RegistrationID)
	}
	slices.Sort(ids)
	if fmt.Sprint(ids) != "[d0 d1 d2 d3 d4]" {
		t.Error(ids)
	}
	for _, err := range c.QueryRegistrations(ctx, "line-2", nil) {
		wantKind(t, err, iothub.KindNotFound, 404204)
	}

	g, err := c.GetEnrollmentGroup(ctx, "line-1")
	if err != nil {
		t.Fatal(err)
	}
	g.ReprovisionPolicy = &dps.ReprovisionPolicy{UpdateHubAssignment: true}
	if g, err = c.UpdateEnrollmentGroup(ctx, g); err != nil || g.ReprovisionPolicy.MigrateDeviceData {
		t.Fatal(g, err)
	}
	a, err := c.GetEnrollmentGroupAttestation(ctx, "line-1")
	if err != nil || a.SymmetricKey.Primary != keyA || a.SymmetricKey.Secondary != keyB {
		t.Error("the keys are others than before the update", err)
	}
	if err := c.DeleteEnrollmentGroup(ctx, "line-1", g.ETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetRegistration(ctx, "d0")
	wantKind(t, err, iothub.KindNotFound, 404204)
}

func TestBulkAtTheHub(t *testing.T) {
	_, c := startHub(t)
	ctx := t.Context()
	var list []*dps.IndividualEnrollment
	for i := range 12 {
		list = append(list, &dps.IndividualEnrollment{RegistrationID: fmt.Sprintf("r%02d", i)})
	}
	if err := c.BulkIndividualEnrollments(ctx, service.BulkCreate, list); err != nil {
		t.Fatal(err)
	}
	before, err := c.GetIndividualEnrollmentAttestation(ctx, "r03")
	if err != nil {
		t.Fatal(err)
	}
	failed, ok := errors.AsType[*dps.BulkEnrollmentError](c.BulkIndividualEnrollments(ctx, service.BulkCreate, list[10:]))
	if !ok || len(failed.Items) != 2 || failed.Items[0].ID != "r10" {
		t.Fatal(failed)
	}
	wantKind(t, failed, iothub.KindConflict, 409204)
	list[3].ProvisioningStatus = service.Disabled
	if err := c.BulkIndividualEnrollments(ctx, service.BulkUpdate, list[3:4]); err != nil {
		t.Fatal(err)
	}
	after, err := c.GetIndividualEnrollmentAttestation(ctx, "r03")
	if err != nil || *before.SymmetricKey != *after.SymmetricKey {
		t.Error("the keys are others than before the update", err)
	}
	count := func(query string) (n int) {
		for _, err := range c.QueryIndividualEnrollments(ctx, query, &service.QueryOptions{PageSize: 5}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	if all, disabled := count(""), count("SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'"); all != 12 || disabled != 1 {
		t.Error(all, disabled)
	}
	for _, err := range c.QueryIndividualEnrollments(ctx, "SELECT * FROM nowhere", nil) {
		wantKind(t, err, iothub.KindInvalidArgument, 400004)
	}
	list[0].ETag = `"999"`
	wantKind(t, c.BulkIndividualEnrollments(ctx, service.BulkUpdateIfMatch, list[:1]), iothub.KindPreconditionFailed, 412204)
	list[0].ETag = ""
	if err := c.BulkIndividualEnrollments(ctx, service.BulkDelete, list); err != nil {
		t.Error(err)
	}
	if n := count(""); n != 0 {
		t.Error(n)
	}
}

// The proof of possession, from the certificate to a group that refers to it.
func TestCertificatesAtTheHub(t *testing.T) {
	_, c := startHub(t)
	ctx := t.Context()
	factory := testkit.Authority(t, "factory", nil)
	root := factory.Certificate
	made, err := c.CreateCertificate(ctx, "factory", root, false)
	if err != nil || made.Properties.IsVerified {
		t.Fatal(made, err)
	}
	if back, err := made.X509(); err != nil || !bytes.Equal(back.Raw, root.Raw) {
		t.Error("the certificate came back as another one", err)
	}
	_, err = c.CreateCertificate(ctx, "factory", root, true)
	wantKind(t, err, iothub.KindConflict, 409204)
	group := &dps.EnrollmentGroup{EnrollmentGroupID: "g", Attestation: dps.CAReferences("factory", "")}
	_, err = c.CreateEnrollmentGroup(ctx, group)
	wantKind(t, err, iothub.KindInvalidArgument, 400004) // not verified yet

	waiting, err := c.GenerateVerificationCode(ctx, "factory", made.ETag)
	if err != nil || waiting.Properties.VerificationCode == "" {
		t.Fatal(waiting, err)
	}
	_, err = c.GenerateVerificationCode(ctx, "factory", made.ETag)
	wantKind(t, err, iothub.KindPreconditionFailed, 412204)
	proof := func(name string) *x509.Certificate { return testkit.Leaf(t, name, factory).Certificate }
	_, err = c.VerifyCertificate(ctx, "factory", proof("guess"), waiting.ETag)
	wantKind(t, err, iothub.KindInvalidArgument, 400004)
	verified, err := c.VerifyCertificate(ctx, "factory", proof(waiting.Properties.VerificationCode), waiting.ETag)
	if err != nil || !verified.Properties.IsVerified {
		t.Fatal(verified, err)
	}
	if _, err = c.CreateEnrollmentGroup(ctx, group); err != nil {
		t.Error(err)
	}
	if l, err := c.ListCertificates(ctx); err != nil || len(l) != 1 || l[0].Name != "factory" || l[0].Properties.Subject == "" {
		t.Error(l, err)
	}
	wantKind(t, c.DeleteCertificate(ctx, "factory", service.AnyETag), iothub.KindConflict, 409204) // the group refers to it
	if err := c.DeleteEnrollmentGroup(ctx, "g", service.AnyETag); err != nil {
		t.Error(err)
	}
	if err := c.DeleteCertificate(ctx, "factory", verified.ETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetCertificate(ctx, "factory")
	wantKind(t, err, iothub.KindNotFound, 404204)

	// Certificates of a group stay when it is read, changed and written.
	signing, err := c.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "s", Attestation: dps.SigningCertificates(root, nil)})
	if err != nil {
		t.Fatal(err)
	}
	signing.ProvisioningStatus = service.Disabled
	signing, err = c.UpdateEnrollmentGroup(ctx, signing)
	if err != nil || signing.Attestation.X509.SigningCertificates.Primary.Info.SubjectName != "CN=factory" {
		t.Errorf("%+v %v", signing, err)
	}
}

// The policies of the hub are not those of the service, and the other way round.
func TestPoliciesAtTheHub(t *testing.T) {
	s, c := startHub(t)
	wrong, err := dps.NewClientFromConnectionString("HostName="+c.HostName()+";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey="+keyA,
		&dps.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, wrong)
	_, err = wrong.GetIndividualEnrollment(t.Context(), "x")
	wantKind(t, err, iothub.KindUnauthorized, 401002)
	owner, err := dps.NewClientFromConnectionString(s.ServiceConnectionString(), &dps.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, owner)
	_, err = owner.GetIndividualEnrollment(t.Context(), "x")
	wantKind(t, err, iothub.KindUnauthorized, 401002)
}
