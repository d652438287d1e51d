package httpfront_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/blobs"
	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/httpfront"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// account is a storage account that checks that requests are signed.
type account struct {
	*httptest.Server
	mu     sync.Mutex
	blobs  map[string]string
	blocks map[string]map[string]string
	hold   chan struct{} // when not nil, GET waits for it
}

func newAccount(t *testing.T) *account {
	a := &account{blobs: make(map[string]string), blocks: make(map[string]map[string]string)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Query().Get("sig") != "s+/=" || r.Header.Get("x-ms-version") == "" {
		w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	path := r.URL.Path
	switch comp := r.URL.Query().Get("comp"); {
	case r.Method == "GET":
		if hold := a.hold; hold != nil {
			a.mu.Unlock()
			select {
			case <-hold:
			case <-r.Context().Done():
			}
			a.mu.Lock()
		}
		text, ok := a.blobs[path]
		if !ok {
			w.Header().Set("x-ms-error-code", "BlobNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, text)
	case r.Method == "PUT" && comp == "block":
		if a.blocks[path] == nil {
			a.blocks[path] = make(map[string]string)
		}
		a.blocks[path][r.URL.Query().Get("blockid")] = string(body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == "PUT" && comp == "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(body, &list); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var text strings.Builder
		for _, id := range list.Latest {
			text.WriteString(a.blocks[path][id])
		}
		a.blobs[path] = text.String()
		w.WriteHeader(http.StatusCreated)
	case r.Method == "PUT" && r.Header.Get("x-ms-blob-type") == "BlockBlob":
		a.blobs[path] = string(body)
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (a *account) container(name string) string {
	return a.URL + "/" + name + "?sv=2021-08-06&sig=s%2B%2F%3D"
}

func (a *account) blob(path string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.blobs[path]
}

func newWorldWithBlobs(t *testing.T, storage core.Storage) *world {
	client := blobs.New(nil)
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Blobs: client}, storage)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(httpfront.New(h, nil, nil))
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
		client.Close()
	})
	return &world{t, h, srv}
}

// job runs a job to its end.
func (w *world) job(body string) core.RegistryJob {
	w.t.Helper()
	j := decode[core.RegistryJob](w.t, second(w.want(200, "POST", "/jobs/create", "", body)))
	for !j.Done() {
		_, text := w.want(200, "GET", "/jobs/"+j.JobID, "", "")
		if strings.Contains(text, "sig") {
			w.t.Fatalf("the signature is shown: %s", text)
		}
		j = decode[core.RegistryJob](w.t, text)
	}
	return j
}

func TestExportAndImport(t *testing.T) {
	w, acct := newWorldWithBlobs(t, memory.New(nil)), newAccount(t)
	w.want(200, "PUT", "/devices/a", "", `{"status":"disabled","statusReason":"why"}`)
	w.want(200, "PUT", "/devices/edge", "", `{"capabilities":{"iotEdge":true}}`)
	w.want(200, "PUT", "/devices/a/modules/m", "", `{"managedBy":"me"}`)
	w.want(200, "PATCH", "/twins/a", "", `{"tags":{"site":"<n>"},"properties":{"desired":{"x":1.50}}}`)

	j := w.job(`{"type":"Export","outputBlobContainerUri":"` + acct.container("out") + `","excludeKeysInExport":true}`)
	if j.Status != "completed" || j.Progress != 100 || j.FailureReason != nil || j.EndTime.IsZero() || j.OutputBlob != "devices.txt" {
		t.Errorf("%+v", j)
	}
	if text := acct.blob("/out/devices.txt"); strings.Contains(text, "Key") || !strings.Contains(text, `"site":"<n>"`) {
		t.Error(text)
	}
	j = w.job(`{"type":"export","outputBlobContainerUri":"` + acct.container("out") + `","outputBlobName":"all.txt"}`)
	text := acct.blob("/out/all.txt")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if j.Status != "completed" || len(lines) != 5 {
		t.Fatalf("%+v %s", j, text)
	}
	a := second(w.want(200, "GET", "/devices/a", "", ""))

	// Into another hub, as it is.
	acct.mu.Lock()
	acct.blobs["/in/devices.txt"] = "\xef\xbb\xbf" + text + "\r\n"
	acct.mu.Unlock()
	other := newWorldWithBlobs(t, memory.New(nil))
	j = other.job(`{"type":"import","inputBlobContainerUri":"` + acct.container("in") + `","outputBlobContainerUri":"` + acct.container("out") + `"}`)
	if j.Status != "completed" || j.FailureReason != nil || acct.blob("/out/importErrors.log") != "" {
		t.Errorf("%+v %s", j, acct.blob("/out/importErrors.log"))
	}
	was, is := decode[core.Device](t, a), decode[core.Device](t, second(other.want(200, "GET", "/devices/a", "", "")))
	if is.Authentication != was.Authentication || is.Status != "disabled" || *is.StatusReason != "why" {
		t.Errorf("%+v", is)
	}
	m := decode[core.Module](t, second(other.want(200, "GET", "/devices/a/modules/m", "", "")))
	if m.ManagedBy != "me" {
		t.Errorf("%+v", m)
	}
	if text := second(other.want(200, "GET", "/twins/a", "", "")); !strings.Contains(text, `"x":1.50`) || !strings.Contains(text, `"site":"\u003cn\u003e"`) {
		t.Error(text)
	}
	edge := decode[[]core.Module](t, second(other.want(200, "GET", "/devices/edge/modules", "", "")))
	if len(edge) != 2 {
		t.Errorf("%+v", edge)
	}
}

func TestImportErrors(t *testing.T) {
	w, acct := newWorldWithBlobs(t, memory.New(nil)), newAccount(t)
	acct.blobs["/in/list"] = `{"id":"a","importMode":"create"}
{"id":"gone","importMode":"delete"}
not JSON

{"id":"a","importMode":"create"}
{"id":"b","importMode":"createOrUpdate","tags":{"k":1}}
`
	j := w.job(`{"type":"import","inputBlobContainerUri":"` + acct.container("in") + `","inputBlobName":"list","outputBlobContainerUri":"` + acct.container("out") + `"}`)
	if j.Status != "completed" || j.FailureReason == nil || *j.FailureReason != "3 of 5 lines were not imported, see importErrors.log" {
		t.Errorf("%+v", j)
	}
	got := make(map[string]bool)
	for line := range strings.Lines(acct.blob("/out/importErrors.log")) {
		var e struct {
			DeviceID, ErrorStatus string
			ErrorCode             int
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.ErrorStatus == "" {
			t.Errorf("%v: %s", err, line)
		}
		got[fmt.Sprint(e.DeviceID, e.ErrorCode)] = true
	}
	if len(got) != 3 || !got["a409001"] || !got["gone404001"] || !got["400006"] {
		t.Errorf("%v", got)
	}
	w.want(200, "GET", "/devices/b", "", "")

	// What ends a job.
	for body, reason := range map[string]string{
		`{"type":"import","inputBlobContainerUri":"` + acct.container("none") + `","outputBlobContainerUri":"` + acct.container("out") + `"}`: "404 BlobNotFound",
		`{"type":"export","outputBlobContainerUri":"` + acct.URL + `/out?sig=wrong"}`:                                                         "403 AuthenticationFailed",
		`{"type":"export","outputBlobContainerUri":"http://127.0.0.1:1/out?sig=hidden"}`:                                                      "127.0.0.1:1",
	} {
		j := w.job(body)
		if j.Status != "failed" || j.FailureReason == nil || !strings.Contains(*j.FailureReason, reason) {
			t.Errorf("%+v, want %s", j, reason)
		}
	}
	for body, name := range map[string]string{
		`{"type":"import","outputBlobContainerUri":"https://s/out"}`:                                                                                           "BlobContainerValidationError",
		`{"type":"export","outputBlobContainerUri":"ftp://s/out"}`:                                                                                             "BlobContainerValidationError",
		`{"type":"export","outputBlobContainerUri":"https://s"}`:                                                                                               "BlobContainerValidationError",
		`{"type":"backup","outputBlobContainerUri":"https://s/out"}`:                                                                                           "ArgumentInvalid",
		`{"type":"export","outputBlobContainerUri":"https://s/out","storageAuthenticationType":"identityBased"}`:                                               "ArgumentInvalid",
		`{"type":"export","outputBlobContainerUri":"https://s/out","includeConfigurations":true,"configurationsBlobName":"` + strings.Repeat("x", 1025) + `"}`: "ArgumentInvalid",
	} {
		w.wantError(400, name, "POST", "/jobs/create", "iothubowner", "", body)
	}
	w.wantError(404, "JobNotFound", "GET", "/jobs/none", "iothubowner", "", "")
	w.wantError(404, "JobNotFound", "DELETE", "/jobs/none", "iothubowner", "", "")
	if list := decode[[]core.RegistryJob](t, second(w.want(200, "GET", "/jobs", "", ""))); len(list) != 4 {
		t.Errorf("%+v", list)
	}
}

// Configurations go along in a blob of their own, if they are to.
func TestConfigurationsInJobs(t *testing.T) {
	w, acct := newWorldWithBlobs(t, memory.New(nil)), newAccount(t)
	for _, id := range []string{"c1", "c2"} {
		w.want(200, "PUT", "/configurations/"+id, "", `{"content":{"deviceContent":{"properties.desired.x":1.50}},"targetCondition":"tags.site='<n>'","priority":7,"labels":{"for":"`+id+`"}}`)
	}
	j := w.job(`{"type":"export","outputBlobContainerUri":"` + acct.container("out") + `"}`)
	if j.Status != "completed" || j.ConfigurationsBlob != "" || acct.blob("/out/configurations.txt") != "" {
		t.Errorf("unasked: %+v", j)
	}
	j = w.job(`{"type":"export","outputBlobContainerUri":"` + acct.container("out") + `","includeConfigurations":true}`)
	text := acct.blob("/out/configurations.txt")
	if j.Status != "completed" || !j.IncludeConfigurations || j.ConfigurationsBlob != "configurations.txt" || strings.Count(text, "\n") != 2 ||
		!strings.Contains(text, `"properties.desired.x":1.50`) {
		t.Fatalf("%+v %s", j, text)
	}

	acct.mu.Lock()
	acct.blobs["/in/devices.txt"] = ""
	acct.blobs["/in/conf"] = strings.Replace(text, `{"id":"c1"`, `{"importMode":"CreateOrUpdateIfMatchETag","id":"c1"`, 1)
	acct.mu.Unlock()
	other := newWorldWithBlobs(t, memory.New(nil))
	importJob := `{"type":"import","inputBlobContainerUri":"` + acct.container("in") + `","outputBlobContainerUri":"` + acct.container("out") + `","includeConfigurations":true,"configurationsBlobName":"conf"}`
	if j = other.job(importJob); j.Status != "completed" || j.FailureReason != nil {
		t.Errorf("%+v %s", j, acct.blob("/out/importErrors.log"))
	}
	c := decode[core.Configuration](t, second(other.want(200, "GET", "/configurations/c1", "", "")))
	if c.Priority != 7 || c.Labels["for"] != "c1" || c.TargetCondition != "tags.site='<n>'" || string(c.Content.DeviceContent["properties.desired.x"]) != "1.50" {
		t.Errorf("%+v", c)
	}
	second(other.want(200, "PUT", "/configurations/c2", "*", `{"targetCondition":"*","priority":8}`))

	// What is there is changed only by who knows its ETag.
	acct.mu.Lock()
	acct.blobs["/in/conf"] = `{"id":"c1","etag":"` + c.ETag + `","targetCondition":"*","priority":9}
{"id":"c1","targetCondition":"*","priority":1}
{"id":"c2","etag":"` + c.ETag + `","targetCondition":"*","priority":1}
{"id":"c3","importMode":"create","content":{"deviceContent":{"properties.desired.x":1}}}
{"id":"C4","content":{"deviceContent":{"properties.desired.x":1}}}
[]
`
	acct.mu.Unlock()
	if j = other.job(importJob); j.Status != "completed" || j.FailureReason == nil || *j.FailureReason != "5 of 6 lines were not imported, see importErrors.log" {
		t.Errorf("%+v", j)
	}
	var got []string
	for line := range strings.Lines(acct.blob("/out/importErrors.log")) {
		var e struct {
			ConfigurationID string
			ErrorCode       int
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprint(e.ConfigurationID, " ", e.ErrorCode))
	}
	if want := []string{"c1 412001", "c2 412001", "c3 400004", "C4 400004", " 400006"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for id, priority := range map[string]int{"c1": 9, "c2": 8} {
		if c := decode[core.Configuration](t, second(other.want(200, "GET", "/configurations/"+id, "", ""))); c.Priority != priority {
			t.Errorf("%s has priority %d", id, c.Priority)
		}
	}
	acct.mu.Lock()
	delete(acct.blobs, "/in/conf")
	acct.mu.Unlock()
	if j = other.job(importJob); j.Status != "failed" || !strings.Contains(*j.FailureReason, "404") {
		t.Errorf("without the blob: %+v", j)
	}
}

// TestOneJobAtATime: while one runs there is no other; it can be cancelled, and
// the end of the hub ends it, which shows after a restart.
func TestOneJobAtATime(t *testing.T) {
	storage, acct := memory.New(nil), newAccount(t)
	w := newWorldWithBlobs(t, storage)
	acct.hold = make(chan struct{})
	body := `{"type":"import","inputBlobContainerUri":"` + acct.container("in") + `","outputBlobContainerUri":"` + acct.container("out") + `"}`
	first := decode[core.RegistryJob](t, second(w.want(200, "POST", "/jobs/create", "", body)))
	w.wantError(403, "JobQuotaExceeded", "POST", "/jobs/create", "iothubowner", "", body)
	w.want(204, "DELETE", "/jobs/"+first.JobID, `"`+first.JobID+`"`, "")
	for first.Status == "running" {
		first = decode[core.RegistryJob](t, second(w.want(200, "GET", "/jobs/"+first.JobID, "", "")))
	}
	if first.Status != "cancelled" {
		t.Errorf("%+v", first)
	}
	next := decode[core.RegistryJob](t, second(w.want(200, "POST", "/jobs/create", "", body)))
	if err := w.hub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := newWorldWithBlobs(t, storage)
	for id, status := range map[string]string{first.JobID: "cancelled", next.JobID: "failed"} {
		j := decode[core.RegistryJob](t, second(again.want(200, "GET", "/jobs/"+id, "", "")))
		if j.Status != status || j.EndTime.Before(time.Now().Add(-time.Hour)) || j.FailureReason == nil {
			t.Errorf("%+v, want %s", j, status)
		}
	}
}
