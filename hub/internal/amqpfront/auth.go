package amqpfront

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// grant is a token that a client has shown and that held when it did.
type grant struct {
	token   string
	expires time.Time
	who     string // for the log
	// principal is there when the token is that of a device or module, and not of
	// a policy.
	principal *core.Principal
	// registration is there when the client is a device to be provisioned.
	registration dps.Registration
	// connection tells that the connection itself ends with the token, because it
	// was shown before there was one (SASL PLAIN).
	connection bool
}

// ofPolicy tells that the token is one of a shared access policy.
func (g *grant) ofPolicy() bool { return g.principal == nil && g.registration == nil }

// verify checks a token for its own sake: who has signed it, for this hub, and
// that it has not expired. What it reaches is looked at when a link is attached.
func (c *conn) verify(token string) (*grant, error) {
	t, err := sas.Parse(token)
	if err != nil {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: %v", err)
	}
	path := resourcePath(t.Resource)
	if t.Policy != "" {
		p, err := c.front.hub.AuthorizeService(c.now(), token, 0, path...)
		if err != nil {
			return nil, err
		}
		return &grant{token: token, expires: p.Expires, who: "policy " + p.Policy}, nil
	}
	deviceID, moduleID, ok := identityOf(path)
	if !ok {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: the token names no shared access policy (skn) and is for no device")
	}
	return c.verifyIdentity(token, deviceID, moduleID)
}

func (c *conn) verifyIdentity(token, deviceID, moduleID string) (*grant, error) {
	p, err := c.front.hub.Authenticate(c.now(), core.AuthRequest{
		DeviceID: deviceID, ModuleID: moduleID, Token: token, Certificates: c.certificates(),
	})
	if err != nil {
		return nil, err
	}
	who := deviceID
	if moduleID != "" {
		who += "/" + moduleID
	}
	return &grant{token: token, expires: p.Expires, who: who, principal: p}, nil
}

// resourcePath gives the segments of a token's resource behind its host. Ids are
// escaped once more than the resource.
func resourcePath(resource string) []string {
	if _, rest, ok := strings.Cut(resource, "://"); ok {
		resource = rest
	}
	_, path, _ := strings.Cut(resource, "/")
	if path = strings.Trim(path, "/"); path == "" {
		return nil
	}
	words := strings.Split(path, "/")
	for i := 1; i < len(words); i += 2 {
		if id, err := url.PathUnescape(words[i]); err == nil {
			words[i] = id
		}
	}
	return words
}

func identityOf(path []string) (deviceID, moduleID string, ok bool) {
	switch {
	case len(path) >= 2 && strings.EqualFold(path[0], "devices"):
		deviceID = path[1]
		if len(path) >= 4 && strings.EqualFold(path[2], "modules") {
			moduleID = path[3]
		}
		return deviceID, moduleID, true
	}
	return "", "", false
}

// plain checks the response of SASL PLAIN: authorization identity, user and
// password with a zero byte between them. Users are a policy as POLICY@sas.root.HUB
// or a device as DEVICE@sas.HUB, with a token as password, or a policy by its name
// with its key, as Event Hubs has it, or a device to be provisioned as
// SCOPE/registrations/ID. (wire-service D1, wire-device D.1, F.5)
func (c *conn) plain(response []byte) error {
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return errors.New("SASL PLAIN: the response is not an authorization identity, a user and a password")
	}
	user, password := string(parts[1]), string(parts[2])
	if scope, id, ok := registrationUser(user); ok && c.front.cfg.Provisioning != nil && password != "" {
		if err := c.signUp(dps.Credential{IDScope: scope, RegistrationID: id, Token: password}); err != nil {
			return fmt.Errorf("SASL PLAIN: %w", err)
		}
		return nil
	}
	g, err := c.verifyPlain(user, password)
	if err != nil {
		return fmt.Errorf("SASL PLAIN: %w", err)
	}
	g.connection = true
	return c.addGrant("", g)
}

func (c *conn) verifyPlain(user, password string) (*grant, error) {
	name, suffix := user, ""
	if i := strings.LastIndex(user, "@sas."); i >= 0 {
		name, suffix = user[:i], user[i+len("@sas."):]
	}
	isPolicy := suffix == "" || suffix == "root" || strings.HasPrefix(suffix, "root.")
	switch {
	case !isPolicy:
		deviceID, moduleID, _ := strings.Cut(name, "/")
		return c.verifyIdentity(password, deviceID, moduleID)
	case strings.HasPrefix(password, "SharedAccessSignature "):
		t, err := sas.Parse(password)
		if err != nil {
			return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: %v", err)
		}
		if t.Policy != name {
			return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: the token is of another policy than the user")
		}
		return c.verify(password)
	}
	// Whoever has the key can sign, so a token made with it proves it. It does not
	// run out, as the key does not.
	key, err := base64.StdEncoding.DecodeString(password)
	if err != nil || len(key) == 0 {
		return nil, core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: the password is neither a token nor a key")
	}
	return c.verify(sas.Sign(c.front.hub.HostName(), key, c.now().AddDate(100, 0, 0), name))
}

// authorize looks for a token of a policy on the connection that has the right and
// reaches the resource, and returns until when it does.
func (c *conn) authorize(need core.Permission, path ...string) (time.Time, error) {
	c.mu.Lock()
	grants := make([]*grant, 0, len(c.grants))
	for _, g := range c.grants {
		if g.ofPolicy() {
			grants = append(grants, g)
		}
	}
	c.mu.Unlock()
	return c.authorizeBy(grants, need, path)
}

func (c *conn) authorizeBy(grants []*grant, need core.Permission, path []string) (until time.Time, err error) {
	now := c.now()
	err = core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: no token of a shared access policy was put on this connection")
	for _, g := range grants {
		p, e := c.front.hub.AuthorizeService(now, g.token, need, path...)
		if e != nil {
			if until.IsZero() {
				err = e
			}
			continue
		}
		if err = nil; p.Expires.After(until) {
			until = p.Expires
		}
	}
	return until, err
}

// watchLocked sets the timer for the first token or link that runs out.
func (c *conn) watchLocked() {
	var first time.Time
	note := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, g := range c.grants {
		note(g.expires)
	}
	for _, s := range c.sessions {
		for _, l := range s.links {
			if !l.detached {
				note(l.expires)
			}
		}
	}
	if first.IsZero() || c.dead {
		return
	}
	wait := max(first.Sub(c.now()), 0) + time.Millisecond
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.expiry = time.AfterFunc(wait, c.expire)
}

// expire takes the consequences of tokens that have run out: links for which there
// is no newer one are detached, and the connection is closed when it hung on one.
func (c *conn) expire() {
	c.mu.Lock()
	now := c.now()
	gone := false
	grants := make([]*grant, 0, len(c.grants))
	for name, g := range c.grants {
		if g.expires.IsZero() || now.Before(g.expires) {
			if g.ofPolicy() {
				grants = append(grants, g)
			}
			continue
		}
		gone = gone || g.connection
		delete(c.grants, name)
	}
	for _, s := range c.sessions {
		for _, l := range s.links {
			if l.detached || l.expires.IsZero() || now.Before(l.expires) {
				continue
			}
			// Core does not call back from here, so that mu may be held.
			until, err := c.authorizeBy(grants, l.need, l.scope)
			if err != nil {
				l.detachLocked(amqpError(err))
				continue
			}
			l.expires = until
		}
	}
	if gone || len(c.grants) == 0 {
		c.closeLocked(&amqp.Error{Condition: amqp.ErrCondUnauthorized, Description: errTokenExpired.Error()}, errTokenExpired)
	}
	c.flushLocked()
	c.watchLocked()
	calls := c.takeCallsLocked()
	c.mu.Unlock()
	run(calls)
}
