package dps

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// Policy is the shared access policy of the service, which may do everything.
const Policy = "provisioningserviceowner"

const (
	// maxEnrollments, maxGroups (of each kind), maxAuthorities and maxHubs are the
	// quotas of Azure. (wire-device F.6)
	maxEnrollments = 1_000_000
	maxGroups      = 100
	maxAuthorities = 25
	maxHubs        = 50

	// maxAssigning is how many registrations are worked on at a time, assignTimeout
	// how long one may take.
	maxAssigning  = 256
	assignTimeout = time.Minute

	maxHostNames = 50
)

// Config says what a [Service] is like. Hubs, Storage and HostNames are required.
type Config struct {
	// HostNames are the names that tokens of back ends may be for.
	HostNames []string
	// IDScope is the id scope; empty takes that of the storage, which is made once.
	IDScope string
	Storage core.Storage
	// Hubs are those that devices are assigned to.
	Hubs []Hub
	// HTTP calls the webhooks of custom allocation; nil is a client without proxy.
	HTTP *http.Client
	// Clock tells the time; nil is time.Now. Logger takes the log; nil discards it.
	Clock  func() time.Time
	Logger *slog.Logger
}

// Service is one Device Provisioning Service. Its methods are safe for use by many
// goroutines.
type Service struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	scope string
	// secret is what keys for TPMs are derived from.
	secret []byte
	policy core.Policy
	keys   [][]byte // of the policy
	names  []string

	settings      table[settings]
	enrollments   table[enrollmentDoc]
	groups        table[enrollmentDoc]
	registrations table[registrationDoc]
	authorities   table[authorityDoc]

	// write has the changes of enrollments and authorities one after the other.
	write sync.Mutex

	ctx    context.Context // of what works on registrations
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	assigning map[string]bool // by key of the registration
	closed    bool
}

// settings are made when the storage is new.
type settings struct {
	IDScope string      `json:"idScope"`
	Secret  []byte      `json:"secret"`
	Policy  core.Policy `json:"policy"`
}

const settingsKey = "dps"

// New opens the service on the storage: it makes what a new storage lacks and reads
// the rest. ctx governs the opening only. It has to be ended by Close.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if len(cfg.Hubs) == 0 || len(cfg.Hubs) > maxHubs || len(cfg.HostNames) == 0 || len(cfg.HostNames) > maxHostNames || cfg.Storage == nil {
		return nil, fmt.Errorf("dps: Config needs a Storage, 1 to %d HostNames and 1 to %d Hubs", maxHostNames, maxHubs)
	}
	if err := validateScope(cfg.IDScope); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Logger, now: cfg.Clock, scope: cfg.IDScope, assigning: make(map[string]bool)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.cfg.HTTP == nil {
		s.cfg.HTTP = &http.Client{Transport: &http.Transport{}}
	}
	webhooks := *s.cfg.HTTP
	webhooks.Timeout = webhookTimeout
	webhooks.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.cfg.HTTP = &webhooks
	for _, name := range cfg.HostNames {
		s.names = append(s.names, sas.NormalizeHost(name))
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		_ = s.Close(ctx)
		return nil, fmt.Errorf("dps: %w", err)
	}
	return s, nil
}

func validateScope(scope string) error {
	for _, c := range scope {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return fmt.Errorf("dps: the id scope %q holds %q; letters and digits are allowed", scope, c)
		}
	}
	if len(scope) > 64 {
		return fmt.Errorf("dps: the id scope has %d characters, the limit is 64", len(scope))
	}
	return nil
}

func (s *Service) open(ctx context.Context) error {
	damaged := func(what string) func(string, error) {
		return func(key string, err error) {
			s.log.Error("provisioning: a stored "+what+" is damaged and left out", "id", key, "error", err)
		}
	}
	if err := s.settings.start(ctx, s.cfg.Storage, "dps-settings", func(*settings) error { return nil }, damaged("setting")); err != nil {
		return err
	}
	if err := s.openSettings(ctx); err != nil {
		return err
	}
	if err := s.authorities.start(ctx, s.cfg.Storage, "dps-certificates", (*authorityDoc).open, damaged("certificate")); err != nil {
		return err
	}
	if err := s.enrollments.start(ctx, s.cfg.Storage, "dps-enrollments", (*enrollmentDoc).open, damaged("enrollment")); err != nil {
		return err
	}
	if err := s.groups.start(ctx, s.cfg.Storage, "dps-groups", (*enrollmentDoc).open, damaged("enrollment group")); err != nil {
		return err
	}
	return s.registrations.start(ctx, s.cfg.Storage, "dps-registrations", func(*registrationDoc) error { return nil }, damaged("registration"))
}

func (s *Service) openSettings(ctx context.Context) error {
	known := s.settings.get(settingsKey)
	if known.doc == nil {
		made := &settings{
			IDScope: newScope(), Secret: randomBytes(32),
			Policy: core.Policy{Name: Policy, PrimaryKey: newKey(), SecondaryKey: newKey()},
		}
		var err error
		if known, err = s.settings.put(ctx, settingsKey, made, known); errors.Is(err, core.ErrKeyExists) {
			// Another node was first; the next start sees what it made.
			return errors.New("another process is making the settings; start again")
		} else if err != nil {
			return err
		}
	}
	if s.scope == "" {
		s.scope = known.doc.IDScope
	}
	s.policy, s.secret = known.doc.Policy, known.doc.Secret
	for _, text := range []string{s.policy.PrimaryKey, s.policy.SecondaryKey} {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) == 0 || len(s.secret) == 0 {
			return errors.New("the stored settings are damaged")
		}
		s.keys = append(s.keys, key)
	}
	return nil
}

// Close ends what works on registrations, which go on when their devices ask again
// after the next start. When ctx ends first it returns its error.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	for _, stop := range []func(){s.settings.close, s.enrollments.close, s.groups.close, s.registrations.close, s.authorities.close} {
		stop()
	}
	for _, h := range s.cfg.Hubs {
		if c, ok := h.(interface{ Close(context.Context) error }); ok {
			_ = c.Close(ctx)
		}
	}
	s.cfg.HTTP.CloseIdleConnections()
	return err
}

// IDScope is the id scope.
func (s *Service) IDScope() string { return s.scope }

// ConnectionString is that of the policy, for back ends that reach the service by
// that host.
func (s *Service) ConnectionString(host string) string { return s.policy.ConnectionString(host) }

// Now is the service's time.
func (s *Service) Now() time.Time { return s.now() }

// stamp is the time as it is stored, in the ticks that it is written with.
func (s *Service) stamp() core.Time {
	return core.Time{Time: s.now().UTC().Truncate(100 * time.Nanosecond)}
}

// Authorize decides whether a back end may use the API. path is the resource that
// it is about, as segments that are not escaped.
func (s *Service) Authorize(now time.Time, token string, path ...string) error {
	t, err := sas.Parse(token)
	if err != nil || t.Policy != Policy {
		return unauthorized()
	}
	covers := slices.ContainsFunc(s.names, func(name string) bool { return t.CoversPath(name, path...) })
	_, expired := t.ExpiredFor(now)
	if verified := t.Verify(s.keys...); !covers || expired || !verified {
		s.log.Info("provisioning: a back end was refused", "for", t.Resource, "covers", covers, "expired", expired, "signature", verified)
		return unauthorized()
	}
	return nil
}

// derive makes a key that only this service can make.
func (s *Service) derive(parts ...string) []byte {
	mac := hmac.New(sha256.New, s.secret)
	for _, p := range parts {
		// Lengths keep the parts apart; a hash takes everything.
		_, _ = fmt.Fprintf(mac, "%d:%s", len(p), p)
	}
	return mac.Sum(nil)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

func newKey() string { return base64.StdEncoding.EncodeToString(randomBytes(32)) }

// newScope makes an id scope in the form of Azure's.
func newScope() string { return "0ne" + strings.ToUpper(hex.EncodeToString(randomBytes(4))) }

// etagOf gives the ETag of a revision as the JSON has it: with quotes inside.
// (wire-service G1)
func etagOf(rev uint64) string { return fmt.Sprintf(`"%016x"`, rev) }

// etagMatches compares what a client gave, with or without quotes, with a revision.
func etagMatches(etag string, rev uint64) bool {
	return etag == "" || etag == core.AnyETag || strings.Trim(etag, `"`) == strings.Trim(etagOf(rev), `"`)
}
