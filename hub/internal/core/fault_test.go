package core_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
)

func TestParseFault(t *testing.T) {
	const p = "AzIoTHub_FaultOperation"
	for _, tt := range []struct {
		bag  string
		want core.Fault
		err  string
	}{
		{"", core.Fault{}, ""},
		{"a=b&%24.mid=1", core.Fault{}, ""},
		{p + "Type=KillTcp", core.Fault{Kind: core.FaultKillTCP, Type: "KillTcp"}, ""},
		{"a=b&" + p + "Type=ShutDownMqtt&" + p + "CloseReason=%20cleanly%20&" + p + "DelayInSecs=2", core.Fault{
			Kind: core.FaultShutDownMQTT, Type: "ShutDownMqtt", CloseReason: " cleanly ", Delay: 2 * time.Second}, ""},
		{p + "DurationInSecs=20&" + p + "DelayInSecs=0.5&" + p + "Type=InvokeThrottling", core.Fault{
			Kind: core.FaultThrottle, Type: "InvokeThrottling", Delay: time.Second / 2, Duration: 20 * time.Second}, ""},
		{p + "Type=InvokeMaxMessageQuota&" + p + "DurationInSecs=3600", core.Fault{
			Kind: core.FaultQuota, Type: "InvokeMaxMessageQuota", Duration: time.Hour}, ""},
		{p + "Type=InvokeAuthError", core.Fault{Kind: core.FaultAuth, Type: "InvokeAuthError"}, ""},
		{p + "Type=ShutDownAmqp", core.Fault{Kind: core.FaultShutDownAMQP, Type: "ShutDownAmqp"}, ""},
		{p + "Type=KillAmqpCBSLinkReq", core.Fault{Kind: core.FaultKillAMQP, Type: "KillAmqpCBSLinkReq"}, ""},
		{"note=" + p + "Type", core.Fault{}, ""},
		{p + "DelayInSecs=1", core.Fault{}, ""},
		{p + "Type=Meteor", core.Fault{}, `"Meteor"`},
		{p + "Type=KillTcp&" + p + "DelayInSecs=soon&" + p + "DurationInSecs=1", core.Fault{}, `DelayInSecs is "soon"`},
		{p + "Type=KillTcp&" + p + "DelayInSecs=-1", core.Fault{}, "0 to 3600"},
		{p + "Type=KillTcp&" + p + "DurationInSecs=3601", core.Fault{}, "0 to 3600"},
		{p + "Type=KillTcp&" + p + "DurationInSecs=NaN", core.Fault{}, "0 to 3600"},
	} {
		got, err := core.ParseFault([]byte(tt.bag))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %+v, %v, want %+v %s", tt.bag, got, err, tt.want, tt.err)
		}
	}
}

func TestParseFaultCostsNothing(t *testing.T) {
	bag := []byte("temperature=21.5&%24.mid=0123456789&%24.ct=application%2Fjson")
	if n := testing.AllocsPerRun(100, func() { _, _ = core.ParseFault(bag) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// faultHub runs a test in virtual time on a hub that allows faults, with a
// connection of device d.
func faultHub(t *testing.T, test func(t *testing.T, h *core.Hub, d core.Device, a *core.Attachment)) {
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example", FaultInjection: true}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		d := createDevice(t, h, core.Device{DeviceID: "d"})
		a := attach(t, h, login(t, h, "d", "", d.Authentication), nil)
		defer a.Detach()
		test(t, h, d, a)
	})
}

func TestLastingFaults(t *testing.T) {
	for _, tt := range []struct {
		kind                core.FaultKind
		end, send, authCode int // codes; 0 is none
	}{
		{core.FaultThrottle, core.CodeThrottling, core.CodeThrottling, 0},
		{core.FaultQuota, core.CodeQuotaExceeded, core.CodeQuotaExceeded, 0},
		{core.FaultAuth, core.CodeUnauthorized, 0, core.CodeUnauthorized},
		{core.FaultKillTCP, core.CodeFaultInjection, 0, 0},
	} {
		faultHub(t, func(t *testing.T, h *core.Hub, d core.Device, a *core.Attachment) {
			start := time.Now()
			ended := make(chan error, 1)
			a.InjectFault(core.Fault{Kind: tt.kind, Delay: 2 * time.Second, Duration: 5 * time.Second}, func(err error) { ended <- err })
			ingest(t, a, core.Event{}) // still well
			wantCode(t, <-ended, tt.end)
			if got := time.Since(start); got != 2*time.Second {
				t.Errorf("after %v", got)
			}
			check := func(send, auth int) {
				t.Helper()
				done := make(chan error, 1)
				if err := a.Ingest([]core.Event{{}}, func(err error) { done <- err }); err != nil || send != 0 {
					wantCode(t, err, send)
				} else if err := <-done; err != nil {
					t.Error(err)
				}
				token := sas.Sign(sas.Resource(h.HostName(), "d", ""), keyOf(t, d.Authentication.SymmetricKey.PrimaryKey), h.Now().Add(time.Hour), "")
				if _, err := h.Authenticate(h.Now(), core.AuthRequest{DeviceID: "d", Token: token}); err != nil || auth != 0 {
					wantCode(t, err, auth)
				}
			}
			check(tt.send, tt.authCode)
			other := attachNew(t, h, "e")
			ingest(t, other, core.Event{}) // nobody else has it
			other.Detach()
			<-time.After(5*time.Second - 1)
			check(tt.send, tt.authCode)
			<-time.After(1)
			check(0, 0)
			check(0, 0)
		})
	}
}

func TestFaultIsTakenBack(t *testing.T) {
	faultHub(t, func(t *testing.T, h *core.Hub, d core.Device, a *core.Attachment) {
		never := func(err error) { t.Errorf("it happened: %v", err) }
		a.InjectFault(core.Fault{Kind: core.FaultQuota, Delay: time.Second, Duration: time.Hour}, never)
		happened := 0
		a.InjectFault(core.Fault{Kind: core.FaultShutDownMQTT}, func(error) { happened++ }) // instead, and at once
		if happened != 1 {
			t.Errorf("happened %d times", happened)
		}
		a.InjectFault(core.Fault{Kind: core.FaultQuota, Delay: time.Second, Duration: time.Hour}, never)
		a.Detach() // the connection goes before
		<-time.After(time.Minute)
		ingest(t, a, core.Event{})
	})
}

// The log says what was asked for and when it happened.
func TestFaultsAreLogged(t *testing.T) {
	var log bytes.Buffer
	h := newHub(t, core.Config{FaultInjection: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}, memory.New(nil))
	a := attachNew(t, h, "d")
	defer a.Detach()
	a.InjectFault(core.Fault{Kind: core.FaultKillTCP, Type: "KillTcp", CloseReason: "boom"}, func(error) {})
	for _, want := range []string{"has asked for a fault", "it happens now", "identity=d", "type=KillTcp", "reason=boom"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, &log)
		}
	}
}

func TestDisconnect(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	if h.Disconnect("d", "") {
		t.Error("there was no connection")
	}
	var kicked []error
	a := attach(t, h, login(t, h, "d", "", d.Authentication), func(err error) { kicked = append(kicked, err) })
	defer a.Detach()
	if h.Disconnect("d", "m") || h.Disconnect("e", "") {
		t.Error("it is not the connection of another")
	}
	if !h.Disconnect("d", "") || len(kicked) != 1 {
		t.Fatalf("kicked %d times", len(kicked))
	}
	wantCode(t, kicked[0], core.CodeFaultInjection)
}
