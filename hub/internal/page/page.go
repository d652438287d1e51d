// Package page is the hub's web page: a few static files that a browser runs
// against the REST API of the hub that served them. It knows no secret and holds
// no state. The user pastes a service connection string, the browser makes the
// tokens, and the hub checks each request as it does for any other client.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// policy lets the page load what this hub serves and nothing else, and run no
// script but those: what a device sends can never become one.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is one asset, ready to be served.
type file struct {
	name string
	data []byte
	etag string
	kind string
}

// Page serves the files. It is safe for use by many goroutines.
type Page struct {
	files map[string]file // by path
}

// kinds are the media types of the assets by extension. The tables of the machine
// are not asked: they differ.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// New makes a page of the embedded files.
func New() *Page {
	p := &Page{files: make(map[string]file)}
	entries, _ := assets.ReadDir("assets") // embedded: it is there
	for _, entry := range entries {
		name := entry.Name()
		data, _ := assets.ReadFile("assets/" + name)
		sum := sha256.Sum256(data)
		f := file{name: name, data: data, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, kind: kinds[path.Ext(name)]}
		if name == "index.html" {
			p.files["/"] = f
		} else {
			p.files["/ui/"+name] = f
		}
	}
	return p
}

// Serves reports whether the path is one of the page's.
func (p *Page) Serves(path string) bool {
	return path == "/" || strings.HasPrefix(path, "/ui/")
}

// ServeHTTP answers GET and HEAD for the page's paths.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	f, ok := p.files[r.URL.Path]
	if !ok {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are possible here", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	// Asked for each time, answered by 304 while it is the same: after an update
	// of the hub no browser runs half of the old page.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.data))
}
