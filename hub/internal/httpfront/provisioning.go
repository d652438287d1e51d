package httpfront

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/guid"
)

// provisioning serves the REST API of the Device Provisioning Service, for back ends
// and devices.
type provisioning struct {
	service *dps.Service
	front   *Front // what is in common
	next    http.Handler
}

// NewProvisioning returns the REST API of the service, in front of that of the hub,
// which has all other paths. A nil logger discards.
func NewProvisioning(service *dps.Service, next http.Handler, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &provisioning{service, &Front{log: logger}, next}
}

// provisioningRequest is one request on its way through a handler.
type provisioningRequest struct {
	*request
	service *dps.Service
}

// provisioningRoute is as [route]. Paths of devices begin with the id scope.
type provisioningRoute struct {
	method  string
	pattern string
	serve   func(*provisioningRequest) error
}

// serviceRoutes are for back ends, by the first word of their paths.
var serviceRoutes = []provisioningRoute{
	{"POST", "enrollments", bulkEnrollments},
	{"POST", "enrollments/query", queryEnrollments},
	{"GET", "enrollments/*", getEnrollment},
	{"PUT", "enrollments/*", putEnrollment},
	{"DELETE", "enrollments/*", deleteEnrollment},
	{"POST", "enrollments/*/attestationmechanism", getAttestation},
	{"POST", "enrollmentGroups", bulkEnrollments},
	{"POST", "enrollmentGroups/query", queryEnrollments},
	{"GET", "enrollmentGroups/*", getEnrollment},
	{"PUT", "enrollmentGroups/*", putEnrollment},
	{"DELETE", "enrollmentGroups/*", deleteEnrollment},
	{"POST", "enrollmentGroups/*/attestationmechanism", getAttestation},
	{"GET", "registrations/*", getRegistration},
	{"DELETE", "registrations/*", deleteRegistration},
	{"POST", "registrations/*/query", queryRegistrations},
	{"GET", "certificates", listCertificates},
	{"GET", "certificates/*", getCertificate},
	{"PUT", "certificates/*", putCertificate},
	{"DELETE", "certificates/*", deleteCertificate},
	{"POST", "certificates/*/generateVerificationCode", newVerificationCode},
	{"POST", "certificates/*/verify", verifyCertificate},
}

// deviceRoutes are for devices.
var deviceRoutes = []provisioningRoute{
	{"PUT", "*/registrations/*/register", register},
	{"GET", "*/registrations/*/operations/*", operation},
	{"POST", "*/registrations/*", lookupRegistration},
}

// ServeHTTP answers one request.
func (p *provisioning) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, err := splitPath(r.URL.EscapedPath())
	var routes []provisioningRoute
	if err == nil {
		routes = routesFor(path)
	}
	if routes == nil {
		p.next.ServeHTTP(w, r)
		return
	}
	q := &provisioningRequest{&request{front: p.front, w: w, r: r, id: guid.New(), query: r.URL.Query(), path: path}, p.service}
	w.Header().Set("x-ms-request-id", q.id)
	if err := q.serve(routes); err != nil {
		q.fail(err)
	}
}

// routesFor gives the table that a path is looked up in, nil when it is not one of
// the service.
func routesFor(path []string) []provisioningRoute {
	for _, r := range serviceRoutes {
		if first, _, _ := strings.Cut(r.pattern, "/"); strings.EqualFold(first, path[0]) {
			return serviceRoutes
		}
	}
	for _, r := range deviceRoutes {
		// The hub's own go first: a device may be called "registrations".
		if found, allowed := findRoute("", path); found == nil && allowed == nil && head.Match(r.pattern, path) {
			return deviceRoutes
		}
	}
	return nil
}

func (q *provisioningRequest) serve(routes []provisioningRoute) error {
	if &routes[0] == &serviceRoutes[0] {
		now := q.service.Now()
		if err := q.service.Authorize(now, q.r.Header.Get("Authorization"), q.path...); err != nil {
			return err
		}
	}
	var allowed []string
	for _, r := range routes {
		if !head.Match(r.pattern, q.path) {
			continue
		}
		if r.method == q.r.Method {
			return r.serve(q)
		}
		allowed = append(allowed, r.method)
	}
	if len(allowed) > 0 {
		q.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return dps.NewError(dps.CodeMethodNotAllowed, "%s is not possible here, only %s", q.r.Method, strings.Join(allowed, ", "))
	}
	return dps.NewError(dps.CodeNoSuchPath, "there is nothing at this path")
}

// challenged is the refusal of a TPM with what it has to activate.
type challenged struct {
	refusal *core.Error
	nonce   []byte
}

func (c *challenged) Error() string { return c.refusal.Error() }
func (c *challenged) Unwrap() error { return c.refusal }

// fail answers in the form of the service. (wire-service G1)
func (q *provisioningRequest) fail(err error) {
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		e = dps.NewError(dps.CodeInternal, "the request failed")
	}
	level := slog.LevelDebug
	if e.Status >= 500 {
		level = slog.LevelError
	}
	q.front.log.Log(q.r.Context(), level, "provisioning: request refused", "method", q.r.Method, "path", q.r.URL.EscapedPath(),
		"request", q.id, "error", err)
	body := head.ErrorBody(e, q.id, q.service.Now())
	if c, ok := errors.AsType[*challenged](err); ok {
		// What the service says in its place is more, and the same otherwise.
		body, _ = json.Marshal(struct { // texts and a number always encode
			ErrorCode         int    `json:"errorCode"`
			TrackingID        string `json:"trackingId"`
			Message           string `json:"message"`
			AuthenticationKey string `json:"authenticationKey"`
			KeyName           string `json:"keyName"`
		}{e.Code, q.id, e.Message, base64.StdEncoding.EncodeToString(c.nonce), "registration"})
	}
	h := q.w.Header()
	h.Set("X-ms-error-code", strconv.Itoa(e.Code))
	h.Set("Content-Type", "application/json; charset=utf-8")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	q.w.WriteHeader(e.Status)
	_, err = q.w.Write(body)
	q.writeFailed(err)
}

func (q *provisioningRequest) group() bool { return !strings.EqualFold(q.path[0], "enrollments") }

// replyEntity answers with something that has an ETag, whose quotes the ETag in the
// JSON has inside. (wire-service G1)
func (q *provisioningRequest) replyEntity(etag string, v any) error {
	return q.reply(strings.Trim(etag, `"`), v)
}

func bulkEnrollments(q *provisioningRequest) error {
	var b dps.Bulk
	if err := q.body(&b); err != nil {
		return err
	}
	result, err := q.service.Bulk(q.r.Context(), b, q.group())
	if err != nil {
		return err
	}
	return q.reply("", result)
}

func queryEnrollments(q *provisioningRequest) error {
	itemType := "Enrollment"
	if q.group() {
		itemType = "EnrollmentGroup"
	}
	return q.queried(itemType, func(text string, size int, continuation string) (dps.Page, error) {
		return q.service.QueryEnrollments(text, q.group(), size, continuation)
	})
}

func queryRegistrations(q *provisioningRequest) error {
	return q.queried("DeviceRegistration", func(text string, size int, continuation string) (dps.Page, error) {
		return q.service.QueryRegistrations(q.path[1], text, size, continuation)
	})
}

func (q *provisioningRequest) queried(itemType string, run func(text string, size int, continuation string) (dps.Page, error)) error {
	data, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	var b struct{ Query string }
	if len(data) > 0 {
		if err := json.Unmarshal(data, &b); err != nil {
			return dps.NewError(dps.CodeBadRequest, "the body is not the JSON of a query: %v", err)
		}
	}
	size, continuation, err := q.page()
	if err != nil {
		return err
	}
	page, err := run(b.Query, size, continuation)
	if err != nil {
		return err
	}
	q.paged(itemType, page.Continuation)
	return q.reply("", page.Rows)
}

func getEnrollment(q *provisioningRequest) error {
	e, err := q.service.Get(q.path[1], q.group())
	if err != nil {
		return err
	}
	return q.replyEntity(e.ETag, e)
}

func putEnrollment(q *provisioningRequest) error {
	data, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	e, err := dps.ParseEnrollment(data, q.path[1], q.group())
	if err != nil {
		return err
	}
	if e, err = q.service.Put(q.r.Context(), e, q.etag()); err != nil {
		return err
	}
	return q.replyEntity(e.ETag, e)
}

func deleteEnrollment(q *provisioningRequest) error {
	if err := q.service.Delete(q.r.Context(), q.path[1], q.group(), q.etag()); err != nil {
		return err
	}
	return q.noContent()
}

func getAttestation(q *provisioningRequest) error {
	a, err := q.service.Attestation(q.path[1], q.group())
	if err != nil {
		return err
	}
	return q.reply("", a)
}

func getRegistration(q *provisioningRequest) error {
	state, err := q.service.Registration(q.path[1])
	if err != nil {
		return err
	}
	return q.replyEntity(state.ETag, state)
}

func deleteRegistration(q *provisioningRequest) error {
	if err := q.service.DeleteRegistration(q.r.Context(), q.path[1], q.etag()); err != nil {
		return err
	}
	return q.noContent()
}

func listCertificates(q *provisioningRequest) error {
	return q.reply("", struct {
		Value []dps.CACertificate `json:"value"`
	}{q.service.Certificates()})
}

func getCertificate(q *provisioningRequest) error {
	return q.replyCertificate(q.service.Certificate(q.path[1]))
}

func (q *provisioningRequest) replyCertificate(c dps.CACertificate, err error) error {
	if err != nil {
		return err
	}
	return q.replyEntity(c.ETag, c)
}

// certificateBody is what a certificate comes in, in the older and the newer form of
// Azure Resource Manager.
type certificateBody struct {
	Certificate string
	IsVerified  bool
	Properties  struct {
		Certificate string
		IsVerified  bool
	}
}

func (q *provisioningRequest) certificate() (text string, verified bool, err error) {
	var b certificateBody
	if err := q.body(&b); err != nil {
		return "", false, err
	}
	if b.Certificate == "" {
		b.Certificate = b.Properties.Certificate
	}
	return b.Certificate, b.IsVerified || b.Properties.IsVerified, nil
}

func putCertificate(q *provisioningRequest) error {
	text, verified, err := q.certificate()
	if err != nil {
		return err
	}
	return q.replyCertificate(q.service.PutCertificate(q.r.Context(), q.path[1], text, verified, q.etag()))
}

func deleteCertificate(q *provisioningRequest) error {
	if err := q.service.DeleteCertificate(q.r.Context(), q.path[1], q.etag()); err != nil {
		return err
	}
	return q.noContent()
}

func newVerificationCode(q *provisioningRequest) error {
	return q.replyCertificate(q.service.VerificationCode(q.r.Context(), q.path[1], q.etag()))
}

func verifyCertificate(q *provisioningRequest) error {
	text, _, err := q.certificate()
	if err != nil {
		return err
	}
	return q.replyCertificate(q.service.VerifyCertificate(q.r.Context(), q.path[1], text, q.etag()))
}

// --- devices ---

// signUp checks the credential of the device.
func (q *provisioningRequest) signUp() (dps.Registration, error) {
	c := dps.Credential{IDScope: q.path[0], RegistrationID: q.path[2], Token: q.r.Header.Get("Authorization")}
	if q.r.TLS != nil {
		c.Certificates = q.r.TLS.PeerCertificates
	}
	return q.service.SignUp(q.service.Now(), c)
}

// challenge answers a TPM that has not proved anything yet; nil when it is none.
func (q *provisioningRequest) challenge(body []byte) error {
	var b struct {
		TPM *struct{ EndorsementKey, StorageRootKey []byte }
	}
	if q.r.Header.Get("Authorization") != "" || json.Unmarshal(body, &b) != nil || b.TPM == nil {
		return nil
	}
	nonce, err := q.service.Challenge(q.r.Context(), dps.TPMChallenge{
		IDScope: q.path[0], RegistrationID: q.path[2], EndorsementKey: b.TPM.EndorsementKey, StorageRootKey: b.TPM.StorageRootKey,
	})
	if err != nil {
		return err
	}
	return &challenged{dps.NewError(dps.CodeUnauthorized, "Unauthorized: activate the authenticationKey and sign a token with it"), nonce}
}

func register(q *provisioningRequest) error {
	// Whoever sends it has proved nothing yet.
	body, err := q.rawBody(dps.MaxRequest)
	if err != nil {
		return err
	}
	if err := q.challenge(body); err != nil {
		return err
	}
	r, err := q.signUp()
	if err != nil {
		return err
	}
	answer, err := r.Register(q.r.Context(), body)
	return q.answer(answer, err)
}

func operation(q *provisioningRequest) error {
	r, err := q.signUp()
	if err != nil {
		return err
	}
	answer, err := r.Operation(q.r.Context(), q.path[4])
	return q.answer(answer, err)
}

func lookupRegistration(q *provisioningRequest) error {
	r, err := q.signUp()
	if err != nil {
		return err
	}
	answer, err := r.Lookup()
	return q.answer(answer, err)
}

func (q *provisioningRequest) answer(a dps.Answer, err error) error {
	if err != nil {
		return err
	}
	if a.RetryAfter > 0 {
		q.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(a.RetryAfter.Seconds()))))
	}
	if a.Status == http.StatusAccepted {
		q.w.Header().Set("Location", "/"+q.path[0]+"/registrations/"+q.path[2]+"/operations/"+a.Operation)
	}
	return q.replyJSON(a.Status, a.Body)
}
