package page_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/page"
)

func get(t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for name := range header {
		r.Header.Set(name, header.Get(name))
	}
	w := httptest.NewRecorder()
	page.New().ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, path string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	page.New().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d", path, w.Code)
	}
	return w.Body.String()
}

// everything finds what the page loads, beginning at its root.
func everything(t *testing.T) map[string]string {
	t.Helper()
	reference := regexp.MustCompile(`(?:src|href)="(/ui/[^"]+)"|from '\./([^']+)'`)
	all := map[string]string{"/": text(t, "/")}
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		for _, m := range reference.FindAllStringSubmatch(all[queue[0]], -1) {
			path := m[1]
			if m[2] != "" {
				path = "/ui/" + m[2]
			}
			if _, known := all[path]; !known {
				all[path] = text(t, path)
				queue = append(queue, path)
			}
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

func TestEverythingIsServedWithItsTypeAndPolicy(t *testing.T) {
	types := map[string]string{"/": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
	for path := range everything(t) {
		resp := get(t, http.MethodGet, path, nil)
		want := types[path[max(strings.LastIndex(path, "."), 0):]]
		if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, want) || want == "" {
			t.Errorf("%s has the type %q", path, got)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		for _, rule := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, rule) {
				t.Errorf("%s: the policy %q lacks %s", path, policy, rule)
			}
		}
		if strings.Contains(policy, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
			resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
	}
}

// The page works without any other host, and what devices send is never HTML.
func TestThePageStaysByItself(t *testing.T) {
	elsewhere := regexp.MustCompile(`https?://[\w.]+`)
	dangerous := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|document\.cookie`)
	for path, content := range everything(t) {
		if found := elsewhere.FindString(content); found != "" && found != "http://www.w3.org" {
			t.Errorf("%s names %s", path, found)
		}
		if found := dangerous.FindString(content); found != "" {
			t.Errorf("%s uses %s", path, found)
		}
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := get(t, http.MethodGet, "/ui/app.js", nil)
	again := get(t, http.MethodGet, "/ui/app.js", http.Header{"If-None-Match": {first.Header.Get("ETag")}})
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("status %d", again.StatusCode)
	}
	if old := get(t, http.MethodGet, "/ui/app.js", http.Header{"If-None-Match": {`"other"`}}); old.StatusCode != http.StatusOK {
		t.Errorf("another version: status %d", old.StatusCode)
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodHead, "/", http.StatusOK},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/ui/app.js", http.StatusMethodNotAllowed},
		{http.MethodGet, "/ui/", http.StatusNotFound},
		{http.MethodGet, "/ui/index.html", http.StatusNotFound},
		{http.MethodGet, "/ui/../page.go", http.StatusNotFound},
	} {
		if got := get(t, c.method, c.path, nil).StatusCode; got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	if p := page.New(); p.Serves("/devices") || p.Serves("/uix") || !p.Serves("/") {
		t.Error("the page serves what is the API's, or not what is its own")
	}
}
