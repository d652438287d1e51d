package service

import (
	"context"

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
