package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func TestDevices(t *testing.T) {
	c, ctx := connect(t, startHub(t, nil), nil), t.Context()
	// An id with everything that a path could trip over.
	const id = "dev-1:.+%_#*?!(),=@$'"
	d, err := c.CreateDevice(ctx, &service.Device{DeviceID: id, StatusReason: "new"})
	if err != nil {
		t.Fatal(err)
	}
	if d.DeviceID != id || d.ETag == "" || d.GenerationID == "" || d.Status != service.Enabled ||
		d.ConnectionState != service.Disconnected || d.Authentication.SymmetricKey.Primary == "" || !d.LastActivityTime.IsZero() {
		t.Errorf("%+v", d)
	}
	_, err = c.CreateDevice(ctx, &service.Device{DeviceID: id})
	wantKind(t, err, iothub.KindConflict, 409001)
	d.Status, d.StatusReason = service.Disabled, "lost"
	old := d.ETag
	u, err := c.UpdateDevice(ctx, d)
	if err != nil || u.Status != service.Disabled || u.ETag == old || u.Authentication.SymmetricKey.Primary != d.Authentication.SymmetricKey.Primary {
		t.Fatalf("%+v %v", u, err)
	}
	_, err = c.UpdateDevice(ctx, d) // has the old version
	wantKind(t, err, iothub.KindPreconditionFailed, 412001)
	d.ETag = service.AnyETag
	if _, err = c.UpdateDevice(ctx, d); err != nil {
		t.Error(err)
	}
	d.ETag = ""
	_, err = c.UpdateDevice(ctx, d)
	wantKind(t, err, iothub.KindInvalidArgument, 0)
	g, err := c.GetDevice(ctx, id)
	if err != nil || g.StatusReason != "lost" {
		t.Errorf("%+v %v", g, err)
	}
	if l, err := c.ListDevices(ctx, 0); err != nil || len(l) != 1 || l[0].DeviceID != id {
		t.Errorf("%+v %v", l, err)
	}
	wantKind(t, c.DeleteDevice(ctx, id, old), iothub.KindPreconditionFailed, 412001)
	wantKind(t, c.DeleteDevice(ctx, id, ""), iothub.KindInvalidArgument, 0)
	if err := c.DeleteDevice(ctx, id, g.ETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetDevice(ctx, id)
	wantKind(t, err, iothub.KindNotFound, 404001)
	_, err = c.GetDevice(ctx, "no/slash")
	wantKind(t, err, iothub.KindInvalidArgument, 0)
}

func TestModules(t *testing.T) {
	c, ctx := connect(t, startHub(t, nil), nil), t.Context()
	_, err := c.CreateModule(ctx, &service.Module{DeviceID: "dev1", ModuleID: "m1"})
	wantKind(t, err, iothub.KindNotFound, 404001)
	if _, err := c.CreateDevice(ctx, &service.Device{DeviceID: "dev1"}); err != nil {
		t.Fatal(err)
	}
	m, err := c.CreateModule(ctx, &service.Module{DeviceID: "dev1", ModuleID: "m1"})
	if err != nil || m.ModuleID != "m1" || m.Authentication.SymmetricKey.Secondary == "" {
		t.Fatalf("%+v %v", m, err)
	}
	k, err := c.SwapKeys(ctx, "dev1", "m1")
	if err != nil || k.Primary != m.Authentication.SymmetricKey.Secondary || k.Secondary != m.Authentication.SymmetricKey.Primary {
		t.Errorf("%v", err)
	}
	if l, err := c.ListModules(ctx, "dev1"); err != nil || len(l) != 1 {
		t.Errorf("%+v %v", l, err)
	}
	_, err = c.UpdateModule(ctx, m)
	wantKind(t, err, iothub.KindPreconditionFailed, 412001)
	if g, err := c.GetModule(ctx, "dev1", "m1"); err != nil || g.ETag == m.ETag {
		t.Errorf("%+v %v", g, err)
	}
	if err := c.DeleteModule(ctx, "dev1", "m1", service.AnyETag); err != nil {
		t.Error(err)
	}
	_, err = c.GetModule(ctx, "dev1", "m1")
	wantKind(t, err, iothub.KindNotFound, 404010)
	// The empty module would be the device.
	wantKind(t, c.DeleteModule(ctx, "dev1", "", service.AnyETag), iothub.KindInvalidArgument, 0)
	if _, err := c.GetDevice(ctx, "dev1"); err != nil {
		t.Error(err)
	}
}

func TestStatistics(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	for i, status := range []service.Status{service.Enabled, service.Enabled, service.Disabled} {
		if _, err := c.CreateDevice(ctx, &service.Device{DeviceID: fmt.Sprint("d", i), Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	if err := connectDevice(t, s, "d0").SendEvent(ctx, &iothub.Message{}); err != nil {
		t.Fatal(err)
	}
	if n, err := c.RegistryStatistics(ctx); err != nil || *n != (service.RegistryStatistics{Total: 3, Enabled: 2, Disabled: 1}) {
		t.Errorf("%+v %v", n, err)
	}
	if n, err := c.ConnectedDevices(ctx); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
}

// Keys do not get into what is printed by accident.
func TestKeysAreRedacted(t *testing.T) {
	d := service.Device{DeviceID: "d", Authentication: &service.Authentication{SymmetricKey: &service.SymmetricKey{Primary: testKey, Secondary: testKey}}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", d.Authentication.SymmetricKey.Primary)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", d.Authentication.SymmetricKey, *d.Authentication.SymmetricKey, *d.Authentication.SymmetricKey, d.Authentication.SymmetricKey.Primary),
		log.String(),
	} {
		if strings.Contains(text, testKey) || !strings.Contains(text, "[redacted]") {
			t.Error(text)
		}
	}
	if b, err := json.Marshal(d); err != nil || strings.Count(string(b), testKey) != 2 {
		t.Errorf("%s %v", b, err)
	}
	if cs, err := iothub.ParseConnectionString(d.ConnectionString("h")); err != nil || cs.DeviceID != "d" {
		t.Error(err)
	}
}

// A client refuses what is no service connection string, and one whose token is
// refused says so.
func TestCredentials(t *testing.T) {
	for _, cs := range []string{"", "HostName=h;DeviceId=d;SharedAccessKey=" + testKey, "HostName=h;SharedAccessKey=" + testKey} {
		if _, err := service.NewClientFromConnectionString(cs, nil); iothub.KindOf(err) != iothub.KindInvalidArgument || strings.Contains(err.Error(), testKey) {
			t.Errorf("%q: %v", cs, err)
		}
	}
	s := startHub(t, nil)
	wrong, err := service.NewClientFromConnectionString("HostName="+connect(t, s, nil).HostName()+";SharedAccessKeyName=iothubowner;SharedAccessKey="+testKey,
		&service.ClientOptions{TLS: tlsOf(s)})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, wrong)
	_, err = wrong.ListDevices(t.Context(), 0)
	wantKind(t, err, iothub.KindUnauthorized, 401002)
}

// A token source is asked once for as long as its token lasts.
func TestTokenSource(t *testing.T) {
	var authorization []string
	server := replay(t, func(w http.ResponseWriter, r *http.Request) {
		authorization = append(authorization, r.Header.Get("Authorization"))
		fmt.Fprint(w, "[]")
	})
	asked := 0
	source := service.TokenSourceFunc(func(_ context.Context, scope string) (iothub.Token, error) {
		if asked++; scope != service.Scope {
			t.Errorf("scope %q", scope)
		}
		if asked == 2 {
			return iothub.Token{}, errors.New("the vault is closed")
		}
		return iothub.Token{Value: fmt.Sprint("jwt", asked), Expires: time.Now().Add(time.Hour)}, nil
	})
	c, err := service.NewClient(server.HostName(), source, &service.ClientOptions{HTTPTransport: service.TransportOf(server)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.ListDevices(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"Bearer jwt1", "Bearer jwt1", "Bearer jwt1"}; !slices.Equal(authorization, want) {
		t.Errorf("%q", authorization)
	}
	other, err := service.NewClient(server.HostName(), source, &service.ClientOptions{HTTPTransport: service.TransportOf(server), Retry: &iothub.RetryPolicy{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ListDevices(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "the vault is closed") || !iothub.NotSent(err) {
		t.Error(err)
	}
}
