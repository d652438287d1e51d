// Package workloadapi is the workload API of a local IoT Edge daemon, as modules
// call it (wire-device G.2). Each module has a handler of its own, on a socket of its
// own: whom it works for depends on where a request comes in, not on what it says.
package workloadapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub"
)

const (
	// maxBody bounds a request.
	maxBody = 1 << 20
	// maxName is the longest common name of a certificate (RFC 5280, ub-common-name).
	maxName = 64
	// maxLifetime bounds a certificate.
	maxLifetime = 90 * 24 * time.Hour
)

// Module is one that the API tells of.
type Module struct {
	Name, State, Problem string
	ExitCode             int
	Started              time.Time
}

// Config says for whom a handler works.
type Config struct {
	// Name and GenerationID are the module's, Key is what it signs with.
	Name, GenerationID string
	Key                []byte
	// Secret is the daemon's own, for what modules have encrypted.
	Secret []byte
	// Bundle returns whom modules have to trust, in PEM.
	Bundle func() []byte
	// Issue makes certificates.
	Issue func(hub.CertificateRequest) (*hub.Certificate, error)
	// List tells of all modules.
	List func() []Module
	// LoopbackOnly refuses requests that name another host than this machine, as those
	// of a web page may. It is for HTTP over TCP.
	LoopbackOnly bool
}

// failure is an answer that is none of those asked for.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

type handler struct{ Config }

// New returns the handler of a module.
func New(c Config) http.Handler {
	h := &handler{c}
	mux := http.NewServeMux()
	own := "/modules/{module}/genid/{generation}/"
	for pattern, serve := range map[string]func(*http.Request) (int, any, error){
		"POST " + own + "sign":                        h.sign,
		"POST " + own + "encrypt":                     h.encrypt,
		"POST " + own + "decrypt":                     h.decrypt,
		"POST " + own + "certificate/server":          h.serverCertificate,
		"POST /modules/{module}/certificate/identity": h.identityCertificate,
		"GET /trust-bundle":                           h.trustBundle,
		"GET /manifest-trust-bundle":                  h.trustBundle,
		"GET /modules":                                h.modules,
		"/": func(r *http.Request) (int, any, error) {
			return 0, nil, fail(http.StatusNotFound, "there is nothing at %s %.100s", r.Method, r.URL.Path)
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, serve) })
	}
	return mux
}

var version = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

func (h *handler) answer(w http.ResponseWriter, r *http.Request, serve func(*http.Request) (int, any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	status, body, err := 0, any(nil), h.allow(r)
	if err == nil {
		status, body, err = serve(r)
	}
	if err != nil {
		f, ok := errors.AsType[*failure](err)
		if !ok {
			f = &failure{http.StatusInternalServerError, err.Error()}
		}
		status, body = f.status, map[string]string{"message": f.message}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

// allow checks what is the same for all requests.
func (h *handler) allow(r *http.Request) error {
	if h.LoopbackOnly {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) || r.Header.Get("Origin") != "" {
			return fail(http.StatusForbidden, "only programs on this machine may ask")
		}
	}
	if v := r.URL.Query().Get("api-version"); !version.MatchString(v) {
		return fail(http.StatusBadRequest, "the query parameter api-version is %.40q, it has to be a date such as 2018-06-28", v)
	}
	if name := r.PathValue("module"); name != "" && strings.TrimPrefix(name, "$") != strings.TrimPrefix(h.Name, "$") {
		return fail(http.StatusForbidden, "this socket is for module %s, not for %.130q", h.Name, name)
	}
	if g := r.PathValue("generation"); g != "" && g != h.GenerationID {
		return fail(http.StatusNotFound, "module %s has generation %s, not %.100q", h.Name, h.GenerationID, g)
	}
	return nil
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fail(http.StatusBadRequest, "the body is not the JSON that this request needs: %v", err)
	}
	return nil
}

// sign signs what is to be the text of a token. Requests name the key, of which there
// is one, and the algorithm, of which there is one.
func (h *handler) sign(r *http.Request) (int, any, error) {
	var b struct {
		KeyID, Algo string
		Data        []byte
	}
	if err := decode(r, &b); err != nil {
		return 0, nil, err
	}
	if b.KeyID != "primary" && b.KeyID != "secondary" || b.Algo != "HMACSHA256" {
		return 0, nil, fail(http.StatusBadRequest, "keyId is %.40q (primary or secondary), algo %.40q (HMACSHA256)", b.KeyID, b.Algo)
	}
	mac := hmac.New(sha256.New, h.Key)
	mac.Write(b.Data)
	return http.StatusOK, map[string]any{"digest": mac.Sum(nil)}, nil
}

func (h *handler) trustBundle(*http.Request) (int, any, error) {
	return http.StatusOK, map[string]string{"certificate": string(h.Bundle())}, nil
}

func (h *handler) serverCertificate(r *http.Request) (int, any, error) {
	var b struct {
		CommonName string
		Expiration time.Time
	}
	if err := decode(r, &b); err != nil {
		return 0, nil, err
	}
	if b.CommonName == "" || len(b.CommonName) > maxName || !hostName.MatchString(b.CommonName) && net.ParseIP(b.CommonName) == nil {
		return 0, nil, fail(http.StatusBadRequest, "commonName is %.80q, it has to be a host name or an IP address of 1 to %d characters", b.CommonName, maxName)
	}
	return h.certificate(hub.CertificateRequest{CommonName: b.CommonName, Names: h.names(b.CommonName), NotAfter: b.Expiration})
}

func (h *handler) identityCertificate(r *http.Request) (int, any, error) {
	var b struct{ Expiration time.Time }
	if err := decode(r, &b); err != nil {
		return 0, nil, err
	}
	if b.Expiration.IsZero() { // from 2020-07-07 on it is not asked for
		b.Expiration = time.Now().Add(maxLifetime)
	}
	return h.certificate(hub.CertificateRequest{CommonName: h.Name, Names: h.names(), Client: true, NotAfter: b.Expiration})
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// names adds the name of the module, where it can stand in a certificate.
func (h *handler) names(more ...string) []string {
	if hostName.MatchString(h.Name) && len(h.Name) <= maxName {
		more = append(more, h.Name)
	}
	return more
}

func (h *handler) certificate(c hub.CertificateRequest) (int, any, error) {
	now := time.Now()
	if !c.NotAfter.After(now) {
		return 0, nil, fail(http.StatusBadRequest, "expiration is %s, it has to be in the future", c.NotAfter.Format(time.RFC3339))
	}
	if latest := now.Add(maxLifetime); c.NotAfter.After(latest) {
		c.NotAfter = latest
	}
	made, err := h.Issue(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{
		"privateKey": map[string]string{"type": "key", "bytes": string(made.Key)}, "certificate": string(made.Certificate),
		"expiration": made.NotAfter.UTC().Format(time.RFC3339),
	}, nil
}

// The answer of GET /modules, as far as it means something without containers.
type (
	listed struct {
		ID     string       `json:"id"`
		Name   string       `json:"name"`
		Type   string       `json:"type"`
		Config listedConfig `json:"config"`
		Status listedStatus `json:"status"`
	}
	listedConfig struct {
		Settings struct{} `json:"settings"`
		Env      []string `json:"env"`
	}
	listedStatus struct {
		StartTime     string      `json:"startTime,omitempty"`
		ExitStatus    *exitStatus `json:"exitStatus,omitempty"`
		RuntimeStatus struct {
			Status      string `json:"status"`
			Description string `json:"description,omitempty"`
		} `json:"runtimeStatus"`
	}
	exitStatus struct {
		StatusCode string `json:"statusCode"`
	}
)

func (h *handler) modules(*http.Request) (int, any, error) {
	list := []listed{}
	for _, m := range h.List() {
		l := listed{ID: m.Name, Name: m.Name, Type: "process", Config: listedConfig{Env: []string{}}}
		if !m.Started.IsZero() {
			l.Status.StartTime = m.Started.UTC().Format(time.RFC3339)
		}
		if m.State != "running" {
			l.Status.ExitStatus = &exitStatus{fmt.Sprint(m.ExitCode)}
		}
		l.Status.RuntimeStatus.Status, l.Status.RuntimeStatus.Description = m.State, m.Problem
		list = append(list, l)
	}
	return http.StatusOK, map[string]any{"modules": list}, nil
}
