// Package httpfront is the HTTPS head of a hub: it turns requests of IoT Hub's
// REST API into calls of package core, and results and errors back. It decides
// nothing itself.
package httpfront

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/guid"
)

// maxBody bounds what a request may send.
const maxBody = 1 << 20

// Front serves the REST API of one hub. It is safe for use by many goroutines.
type Front struct {
	hub   *core.Hub
	caPEM []byte
	log   *slog.Logger
}

// New returns the REST API of a hub. caPEM is what GET /ca.pem answers; without
// it that path does not exist. A nil logger discards.
//
// GET /iothub/events streams for as long as the client stays. Cancel the base
// context of the server, or close the hub, to end such requests.
func New(hub *core.Hub, caPEM []byte, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Front{hub: hub, caPEM: caPEM, log: logger}
}

// request is one request on its way through a handler.
type request struct {
	front *Front
	w     http.ResponseWriter
	r     *http.Request
	id    string
	path  []string // unescaped segments
	query url.Values

	principal *core.ServicePrincipal // once authorised
	device    *core.Principal        // the same, for what devices ask
}

// route is what the front knows. A pattern is the segments of a path, "*" for an
// id; the fixed words are matched without regard to case.
type route struct {
	method  string
	pattern string
	need    core.Permission
	serve   func(*request) error
}

var routes = []route{
	{"GET", "devices", core.RegistryRead, listDevices},
	{"POST", "devices", core.RegistryWrite, bulk},
	{"POST", "devices/keys/regenerate", core.RegistryWrite, regenerateKeys},
	{"GET", "devices/*", core.RegistryRead, getDevice},
	{"PUT", "devices/*", core.RegistryWrite, putDevice},
	{"DELETE", "devices/*", core.RegistryWrite, deleteDevice},
	{"GET", "devices/*/modules", core.RegistryRead, listModules},
	{"GET", "devices/*/modules/*", core.RegistryRead, getModule},
	{"PUT", "devices/*/modules/*", core.RegistryWrite, putModule},
	{"DELETE", "devices/*/modules/*", core.RegistryWrite, deleteModule},
	{"GET", "twins/*", core.ServiceConnect, getTwin},
	{"PATCH", "twins/*", core.ServiceConnect, patchTwin},
	{"PUT", "twins/*", core.ServiceConnect, putTwin},
	{"GET", "twins/*/modules/*", core.ServiceConnect, getTwin},
	{"PATCH", "twins/*/modules/*", core.ServiceConnect, patchTwin},
	{"PUT", "twins/*/modules/*", core.ServiceConnect, putTwin},
	{"POST", "twins/*/methods", core.ServiceConnect, invokeMethod},
	{"POST", "twins/*/modules/*/methods", core.ServiceConnect, invokeMethod},
	{"GET", "digitaltwins/*", core.ServiceConnect, getDigitalTwin},
	{"PATCH", "digitaltwins/*", core.ServiceConnect, patchDigitalTwin},
	{"POST", "digitaltwins/*/commands/*", core.ServiceConnect, invokeCommand},
	{"POST", "digitaltwins/*/components/*/commands/*", core.ServiceConnect, invokeCommand},
	{"DELETE", "devices/*/commands", core.ServiceConnect, purgeCommands},
	{"POST", "devices/*/files", 0, createUpload},
	{"POST", "devices/*/files/notifications", 0, endUpload},
	{"POST", "devices/*/files/notifications/*", 0, endUpload},
	{"POST", "devices/*/modules/*/files", 0, createUpload},
	{"POST", "devices/*/modules/*/files/notifications", 0, endUpload},
	{"GET", "devices/*/modules/$edgeHub/devicesAndModulesInDeviceScope", 0, listScope},
	{"GET", "devices/*/modules/$edgeHub/deviceAndModuleInDeviceScope", 0, getScopeIdentity},
	{"POST", "devices/*/modules/$edgeHub/devicesAndModulesInTargetDeviceScope", 0, listTargetScope},
	{"POST", "devices/*/modules/$edgeHub/getDeviceAndModuleOnBehalfOf", 0, getOnBehalfOf},
	{"GET", "messages/servicebound/filenotifications", core.ServiceConnect, receiveFileNotification},
	{"DELETE", "messages/servicebound/filenotifications/*", core.ServiceConnect, completeFileNotification},
	{"POST", "messages/servicebound/filenotifications/*/abandon", core.ServiceConnect, abandonFileNotification},
	{"GET", "messages/servicebound/feedback", core.ServiceConnect, receiveFeedback},
	{"DELETE", "messages/servicebound/feedback/*", core.ServiceConnect, completeFeedback},
	{"POST", "messages/servicebound/feedback/*/abandon", core.ServiceConnect, abandonFeedback},
	{"POST", "devices/query", core.ServiceConnect, queryDevices},
	{"GET", "jobs/v2/query", core.ServiceConnect, queryScheduledJobs},
	{"PUT", "jobs/v2/*", core.ServiceConnect, createScheduledJob},
	{"GET", "jobs/v2/*", core.ServiceConnect, getScheduledJob},
	{"POST", "jobs/v2/*/cancel", core.ServiceConnect, cancelScheduledJob},
	{"POST", "jobs/create", core.RegistryWrite, createJob},
	{"GET", "jobs", core.RegistryRead, listJobs},
	{"GET", "jobs/*", core.RegistryRead, getJob},
	{"DELETE", "jobs/*", core.RegistryWrite, cancelJob},
	{"GET", "configurations", core.RegistryRead, listConfigurations},
	{"POST", "configurations/testQueries", core.RegistryRead, testConfigurationQueries},
	{"GET", "configurations/*", core.RegistryRead, getConfiguration},
	{"PUT", "configurations/*", core.RegistryWrite, putConfiguration},
	{"DELETE", "configurations/*", core.RegistryWrite, deleteConfiguration},
	{"POST", "devices/*/applyConfigurationContent", core.RegistryWrite, applyConfigurationContent},
	{"GET", "statistics/devices", core.RegistryRead, deviceStatistics},
	{"GET", "statistics/service", core.ServiceConnect, serviceStatistics},
	{"GET", "iothub/events", core.ServiceConnect, streamEvents},
	{"GET", "iothub/routing", core.RegistryWrite, getRouting}, // its endpoints may hold secrets
	{"PUT", "iothub/routing", core.RegistryWrite, putRouting},
	{"POST", "iothub/routing/test", core.RegistryRead, testRouting},
	{"GET", "iothub/routing/statistics", core.RegistryRead, routingStatistics},
	{"POST", "iothub/devices/*/messages", core.ServiceConnect, sendC2D},
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{front: f, w: w, r: r, id: guid.New(), query: r.URL.Query()}
	w.Header().Set("x-ms-request-id", q.id)
	if err := q.serve(); err != nil {
		q.fail(err)
	}
}

func (q *request) serve() error {
	var err error
	if q.path, err = splitPath(q.r.URL.EscapedPath()); err != nil {
		return err
	}
	if len(q.path) == 1 && q.path[0] == "ca.pem" && len(q.front.caPEM) > 0 {
		return q.caPEM()
	}
	found, allowed := findRoute(q.r.Method, q.path)
	if found == nil {
		return q.notFound(allowed)
	}
	hub := q.front.hub
	module, err := q.authorizeModule(found)
	done := module
	if !done {
		done, err = q.authorizeEdgeDevice(found)
	}
	switch {
	case done:
	case found.need == 0:
		q.device, err = q.authenticateDevice()
	default:
		q.principal, err = hub.AuthorizeService(hub.Now(), q.r.Header.Get("Authorization"), found.need, q.scope()...)
	}
	if err != nil {
		return err
	}
	// The Node SDK leaves the version out when a module calls a method.
	if !module && !strings.EqualFold(q.path[0], "iothub") && q.query.Get("api-version") == "" {
		return core.NewError(core.CodeInvalidProtocolVersion, "the query parameter api-version is missing, for example ?api-version=2021-04-12")
	}
	if err := q.admitted(found); err != nil {
		return err
	}
	return found.serve(q)
}

// scope is the resource that a token has to reach. What only this hub has stands
// for the resource that IoT Hub has for it.
func (q *request) scope() []string {
	switch {
	case !strings.EqualFold(q.path[0], "iothub"):
		return q.path
	case strings.EqualFold(q.path[1], "routing"):
		return []string{"iothub", "routing"}
	case strings.EqualFold(q.path[1], "devices"):
		return []string{"messages", "deviceBound"} // as over AMQP
	}
	return []string{"messages", "events"}
}

// splitPath cuts an escaped path into unescaped segments: an id may hold an
// escaped character that would otherwise end the path. One trailing slash counts
// for nothing.
func splitPath(escaped string) ([]string, error) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(escaped, "/"), "/"), "/")
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil, core.NewError(core.CodeArgumentInvalid, "the path is not properly escaped")
		}
		parts[i] = text
	}
	return parts, nil
}

// findRoute gives the route for a path, or the methods there would be for it.
func findRoute(method string, path []string) (found *route, allowed []string) {
	for i := range routes {
		if !head.Match(routes[i].pattern, path) {
			continue
		}
		if routes[i].method == method {
			return &routes[i], nil
		}
		allowed = append(allowed, routes[i].method)
	}
	return nil, allowed
}

func (q *request) notFound(allowed []string) error {
	if len(allowed) > 0 {
		q.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return core.NewError(core.CodeMethodNotAllowed, "%s is not possible here, only %s", q.r.Method, strings.Join(allowed, ", "))
	}
	var known []string
	for _, r := range routes {
		known = append(known, r.method+" /"+strings.ReplaceAll(r.pattern, "*", "{id}"))
	}
	if len(q.front.caPEM) > 0 {
		known = append(known, "GET /ca.pem")
	}
	return core.NewError(core.CodeGenericNotFound, "there is nothing at this path; this hub has %s", strings.Join(known, ", "))
}

func (q *request) caPEM() error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return q.notFound([]string{http.MethodGet})
	}
	q.w.Header().Set("Content-Type", "application/x-pem-file")
	q.w.Header().Set("Content-Disposition", `attachment; filename="ca.pem"`)
	_, err := q.w.Write(q.front.caPEM)
	q.writeFailed(err)
	return nil
}

// body decodes the JSON of the request. Names match whatever their case; unknown
// ones are ignored.
func (q *request) body(into any) error { return q.bodyUpTo(maxBody, into) }

func (q *request) bodyUpTo(limit int64, into any) error {
	data, err := q.rawBody(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return core.NewError(core.CodeIotHubFormatError, "the body is not the JSON that this request needs: %v", err)
	}
	return nil
}

// etag gives the version that If-Match asks for: "" when the header is missing,
// "*" for any. Clients send both with and without quotes.
func (q *request) etag() string {
	value := strings.TrimSpace(q.r.Header.Get("If-Match"))
	value = strings.TrimPrefix(value, "W/")
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value
}

// reply writes a result, with its ETag unless that is empty.
func (q *request) reply(etag string, v any) error { return q.replyStatus(http.StatusOK, etag, v) }

func (q *request) replyStatus(status int, etag string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if etag != "" {
		q.w.Header().Set("ETag", `"`+etag+`"`)
	}
	return q.replyJSON(status, data)
}

// replyJSON writes a result that is JSON already.
func (q *request) replyJSON(status int, data []byte) error {
	q.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	q.w.WriteHeader(status)
	_, err := q.w.Write(data)
	q.writeFailed(err)
	return nil
}

func (q *request) noContent() error {
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// errorBody is the form of errors that all clients in use understand.
type errorBody struct {
	Message          string
	ExceptionMessage string
}

func (q *request) fail(err error) {
	var e *core.Error
	if !errors.As(err, &e) {
		e = core.NewError(core.CodeServerError, "the request failed")
	}
	level := slog.LevelDebug
	if e.Status >= 500 && e.Status != http.StatusGatewayTimeout { // a device that does not answer is no fault of the hub's
		level = slog.LevelError
	}
	q.front.log.Log(q.r.Context(), level, "request refused", "method", q.r.Method, "path", q.r.URL.EscapedPath(),
		"request", q.id, "error", err, "cause", e.Unwrap())
	data, err := json.Marshal(errorBody{
		Message: "ErrorCode:" + e.Name + ";" + e.Message,
		ExceptionMessage: fmt.Sprintf("Tracking ID:%s-TimeStamp:%s", q.id,
			q.front.hub.Now().UTC().Format("01/02/2006 15:04:05")),
	})
	if err != nil {
		data = []byte("{}") // two strings always encode
	}
	h := q.w.Header()
	h.Set("iothub-errorcode", e.Name)
	h.Set("Content-Type", "application/json; charset=utf-8")
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter(e))
	}
	q.w.WriteHeader(e.Status)
	_, err = q.w.Write(data)
	q.writeFailed(err)
}

// writeFailed notes that a client has gone; there is nobody to tell.
func (q *request) writeFailed(err error) {
	if err != nil {
		q.front.log.Debug("answer not delivered", "request", q.id, "error", err)
	}
}
