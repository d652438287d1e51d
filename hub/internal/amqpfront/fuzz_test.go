package amqpfront

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// frames are the frames that a client begins with.
func frames(t testing.TB, header string, list ...amqp.Performative) []byte {
	t.Helper()
	out := []byte(header)
	for _, p := range list {
		var err error
		if out, err = amqp.AppendFrame(out, amqp.FrameAMQP, 0, p); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// FuzzServeConn sends arbitrary bytes behind the headers that clients begin with:
// through SASL, through $cbs, and without having proved anything. The connection
// ends, nothing reaches a device, and other connections are served.
func FuzzServeConn(f *testing.F) {
	open := &amqp.Open{ContainerID: "c"}
	begin := &amqp.Begin{NextOutgoingID: 1, IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 10}
	token := &amqp.Message{
		Properties:            &amqp.Properties{MessageID: "m", ReplyTo: "cbs", To: "$cbs"},
		ApplicationProperties: amqp.Map{{Key: "operation", Value: "put-token"}, {Key: "type", Value: "servicebus.windows.net:sastoken"}, {Key: "name", Value: "hub.test"}},
		Value:                 "SharedAccessSignature sr=hub.test&sig=x&se=1&skn=service", HasValue: true,
	}
	body, err := token.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	attach := &amqp.Attach{Name: "s", Role: amqp.RoleSender, Source: &amqp.Source{}, Target: &amqp.Target{Address: "$cbs"}, InitialDeliveryCount: amqp.Some(uint32(0))}
	f.Add(frames(f, amqp.HeaderAMQP, open, begin, attach, &amqp.Transfer{
		DeliveryID: amqp.Some(uint32(0)), DeliveryTag: []byte{1}, MessageFormat: amqp.Some(uint32(0)), Payload: body,
	}))
	f.Add(frames(f, amqp.HeaderAMQP, open, begin, &amqp.Attach{Name: "e", Role: amqp.RoleReceiver, Source: &amqp.Source{Address: "iothub/ConsumerGroups/$Default/Partitions/0"}}))
	f.Add([]byte(amqp.HeaderSASL + "\x00\x00\x00\x1f\x02\x01\x00\x00\x00\x53\x41\xc0\x12\x02\xa3\x05PLAIN\xa0\x08\x00user\x00pw"))
	f.Add([]byte(amqp.HeaderAMQP + "\x00\x00\x00\x08\x02\x00\x00\x00"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t)
			c := e.dial()
			ended := make(chan struct{})
			go func() {
				defer c.Close()
				if _, err := c.Write(data); err != nil {
					return
				}
				select { // for what the hub still has to say, and to lose patience
				case <-time.After(time.Minute):
				case <-ended:
				}
			}()
			if _, err := io.Copy(io.Discard, c); err != nil && err != io.ErrClosedPipe {
				t.Error(err)
			}
			close(ended)
			if n := e.hub.TryFeedback(1); n != nil {
				t.Error("something was sent to a device")
			}
			other := e.raw()
			other.send(0, begin)
			if code, _ := other.next(); code != amqp.CodeBegin {
				t.Errorf("another connection got %#x", code)
			}
			_ = other.nc.Close()
		})
	})
}

// FuzzTPM answers the challenges of SASL TPM with arbitrary bytes. Nobody comes in
// without the token, and the connection ends.
func FuzzTPM(f *testing.F) {
	init := []byte("\x00" + testScope + "\x00" + testID + "\x00key")
	f.Add(init, []byte("\x00srk"), []byte("\x00"), []byte("\x00token"))
	f.Add(init, []byte("\x00srk"), []byte("\x00token"), []byte("\x00"))
	f.Add([]byte("\x00\x00\x00"), []byte("\x00"), []byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, init, srk, between, last []byte) {
		if len(init)+len(srk)+len(between)+len(last) > maxFrame/2 {
			t.Skip("larger than a frame may be")
		}
		synctest.Test(t, func(t *testing.T) {
			p := &enroller{nonce: make([]byte, tpmSegment+1), token: "token"}
			e := newProvisioningEnv(t, p)
			w := &wire{t, e.dial()}
			w.write([]byte(amqp.HeaderSASL))
			w.read(8)
			w.next()
			w.sasl(&amqp.SASLInit{Mechanism: "TPM", InitialResponse: init})
			var outcome amqp.SASLOutcome
			for _, response := range [][]byte{srk, between, last, nil} {
				code, body := w.next()
				if code == amqp.CodeSASLOutcome {
					if err := outcome.Decode(body); err != nil {
						t.Fatal(err)
					}
					break
				}
				w.sasl(&amqp.SASLResponse{Response: response})
			}
			right := string(between) == "\x00" && string(last) == "\x00token"
			if let := p.signedUp > 0; let && !right || let != (outcome.Code == amqp.SASLOK) {
				t.Errorf("%q, %q, %q, %q: outcome %d, signed up %d times", init, srk, between, last, outcome.Code, p.signedUp)
			}
		})
	})
}

func FuzzParseTPMInit(f *testing.F) {
	f.Add([]byte("\x00scope\x00id\x00key\x00more"))
	f.Fuzz(func(t *testing.T, b []byte) {
		scope, id, key, err := parseTPMInit(b)
		if err == nil && string(b) != "\x00"+scope+"\x00"+id+"\x00"+string(key) {
			t.Errorf("%q is %q, %q, %q", b, scope, id, key)
		}
	})
}
