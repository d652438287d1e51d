package testkit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Daemon is the part of an IoT Edge daemon that signs for modules, as an
// http.Handler.
type Daemon struct {
	// Key signs for every module, Bundle is whom to trust, PEM, until SetBundle
	// replaces it.
	Key    []byte
	Bundle []byte
	// Refuse, if it is not nil and returns a status, takes the place of the answer.
	Refuse func(r *http.Request) (status int, message string)

	mu   sync.Mutex
	seen []string
}

// Seen returns the requests so far, as "METHOD path?query".
func (d *Daemon) Seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.seen...)
}

// SetBundle replaces whom to trust. It may be called while requests are answered.
func (d *Daemon) SetBundle(pem []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Bundle = pem
}

// ServeHTTP implements http.Handler.
func (d *Daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.seen = append(d.seen, r.Method+" "+r.RequestURI)
	bundle := d.Bundle
	d.mu.Unlock()
	var answer any
	status := http.StatusOK
	switch {
	case r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/sign"):
		var body struct {
			KeyID, Algo string
			Data        []byte
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.KeyID != "primary" || body.Algo != "HMACSHA256" {
			status = http.StatusBadRequest
		}
		mac := hmac.New(sha256.New, d.Key)
		mac.Write(body.Data)
		answer = map[string]any{"digest": mac.Sum(nil)}
	case r.Method == "GET" && r.URL.Path == "/trust-bundle":
		answer = map[string]any{"certificate": string(bundle)}
	default:
		status, answer = http.StatusNotFound, map[string]any{"message": "no such resource"}
	}
	if d.Refuse != nil {
		if s, message := d.Refuse(r); s != 0 {
			status, answer = s, map[string]any{"message": message}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}
