package dps

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/guid"
)

// MaxRequest is the largest request of a device, in bytes. (wire-device F.6)
const MaxRequest = 96 << 10

const (
	// firstPoll is when a device should ask for its result, laterPoll when it should
	// ask again.
	firstPoll = time.Second
	laterPoll = 2 * time.Second
	// maxConflicts is how often a write is tried again because another one came first.
	maxConflicts = 10
)

// registrationDoc is a registration as it is stored.
type registrationDoc struct {
	RegistrationState
	// Generation is that of the enrollment it belongs to.
	Generation string `json:"generation"`
	Enrollment string `json:"enrollment"` // its key
	Group      bool   `json:"group,omitempty"`
	Operation  string `json:"operation"`
	// Hub is the key of the hub where the identity is, InHub its id there; empty
	// before the first assignment.
	Hub   string `json:"hub,omitempty"`
	InHub string `json:"inHub,omitempty"`
	// Request is what is being worked on.
	Request *request `json:"request,omitempty"`
}

// request is what a device has asked for and proved.
type request struct {
	ID             string              `json:"id"`
	Payload        json.RawMessage     `json:"payload,omitempty"`
	Authentication core.Authentication `json:"authentication"`
	Certificate    string              `json:"certificate,omitempty"` // PEM, for webhooks
	StorageRootKey []byte              `json:"storageRootKey,omitempty"`
}

// stateOf is a registration as back ends see it, or its device.
func stateOf(r row[registrationDoc], device bool) RegistrationState {
	state := r.doc.RegistrationState
	state.ETag = etagOf(r.rev)
	if !device {
		state.X509, state.SymmetricKey, state.TPM = nil, nil, nil
	}
	return state
}

// registrationOf finds the registration of an enrollment, by its key; a registration
// of an older enrollment counts for none.
func (s *Service) registrationOf(e *enrollmentDoc, key string) row[registrationDoc] {
	r := s.registrations.get(key)
	if r.doc != nil && r.doc.Generation != e.Generation {
		return row[registrationDoc]{}
	}
	return r
}

// registration is a device that has proved itself. What it has shown is looked at
// again each time, because enrollments change.
type registration struct {
	s          *Service
	credential Credential
	expires    time.Time
}

// Expires is when the token runs out.
func (r *registration) Expires() time.Time { return r.expires }

// deviceRequest is what devices send. (wire-device F.2, F.4)
type deviceRequest struct {
	RegistrationID string          `json:"registrationId"`
	Payload        json.RawMessage `json:"payload"`
	TPM            *struct {
		EndorsementKey string `json:"endorsementKey"`
		StorageRootKey string `json:"storageRootKey"`
	} `json:"tpm"`
}

// parseRequest reads what a device sends; nothing at all is enough.
func parseRequest(data []byte, registrationID string) (deviceRequest, error) {
	var d deviceRequest
	if len(data) > MaxRequest {
		return d, NewError(CodeTooLarge, "the request has %d bytes, the limit is %d", len(data), MaxRequest)
	}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &d); err != nil {
			return d, badRequest("the request is not the JSON of a registration: %v", err)
		}
	}
	if d.RegistrationID != "" && !strings.EqualFold(d.RegistrationID, registrationID) {
		return d, badRequest("the request is for the registration %.140q, but this is %q", d.RegistrationID, registrationID)
	}
	return d, nil
}

// Register stores what the device asks for and has somebody work on it.
func (r *registration) Register(ctx context.Context, data []byte) (Answer, error) {
	s, id := r.s, r.credential.RegistrationID
	p, err := s.prove(s.now(), r.credential)
	if err != nil {
		return Answer{}, err
	}
	d, err := parseRequest(data, id)
	if err != nil {
		return Answer{}, err
	}
	srk, err := r.storageRootKey(p, &d)
	if err != nil {
		return Answer{}, err
	}
	asked := &request{ID: id, Payload: d.Payload, Authentication: p.auth, StorageRootKey: srk}
	if p.leaf != nil {
		asked.Certificate = base64.StdEncoding.EncodeToString(p.leaf.Raw)
	}
	key := keyOf(id)
	if !s.mayAssign(key) {
		e := NewError(CodeTooMany, "too many registrations are being worked on")
		e.RetryAfter = 5 * time.Second
		return Answer{}, e
	}
	var made row[registrationDoc]
	for range maxConflicts {
		old := s.registrations.get(key)
		made, err = s.registrations.put(ctx, key, s.newRegistration(p, asked, old), old)
		if !errors.Is(err, core.ErrRevision) && !errors.Is(err, core.ErrKeyExists) {
			break
		}
		// The one before has just come to its end.
	}
	if err != nil {
		return Answer{}, s.stored("register", err)
	}
	s.assign(key)
	return answerOf(made, firstPoll), nil
}

// newRegistration is what is stored while a registration is worked on.
func (s *Service) newRegistration(p *proof, asked *request, old row[registrationDoc]) *registrationDoc {
	now, e := s.stamp(), p.enrollment
	doc := &registrationDoc{Generation: e.Generation, Enrollment: keyOf(e.id()), Group: e.isGroup(), Request: asked}
	doc.ID, doc.Created = asked.ID, now
	if old.doc != nil && old.doc.Generation == e.Generation {
		before := *old.doc
		doc = &before
		doc.Request, doc.ErrorCode, doc.ErrorMessage, doc.Payload = asked, 0, "", nil
	}
	doc.Status, doc.LastUpdated = StatusAssigning, now
	// The form is that of Azure's.
	doc.Operation = "4." + hex.EncodeToString(randomBytes(8)) + "." + guid.New()
	group := ""
	if e.isGroup() {
		group = e.EnrollmentGroupID
	}
	doc.X509, doc.SymmetricKey, doc.TPM = nil, nil, nil
	switch e.Attestation.Type {
	case AttestX509:
		doc.X509 = &RegistrationX509{CertificateInfo: infoOf(p.leaf), EnrollmentGroupID: group}
		if p.signer != nil {
			doc.X509.SigningCertificateInfo = infoOf(p.signer)
		}
	case AttestSymmetricKey:
		doc.SymmetricKey = &RegistrationKey{EnrollmentGroupID: group}
	}
	return doc
}

// storageRootKey is that of a TPM, which has to be the one enrolled.
func (r *registration) storageRootKey(p *proof, d *deviceRequest) ([]byte, error) {
	if p.enrollment.Attestation.Type != AttestTPM {
		return nil, nil
	}
	srk := r.credential.StorageRootKey
	if d.TPM != nil {
		ek, err := base64.StdEncoding.DecodeString(d.TPM.EndorsementKey)
		if err != nil || len(ek) > 0 && !bytes.Equal(ek, p.enrollment.ek) {
			return nil, r.s.refuse(r.credential.RegistrationID, "its endorsement key is not the one enrolled")
		}
		if given, err := base64.StdEncoding.DecodeString(d.TPM.StorageRootKey); err == nil && len(given) > 0 {
			srk = given
		}
	}
	if _, err := parseTPMKey(srk); err != nil {
		return nil, badRequest("a device with a TPM sends its storageRootKey, a TPM2B_PUBLIC in base64")
	}
	return srk, nil
}

// Operation tells what has become of a registration, and has it worked on when
// nobody does since a restart.
func (r *registration) Operation(_ context.Context, id string) (Answer, error) {
	p, err := r.s.prove(r.s.now(), r.credential)
	if err != nil {
		return Answer{}, err
	}
	found := r.s.registrationOf(p.enrollment, keyOf(r.credential.RegistrationID))
	if found.doc == nil || found.doc.Operation != id {
		return Answer{}, NewError(CodeNotFound, "there is no such operation; register again")
	}
	if found.doc.Status == StatusAssigning {
		r.s.assign(found.key)
	}
	return answerOf(found, laterPoll), nil
}

// Lookup tells what the registration is now.
func (r *registration) Lookup() (Answer, error) {
	p, err := r.s.prove(r.s.now(), r.credential)
	if err != nil {
		return Answer{}, err
	}
	found := r.s.registrationOf(p.enrollment, keyOf(r.credential.RegistrationID))
	if found.doc == nil {
		return Answer{}, NewError(CodeNotFound, "the device has not registered yet")
	}
	return Answer{Status: http.StatusOK, Body: encode(stateOf(found, true))}, nil
}

// answerOf is the answer to a device about its operation. (wire-device F.3)
func answerOf(r row[registrationDoc], wait time.Duration) Answer {
	status := struct {
		OperationID string             `json:"operationId"`
		Status      string             `json:"status"`
		State       *RegistrationState `json:"registrationState,omitempty"`
	}{r.doc.Operation, r.doc.Status, nil}
	if r.doc.Status == StatusAssigning {
		return Answer{Status: http.StatusAccepted, Body: encode(status), Operation: r.doc.Operation, RetryAfter: wait}
	}
	state := stateOf(r, true)
	status.State = &state
	return Answer{Status: http.StatusOK, Body: encode(status), Operation: r.doc.Operation}
}

// encode is json.Marshal of what always encodes: structs of texts, numbers and JSON
// that was parsed before.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return data
}

// Registration returns the registration of an id; 404204 when there is none.
func (s *Service) Registration(id string) (RegistrationState, error) {
	r := s.registrations.get(keyOf(id))
	if r.doc == nil || !s.isCurrent(r.doc) {
		return RegistrationState{}, NewError(CodeNotFound, "there is no registration %.140q", id)
	}
	return stateOf(r, false), nil
}

// isCurrent tells a registration from one whose enrollment is gone.
func (s *Service) isCurrent(d *registrationDoc) bool {
	e := s.table(d.Group).get(d.Enrollment)
	return e.doc != nil && e.doc.Generation == d.Generation
}

// DeleteRegistration forgets a registration whose ETag is etag (empty or
// [core.AnyETag] for any). The identity in the hub stays; the next registration of
// the device is its first.
func (s *Service) DeleteRegistration(ctx context.Context, id, etag string) error {
	r := s.registrations.get(keyOf(id))
	switch {
	case r.doc == nil:
		return NewError(CodeNotFound, "there is no registration %.140q", id)
	case !etagMatches(etag, r.rev):
		return precondition(id)
	}
	if err := s.registrations.remove(ctx, r); err != nil {
		return s.stored("delete registration", err)
	}
	return nil
}
