package iothub_test

import (
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
)

// The waits of the C SDK, but for strategy 5, which here has full jitter.
func TestRetryPolicyDelay(t *testing.T) {
	for _, test := range []struct {
		name   string
		p      iothub.RetryPolicy
		random float64
		want   []float64 // seconds, after the 1st, 2nd … attempt
	}{
		{"immediate", iothub.RetryPolicy{Strategy: iothub.RetryImmediate}, 0.5, []float64{0, 0, 0}},
		{"interval", iothub.RetryPolicy{Strategy: iothub.RetryInterval}, 0.5, []float64{5, 5, 5, 5}},
		{"interval of 2 s", iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 2 * time.Second}, 0.5, []float64{2, 2}},
		{"interval above the limit", iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Minute}, 0.5, []float64{30, 30}},
		{"linear", iothub.RetryPolicy{Strategy: iothub.RetryLinearBackoff}, 0.5, []float64{5, 10, 15, 20, 25, 30, 30, 30}},
		{"exponential", iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff}, 0.5, []float64{1, 2, 4, 8, 16, 30, 30, 30}},
		{"exponential to 1 h", iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff, InitialDelay: 10 * time.Second, MaxDelay: time.Hour},
			0.5, []float64{10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600}},
		{"full jitter, none", iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoffWithJitter}, 0, []float64{0, 0, 0, 0, 0, 0}},
		{"full jitter, half", iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoffWithJitter}, 0.5, []float64{0.5, 1, 2, 4, 8, 15, 15}},
		{"the default", *iothub.DefaultRetryPolicy(), 0.25, []float64{0.25, 0.5, 1, 2, 4, 7.5, 7.5}},
		{"random", iothub.RetryPolicy{Strategy: iothub.RetryRandom}, 0.5, []float64{2.5, 2.5, 2.5}},
	} {
		for i, want := range test.want {
			if got := test.p.Delay(i+1, test.random).Seconds(); got != want {
				t.Errorf("%s: after attempt %d %v s, want %v s", test.name, i+1, got, want)
			}
		}
		for _, n := range []int{1000, math.MaxInt} { // nothing overflows
			if got := test.p.Delay(n, 0.999); got < 0 || got > time.Hour {
				t.Errorf("%s: after attempt %d %v", test.name, n, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{fmt.Sprint(iothub.ConfirmOK, iothub.ConfirmBecauseDestroy, iothub.ConfirmMessageTimeout, iothub.ConfirmError, iothub.ConfirmationResult(4)),
			"OK BECAUSE_DESTROY MESSAGE_TIMEOUT ERROR ConfirmationResult(4)"},
		{fmt.Sprint(iothub.Authenticated, iothub.Unauthenticated), "authenticated unauthenticated"},
		{fmt.Sprint(iothub.ReasonExpiredSASToken, iothub.ReasonDeviceDisabled, iothub.ReasonBadCredential, iothub.ReasonRetryExpired,
			iothub.ReasonNoNetwork, iothub.ReasonCommunicationError, iothub.ReasonOK, iothub.ReasonNoPingResponse, iothub.ReasonQuotaExceeded, iothub.StatusReason(9)),
			"EXPIRED_SAS_TOKEN DEVICE_DISABLED BAD_CREDENTIAL RETRY_EXPIRED NO_NETWORK COMMUNICATION_ERROR OK NO_PING_RESPONSE QUOTA_EXCEEDED StatusReason(9)"},
		{fmt.Sprint(iothub.RetryNone, iothub.RetryExponentialBackoffWithJitter, iothub.RetryRandom, iothub.RetryStrategy(7)),
			"none exponential backoff with jitter random RetryStrategy(7)"},
		{iothub.ConnectionEvent{Status: iothub.Unauthenticated, Reason: iothub.ReasonNoNetwork, Err: io.EOF}.String(), "unauthenticated (NO_NETWORK): EOF"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

// The numbers are the C SDK's, which capi and users of both rely on.
func TestNumbers(t *testing.T) {
	for name, n := range map[string][2]int{
		"ConfirmOK":          {int(iothub.ConfirmOK), 0},
		"ConfirmError":       {int(iothub.ConfirmError), 3},
		"Authenticated":      {int(iothub.Authenticated), 0},
		"Unauthenticated":    {int(iothub.Unauthenticated), 1},
		"ReasonOK":           {int(iothub.ReasonOK), 6},
		"ReasonNoPing":       {int(iothub.ReasonNoPingResponse), 7},
		"RetryNone":          {int(iothub.RetryNone), 0},
		"RetryWithJitter":    {int(iothub.RetryExponentialBackoffWithJitter), 5},
		"RetryRandom":        {int(iothub.RetryRandom), 6},
		"MaxMessageSize":     {iothub.MaxMessageSize, 262144},
		"MaxMessageIDLength": {iothub.MaxMessageIDLength, 128},
	} {
		if n[0] != n[1] {
			t.Errorf("%s is %d, want %d", name, n[0], n[1])
		}
	}
}

func TestWithDefaults(t *testing.T) {
	for name, o := range map[string]*iothub.ClientOptions{"nil": nil, "zero": {}} {
		got, err := o.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		if got.KeepAlive != time.Minute || got.ConnectTimeout != 30*time.Second || got.MessageTimeout != 0 ||
			got.TokenLifetime != time.Hour || got.MaxQueuedMessages != 65536 || got.MaxQueuedBytes != 64<<20 ||
			*got.Retry != (iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoffWithJitter}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	retry := &iothub.RetryPolicy{Strategy: iothub.RetryInterval}
	in := iothub.ClientOptions{KeepAlive: -time.Second, MessageTimeout: time.Nanosecond, TokenLifetime: 5 * time.Second,
		ConnectTimeout: time.Millisecond, MaxQueuedMessages: 1, MaxQueuedBytes: 1, Retry: retry, ProductInfo: "p"}
	got, err := in.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if got.KeepAlive != 0 || got.MessageTimeout != 1 || got.TokenLifetime != 5*time.Second || got.MaxQueuedMessages != 1 || got.ProductInfo != "p" {
		t.Errorf("own values were lost: %+v", got)
	}
	if in.KeepAlive != -time.Second || got.Retry == retry || *got.Retry != *retry {
		t.Error("the caller's options were changed or are shared")
	}
}

func TestWithDefaultsErrors(t *testing.T) {
	for want, o := range map[string]iothub.ClientOptions{
		"KeepAlive":                {KeepAlive: 65536 * time.Second},
		"ConnectTimeout is -1s":    {ConnectTimeout: -time.Second},
		"ConnectTimeout is 1µs":    {ConnectTimeout: time.Microsecond},
		"ConnectTimeout is 2h0m0s": {ConnectTimeout: 2 * time.Hour},
		"MessageTimeout":           {MessageTimeout: -1},
		"TokenLifetime is 1s":      {TokenLifetime: time.Second},
		"TokenLifetime is -1s":     {TokenLifetime: -time.Second},
		"MaxQueuedMessages":        {MaxQueuedMessages: -1},
		"MaxQueuedBytes":           {MaxQueuedBytes: -1},
		"Retry.Strategy 7":         {Retry: &iothub.RetryPolicy{Strategy: 7}},
		"Retry has a negative":     {Retry: &iothub.RetryPolicy{InitialDelay: -1}},
		"negative duration":        {Retry: &iothub.RetryPolicy{MaxDelay: -1}},
		"a negative duration":      {Retry: &iothub.RetryPolicy{Limit: -1}},
		"Credential is empty":      {Credential: &iothub.Credential{}},
	} {
		_, err := o.WithDefaults()
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an invalid argument that mentions %q", err, want)
		}
	}
}

func ExampleRetryPolicy_Delay() {
	p := &iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff, MaxDelay: 10 * time.Second}
	for n := 1; n <= 6; n++ {
		fmt.Print(p.Delay(n, 0), " ")
	}
	// Output: 1s 2s 4s 8s 10s 10s
}
