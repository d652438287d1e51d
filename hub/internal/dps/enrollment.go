package dps

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/guid"
)

// enrollmentDoc is an enrollment as it is stored, with its secrets, and prepared.
type enrollmentDoc struct {
	Enrollment
	// Generation tells it from another one of the same id, before or after.
	Generation string `json:"generation"`

	keys   [][]byte            // symmetric: primary, secondary
	leaves []*x509.Certificate // of the device
	roots  []*x509.Certificate // that sign certificates of devices
	ek     []byte
}

// open takes the attestation apart.
func (d *enrollmentDoc) open() error {
	a := &d.Attestation
	var err error
	switch {
	case a.SymmetricKey != nil:
		for _, text := range []core.NullString{a.SymmetricKey.PrimaryKey, a.SymmetricKey.SecondaryKey} {
			key, err := base64.StdEncoding.DecodeString(string(text))
			if err != nil {
				return err
			}
			d.keys = append(d.keys, key)
		}
	case a.TPM != nil:
		d.ek, err = base64.StdEncoding.DecodeString(a.TPM.EndorsementKey)
	case a.X509 != nil:
		if d.leaves, err = a.X509.ClientCertificates.parse(); err == nil {
			d.roots, err = a.X509.SigningCertificates.parse()
		}
	}
	return err
}

// table is where enrollments of a kind are.
func (s *Service) table(group bool) *table[enrollmentDoc] {
	if group {
		return &s.groups
	}
	return &s.enrollments
}

// keyOf is the key of an id, which is compared without regard to case.
func keyOf(id string) string { return strings.ToLower(id) }

func noEnrollment(id string) *core.Error {
	return NewError(CodeNotFound, "there is no enrollment %.140q", id)
}

// Get returns an enrollment, or a group, without its keys; 404204 when there is none.
func (s *Service) Get(id string, group bool) (Enrollment, error) {
	r := s.table(group).get(keyOf(id))
	if r.doc == nil {
		return Enrollment{}, noEnrollment(id)
	}
	return s.view(r, false), nil
}

// Attestation returns how devices of an enrollment prove themselves, keys included.
func (s *Service) Attestation(id string, group bool) (AttestationMechanism, error) {
	r := s.table(group).get(keyOf(id))
	if r.doc == nil {
		return AttestationMechanism{}, noEnrollment(id)
	}
	return s.view(r, true).Attestation, nil
}

// view is an enrollment as back ends see it.
func (s *Service) view(r row[enrollmentDoc], keys bool) Enrollment {
	e := r.doc.Enrollment
	e.ETag = etagOf(r.rev)
	if !keys {
		e.Attestation.SymmetricKey = nil
	}
	if x := e.Attestation.X509; x != nil {
		c := *x
		c.ClientCertificates, c.SigningCertificates = c.ClientCertificates.view(), c.SigningCertificates.view()
		e.Attestation.X509 = &c
	}
	if !r.doc.isGroup() {
		if reg := s.registrationOf(r.doc, keyOf(e.RegistrationID)); reg.doc != nil {
			state := stateOf(reg, false)
			e.RegistrationState = &state
		}
	}
	if e.IoTHubs == nil {
		e.IoTHubs = []string{}
	}
	return e
}

// Put makes an enrollment or, if etag is its ETag or [core.AnyETag], changes the one
// there is; an empty etag is for one that is new, as in Azure. Keys and certificates
// that are left out stay as they are, keys of a new one are made. The answer has the
// keys. Errors are *core.Error: 400004, 403204 above the quota, 404204, 409204 when
// there is one already, and 412204 when the ETag does not fit.
func (s *Service) Put(ctx context.Context, e Enrollment, etag string) (Enrollment, error) {
	s.write.Lock()
	defer s.write.Unlock()
	t := s.table(e.isGroup())
	old := t.get(keyOf(e.id()))
	switch {
	case old.doc == nil && etag != "" && etag != core.AnyETag:
		return Enrollment{}, noEnrollment(e.id())
	case old.doc != nil && etag == "":
		return Enrollment{}, conflict("enrollment", e.id())
	case old.doc != nil && !etagMatches(etag, old.rev):
		return Enrollment{}, precondition(e.id())
	}
	return s.putLocked(ctx, t, e, old)
}

func precondition(id string) *core.Error {
	return NewError(CodePreconditionFailed, "%.140q has another ETag: somebody has changed it; read it again", id)
}

// conflict refuses to make what is there. Azure says so to a PUT without If-Match,
// too (https://github.com/Azure/azure-iot-sdk-csharp/issues/3076).
func conflict(what, id string) *core.Error {
	return NewError(CodeConflict, "there is the %s %.140q already; to change it give its ETag, or *, in If-Match", what, id)
}

// create makes an enrollment that must not be there.
func (s *Service) create(ctx context.Context, e Enrollment) error {
	s.write.Lock()
	defer s.write.Unlock()
	t := s.table(e.isGroup())
	old := t.get(keyOf(e.id()))
	if old.doc != nil {
		return conflict("enrollment", e.id())
	}
	_, err := s.putLocked(ctx, t, e, old)
	return err
}

// update changes an enrollment that must be there.
func (s *Service) update(ctx context.Context, e Enrollment, etag string) error {
	s.write.Lock()
	defer s.write.Unlock()
	t := s.table(e.isGroup())
	old := t.get(keyOf(e.id()))
	switch {
	case old.doc == nil:
		return noEnrollment(e.id())
	case !etagMatches(etag, old.rev):
		return precondition(e.id())
	}
	_, err := s.putLocked(ctx, t, e, old)
	return err
}

// putLocked checks and stores. s.write is held.
func (s *Service) putLocked(ctx context.Context, t *table[enrollmentDoc], e Enrollment, old row[enrollmentDoc]) (Enrollment, error) {
	doc, err := s.prepare(e, old.doc)
	if err != nil {
		return Enrollment{}, err
	}
	if old.doc == nil {
		if err := s.room(doc); err != nil {
			return Enrollment{}, err
		}
	}
	r, err := t.put(ctx, keyOf(e.id()), doc, old)
	if err != nil {
		return Enrollment{}, s.stored("enrollment", err)
	}
	return s.view(r, true), nil
}

// room refuses what would be above the quota.
func (s *Service) room(doc *enrollmentDoc) error {
	if !doc.isGroup() {
		if s.enrollments.len() >= maxEnrollments {
			return NewError(CodeLimit, "there are %d individual enrollments, the limit", maxEnrollments)
		}
		return nil
	}
	n := 0
	for r := range s.groups.all("") {
		if r.doc.Attestation.Type == doc.Attestation.Type {
			n++
		}
	}
	if n >= maxGroups {
		return NewError(CodeLimit, "there are %d enrollment groups with %s attestation, the limit", maxGroups, doc.Attestation.Type)
	}
	return nil
}

// prepare checks an enrollment, fills in what is left out, and gives what is stored.
func (s *Service) prepare(e Enrollment, old *enrollmentDoc) (*enrollmentDoc, error) {
	now := s.stamp()
	doc := &enrollmentDoc{Enrollment: e, Generation: guid.New()}
	doc.Created, doc.LastUpdated, doc.ETag, doc.RegistrationState = now, now, "", nil
	var had *AttestationMechanism
	if old != nil {
		doc.Created, doc.Generation, had = old.Created, old.Generation, &old.Attestation
	}
	if err := validateEnrollment(&doc.Enrollment); err != nil {
		return nil, err
	}
	if err := s.validateAllocation(&doc.Enrollment); err != nil {
		return nil, err
	}
	if err := s.prepareAttestation(doc, had); err != nil {
		return nil, err
	}
	return doc, nil
}

// Delete removes an enrollment, or a group, whose ETag is etag (empty or
// [core.AnyETag] for any), with its registrations. Identities in hubs stay.
func (s *Service) Delete(ctx context.Context, id string, group bool, etag string) error {
	s.write.Lock()
	defer s.write.Unlock()
	t := s.table(group)
	r := t.get(keyOf(id))
	switch {
	case r.doc == nil:
		return noEnrollment(id)
	case !etagMatches(etag, r.rev):
		return precondition(id)
	}
	if err := t.remove(ctx, r); err != nil {
		return s.stored("delete enrollment", err)
	}
	// Those that stay behind by a failure are of an older generation: nobody sees
	// them, and the next registration replaces them.
	registrations := s.registrations.all("")
	if !group {
		registrations = func(yield func(row[registrationDoc]) bool) {
			if one := s.registrations.get(r.key); one.doc != nil {
				yield(one)
			}
		}
	}
	for reg := range registrations {
		if reg.doc.Generation != r.doc.Generation {
			continue
		}
		if err := s.registrations.remove(ctx, reg); err != nil {
			s.log.Warn("provisioning: a registration stays behind its enrollment", "registration", reg.key, "error", err)
		}
	}
	return nil
}

// Bulk is a bulk operation. (wire-service G2)
type Bulk struct {
	// Mode is create, update, updateIfMatchETag or delete.
	Mode             string       `json:"mode"`
	Enrollments      []Enrollment `json:"enrollments"`
	EnrollmentGroups []Enrollment `json:"enrollmentGroups"`
}

// BulkResult is what became of a bulk operation.
type BulkResult struct {
	IsSuccessful bool        `json:"isSuccessful"`
	Errors       []BulkError `json:"errors"`
}

// BulkError is one refusal of a bulk operation.
type BulkError struct {
	RegistrationID    string `json:"registrationId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
	ErrorCode         int    `json:"errorCode"`
	ErrorStatus       string `json:"errorStatus"`
}

// MaxBulk is how many enrollments a bulk operation may have.
const MaxBulk = 10

// Bulk does the same to several enrollments, or groups, each by itself.
func (s *Service) Bulk(ctx context.Context, b Bulk, group bool) (BulkResult, error) {
	list := b.Enrollments
	if group {
		list = b.EnrollmentGroups
	}
	if len(list) == 0 || len(list) > MaxBulk {
		return BulkResult{}, badRequest("a bulk operation has 1 to %d enrollments, this one %d", MaxBulk, len(list))
	}
	var do func(e Enrollment) error
	switch strings.ToLower(b.Mode) {
	case "create":
		do = func(e Enrollment) error { return s.create(ctx, e) }
	case "update":
		do = func(e Enrollment) error { return s.update(ctx, e, core.AnyETag) }
	case "updateifmatchetag":
		do = func(e Enrollment) error {
			if e.ETag == "" {
				return badRequest("updateIfMatchETag needs an etag")
			}
			return s.update(ctx, e, e.ETag)
		}
	case "delete":
		do = func(e Enrollment) error { return s.Delete(ctx, e.id(), group, e.ETag) }
	default:
		return BulkResult{}, badRequest("mode is %.40q, it can be create, update, updateIfMatchETag or delete", b.Mode)
	}
	result := BulkResult{Errors: []BulkError{}}
	for _, e := range list {
		var err error
		if e.isGroup() != group {
			err = badRequest("the id of an enrollment is missing, or of the other kind")
		} else {
			err = do(e)
		}
		if err != nil {
			refusal := s.stored("bulk", err).(*core.Error)
			result.Errors = append(result.Errors, BulkError{e.RegistrationID, e.EnrollmentGroupID, refusal.Code, refusal.Message})
		}
	}
	result.IsSuccessful = len(result.Errors) == 0
	return result, nil
}

// ParseEnrollment reads the JSON of an enrollment. id is that of the path, which the
// body may repeat.
func ParseEnrollment(data []byte, id string, group bool) (Enrollment, error) {
	var e Enrollment
	if err := json.Unmarshal(data, &e); err != nil {
		return Enrollment{}, badRequest("the body is not the JSON of an enrollment: %v", err)
	}
	mine, other := &e.RegistrationID, &e.EnrollmentGroupID
	if group {
		mine, other = other, mine
	}
	if *other != "" {
		return Enrollment{}, badRequest("an enrollment has a registrationId, an enrollment group an enrollmentGroupId, none has both")
	}
	if *mine == "" {
		*mine = id
	}
	if id == "" || !strings.EqualFold(*mine, id) {
		return Enrollment{}, badRequest("the id is %.140q in the path and %.140q in the body", id, *mine)
	}
	return e, nil
}
