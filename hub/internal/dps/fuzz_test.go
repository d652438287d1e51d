package dps_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// fuzzed is a service for fuzz targets.
func fuzzed(f *testing.F) *dps.Service {
	f.Helper()
	h, err := core.New(f.Context(), core.Config{HostName: "one.example"}, memory.New(nil))
	if err != nil {
		f.Fatal(err)
	}
	s, err := dps.New(f.Context(), dps.Config{
		HostNames: []string{"dps.example"}, IDScope: scope, Storage: memory.New(nil),
		Hubs: []dps.Hub{dps.Local(h, func() string { return "one.example" })},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = s.Close(context.Background())
		_ = h.Close(context.Background())
	})
	return s
}

// refused fails the test unless err is a refusal of the client's.
func refused(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Status < 400 || e.Status >= 500 {
		t.Fatalf("%v", err)
	}
}

// Whatever is taken can be read, written again as it was read, and deleted.
func FuzzEnrollment(f *testing.F) {
	for _, text := range []string{
		`{"registrationId":"a","attestation":{"type":"symmetricKey"}}`, symmetricGroup(groupKey),
		`{"enrollmentGroupId":"a","attestation":{"type":"x509","x509":{"caReferences":{"primary":"x"}}}}`,
		`{"deviceId":"d","attestation":{"type":"tpm","tpm":{"endorsementKey":"AAAA"}},"iotHubs":["one.example"],"optionalDeviceInformation":{"x":[null]},"capabilities":{"iotEdge":true}}`,
		`{"attestation":{"type":"symmetricKey"},"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"https://x/"},"reprovisionPolicy":null,"initialTwin":{"tags":null}}`,
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, text string, group bool) {
		e, err := dps.ParseEnrollment([]byte(text), "a", group)
		if err != nil {
			refused(t, err)
			return
		}
		if _, err := s.Put(t.Context(), e, ""); err != nil {
			refused(t, err)
			return
		}
		read, err := s.Get("a", group)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(read)
		if err != nil {
			t.Fatal(err)
		}
		again, err := dps.ParseEnrollment(data, "a", group)
		if err == nil {
			_, err = s.Put(t.Context(), again, read.ETag)
		}
		if err != nil {
			t.Fatalf("%s, read as %s: %v", text, data, err)
		}
		if err := s.Delete(t.Context(), "a", group, core.AnyETag); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, text := range []string{"", "*", "SELECT * FROM enrollments", "select*from enrollments where attestation.type='x509'", "SELECT * FROM enrollments WHERE a.b[0] = 1 AND NOT IS_DEFINED(c)"} {
		f.Add(text, "")
		f.Add(text, "QUFBQUFBQUFBQUEgZTA=")
	}
	s := fuzzed(f)
	for _, id := range []string{"a", "b", "c"} {
		e, err := dps.ParseEnrollment([]byte(`{"attestation":{"type":"symmetricKey"}}`), id, false)
		if err == nil {
			_, err = s.Put(f.Context(), e, "")
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text, continuation string) {
		page, err := s.QueryEnrollments(text, false, 1, continuation)
		if err != nil {
			refused(t, err)
			return
		}
		if len(page.Rows) > 1 {
			t.Fatalf("%d rows", len(page.Rows))
		}
		if page.Continuation != "" {
			if _, err := s.QueryEnrollments(text, false, 1, page.Continuation); err != nil {
				t.Fatalf("its own continuation: %v", err)
			}
		}
	})
}

func FuzzDeviceRequest(f *testing.F) {
	for _, text := range []string{"", "{}", `{"registrationId":"dev","payload":{"a":[1,null]}}`, `{"tpm":{"endorsementKey":"AA==","storageRootKey":"AA=="}}`, `{"payload":1e999}`} {
		f.Add([]byte(text))
	}
	s := fuzzed(f)
	e, err := dps.ParseEnrollment([]byte(symmetricGroup(groupKey)), "g", true)
	if err == nil {
		_, err = s.Put(f.Context(), e, "")
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		r, err := s.SignUp(time.Now(), dps.Credential{IDScope: scope, RegistrationID: "dev", Token: token("dev", derived(groupKey, "dev"))})
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Register(t.Context(), request)
		if err != nil {
			refused(t, err)
			return
		}
		if a, err = r.Operation(t.Context(), a.Operation); err != nil || !json.Valid(a.Body) {
			t.Fatalf("%s, %v", a.Body, err)
		}
	})
}

// Keys of a TPM come from whoever connects, before anything is proved.
func FuzzTPMKey(f *testing.F) {
	for _, template := range []tpm2.TPMTPublic{tpm2.RSAEKTemplate, tpm2.RSASRKTemplate, tpm2.ECCSRKTemplate} {
		b := tpm2.Marshal(tpm2.New2B(template))
		f.Add(b, b)
	}
	f.Add([]byte{}, []byte{0, 0})
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, ek, srk []byte) {
		blob, err := s.Challenge(t.Context(), dps.TPMChallenge{IDScope: scope, RegistrationID: "dev", EndorsementKey: ek, StorageRootKey: srk})
		if err != nil {
			refused(t, err)
			return
		}
		if len(blob) > 4<<10 {
			t.Fatalf("a blob of %d bytes", len(blob))
		}
	})
}
