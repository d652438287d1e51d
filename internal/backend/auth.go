package backend

import (
	"context"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
)

// never is as good as that for a timer.
const never = 100 * 365 * 24 * time.Hour

// hostPort takes a host and the port of HTTPS apart.
func hostPort(host string) (name, port string) {
	name, port = link.SplitHost(host)
	if port == "" {
		port = "443"
	}
	return strings.Trim(name, "[]"), port
}

// Authorizer has the token of the moment. It is safe for use by many goroutines.
type Authorizer struct {
	host     string // the resource of signatures
	lifetime time.Duration
	cred     *iothub.Credential // nil with a source
	source   func(ctx context.Context, scope string) (iothub.Token, error)
	scope    string

	turn  Turn // whose is what follows
	token iothub.Token
	renew time.Time
}

func newAuthorizer(host string, lifetime time.Duration, c *Config) *Authorizer {
	return &Authorizer{host: host, lifetime: lifetime, cred: c.Credential, source: c.Source, scope: c.Scope, turn: NewTurn()}
}

// Get returns the token of the moment, in the form of the Authorization header,
// and when it is to be replaced.
func (a *Authorizer) Get(ctx context.Context) (token iothub.Token, renew time.Time, err error) {
	if err := a.turn.Take(ctx); err != nil {
		return iothub.Token{}, time.Time{}, err
	}
	defer a.turn.Give()
	now := time.Now()
	if a.token.Value != "" && now.Before(a.renew) {
		return a.token, a.renew, nil
	}
	if a.source == nil {
		token, err = a.cred.Token(ctx, a.host, now, a.lifetime)
	} else if token, err = a.source(ctx, a.scope); err == nil {
		token.Value = "Bearer " + token.Value
	}
	if err != nil {
		return iothub.Token{}, time.Time{}, err
	}
	a.token = token
	switch {
	case a.source == nil && !a.cred.Renewable():
		a.renew = now.Add(never) // there is no other one
	case token.Expires.IsZero():
		a.renew = now.Add(a.lifetime * 85 / 100)
	default:
		a.renew = now.Add(token.Expires.Sub(now) * 85 / 100)
	}
	return a.token, a.renew, nil
}

// Audience is what the tokens are for.
func (a *Authorizer) Audience() string {
	if a.source != nil {
		return a.scope
	}
	return a.host
}

// header returns the Authorization header.
func (a *Authorizer) header(ctx context.Context) (string, error) {
	t, _, err := a.Get(ctx)
	return t.Value, err
}

// Turn is a lock that can be waited for with a context.
type Turn chan struct{}

// NewTurn returns a turn that nobody has.
func NewTurn() Turn {
	t := make(Turn, 1)
	t <- struct{}{}
	return t
}

// Take waits for the turn. It fails when ctx ends.
func (t Turn) Take(ctx context.Context) error {
	select {
	case <-t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Give ends what Take began.
func (t Turn) Give() { t <- struct{}{} }
