package blobs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/blobs"
)

// TestLargeBlob: what is larger than a block is sent in blocks, and never more of
// it is kept than one.
func TestLargeBlob(t *testing.T) {
	var sizes []int
	var comps []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sizes, comps = append(sizes, len(body)), append(comps, r.URL.Query().Get("comp"))
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	c := blobs.New(srv.Client())
	blob := c.Create(t.Context(), srv.URL+"/container?sig=x", "b")
	line := strings.Repeat("x", 1<<20) + "\n"
	for range 9 {
		if _, err := io.WriteString(blob, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := blob.Close(); err != nil {
		t.Fatal(err)
	}
	if len(sizes) != 4 || sizes[0] != 4<<20 || sizes[1] != 4<<20 || sizes[2] != 1<<20+9 || comps[3] != "blocklist" {
		t.Errorf("%v %v", sizes, comps)
	}
}

// TestNoRedirect: a signature goes nowhere but to the account it is for, and no
// error repeats it.
func TestNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	c := blobs.New(srv.Client())
	_, _, err := c.Get(t.Context(), srv.URL+"/c?sig=SECRET", "b")
	if err == nil || !strings.Contains(err.Error(), "307") || strings.Contains(err.Error(), "SECRET") {
		t.Error(err)
	}
	srv.Close()
	if _, _, err = c.Get(t.Context(), srv.URL+"/c?sig=SECRET", "b"); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Error(err)
	}
	for _, bad := range []string{"", "c", "ftp://h/c?sig=SECRET", "https://h", "https:///c", "https://u:SECRET@h/c", "https://h/%zz?sig=SECRET"} {
		if err := c.Check(bad); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := c.Check("https://account.blob.core.windows.net/container?sv=1&sig=x"); err != nil {
		t.Error(err)
	}
}
