package amqpfront

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

const (
	testScope = "0ne00000001"
	testID    = "reg1"
	testUser  = testScope + "/registrations/" + testID
)

// enroller is a Provisioning that knows one device, which proves itself by a token,
// a certificate, or a TPM.
type enroller struct {
	token       string
	certificate []byte
	nonce       []byte

	mu         sync.Mutex
	challenged []dps.TPMChallenge
	signedUp   int
}

func (e *enroller) Challenge(_ context.Context, c dps.TPMChallenge) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.challenged = append(e.challenged, c)
	return e.nonce, nil
}

func (e *enroller) SignUp(_ time.Time, c dps.Credential) (dps.Registration, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := c.IDScope == testScope && c.RegistrationID == testID
	byToken := c.Token != "" && c.Token == e.token
	byCertificate := c.Token == "" && len(c.Certificates) > 0 && bytes.Equal(c.Certificates[0].Raw, e.certificate)
	if !known || !byToken && !byCertificate {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized")
	}
	e.signedUp++
	return &enrolled{}, nil
}

// enrolled is assigned when it asks for the second time.
type enrolled struct{}

func (r *enrolled) Expires() time.Time { return time.Time{} }

func (r *enrolled) Register(_ context.Context, request []byte) (dps.Answer, error) {
	if !bytes.Contains(request, []byte(testID)) {
		return dps.Answer{}, core.NewError(core.CodeArgumentInvalid, "the request is %q", request)
	}
	return dps.Answer{Body: []byte(`{"operationId":"op1","status":"assigning"}`), RetryAfter: 1500 * time.Millisecond}, nil
}

func (r *enrolled) Operation(_ context.Context, id string) (dps.Answer, error) {
	if id != "op1" {
		return dps.Answer{}, &core.Error{Status: 429, Code: 429001, Message: "slow down", RetryAfter: 5 * time.Second}
	}
	return dps.Answer{Body: []byte(`{"status":"assigned","registrationState":{"deviceId":"reg1","tpm":{"authenticationKey":"AAAA"}}}`)}, nil
}

func (r *enrolled) Lookup() (dps.Answer, error) { return dps.Answer{}, nil }

func newProvisioningEnv(t testing.TB, p *enroller) *env {
	return newEnvWith(t, Config{Provisioning: p}, core.Config{})
}

// registrant is a device at its node.
type registrant struct {
	t *testing.T
	w *goamqp.Sender
	r *goamqp.Receiver
}

func (e *env) registrant(t *testing.T, c *goamqp.Conn, address string) (*registrant, error) {
	t.Helper()
	s := e.session(c)
	r, err := s.NewReceiver(t.Context(), address, nil)
	if err != nil {
		return nil, err
	}
	w, err := s.NewSender(t.Context(), address, nil)
	if err != nil {
		return nil, err
	}
	return &registrant{t, w, r}, nil
}

// ask sends a request and returns the answer.
func (r *registrant) ask(body string, properties map[string]any) (*goamqp.Message, error) {
	r.t.Helper()
	ctx := r.t.Context()
	m := goamqp.NewMessage([]byte(body))
	m.Properties = &goamqp.MessageProperties{CorrelationID: "c-1"}
	m.ApplicationProperties = properties
	if err := r.w.Send(ctx, m, nil); err != nil {
		return nil, err
	}
	answer, err := r.r.Receive(ctx, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.r.AcceptMessage(ctx, answer); err != nil {
		r.t.Fatal(err)
	}
	if answer.Properties == nil || answer.Properties.CorrelationID != "c-1" {
		r.t.Errorf("properties of the answer: %+v", answer.Properties)
	}
	return answer, nil
}

// provision goes through all that a device asks for.
func (r *registrant) provision() {
	r.t.Helper()
	register := map[string]any{"iotdps-operation-type": "iotdps-register", "iotdps-forceRegistration": true}
	a, err := r.ask(`{"registrationId":"reg1"}`, register)
	if err != nil {
		r.t.Fatal(err)
	}
	if string(a.GetData()) != `{"operationId":"op1","status":"assigning"}` ||
		a.ApplicationProperties["retry-after"] != int32(2) || a.ApplicationProperties["Retry-After"] != int32(2) {
		r.t.Errorf("register: %s, %v", a.GetData(), a.ApplicationProperties)
	}
	status := map[string]any{"iotdps-operation-type": "iotdps-get-operationstatus", "iotdps-operation-id": "op1"}
	if a, err = r.ask("", status); err != nil || string(a.GetData()) != `{"status":"assigned","registrationState":{"deviceId":"reg1","tpm":{"authenticationKey":"AAAA"}}}` || len(a.ApplicationProperties) != 0 {
		r.t.Errorf("status: %v, %v", a, err)
	}
}

// A device with a token of its own is provisioned, and may do nothing else.
func TestProvisioningByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newProvisioningEnv(t, &enroller{token: "SharedAccessSignature good"})
		c := e.connect(&goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain(testUser, "SharedAccessSignature good")})
		d, err := e.registrant(t, c, testUser)
		if err != nil {
			t.Fatal(err)
		}
		d.provision()
		for name, properties := range map[string]map[string]any{
			"com.microsoft:argument-error":             {"iotdps-operation-type": "iotdps-get-registration"},
			"com.microsoft:device-container-throttled": {"iotdps-operation-type": "iotdps-get-operationstatus", "iotdps-operation-id": "op2"},
		} {
			_, err := d.ask("x", properties)
			if conditionOf(err) != name {
				t.Errorf("%v: %v, want %s", properties, err, name)
			}
			if refused, ok := errors.AsType[*goamqp.Error](err); ok && strings.HasSuffix(name, "throttled") && refused.Info["retry-after"] != int32(5) {
				t.Errorf("info %v", refused.Info)
			}
		}
		if _, err := e.registrant(t, c, "amqps://"+hostName+"/"+strings.ToUpper(testScope)+"/Registrations/REG1"); err != nil {
			t.Errorf("the same address in other words: %v", err)
		}
		for _, address := range []string{testScope + "/registrations/reg2", "0ne2/registrations/" + testID, "messages/events/$management", "$management"} {
			if _, err := e.registrant(t, c, address); conditionOf(err) != "amqp:unauthorized-access" {
				t.Errorf("%s: %v", address, err)
			}
		}
	})
}

func TestProvisioningRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &enroller{token: "SharedAccessSignature good"}
		e := newProvisioningEnv(t, p)
		for user, password := range map[string]string{
			testUser:                         "SharedAccessSignature bad",
			testScope + "/registrations/no":  "SharedAccessSignature good",
			testScope + "/registrations/":    "SharedAccessSignature good",
			testScope + "/registrations/r/x": "SharedAccessSignature good",
			testUser + "/":                   "",
		} {
			_, err := goamqp.NewConn(t.Context(), e.dial(), &goamqp.ConnOptions{HostName: hostName, SASLType: goamqp.SASLTypePlain(user, password)})
			if err == nil {
				t.Errorf("%s with %q is let in", user, password)
			}
		}
		if _, err := e.registrant(t, e.connect(nil), testUser); conditionOf(err) != "amqp:unauthorized-access" {
			t.Errorf("without anything: %v", err)
		}
		// A policy of the hub is none of the service.
		c := e.connect(&goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain("service", e.policyKey("service"))})
		if _, err := e.registrant(t, c, testUser); conditionOf(err) != "amqp:unauthorized-access" {
			t.Errorf("with a policy of the hub: %v", err)
		}
		if p.signedUp != 0 {
			t.Errorf("%d were signed up", p.signedUp)
		}
	})
}

// certified is a connection on which a client certificate was shown.
type certified struct {
	net.Conn
	leaf *x509.Certificate
}

func (c certified) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.leaf}}
}

// A certificate counts when the device comes to its address, with or without SASL.
func TestProvisioningByCertificate(t *testing.T) {
	for name, o := range map[string]*goamqp.ConnOptions{
		"without SASL": {HostName: hostName},
		"EXTERNAL":     {HostName: hostName, SASLType: goamqp.SASLTypeExternal("")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newProvisioningEnv(t, &enroller{certificate: []byte("leaf")})
				connect := func(leaf string) *goamqp.Conn {
					here, there := net.Pipe()
					go func() {
						_ = e.front.ServeConn(context.Background(), certified{there, &x509.Certificate{Raw: []byte(leaf)}}, nil)
					}()
					c, err := goamqp.NewConn(t.Context(), here, o)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					return c
				}
				d, err := e.registrant(t, connect("leaf"), testUser)
				if err != nil {
					t.Fatal(err)
				}
				d.provision()
				if d, err = e.registrant(t, connect("other"), testUser); err != nil {
					t.Fatal(err)
				}
				if _, err := d.ask(`{"registrationId":"reg1"}`, map[string]any{"iotdps-operation-type": "iotdps-register"}); conditionOf(err) != "amqp:unauthorized-access" {
					t.Errorf("with another certificate: %v", err)
				}
				<-time.After(defaultConnectTimeout)
				synctest.Wait()
				if n := len(e.front.conns.All()); n != 1 {
					t.Errorf("%d connections, want that of the right certificate", n)
				}
			})
		})
	}
}

// tpmClient is the client's side of SASL TPM; respond gives the answer to the whole
// nonce. It returns the code of the outcome.
func (e *env) tpmClient(t *testing.T, init []byte, srk []byte, respond func(nonce []byte) []byte) (*wire, uint8) {
	t.Helper()
	w := &wire{t, e.dial()}
	w.write([]byte(amqp.HeaderSASL))
	w.read(8)
	w.next()
	w.sasl(&amqp.SASLInit{Mechanism: "TPM", InitialResponse: init, HostName: testUser})
	var nonce []byte
	for n := 0; ; n++ {
		code, body := w.next()
		if code == amqp.CodeSASLOutcome {
			var o amqp.SASLOutcome
			if err := o.Decode(body); err != nil {
				t.Fatal(err)
			}
			return w, o.Code
		}
		var c amqp.SASLChallenge
		if err := c.Decode(body); err != nil {
			t.Fatal(err)
		}
		answer := []byte{0}
		switch {
		case n == 0:
			if !bytes.Equal(c.Challenge, []byte{0}) {
				t.Fatalf("the first challenge is %x", c.Challenge)
			}
			answer = append(answer, srk...)
		case c.Challenge[0]&0x3f != byte(n-1)&3 || len(body) > 512:
			t.Fatalf("segment %d of %d bytes begins with %#x", n, len(body), c.Challenge[0])
		default:
			nonce = append(nonce, c.Challenge[1:]...)
			if c.Challenge[0]&0xc0 == 0xc0 {
				answer = respond(nonce)
			}
		}
		w.sasl(&amqp.SASLResponse{Response: answer})
	}
}

func (w *wire) sasl(p amqp.Performative) {
	w.t.Helper()
	b, err := amqp.AppendFrame(nil, amqp.FrameSASL, 0, p)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(b)
}

// A TPM proves itself by what it reads from a nonce of any length.
func TestProvisioningByTPM(t *testing.T) {
	for _, size := range []int{1, tpmSegment, tpmSegment + 1, 5*tpmSegment + 7} {
		synctest.Test(t, func(t *testing.T) {
			nonce := make([]byte, size)
			for i := range nonce {
				nonce[i] = byte(i)
			}
			sign := func(nonce []byte) []byte { sum := sha256.Sum256(nonce); return append([]byte{0}, sum[:]...) }
			p := &enroller{nonce: nonce, token: string(sign(nonce)[1:])}
			e := newProvisioningEnv(t, p)
			ek := []byte{1, 0, 2, 0, 0, 3} // zero bytes are part of a key
			init := append([]byte("\x00"+testScope+"\x00"+testID+"\x00"), ek...)
			w, code := e.tpmClient(t, init, []byte{0, 7, 0}, sign)
			if code != amqp.SASLOK {
				t.Fatalf("%d bytes: outcome %d", size, code)
			}
			if len(p.challenged) != 1 || !bytes.Equal(p.challenged[0].EndorsementKey, ek) || !bytes.Equal(p.challenged[0].StorageRootKey, []byte{0, 7, 0}) ||
				p.challenged[0].IDScope != testScope || p.challenged[0].RegistrationID != testID {
				t.Errorf("challenged with %+v", p.challenged)
			}
			w.write([]byte(amqp.HeaderAMQP))
			w.read(8)
			w.send(0, &amqp.Open{ContainerID: "c", MaxFrameSize: 512})
			w.next()
			w.send(0, &amqp.Begin{IncomingWindow: 10, OutgoingWindow: 10, HandleMax: 10})
			w.next()
			w.send(0, &amqp.Attach{Name: "r", Role: amqp.RoleReceiver, Source: &amqp.Source{Address: testUser}})
			code2, body := w.next()
			var a amqp.Attach
			if err := a.Decode(body); code2 != amqp.CodeAttach || err != nil || a.Source == nil {
				t.Errorf("%#x, %v, %+v", code2, err, a)
			}
			for name, with := range map[string]struct {
				init, srk, answer []byte
			}{
				"no key":            {[]byte("\x00" + testScope + "\x00" + testID + "\x00"), []byte{1}, nil},
				"no registration":   {[]byte("\x00" + testScope), []byte{1}, nil},
				"no storage key":    {init, nil, nil},
				"a large key":       {append(init, make([]byte, maxTPMKey)...), []byte{1}, nil},
				"another signature": {init, []byte{1}, []byte{0, 'x'}},
				"no token":          {init, []byte{1}, []byte{0}},
				"no zero byte":      {init, []byte{1}, sign(nonce)[1:]},
				"nothing":           {init, []byte{1}, []byte{}},
			} {
				if _, code := e.tpmClient(t, with.init, with.srk, func([]byte) []byte { return with.answer }); code != amqp.SASLAuth {
					t.Errorf("%d bytes, %s: outcome %d", size, name, code)
				}
			}
		})
	}
}

// A hub that provisions nobody offers no TPM and has no registrations.
func TestWithoutProvisioning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		w := &wire{t, e.dial()}
		w.write([]byte(amqp.HeaderSASL))
		w.read(8)
		var m amqp.SASLMechanisms
		if _, body := w.next(); m.Decode(body) != nil || bytes.Contains(body, []byte("TPM")) {
			t.Errorf("mechanisms %v", m.Mechanisms)
		}
		w.sasl(&amqp.SASLInit{Mechanism: "TPM", InitialResponse: []byte("\x00a\x00b\x00c")})
		var o amqp.SASLOutcome
		if code, body := w.next(); code != amqp.CodeSASLOutcome || o.Decode(body) != nil || o.Code != amqp.SASLAuth {
			t.Errorf("%#x, outcome %d", code, o.Code)
		}
		if _, err := e.registrant(t, e.connect(nil), testUser); conditionOf(err) != "amqp:unauthorized-access" {
			t.Error(err)
		}
	})
}
