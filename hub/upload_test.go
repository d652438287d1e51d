package hub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	iotdevice "github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/module"
)

// uploadHub is a hub with a device and a module that upload to it.
type uploadHub struct {
	*hub.Server
	port int
}

func newUploadHub(t *testing.T, dir string) *uploadHub {
	t.Helper()
	s, err := hub.New(&hub.Options{DataDir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	addr, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	n, _ := strconv.Atoi(port)
	for _, create := range []func() error{
		func() error { _, err := s.CreateDevice(t.Context(), "dev1"); return err },
		func() error { _, err := s.CreateModule(t.Context(), "dev1", "mod1"); return err },
	} {
		if err := create(); err != nil {
			t.Fatal(err)
		}
	}
	return &uploadHub{s, n}
}

// counting counts what goes over the connections that it makes. A connection
// may still be written to, by the client's HTTP transport, when the call that it
// was made for has returned.
type counting struct{ sent atomic.Int64 }

func (c *counting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{nc, c}, nil
}

type countedConn struct {
	net.Conn
	c *counting
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.c.sent.Add(int64(len(p)))
	return c.Conn.Write(p)
}

func (h *uploadHub) device(t *testing.T, c *counting) *iotdevice.Client {
	t.Helper()
	cs, err := h.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	o := &iotdevice.ClientOptions{TLS: &tls.Config{RootCAs: h.CertPool()}}
	if c != nil {
		o.Dial = c.dial
	}
	client, err := iotdevice.NewClientFromConnectionString(cs, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = client.Close(ctx) // it never connected
	})
	return client
}

func content(n int) []byte {
	data := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func (h *uploadHub) blob(t *testing.T, name string) []byte {
	t.Helper()
	r, size, err := h.OpenBlob(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != size {
		t.Fatalf("%d of %d bytes, %v", len(data), size, err)
	}
	return data
}

func TestUploadFile(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			h := newUploadHub(t, dir)
			client := h.device(t, nil)
			for _, size := range []int{0, 1, 64 << 10, 300_000} {
				var steps []int64
				data, file := content(size), fmt.Sprintf("logs/a b %d.bin", size)
				err := client.UploadFile(t.Context(), file, bytes.NewReader(data), &iotdevice.UploadOptions{
					BlockSize: 64 << 10, ContentType: "text/x-log", Port: h.port, Progress: func(n int64) { steps = append(steps, n) },
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := h.blob(t, "dev1/"+file); !bytes.Equal(got, data) {
					t.Errorf("%d bytes arrived otherwise", size)
				}
				if n := len(steps); n != (size+65535)/65536 || n > 0 && steps[n-1] != int64(size) {
					t.Errorf("the progress of %d bytes was %v", size, steps)
				}
				n, err := h.FileNotification(t.Context())
				if err != nil || n.DeviceID != "dev1" || n.BlobName != "dev1/"+file || n.Size != int64(size) ||
					!strings.HasSuffix(n.BlobURI, "/iothub-uploads/dev1/logs/a%20b%20"+strconv.Itoa(size)+".bin") {
					t.Errorf("told %+v, %v", n, err)
				}
			}
			address, err := h.BlobURL("dev1/logs/a b 300000.bin", time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.CertPool()}}}
			defer web.CloseIdleConnections()
			resp, err := web.Get(address)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if data, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(data, content(300_000)) || resp.Header.Get("Content-Type") != "text/x-log" {
				t.Errorf("read %d bytes of %s, %v", len(data), resp.Header.Get("Content-Type"), err)
			}
		})
	}
}

func TestModulesUpload(t *testing.T) {
	h := newUploadHub(t, "")
	cs, err := h.ModuleConnectionString("dev1", "mod1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := module.NewClientFromConnectionString(cs, &module.ClientOptions{TLS: &tls.Config{RootCAs: h.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = client.Close(ctx) // it never connected
	}()
	if err := client.UploadFile(t.Context(), "f", strings.NewReader("hello"), &module.UploadOptions{Port: h.port}); err != nil {
		t.Fatal(err)
	}
	if got := h.blob(t, "dev1/mod1/f"); string(got) != "hello" {
		t.Errorf("arrived %q", got)
	}
}

// TestUploadIsResumed cuts every connection of an upload behind each of its blocks
// in turn, as if the process had gone: what was sent is not sent again.
func TestUploadIsResumed(t *testing.T) {
	const block, blocks = 64 << 10, 8
	data := content(block * blocks)
	h := newUploadHub(t, t.TempDir())
	for cut := 1; cut <= blocks; cut++ {
		name := fmt.Sprint("file", cut)
		// An attempt that reads the file up to the cut, and no further.
		broken := io.MultiReader(bytes.NewReader(data[:cut*block]), errorReader{})
		o := &iotdevice.UploadOptions{BlockSize: block, Port: h.port}
		if err := h.device(t, nil).UploadFile(t.Context(), name, broken, o); err == nil {
			t.Fatal("an upload of a file that cannot be read succeeded")
		}
		if _, _, err := h.OpenBlob("dev1/" + name); err == nil {
			t.Fatal("half a file is there")
		}
		c := new(counting)
		if err := h.device(t, c).UploadFile(t.Context(), name, bytes.NewReader(data), o); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(h.blob(t, "dev1/"+name), data) {
			t.Errorf("cut behind %d: the file is another one", cut)
		}
		// What is left, and up to 32 KiB for handshakes and requests.
		if most := int64((blocks-cut)*block + 32<<10); c.sent.Load() > most {
			t.Errorf("cut behind %d: %d bytes were sent, %d would do", cut, c.sent.Load(), most)
		}
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestUploadsThatAreRefused(t *testing.T) {
	h := newUploadHub(t, "")
	client := h.device(t, nil)
	for _, name := range []string{"", "/x", "a/../b", "a\\b", strings.Repeat("x", 2000)} {
		if _, err := client.BeginUpload(t.Context(), name, h.port); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	var tickets []*iothub.UploadTicket
	for i := range 10 {
		ticket, err := client.BeginUpload(t.Context(), fmt.Sprint("f", i), h.port)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", ticket, *ticket, ticket), "sig=") {
			t.Error("a ticket prints its signature")
		}
		tickets = append(tickets, ticket)
	}
	_, err := client.BeginUpload(t.Context(), "one more", h.port)
	if e, ok := errors.AsType[*iothub.Error](err); !ok || e.Code != 403006 {
		t.Errorf("an eleventh: %v", err)
	}
	if err := client.EndUpload(t.Context(), tickets[0], errors.New("no more battery"), h.port); err != nil {
		t.Fatal(err)
	}
	if err := client.EndUpload(t.Context(), tickets[0], nil, h.port); err == nil {
		t.Error("an upload ended twice")
	}
	if err := client.EndUpload(t.Context(), tickets[1], nil, h.port); err == nil {
		t.Error("an upload without a file succeeded")
	}
	if err := client.EndUpload(t.Context(), &iothub.UploadTicket{CorrelationID: "x"}, nil, h.port); err == nil {
		t.Error("an upload that never was ended")
	}
	off, err := hub.New(&hub.Options{NoUploads: true})
	if err != nil {
		t.Fatal(err)
	}
	defer off.Shutdown(t.Context())
	if _, err := off.BlobURL("x", time.Now()); err == nil {
		t.Error("a hub without uploads has blobs")
	}
}

// TestBlobEndpointRefuses is what somebody tries who has a signature for one file.
func TestBlobEndpointRefuses(t *testing.T) {
	h := newUploadHub(t, "")
	client := h.device(t, nil)
	if err := client.UploadFile(t.Context(), "secret", strings.NewReader("secret"), &iotdevice.UploadOptions{Port: h.port}); err != nil {
		t.Fatal(err)
	}
	ticket, err := client.BeginUpload(t.Context(), "mine", h.port)
	if err != nil {
		t.Fatal(err)
	}
	base, query, _ := strings.Cut(ticket.URL, "?")
	expired, err := h.BlobURL("dev1/secret", time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	readOnly, err := h.BlobURL("dev1/secret", time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(base, "dev1/mine", "dev1/secret", 1)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.CertPool()}}}
	defer web.CloseIdleConnections()
	for _, c := range []struct {
		what, method, url string
		status            int
	}{
		{"without a signature", "GET", other, 403},
		{"by the signature of another file", "GET", other + "?" + query, 403},
		{"by a path trick", "GET", base + "/../secret?" + query, 403},
		{"by an escaped path trick", "GET", base + "%2f..%2fsecret?" + query, 403},
		{"by a signature that has expired", "GET", expired, 403},
		{"with more rights", "GET", other + "?" + strings.Replace(query, "sp=rw", "sp=rwdl", 1), 403},
		{"for longer", "GET", base + "?" + strings.Replace(query, "se=2", "se=3", 1), 403},
		{"for all files", "GET", base + "?" + strings.Replace(query, "sr=b", "sr=c", 1), 403},
		{"writing with a right to read", "PUT", readOnly, 403},
		{"deleting with a right to write", "DELETE", base + "?" + query, 403},
		{"listing with a right to write", "GET", strings.TrimSuffix(base, "/dev1/mine") + "?comp=list&restype=container&" + query, 403},
		{"what there is not", "POST", base + "?" + query, 400},
		{"its own, which is not there yet", "GET", base + "?" + query, 404},
		{"a block with a wrong id", "PUT", base + "?" + query + "&comp=block&blockid=%25", 400},
		{"a list that is none", "PUT", base + "?" + query + "&comp=blocklist", 400},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-ms-blob-type", "BlockBlob")
		resp, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || resp.Header.Get("x-ms-error-code") == "" || bytes.Contains(body, []byte("secret")) {
			t.Errorf("%s: %s %s", c.what, resp.Status, body)
		}
	}
}
