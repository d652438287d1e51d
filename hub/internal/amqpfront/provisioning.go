package amqpfront

import (
	"context"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

const registrations = "registrations"

// signUp checks a credential and remembers what it proves: a token of SASL, after
// which the connection ends with it, or the certificates when there is none.
func (c *conn) signUp(credential dps.Credential) error {
	if credential.Token == "" {
		credential.Certificates = c.certificates()
	}
	r, err := c.front.cfg.Provisioning.SignUp(c.now(), credential)
	if err != nil {
		return err
	}
	return c.addGrant("", &grant{
		expires: r.Expires(), who: registrationPath(credential.IDScope, credential.RegistrationID), connection: true, registration: r,
	})
}

// registrationPath is the address of a registration, and the user of SASL PLAIN.
func registrationPath(scope, id string) string { return scope + "/" + registrations + "/" + id }

// registrationUser takes the user of SASL PLAIN apart.
func registrationUser(user string) (scope, id string, ok bool) {
	scope, rest, _ := strings.Cut(user, "/")
	word, id, ok := strings.Cut(rest, "/")
	return scope, id, ok && strings.EqualFold(word, registrations) && scope != "" && id != ""
}

// openRegistration is where a device is provisioned: {id scope}/registrations/{id}.
// (wire-device F.5)
func openRegistration(l *link) (serve, error) {
	r, err := l.c.registration(l.path[0], l.path[2])
	if err != nil {
		return nil, err
	}
	if l.sends {
		return l.serveAnswers(), nil
	}
	l.window, l.maxMessage = 8, dps.MaxRequest
	return l.serveRequests(func(ctx context.Context, m *amqp.Message) (*amqp.Message, error) {
		return register(ctx, r, m)
	}), nil
}

// registration is what the client has proved to be; a certificate is looked at here.
func (c *conn) registration(scope, id string) (dps.Registration, error) {
	if c.front.cfg.Provisioning == nil {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: this hub provisions no devices")
	}
	find := func() dps.Registration {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g := c.grants[""]; g != nil && g.registration != nil && strings.EqualFold(g.who, registrationPath(scope, id)) {
			return g.registration
		}
		return nil
	}
	if r := find(); r != nil {
		return r, nil
	}
	if len(c.certificates()) == 0 || c.isProved() {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: this connection has proved nothing that allows this registration")
	}
	if err := c.signUp(dps.Credential{IDScope: scope, RegistrationID: id}); err != nil {
		return refusal{err}, nil
	}
	return find(), nil
}

// refusal is what a device gets that has shown a certificate and is not let in: its
// requests are rejected. The official client for Node never ends when its link or
// its connection is, and as nothing is proved the connection does not last.
type refusal struct{ err error }

func (refusal) Expires() time.Time { return time.Time{} }

func (r refusal) Register(context.Context, []byte) (dps.Answer, error) { return dps.Answer{}, r.err }

func (r refusal) Operation(context.Context, string) (dps.Answer, error) { return dps.Answer{}, r.err }

func (r refusal) Lookup() (dps.Answer, error) { return dps.Answer{}, r.err }

func (c *conn) isProved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proved
}

// register answers one request of a device.
func register(ctx context.Context, r dps.Registration, m *amqp.Message) (*amqp.Message, error) {
	p := m.ApplicationProperties
	var answer dps.Answer
	var err error
	switch operation := p.Text("iotdps-operation-type"); operation {
	case "iotdps-register":
		// iotdps-forceRegistration asks for what is done anyway: to look again
		// where the device belongs.
		answer, err = r.Register(ctx, m.Body())
	case "iotdps-get-operationstatus":
		answer, err = r.Operation(ctx, p.Text("iotdps-operation-id"))
	default:
		err = core.NewError(core.CodeArgumentInvalid, "the application property iotdps-operation-type is %q, it can be iotdps-register or iotdps-get-operationstatus", operation)
	}
	if err != nil {
		return nil, err
	}
	reply := &amqp.Message{Data: [][]byte{answer.Body}, Properties: &amqp.Properties{ContentType: "application/json"}}
	if answer.RetryAfter > 0 {
		// Clients look for either name.
		seconds := retryAfter(answer.RetryAfter)
		reply.ApplicationProperties = amqp.Map{{Key: "retry-after", Value: seconds}, {Key: "Retry-After", Value: seconds}}
	}
	return reply, nil
}
