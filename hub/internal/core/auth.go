package core

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/iothub-go/iothub/internal/sas"
)

// AuthRequest is what a device or module shows to connect.
type AuthRequest struct {
	// HostName is the hub name that the peer used; empty when its protocol
	// carries none.
	HostName string
	// DeviceID and ModuleID name the identity; ModuleID is empty for a device.
	DeviceID, ModuleID string
	// Token is a shared access signature. When it is empty the certificate
	// counts; when both are there the token does.
	Token string
	// Certificates are those of the TLS handshake, the leaf first. The handshake
	// has proved that the peer holds the leaf's key.
	Certificates []*x509.Certificate
	// AuthChain, when it is not empty, says that the hub of an IoT Edge device
	// connects on behalf of the identity: the token is then that of its $edgeHub,
	// and the chain leads from the identity to it, see [Hub.CheckChain].
	AuthChain string
}

// Principal is an authenticated device or module, to be attached.
type Principal struct {
	DeviceID, ModuleID string
	// AuthMethod is the JSON text that events carry as iothub-connection-auth-method.
	AuthMethod string
	// GenerationID is that of the identity.
	GenerationID string
	// Expires is when the connection has to end: the token's expiry and the
	// allowed skew. It is zero for a certificate.
	Expires time.Time

	proof proof
}

// proof remembers what has convinced, to see later whether it still would.
type proof struct {
	kind       proofKind
	key        []byte        // of the identity or its device; for the policy kind nil
	thumbprint []string      // of the certificate, SHA-1 and SHA-256
	chain      []identityKey // of the kind proofChain: the last is whose key it is
}

type proofKind uint8

const (
	proofOwnKey proofKind = iota + 1
	proofDeviceKey
	proofPolicy
	proofCertificate
	proofSigned
	proofChain
)

// Authenticate decides whether a device or module may connect. Errors are *Error
// with a text for the log of the hub; most protocols do not pass it on. A
// [Gateway] may wait for the hub behind it here.
func (h *Hub) Authenticate(now time.Time, r AuthRequest) (*Principal, error) {
	p, err := h.authenticate(now, r)
	if g := h.cfg.Gateway; err != nil && g != nil && errors.Is(err, &Error{Code: CodeUnauthorized}) &&
		g.Find(r.DeviceID, r.ModuleID) {
		return h.authenticate(now, r)
	}
	return p, err
}

func (h *Hub) authenticate(now time.Time, r AuthRequest) (*Principal, error) {
	if r.HostName != "" && !h.AnswersTo(r.HostName) {
		return nil, unauthorized("this hub is not %q; it answers to %q", r.HostName, h.cfg.HostName)
	}
	dev, mod, err := h.identity(r.DeviceID, r.ModuleID)
	if err != nil {
		return nil, err
	}
	var p *Principal
	switch {
	case r.AuthChain != "":
		p, err = h.authenticateChain(now, r, mod)
	case r.Token != "":
		p, err = h.authenticateToken(now, r, dev, mod)
	case len(r.Certificates) > 0:
		p, err = h.authenticateCertificate(now, r, dev, mod)
	default:
		err = unauthorized("Authorization header missing: neither a token nor a client certificate was shown")
	}
	if err != nil {
		return nil, err
	}
	// Only those who hold the credentials learn that it is disabled.
	if dev.Status != StatusEnabled {
		return nil, NewError(CodeUnauthorized, "device %q is disabled", r.DeviceID)
	}
	if h.faults != nil {
		if err := h.faults.check(identityKey{r.DeviceID, r.ModuleID}, now, FaultAuth); err != nil {
			return nil, err
		}
	}
	p.DeviceID, p.ModuleID = r.DeviceID, r.ModuleID
	p.GenerationID = dev.GenerationID
	if mod != nil {
		p.GenerationID = mod.GenerationID
	}
	return p, nil
}

// identity looks up the documents of an identity; mod is nil for a device.
func (h *Hub) identity(deviceID, moduleID string) (dev *deviceDoc, mod *moduleDoc, err error) {
	h.mu.RLock()
	dev = h.registry[deviceID]
	h.mu.RUnlock()
	if dev == nil {
		return nil, nil, unauthorized("IotHub %q does not contain the specified device %q", h.cfg.HostName, deviceID)
	}
	if moduleID == "" {
		return dev, nil, nil
	}
	if mod = dev.module(moduleID); mod == nil {
		return nil, nil, unauthorized("IotHub %q does not contain the specified module %q of device %q",
			h.cfg.HostName, moduleID, deviceID)
	}
	return dev, mod, nil
}

func (h *Hub) authenticateToken(now time.Time, r AuthRequest, dev *deviceDoc, mod *moduleDoc) (*Principal, error) {
	t, err := sas.Parse(r.Token)
	if err != nil {
		return nil, unauthorized("%v", err)
	}
	own := dev.Auth
	if mod != nil {
		own = mod.Auth
	}
	if own.Type == AuthSelfSigned || own.Type == AuthCertificateAuthority {
		return nil, unauthorized("the identity authenticates with a certificate (%s), not with a token", own.Type)
	}
	if err := h.checkCovers(&t, identityKey{r.DeviceID, r.ModuleID}); err != nil {
		return nil, err
	}
	p := &Principal{Expires: t.Expiry.Add(sas.ClockSkew)}
	if t.Policy != "" {
		err = h.verifyPolicy(&t, DeviceConnect)
		p.proof.kind = proofPolicy
		p.AuthMethod = authMethod("hub", "sas")
	} else {
		p.proof, err = verifyKeys(&t, dev, mod)
		p.AuthMethod = authMethod(scopeOf(mod), "sas")
	}
	if err != nil {
		return nil, err
	}
	if err := checkExpiry(&t, now); err != nil {
		return nil, err
	}
	return p, nil
}

// checkCovers says whether a token reaches an identity by one of the hub's names.
func (h *Hub) checkCovers(t *sas.Token, k identityKey) error {
	for name := range h.names {
		if t.Covers(name, k.device, k.module) {
			return nil
		}
	}
	return unauthorized("the token is for %q and does not reach %q on this hub", t.Resource, k.String())
}

// authenticateChain lets the hub of an IoT Edge device act for an identity below
// it. How that identity proves itself to the device is the device's affair.
func (h *Hub) authenticateChain(now time.Time, r AuthRequest, mod *moduleDoc) (*Principal, error) {
	chain, err := parseChain(r.AuthChain)
	if err != nil {
		return nil, err
	}
	if target := (identityKey{r.DeviceID, r.ModuleID}); chain[0] != target {
		return nil, unauthorized("the auth chain begins with %q, not with %q", chain[0].String(), target.String())
	}
	actor := chain[len(chain)-1].device
	dev, hubModule, err := h.identity(actor, edgeHub)
	if err != nil {
		return nil, err
	}
	h.mu.RLock()
	broken := h.checkChainLocked(chain, actor)
	h.mu.RUnlock()
	if broken != nil {
		return nil, broken
	}
	t, err := sas.Parse(r.Token)
	if err != nil {
		return nil, unauthorized("%v", err)
	}
	if t.Policy != "" {
		return nil, unauthorized("an auth chain needs the token of %s/%s, not that of a policy", actor, edgeHub)
	}
	if err := h.checkCovers(&t, identityKey{actor, edgeHub}); err != nil {
		return nil, err
	}
	p := &Principal{Expires: t.Expiry.Add(sas.ClockSkew), AuthMethod: authMethod(scopeOf(mod), "sas")}
	if p.proof, err = verifyKeys(&t, dev, hubModule); err != nil {
		return nil, err
	}
	p.proof.kind, p.proof.chain = proofChain, chain
	if err := checkExpiry(&t, now); err != nil {
		return nil, err
	}
	return p, nil
}

// verifyKeys tries the keys of the identity and, for a module, those of its device.
func verifyKeys(t *sas.Token, dev *deviceDoc, mod *moduleDoc) (proof, error) {
	type candidate struct {
		kind proofKind
		key  []byte
	}
	var candidates []candidate
	add := func(kind proofKind, a Authentication) {
		if a.Type != AuthSAS {
			return
		}
		for _, text := range []NullString{a.SymmetricKey.PrimaryKey, a.SymmetricKey.SecondaryKey} {
			if key, err := base64.StdEncoding.DecodeString(string(text)); err == nil && len(key) > 0 {
				candidates = append(candidates, candidate{kind, key})
			}
		}
	}
	kind := proofOwnKey
	if mod != nil {
		add(proofOwnKey, mod.Auth)
		kind = proofDeviceKey
	}
	add(kind, dev.Auth)
	for _, c := range candidates {
		if t.Verify(c.key) {
			return proof{kind: c.kind, key: c.key}, nil
		}
	}
	return proof{}, unauthorized("Authentication failed for this device, renew token or certificate and reconnect: " +
		"the signature of the token was not made with a key of this identity")
}

// verifyPolicy checks a token signed with a policy key: right, then signature.
func (h *Hub) verifyPolicy(t *sas.Token, need Permission) error {
	policy := h.policy(t.Policy)
	if policy == nil {
		return unauthorized("the hub has no shared access policy %q", t.Policy)
	}
	keys := policy.keys
	if scheme, _, ok := strings.Cut(t.Resource, "://"); ok && !strings.EqualFold(scheme, "https") {
		// Clients of Event Hubs sign with the text of the key, those of IoT Hub with
		// what it decodes to.
		keys = append(keys[:len(keys):len(keys)], []byte(policy.PrimaryKey), []byte(policy.SecondaryKey))
	}
	if !t.Verify(keys...) {
		return unauthorized("the signature of the token was not made with a key of policy %q", t.Policy)
	}
	if !policy.Permissions.Has(need) {
		return unauthorized("Authorization rule %q does not allow access for %q: it has %s and lacks %s",
			t.Policy, t.Resource, policy.Permissions, need)
	}
	return nil
}

func checkExpiry(t *sas.Token, now time.Time) error {
	if ago, expired := t.ExpiredFor(now); expired {
		return unauthorized("the token expired %s ago (at %s; the hub's clock says %s)",
			ago.Round(time.Second), t.Expiry.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func (h *Hub) authenticateCertificate(now time.Time, r AuthRequest, dev *deviceDoc, mod *moduleDoc) (*Principal, error) {
	own := dev.Auth
	if mod != nil {
		own = mod.Auth
	}
	switch own.Type {
	case AuthSelfSigned:
	case AuthCertificateAuthority:
		return h.authenticateSigned(now, r, mod)
	default:
		return nil, unauthorized("the identity authenticates with %q, not with a certificate, and no token was shown", own.Type)
	}
	leaf := r.Certificates[0]
	prints := thumbprints(leaf)
	if !own.X509Thumbprint.matches(prints) {
		return nil, unauthorized("Thumbprint does not match configuration: Thumbprint: SHA1Hash=%s, SHA2Hash=%s; "+
			"Configuration: PrimaryThumbprint=%s, SecondaryThumbprint=%s", prints[0], prints[1],
			own.X509Thumbprint.PrimaryThumbprint, own.X509Thumbprint.SecondaryThumbprint)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, unauthorized("the certificate is valid from %s to %s; the hub's clock says %s",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return &Principal{
		AuthMethod: authMethod(scopeOf(mod), "x509"),
		proof:      proof{kind: proofCertificate, thumbprint: prints},
	}, nil
}

// authenticateSigned takes a certificate of an authority, made out for the identity.
// (wire-device A.4)
func (h *Hub) authenticateSigned(now time.Time, r AuthRequest, mod *moduleDoc) (*Principal, error) {
	leaf, name := r.Certificates[0], identityKey{r.DeviceID, r.ModuleID}.String()
	switch {
	case leaf.Subject.CommonName != name:
		return nil, unauthorized("the common name of the certificate is %.300q, it has to be %q", leaf.Subject.CommonName, name)
	case leaf.IsCA:
		return nil, unauthorized("the certificate is that of an authority, not of a device")
	case h.cfg.Authorities == nil || !h.cfg.Authorities(now, r.Certificates):
		return nil, unauthorized("the certificate of %q is of no verified authority of this hub, or the chain to it was not shown whole, or a part of it has expired", leaf.Issuer)
	}
	return &Principal{AuthMethod: authMethod(scopeOf(mod), "x509"), proof: proof{kind: proofSigned}}, nil
}

// thumbprints gives the SHA-1 and the SHA-256 of a certificate in upper case.
// SHA-1 only names the certificate here, as IoT Hub lets it.
func thumbprints(c *x509.Certificate) []string {
	s1, s2 := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
	return []string{strings.ToUpper(hex.EncodeToString(s1[:])), strings.ToUpper(hex.EncodeToString(s2[:]))}
}

func (x X509Thumbprint) matches(prints []string) bool {
	for _, print := range prints {
		for _, want := range []NullString{x.PrimaryThumbprint, x.SecondaryThumbprint} {
			if want != "" && strings.EqualFold(string(want), print) {
				return true
			}
		}
	}
	return false
}

// stillProvesLocked reports whether what once convinced would convince with the
// documents as they are now. h.mu is held.
func (h *Hub) stillProvesLocked(p *proof, dev *deviceDoc, mod *moduleDoc) bool {
	own := dev.Auth
	if mod != nil {
		own = mod.Auth
	}
	switch p.kind {
	case proofOwnKey:
		return own.holdsKey(p.key)
	case proofDeviceKey:
		return own.Type != AuthSelfSigned && own.Type != AuthCertificateAuthority && dev.Auth.holdsKey(p.key)
	case proofPolicy:
		return own.Type != AuthSelfSigned && own.Type != AuthCertificateAuthority
	case proofCertificate:
		return own.Type == AuthSelfSigned && own.X509Thumbprint.matches(p.thumbprint)
	case proofSigned:
		// An authority that is removed lets nobody in from then on; who is there stays.
		return own.Type == AuthCertificateAuthority
	case proofChain:
		actor := p.chain[len(p.chain)-1].device
		if h.checkChainLocked(p.chain, actor) != nil {
			return false
		}
		edge := h.registry[actor]
		m := edge.module(edgeHub)
		return m != nil && (m.Auth.holdsKey(p.key) || edge.Auth.holdsKey(p.key))
	}
	return false
}

func (a Authentication) holdsKey(key []byte) bool {
	if a.Type != AuthSAS {
		return false
	}
	for _, text := range []NullString{a.SymmetricKey.PrimaryKey, a.SymmetricKey.SecondaryKey} {
		if k, err := base64.StdEncoding.DecodeString(string(text)); err == nil && bytes.Equal(k, key) {
			return true
		}
	}
	return false
}

// ServicePrincipal is an authorised back-end program.
type ServicePrincipal struct {
	Policy      string
	Permissions Permission
	// Expires is when a long-lived request or link has to end, skew included.
	Expires time.Time
}

// AuthorizeService decides whether a back-end request may do what needs the
// permission. path is the resource it is about, as segments that are not
// escaped, for example "devices", "dev1": the token has to be for the hub or for
// a leading part of it. Errors are *Error.
func (h *Hub) AuthorizeService(now time.Time, token string, need Permission, path ...string) (*ServicePrincipal, error) {
	if token == "" {
		return nil, NewError(CodeUnauthorizedAccess, "Unauthorized: Authorization header missing")
	}
	t, err := sas.Parse(token)
	if err != nil {
		return nil, NewError(CodeUnauthorizedAccess, "Unauthorized: %v", err)
	}
	if t.Policy == "" {
		return nil, NewError(CodeUnauthorizedAccess, "Unauthorized: the token names no shared access policy (skn)")
	}
	covers := false
	for name := range h.names {
		covers = covers || t.CoversPath(name, path...)
	}
	if !covers {
		return nil, NewError(CodeUnauthorizedAccess, "Unauthorized: the token is for %q and does not reach %q on this hub",
			t.Resource, strings.Join(path, "/"))
	}
	err = h.verifyPolicy(&t, need)
	if err == nil {
		err = checkExpiry(&t, now)
	}
	if err != nil {
		return nil, NewError(CodeUnauthorizedAccess, "Unauthorized: %s", err.(*Error).Message)
	}
	return &ServicePrincipal{
		Policy: t.Policy, Permissions: h.policy(t.Policy).Permissions, Expires: t.Expiry.Add(sas.ClockSkew),
	}, nil
}

func unauthorized(format string, args ...any) *Error {
	return NewError(CodeUnauthorized, format, args...)
}

func scopeOf(mod *moduleDoc) string {
	if mod != nil {
		return "module"
	}
	return "device"
}

func authMethod(scope, kind string) string {
	return `{"scope":"` + scope + `","type":"` + kind + `","issuer":"iothub","acceptingIpFilterRule":null}`
}
