package dps_test

import (
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/sas"
)

const (
	// The vector of wire-device F.1.
	groupKey   = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
	vectorID   = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
	derivedKey = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
	otherKey   = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
)

func symmetricGroup(key string) string {
	return `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"` + key + `"}},
		"initialTwin":{"tags":{"site":"a"},"properties":{"desired":{"rate":5}}}}`
}

// A device with a key of its own, or of its group, is assigned and can connect with
// that key.
func TestSymmetricKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		e.put("g", true, symmetricGroup(groupKey))
		made := e.put("One", false, `{"deviceId":"device-1","capabilities":{"iotEdge":true},"attestation":{"type":"symmetricKey"}}`)
		keys := made.Attestation.SymmetricKey

		state := e.register(dps.Credential{RegistrationID: vectorID, Token: token(vectorID, derivedKey)}, "")
		if state.Status != "assigned" || state.Substatus != "initialAssignment" || state.AssignedHub != "one.example" || state.DeviceID != vectorID {
			t.Errorf("of a group: %+v", state)
		}
		if state.SymmetricKey == nil || state.SymmetricKey.EnrollmentGroupID != "g" || state.ETag == "" {
			t.Errorf("what a device learns: %+v", state)
		}
		if !connects(e.cores[0], vectorID, derivedKey) {
			t.Error("the device cannot connect with its derived key")
		}
		twin, err := e.cores[0].GetTwin(vectorID, "")
		if err != nil || string(twin.Tags) != `{"site":"a"}` || !strings.Contains(string(twin.Properties.Desired), `"rate":5`) {
			t.Errorf("the initial twin: %s %s, %v", twin.Tags, twin.Properties.Desired, err)
		}

		for _, key := range []core.NullString{keys.PrimaryKey, keys.SecondaryKey} {
			state = e.register(dps.Credential{RegistrationID: "one", Token: token("ONE", string(key))}, `{"registrationId":"one","payload":{"a":1}}`)
			if state.Status != "assigned" || state.DeviceID != "device-1" || state.SymmetricKey.EnrollmentGroupID != "" {
				t.Errorf("by itself: %+v", state)
			}
			if !connects(e.cores[0], "device-1", string(key)) {
				t.Error("the device cannot connect with its key")
			}
		}
		if state.Substatus != "reprovisionedToInitialAssignment" {
			t.Errorf("the second time: %s", state.Substatus)
		}
		d, err := e.cores[0].GetDevice("device-1")
		if err != nil || !d.Capabilities.IoTEdge {
			t.Errorf("capabilities: %+v, %v", d.Capabilities, err)
		}

		seen, err := e.Registration("ONE")
		if err != nil || seen.Status != "assigned" || seen.SymmetricKey != nil || seen.DeviceID != "device-1" {
			t.Errorf("what back ends see: %+v, %v", seen, err)
		}
		got, err := e.Get("one", false)
		if err != nil || got.RegistrationState == nil || got.RegistrationState.AssignedHub != "one.example" || got.Attestation.SymmetricKey != nil {
			t.Errorf("the enrollment: %+v, %v", got, err)
		}
	})
}

// A group derives from the text that the device sends, or from it in lower case.
func TestDerivedFromEitherSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		e.put("g", true, symmetricGroup(groupKey))
		for _, from := range []string{"Dev-1", "dev-1"} {
			key := derived(groupKey, from)
			state := e.register(dps.Credential{RegistrationID: "Dev-1", Token: token("Dev-1", key)}, "")
			if state.DeviceID != "Dev-1" || !connects(e.cores[0], "Dev-1", key) {
				t.Errorf("derived from %s: %+v", from, state)
			}
		}
	})
}

// Certificates: one's own, by a chain to the group, and by a reference to an
// authority; the identity has the thumbprint of what was shown.
func TestCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		root := issue(t, "root", true, cert{}, time.Hour)
		middle := issue(t, "middle", true, root, time.Hour)
		leaf := issue(t, "Dev-1", false, middle, time.Hour)
		own, spare := issue(t, "alone", false, cert{}, time.Hour), issue(t, "alone", false, cert{}, time.Hour)

		e.put("by-root", true, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":`+root.json()+`}}}}`)
		e.put("alone", false, `{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":`+own.json()+`,"secondary":`+spare.json()+`}}}}`)

		chain := []*x509.Certificate{leaf.Certificate, middle.Certificate}
		connected := func(id string, c cert) bool {
			_, err := e.cores[0].Authenticate(time.Now(), core.AuthRequest{DeviceID: id, Certificates: []*x509.Certificate{c.Certificate}})
			return err == nil
		}
		state := e.register(dps.Credential{RegistrationID: "dev-1", Certificates: chain}, "")
		if state.Status != "assigned" || state.X509 == nil || state.X509.EnrollmentGroupID != "by-root" ||
			state.X509.CertificateInfo.SubjectName != "CN=Dev-1" || state.X509.SigningCertificateInfo.SubjectName != "CN=root" {
			t.Errorf("by the chain: %+v %+v", state, state.X509)
		}
		if !connected("dev-1", leaf) || connected("dev-1", own) {
			t.Error("the identity has another thumbprint")
		}
		e.put("by-middle", true, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":`+middle.json()+`}}}}`)
		if state = e.register(dps.Credential{RegistrationID: "dev-1", Certificates: chain}, ""); state.X509.EnrollmentGroupID != "by-middle" {
			t.Errorf("the nearest group: %s", state.X509.EnrollmentGroupID)
		}
		for _, c := range []cert{own, spare} {
			state = e.register(dps.Credential{RegistrationID: "ALONE", Certificates: []*x509.Certificate{c.Certificate}}, "")
			if state.X509.SigningCertificateInfo != nil || state.DeviceID != "alone" || !connected("alone", c) {
				t.Errorf("by its own: %+v", state.X509)
			}
		}

		// An authority by its name, once whoever has added it proves that he has its key.
		authority := issue(t, "authority", true, cert{}, time.Hour)
		ctx := t.Context()
		if _, err := e.PutCertificate(ctx, "ca", authority.pem(), false, ""); err != nil {
			t.Fatal(err)
		}
		reference := dps.Enrollment{EnrollmentGroupID: "by-name", Attestation: dps.AttestationMechanism{
			Type: "x509", X509: &dps.X509Attestation{CAReferences: &dps.CAReferences{Primary: "CA"}}}}
		_, err := e.Put(ctx, reference, "")
		wantCode(t, "a reference to what is not verified", err, dps.CodeBadRequest)
		_, err = e.PutCertificate(ctx, "CA", authority.pem(), true, "")
		wantCode(t, "making an authority that is there", err, dps.CodeConflict)
		c, err := e.VerificationCode(ctx, "ca", "")
		if err != nil || c.Properties.VerificationCode == "" || c.Properties.IsVerified {
			t.Fatalf("%+v, %v", c, err)
		}
		code := c.Properties.VerificationCode
		for what, proof := range map[string]cert{
			"another name": issue(t, "x", false, authority, time.Hour), "another signer": issue(t, code, false, root, time.Hour),
			"expired": issue(t, code, false, authority, -time.Minute),
		} {
			_, err := e.VerifyCertificate(ctx, "ca", proof.pem(), "")
			wantCode(t, "a proof with "+what, err, dps.CodeBadRequest)
		}
		proof := issue(t, code, false, authority, time.Hour).pem()
		if c, err = e.VerifyCertificate(ctx, "ca", proof, c.ETag); err != nil || !c.Properties.IsVerified {
			t.Fatalf("%+v, %v", c, err)
		}
		_, err = e.VerifyCertificate(ctx, "ca", proof, "")
		wantCode(t, "the same proof again", err, dps.CodeBadRequest)
		if _, err := e.Put(ctx, reference, ""); err != nil {
			t.Fatal(err)
		}
		named := issue(t, "named", false, authority, time.Hour)
		if state = e.register(dps.Credential{RegistrationID: "named", Certificates: []*x509.Certificate{named.Certificate}}, ""); state.X509.EnrollmentGroupID != "by-name" {
			t.Errorf("by name: %+v", state.X509)
		}
		wantCode(t, "deleting an authority in use", e.DeleteCertificate(ctx, "ca", ""), dps.CodeConflict)
	})
}

// Whatever is wrong, the answer is the same, to the last letter.
func TestRefusals(t *testing.T) {
	e := newEnv(t, 1)
	root, stranger := issue(t, "root", true, cert{}, time.Hour), issue(t, "root", true, cert{}, time.Hour)
	middle := issue(t, "middle", true, root, time.Hour)
	e.put("g", true, symmetricGroup(groupKey))
	e.put("x", true, `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":`+root.json()+`}}}}`)
	key := string(e.put("one", false, `{"attestation":{"type":"symmetricKey"}}`).Attestation.SymmetricKey.PrimaryKey)
	shown := func(list ...cert) (certs []*x509.Certificate) {
		for _, c := range list {
			certs = append(certs, c.Certificate)
		}
		return certs
	}
	sign := func(resource, policy string, life time.Duration) string {
		raw := []byte("0123456789abcdef0123456789abcdef")
		return sas.Sign(resource, raw, time.Now().Add(life), policy)
	}
	e.put("mine", false, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+otherKey+`"}}}`)
	own := scope + "/registrations/mine"
	for what, c := range map[string]dps.Credential{
		"nothing":                           {RegistrationID: "one"},
		"nobody":                            {RegistrationID: "nobody", Token: token("nobody", otherKey)},
		"another key":                       {RegistrationID: "one", Token: token("one", otherKey)},
		"the group's key itself":            {RegistrationID: "dev", Token: token("dev", groupKey)},
		"a derived key of another":          {RegistrationID: "dev", Token: token("dev", derived(groupKey, "dev2"))},
		"a group, but enrolled by itself":   {RegistrationID: "one", Token: token("one", derived(groupKey, "one"))},
		"a token for another registration":  {RegistrationID: "one", Token: token("mine", key)},
		"another id scope":                  {IDScope: "0ne00000002", RegistrationID: "one", Token: token("one", key)},
		"no policy":                         {RegistrationID: "mine", Token: sign(own, "", time.Hour)},
		"another policy":                    {RegistrationID: "mine", Token: sign(own, dps.Policy, time.Hour)},
		"a token for the whole scope":       {RegistrationID: "mine", Token: sign(scope, "registration", time.Hour)},
		"a token for all registrations":     {RegistrationID: "mine", Token: sign(scope+"/registrations", "registration", time.Hour)},
		"a token for a place below":         {RegistrationID: "mine", Token: sign(own+"/x", "registration", time.Hour)},
		"an expired token":                  {RegistrationID: "mine", Token: sign(own, "registration", -time.Hour)},
		"no token at all":                   {RegistrationID: "mine", Token: "x"},
		"a registration id that is none":    {RegistrationID: "a/b", Token: token("a/b", otherKey)},
		"a certificate of a stranger":       {RegistrationID: "dev", Certificates: shown(issue(t, "dev", false, stranger, time.Hour))},
		"a certificate of another":          {RegistrationID: "dev", Certificates: shown(issue(t, "dev2", false, root, time.Hour))},
		"an expired certificate":            {RegistrationID: "dev", Certificates: shown(issue(t, "dev", false, root, -time.Minute))},
		"a chain with a gap":                {RegistrationID: "dev", Certificates: shown(issue(t, "dev", false, middle, time.Hour))},
		"the authority's own certificate":   {RegistrationID: "root", Certificates: shown(root)},
		"a certificate, enrolled for a key": {RegistrationID: "one", Certificates: shown(issue(t, "one", false, root, time.Hour))},
	} {
		if c.IDScope == "" {
			c.IDScope = scope
		}
		_, err := e.SignUp(time.Now(), c)
		if err == nil || err.Error() != "Unauthorized (401002): Unauthorized" {
			t.Errorf("%s: %v", what, err)
		}
	}
	e.signUp(dps.Credential{RegistrationID: "mine", Token: sign(own, "registration", time.Hour)})
	e.signUp(dps.Credential{RegistrationID: "dev", Certificates: shown(issue(t, "dev", false, middle, time.Hour), middle)})
}

// What a device sends is checked, and an enrollment that goes, or changes its keys,
// takes the registration with it.
func TestRequestsOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		ctx := t.Context()
		key := string(e.put("one", false, `{"attestation":{"type":"symmetricKey"}}`).Attestation.SymmetricKey.PrimaryKey)
		r := e.signUp(dps.Credential{RegistrationID: "one", Token: token("one", key)})
		for what, c := range map[string]struct {
			request string
			code    int
		}{
			"no JSON": {"{", dps.CodeBadRequest}, "another id": {`{"registrationId":"two"}`, dps.CodeBadRequest},
			"too large": {`{"payload":"` + strings.Repeat("x", 96<<10) + `"}`, dps.CodeTooLarge},
		} {
			_, err := r.Register(ctx, []byte(c.request))
			wantCode(t, what, err, c.code)
		}
		_, err := r.Operation(ctx, "4.x")
		wantCode(t, "an operation that is none", err, dps.CodeNotFound)
		_, err = r.Lookup()
		wantCode(t, "before the first registration", err, dps.CodeNotFound)
		e.register(dps.Credential{RegistrationID: "one", Token: token("one", key)}, "")
		a, err := r.Lookup()
		var state dps.RegistrationState
		if err != nil || json.Unmarshal(a.Body, &state) != nil || state.Status != "assigned" || state.SymmetricKey == nil {
			t.Errorf("look up: %s, %v", a.Body, err)
		}
		if !r.Expires().After(time.Now()) {
			t.Error("the registration does not end with the token")
		}

		_, err = e.Put(ctx, dps.Enrollment{RegistrationID: "ONE", Attestation: dps.AttestationMechanism{Type: "symmetricKey"}}, "")
		wantCode(t, "making what is there", err, dps.CodeConflict)
		e.put("one", false, `{"provisioningStatus":"disabled","attestation":{"type":"symmetricKey"}}`)
		if state := e.register(dps.Credential{RegistrationID: "one", Token: token("one", key)}, ""); state.Status != "disabled" || state.ErrorCode != dps.CodeDisabled {
			t.Errorf("disabled: %+v", state)
		}
		e.put("one", false, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+otherKey+`","secondaryKey":"`+otherKey+`"}}}`)
		_, err = r.Register(ctx, nil)
		wantCode(t, "with a key that was replaced", err, dps.CodeUnauthorized)
		if err := e.Delete(ctx, "one", false, ""); err != nil {
			t.Fatal(err)
		}
		_, err = e.Registration("one")
		wantCode(t, "the registration of an enrollment that is gone", err, dps.CodeNotFound)
		if _, err := e.cores[0].GetDevice("one"); err != nil {
			t.Errorf("the device is gone with the enrollment: %v", err)
		}
	})
}

// A registration that could not be deleted with its enrollment counts for none.
func TestRegistrationsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		e.group(`"allocationPolicy":"hashed"`)
		e.join("dev", "")
		e.store.keeps = true
		if err := e.Delete(t.Context(), "g", true, ""); err != nil {
			t.Fatal(err)
		}
		e.store.keeps = false
		e.group(`"allocationPolicy":"hashed"`)
		_, err := e.Registration("dev")
		wantCode(t, "the registration left behind", err, dps.CodeNotFound)
		r := e.signUp(dps.Credential{RegistrationID: "dev", Token: token("dev", derived(groupKey, "dev"))})
		_, err = r.Lookup()
		wantCode(t, "the same, for the device", err, dps.CodeNotFound)
		if page, err := e.QueryRegistrations("g", "", 0, ""); err != nil || len(page.Rows) != 0 {
			t.Errorf("the same, in a query: %s, %v", page.Rows, err)
		}
		if state := e.join("dev", ""); state.Substatus != "initialAssignment" {
			t.Errorf("the next registration: %+v", state)
		}
	})
}
