package ll

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/clientlog"
	"github.com/iothub-go/iothub/internal/setup"
	"github.com/iothub-go/iothub/internal/transport"
)

// HTTPProxyOptions is the value of the option proxy_data, the C SDK's
// HTTP_PROXY_OPTIONS. It never prints its password.
type HTTPProxyOptions struct {
	// HostAddress is the name or address of an HTTP proxy, Port its port, 1
	// to 65535.
	HostAddress string
	Port        int
	// Username and Password are both set, for Basic authentication, or both
	// empty.
	Username string
	Password string
}

// String returns the proxy's address and user, never its password.
func (o HTTPProxyOptions) String() string {
	return fmt.Sprintf("{%s:%d %s [redacted]}", o.HostAddress, o.Port, o.Username)
}

// GoString is String, for %#v.
func (o HTTPProxyOptions) GoString() string { return o.String() }

// LogValue is String, for log/slog.
func (o HTTPProxyOptions) LogValue() slog.Value { return slog.StringValue(o.String()) }

// When an option takes effect.
const (
	atOnce        = "at once"
	nextConnect   = "with the next connection"
	beforeConnect = "only before the first DoWork"
)

// option is one of the documented options.
type option struct {
	name    string
	value   string // what it takes, in words
	without string // what holds when it was never set
	when    string
	note    string
	// set changes o, the client's options, which then take effect; nil for
	// an option that does not exist here, for the reason that note gives.
	set func(c *client, o *ClientOptions, v any) error
	// own says that set does all there is to do.
	own bool
	// reconnect says that a connection is replaced for the new value.
	reconnect bool
}

const (
	secondsValue = "integer seconds, or time.Duration"
	millisValue  = "integer milliseconds, or time.Duration"
)

// options are all options of the C SDK, those first that do something here.
var options = []option{
	{name: "messageTimeout", value: millisValue, without: "0, off", when: atOnce, own: true, set: setMessageTimeout,
		note: "for messages sent from now on; 0 turns it off"},
	{name: "keepalive", value: secondsValue, without: "60 s", when: "at once: the connection is replaced", reconnect: true, set: setKeepAlive,
		note: "0 to 65535 s, 0 turns it off; IoT Hub takes at most 1177 s. The C SDK's default is 240 s"},
	{name: "connect_timeout", value: secondsValue, without: "30 s", when: nextConnect, set: setConnectTimeout,
		note: "1 s to 1 h for network and TLS together; the hub then has 30 s to accept"},
	{name: "sas_token_lifetime", value: secondsValue, without: "3600 s", when: nextConnect, set: setTokenLifetime,
		note: "at least 5 s; renewed at 85 %"},
	{name: "sas_token_refresh_time", value: secondsValue, without: "3600 s", when: nextConnect, set: setTokenLifetime,
		note: "another name of sas_token_lifetime, as in the C SDK"},
	{name: "retry_interval_sec", value: secondsValue, without: "1 s exponential, 5 s others", when: atOnce, set: setRetryInterval,
		note: "at least 1 s"},
	{name: "retry_max_delay_secs", value: secondsValue, without: "30 s", when: atOnce, set: setRetryMaxDelay, note: "at least 1 s"},
	{name: "product_info", value: "string", without: "none", when: beforeConnect, set: setProductInfo,
		note: "stands before the name of this library"},
	{name: "model_id", value: "string", without: "none", when: beforeConnect, set: setModelID, note: "a DTMI; can be set once"},
	{name: "x509certificate", value: "string, PEM", without: "none", when: nextConnect, set: setCertificate,
		note: "only with x509=true; takes effect when x509privatekey is there, too"},
	{name: "x509privatekey", value: "string, PEM", without: "none", when: nextConnect, set: setPrivateKey,
		note: "only with x509=true; takes effect when x509certificate is there, too"},
	{name: "TrustedCerts", value: "string, PEM", without: "the system's", when: nextConnect, set: setTrustedCerts,
		note: "added to the authorities of the system and of ClientOptions.TLS"},
	{name: "proxy_data", value: "*HTTPProxyOptions", without: "none", when: beforeConnect, set: setProxy,
		note: "for every port; the C SDK ignores it on 8883"},
	{name: "logtrace", value: "bool", without: "whether ClientOptions.Logger is set", when: atOnce, own: true, set: setLogTrace,
		note: "true logs to ClientOptions.Logger, or to slog.Default when there is none; false logs nothing"},
	{name: "auto_url_encode_decode", value: "bool", without: "true", when: atOnce, own: true,
		set:  onlyBool(true, "property names and values are always encoded and decoded"),
		note: "always true: false is refused"},
	{name: "rawlogtrace", value: "bool", without: "false", when: atOnce, own: true,
		set:  onlyBool(false, "what goes over the wire holds payloads and secrets and is never logged"),
		note: "always false: true is refused"},
	{name: "diag_sampling_percentage", value: "integer", without: "0", when: atOnce, own: true, set: setDiagnostics,
		note: "always 0: set Message.DiagnosticID, or use package otel"},

	{name: "do_work_freq_ms", note: "the convenience layer's: DoWork returns when it wants to be called, Wakeup says when sooner"},
	{name: "proxy_address", note: "nothing takes it, in the C SDK either: use proxy_data"},
	{name: "proxy_username", note: "nothing takes it, in the C SDK either: use proxy_data"},
	{name: "proxy_password", note: "nothing takes it, in the C SDK either: use proxy_data"},
	{name: "cbs_request_timeout", note: "AMQP only"},
	{name: "svc2cl_keep_alive_timeout_secs", note: "AMQP only"},
	{name: "c2d_keep_alive_freq_secs", note: "AMQP only"},
	{name: "cl2svc_keep_alive_send_ratio", note: "AMQP only"},
	{name: "event_send_timeout_secs", note: "AMQP only; see messageTimeout"},
	{name: "MinimumPollingTime", note: "HTTP only"},
	{name: "Batching", note: "HTTP only; MQTT batches by itself"},
	{name: "timeout", note: "HTTP only"},
	{name: "CURLOPT_VERBOSE", note: "libcurl only"},
	{name: "CURLOPT_LOW_SPEED_LIMIT", note: "libcurl only"},
	{name: "CURLOPT_LOW_SPEED_TIME", note: "libcurl only"},
	{name: "CURLOPT_FRESH_CONNECT", note: "libcurl only"},
	{name: "CURLOPT_FORBID_REUSE", note: "libcurl only"},
	{name: "CURLOPT_INTERFACE", note: "libcurl only; use ClientOptions.Dial"},
	{name: "blob_upload_timeout_secs", note: "file upload only"},
	{name: "blob_upload_tls_renegotiation", note: "file upload only"},
	{name: "network_interface_upload_to_blob", note: "file upload only"},
	{name: "CipherSuite", note: "OpenSSL only; use ClientOptions.TLS"},
	{name: "Engine", note: "OpenSSL only; a certificate credential takes any crypto.Signer"},
	{name: "x509PrivatekeyType", note: "OpenSSL only; a certificate credential takes any crypto.Signer"},
	{name: "x509EccCertificate", note: "not for every TLS library; use x509certificate"},
	{name: "x509EccAliasKey", note: "not for every TLS library; use x509privatekey"},
	{name: "tls_version", note: "1.2 at least; use ClientOptions.TLS for more"},
	{name: "tls_renegotiation", note: "TLS 1.3 has none"},
	{name: "ADDRESS_TYPE", note: "use ClientOptions.Dial"},
	{name: "net_interface_mac_address", note: "use ClientOptions.Dial"},
}

// pemPair is a certificate and its key as they come, one by one.
type pemPair struct{ cert, key func() string } // functions, so that nothing prints them

func (c *client) setOption(name string, v any) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	opt, err := findOption(name, v)
	if err != nil {
		return err
	}
	if opt.when == beforeConnect && c.started {
		return badOption(name, "it counts %s, which was called already", opt.when)
	}
	o := *c.setup.Options
	if o.Retry != nil {
		r := *o.Retry
		o.Retry = &r
	}
	if err := opt.set(c, &o, v); err != nil {
		return badOption(name, "%w", err)
	}
	if opt.own {
		return nil
	}
	return c.apply(&o, opt.reconnect)
}

func findOption(name string, v any) (*option, error) {
	hint := ""
	for i := range options {
		opt := &options[i]
		switch {
		case opt.name == name && opt.set == nil:
			return nil, &iothub.Error{Op: "option " + name, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("%w: %s", iothub.ErrNotSupported, opt.note)}
		case opt.name == name:
			return opt, nil
		case strings.EqualFold(opt.name, name):
			hint = "; it is spelled " + opt.name
		}
	}
	return nil, badOption(strconv.Quote(name), "there is no such option (the value is %s)%s", typeName(v), hint)
}

func badOption(name, format string, args ...any) error {
	return &iothub.Error{Op: "option " + name, Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// apply makes o the client's options. The caller is inside the client.
func (c *client) apply(o *ClientOptions, reconnect bool) error {
	old := c.setup.Options
	s, err := c.setup.Again(o)
	if err != nil {
		return err
	}
	now := time.Now()
	c.adopt(now, s, o)
	if reconnect && c.started && o.KeepAlive != old.KeepAlive {
		c.sess.Reconnect(now)
	}
	c.notify()
	return nil
}

// adopt makes s the client's setup.
func (c *client) adopt(now time.Time, s *transport.Setup, o *ClientOptions) {
	if s == c.setup.Setup {
		return
	}
	if old := c.setup; s.Params.Identity != old.Identity {
		c.out.Readdress(s.Encoder, c.sess.Readdress(s.Encoder, old.Encoder))
	}
	c.setup = &setup.Client{Setup: s, Identity: s.Params.Identity, Options: o}
	c.sess.Reconfigure(now, s.Session)
}

func typeName(v any) string {
	if v == nil {
		return "nil"
	}
	return "of type " + reflect.TypeOf(v).String()
}

func wrongType(want string, v any) error {
	return fmt.Errorf("it takes %s, not a value %s", want, typeName(v))
}

// integer returns v, which may be of any integer type.
func integer(v any) (int64, bool) {
	switch rv := reflect.ValueOf(v); {
	case !rv.IsValid():
	case rv.CanInt():
		return rv.Int(), true
	case rv.CanUint() && rv.Uint() <= math.MaxInt64:
		return int64(rv.Uint()), true
	case rv.CanUint():
		return math.MaxInt64, true
	}
	return 0, false
}

// duration returns v, a number of units or a time.Duration, from lo to hi.
func duration(v any, unit time.Duration, lo, hi time.Duration) (time.Duration, error) {
	d, ok := v.(time.Duration)
	if !ok {
		n, isInt := integer(v)
		if !isInt {
			want := secondsValue
			if unit == time.Millisecond {
				want = millisValue
			}
			return 0, wrongType(want, v)
		}
		if n > int64(hi/unit) || n < 0 {
			return 0, fmt.Errorf("it is %d, it can be %v to %v", n, lo, hi)
		}
		d = time.Duration(n) * unit
	}
	if d < lo || d > hi {
		return 0, fmt.Errorf("it is %v, it can be %v to %v", d, lo, hi)
	}
	return d, nil
}

const longest = 100 * 365 * 24 * time.Hour

func setMessageTimeout(c *client, _ *ClientOptions, v any) error {
	d, err := duration(v, time.Millisecond, 0, longest)
	if err == nil {
		c.setup.Options.MessageTimeout = d
	}
	return err
}

func setKeepAlive(_ *client, o *ClientOptions, v any) (err error) {
	o.KeepAlive, err = duration(v, time.Second, 0, 65535*time.Second)
	return err
}

func setConnectTimeout(_ *client, o *ClientOptions, v any) (err error) {
	o.ConnectTimeout, err = duration(v, time.Second, time.Second, time.Hour)
	return err
}

func setTokenLifetime(_ *client, o *ClientOptions, v any) (err error) {
	o.TokenLifetime, err = duration(v, time.Second, 5*time.Second, longest)
	return err
}

func setRetryInterval(_ *client, o *ClientOptions, v any) (err error) {
	o.Retry.InitialDelay, err = duration(v, time.Second, time.Second, longest)
	return err
}

func setRetryMaxDelay(_ *client, o *ClientOptions, v any) (err error) {
	o.Retry.MaxDelay, err = duration(v, time.Second, time.Second, longest)
	return err
}

func setProductInfo(_ *client, o *ClientOptions, v any) error {
	s, ok := v.(string)
	if !ok {
		return wrongType("a string", v)
	}
	o.ProductInfo = s
	return nil
}

func setModelID(_ *client, o *ClientOptions, v any) error {
	s, ok := v.(string)
	switch {
	case !ok:
		return wrongType("a string", v)
	case o.ModelID != "":
		return errors.New("it is set already, and can be set once")
	}
	o.ModelID = s
	return nil
}

func setCertificate(c *client, o *ClientOptions, v any) error {
	return c.setPEM(o, v, &c.pem.cert)
}

func setPrivateKey(c *client, o *ClientOptions, v any) error {
	return c.setPEM(o, v, &c.pem.key)
}

// setPEM keeps one half of a certificate credential, and makes it when it has
// both.
func (c *client) setPEM(o *ClientOptions, v any, half *func() string) error {
	s, ok := v.(string)
	switch {
	case !ok:
		return wrongType("a string in PEM form", v)
	case c.setup.Credential != nil && c.setup.Credential.Certificate() == nil:
		return errors.New("the connection string has a key or a token: a certificate goes with x509=true")
	}
	*half = func() string { return s }
	if c.pem.cert == nil || c.pem.key == nil {
		return nil
	}
	cert, err := tls.X509KeyPair([]byte(c.pem.cert()), []byte(c.pem.key()))
	c.pem = pemPair{}
	if err != nil {
		return fmt.Errorf("x509certificate and x509privatekey do not make a certificate, set both again: %w", err)
	}
	o.Credential = iothub.NewCertificateCredential(cert)
	return nil
}

func setTrustedCerts(_ *client, o *ClientOptions, v any) error {
	s, ok := v.(string)
	if !ok {
		return wrongType("a string in PEM form", v)
	}
	return setup.Trust(o, s)
}

func setProxy(_ *client, o *ClientOptions, v any) error {
	p, ok := v.(*HTTPProxyOptions)
	switch {
	case !ok || p == nil:
		return wrongType("a *HTTPProxyOptions", v)
	}
	return setup.HTTPProxy(o, p.HostAddress, p.Port, p.Username, p.Password)
}

func setLogTrace(c *client, o *ClientOptions, v any) error {
	on, ok := v.(bool)
	if !ok {
		return wrongType("a bool", v)
	}
	if !on {
		c.log = nil
		return nil
	}
	l := o.Logger
	if id := c.setup.Identity; l == nil {
		l = slog.Default().With("device_id", id.DeviceID)
		if id.IsModule() {
			l = l.With("module_id", id.ModuleID)
		}
	}
	c.log = clientlog.New(l)
	return nil
}

// onlyBool is the setter of an option that has one value.
func onlyBool(want bool, why string) func(*client, *ClientOptions, any) error {
	return func(_ *client, _ *ClientOptions, v any) error {
		b, ok := v.(bool)
		switch {
		case !ok:
			return wrongType("a bool", v)
		case b != want:
			return fmt.Errorf("%w: %s", iothub.ErrNotSupported, why)
		}
		return nil
	}
}

func setDiagnostics(_ *client, _ *ClientOptions, v any) error {
	n, ok := integer(v)
	switch {
	case !ok:
		return wrongType("an integer", v)
	case n < 0 || n > 100:
		return fmt.Errorf("it is %d, it can be 0 to 100", n)
	case n > 0:
		return fmt.Errorf("%w: the preview that it belongs to has ended; set Message.DiagnosticID, or use package otel", iothub.ErrNotSupported)
	}
	return nil
}
