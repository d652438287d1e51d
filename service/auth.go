package service

import (
	"context"
	"time"

	"github.com/iothub-go/iothub"
)

// Scope is what tokens of Microsoft Entra ID for IoT Hub are asked for.
const Scope = "https://iothubs.azure.net/.default"

// TokenSource gives access tokens of Microsoft Entra ID. Token is called when a
// token is needed that has not been had or has almost expired, by one goroutine
// at a time, and must return when ctx ends. The value of the token is the token
// alone, without "Bearer".
//
// A credential of package azidentity fits by an adapter of one line; see
// [TokenSourceFunc].
type TokenSource interface {
	// Token returns a token for scope, which is [Scope].
	Token(ctx context.Context, scope string) (iothub.Token, error)
}

// TokenSourceFunc is a function that is a [TokenSource].
type TokenSourceFunc func(ctx context.Context, scope string) (iothub.Token, error)

// Token calls f.
func (f TokenSourceFunc) Token(ctx context.Context, scope string) (iothub.Token, error) {
	return f(ctx, scope)
}

// never is as good as that for a timer.
const never = 100 * 365 * 24 * time.Hour

// authorizer has the token of the moment.
type authorizer struct {
	host     string // the resource of signatures
	lifetime time.Duration
	cred     *iothub.Credential // nil with a source
	source   TokenSource

	turn  chan struct{} // holds one element while nobody uses what follows
	token iothub.Token
	renew time.Time
}

func newAuthorizer(host string, lifetime time.Duration, cred *iothub.Credential, source TokenSource) *authorizer {
	return &authorizer{host: host, lifetime: lifetime, cred: cred, source: source, turn: newTurn()}
}

// get returns the token of the moment, in the form of the Authorization header,
// and when it is to be replaced.
func (a *authorizer) get(ctx context.Context) (token iothub.Token, renew time.Time, err error) {
	if err := take(ctx, a.turn); err != nil {
		return iothub.Token{}, time.Time{}, err
	}
	defer func() { a.turn <- struct{}{} }()
	now := time.Now()
	if a.token.Value != "" && now.Before(a.renew) {
		return a.token, a.renew, nil
	}
	if a.source == nil {
		token, err = a.cred.Token(ctx, a.host, now, a.lifetime)
	} else if token, err = a.source.Token(ctx, Scope); err == nil {
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

// header returns the Authorization header.
func (a *authorizer) header(ctx context.Context) (string, error) {
	t, _, err := a.get(ctx)
	return t.Value, err
}
