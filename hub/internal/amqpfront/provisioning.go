package amqpfront

import (
	"context"
	"crypto/x509"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// Provisioning is the Device Provisioning Service as devices see it. (wire-device F)
// Errors are *core.Error.
type Provisioning interface {
	// Challenge gives what only the TPM with these keys can open: the key that its
	// token has to be signed with.
	Challenge(ctx context.Context, c TPMChallenge) ([]byte, error)
	// SignUp checks the credential of a device.
	SignUp(now time.Time, c Credential) (Registration, error)
}

// TPMChallenge names a TPM that wants to prove itself. The keys are TPM2B_PUBLIC.
type TPMChallenge struct {
	IDScope, RegistrationID        string
	EndorsementKey, StorageRootKey []byte
}

// Credential is what a device shows to be provisioned.
type Credential struct {
	IDScope, RegistrationID string
	// Token is a shared access signature. When it is empty the certificates count.
	Token string
	// Certificates are those of the TLS handshake, the leaf first.
	Certificates []*x509.Certificate
}

// Registration is what a device may do that has proved itself. Answers are JSON.
// (wire-device F.3)
type Registration interface {
	// Expires is when the credential runs out; zero if it does not.
	Expires() time.Time
	// Register begins the registration; request is the JSON of the device.
	Register(ctx context.Context, request []byte, force bool) (Answer, error)
	// Operation tells what has become of it.
	Operation(ctx context.Context, id string) (Answer, error)
}

// Answer is an answer to a device that is provisioned.
type Answer struct {
	Body []byte
	// RetryAfter is when to ask again; zero when there is nothing to wait for.
	RetryAfter time.Duration
}

const (
	registrations = "registrations"
	// maxRegistration is the largest request. (wire-device F.6)
	maxRegistration = 96 << 10
)

// signUp checks a credential and remembers what it proves: a token of SASL, after
// which the connection ends with it, or the certificates when there is none.
func (c *conn) signUp(scope, id, token string) error {
	credential := Credential{IDScope: scope, RegistrationID: id, Token: token}
	if token == "" {
		credential.Certificates = c.certificates()
	}
	r, err := c.front.cfg.Provisioning.SignUp(c.now(), credential)
	if err != nil {
		return err
	}
	return c.addGrant("", &grant{
		expires: r.Expires(), who: registrationPath(scope, id), connection: true, registration: r,
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
	l.window, l.maxMessage = 8, maxRegistration
	return l.serveRequests(func(ctx context.Context, m *amqp.Message) (*amqp.Message, error) {
		return register(ctx, r, m)
	}), nil
}

// registration is what the client has proved to be; a certificate is looked at here.
func (c *conn) registration(scope, id string) (Registration, error) {
	if c.front.cfg.Provisioning == nil {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: this hub provisions no devices")
	}
	find := func() Registration {
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
	if err := c.signUp(scope, id, ""); err != nil {
		return refusal{err}, nil
	}
	return find(), nil
}

// refusal is what a device gets that has shown a certificate and is not let in: its
// requests are rejected. The official client for Node never ends when its link or
// its connection is, and as nothing is proved the connection does not last.
type refusal struct{ err error }

func (refusal) Expires() time.Time { return time.Time{} }

func (r refusal) Register(context.Context, []byte, bool) (Answer, error) { return Answer{}, r.err }

func (r refusal) Operation(context.Context, string) (Answer, error) { return Answer{}, r.err }

func (c *conn) isProved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proved
}

// register answers one request of a device.
func register(ctx context.Context, r Registration, m *amqp.Message) (*amqp.Message, error) {
	p := m.ApplicationProperties
	var answer Answer
	var err error
	switch operation := p.Text("iotdps-operation-type"); operation {
	case "iotdps-register":
		force, _ := p.Get("iotdps-forceRegistration").(bool)
		answer, err = r.Register(ctx, m.Body(), force)
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
