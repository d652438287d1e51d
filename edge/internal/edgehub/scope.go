package edgehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/devicerest"
	"github.com/iothub-go/iothub/internal/rest"
)

const (
	scopeVersion = "2018-08-30-preview"
	scopePage    = 100
	// maxScopeAnswer bounds one answer: a page of devices with 50 modules each
	// takes less.
	maxScopeAnswer = 8 << 20
	// scopeTimeout bounds one request for identities.
	scopeTimeout = 10 * time.Second
	// lookAgain is how long an identity is not looked up again after it was looked
	// up, so that somebody who guesses names does not ask the hub upstream as fast.
	lookAgain = 10 * time.Second
	// maxLooked bounds how many look-ups are remembered, and maxLooking how many
	// are made at once.
	maxLooked  = 10_000
	maxLooking = 4
	// scopeRetry is the wait after the identities could not be had.
	scopeRetry = 30 * time.Second
)

// scope is a part of what is in scope, as the hub upstream answers (IoT Edge,
// device scope API).
type scope struct {
	Devices []struct {
		DeviceID       string
		Status         string
		Authentication authentication
	}
	Modules []struct {
		DeviceID       string
		ModuleID       string
		Authentication authentication
	}
	ContinuationLink string
}

// authentication holds keys, so it must not be printed.
type authentication struct {
	Type         string
	SymmetricKey struct {
		PrimaryKey   string
		SecondaryKey string
	}
	X509Thumbprint struct {
		PrimaryThumbprint   string
		SecondaryThumbprint string
	}
}

func (a *authentication) identity(deviceID, moduleID string) hub.Identity {
	return hub.Identity{
		DeviceID: deviceID, ModuleID: moduleID,
		PrimaryKey: a.SymmetricKey.PrimaryKey, SecondaryKey: a.SymmetricKey.SecondaryKey,
		PrimaryThumbprint: a.X509Thumbprint.PrimaryThumbprint, SecondaryThumbprint: a.X509Thumbprint.SecondaryThumbprint,
		CertificateAuthority: a.Type == "certificateAuthority",
	}
}

// identities are those of s, a device before its modules.
func (s *scope) identities() []hub.Identity {
	var list []hub.Identity
	for i := range s.Devices {
		d := &s.Devices[i]
		id := d.Authentication.identity(d.DeviceID, "")
		id.Disabled = d.Status == "disabled"
		list = append(list, id)
	}
	for i := range s.Modules {
		m := &s.Modules[i]
		list = append(list, m.Authentication.identity(m.DeviceID, m.ModuleID))
	}
	return list
}

// mirror keeps the identities here those that are in scope upstream.
type mirror struct {
	refresh chan struct{} // room for one: ask again now
	looking chan struct{} // one for each look-up under way
	turn    sync.Mutex    // held while identities are changed

	mu     sync.Mutex
	looked map[iothub.Identity]time.Time // when an identity was looked up last
}

func (m *mirror) init() {
	m.refresh = make(chan struct{}, 1)
	m.looking = make(chan struct{}, maxLooking)
	m.looked = make(map[iothub.Identity]time.Time)
}

// ask sends a request for identities.
func (h *Hub) ask(ctx context.Context, what string, query url.Values) (*scope, error) {
	ctx, cancel := context.WithTimeout(ctx, scopeTimeout)
	defer cancel()
	p := h.sessions.system.client.Params()
	query.Set("api-version", scopeVersion)
	u := "https://hub/devices/" + url.PathEscape(h.self.DeviceID) + "/modules/" + url.PathEscape(edgeHub) + "/" + what + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	resp, err := devicerest.Do(ctx, "device scope", p, p.HostName, h.opts.Upstream.HTTPSPort, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or not worth it
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxScopeAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("device scope: %w", err)
	}
	if len(body) > maxScopeAnswer {
		return nil, fmt.Errorf("device scope: the answer has more than %d bytes", maxScopeAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, rest.Refused("device scope", resp, body)
	}
	return decodeScope(body)
}

func decodeScope(body []byte) (*scope, error) {
	s := new(scope)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, errors.New("device scope: the answer is not the JSON that was expected") // it may hold keys
	}
	for _, id := range s.identities() {
		if err := (iothub.Identity{DeviceID: id.DeviceID, ModuleID: id.ModuleID}).Validate(); err != nil {
			return nil, fmt.Errorf("device scope: the answer names %q: %w", id.String(), err)
		}
	}
	return s, nil
}

// everything asks for all identities in scope.
func (h *Hub) everything(ctx context.Context) (map[iothub.Identity]hub.Identity, error) {
	all := make(map[iothub.Identity]hub.Identity)
	query := url.Values{"deviceCount": {fmt.Sprint(scopePage)}, "continuationToken": {""}}
	for {
		s, err := h.ask(ctx, "devicesAndModulesInDeviceScope", query)
		if err != nil {
			return nil, err
		}
		before := len(all)
		for _, id := range s.identities() {
			all[iothub.Identity{DeviceID: id.DeviceID, ModuleID: id.ModuleID}] = id
		}
		if s.ContinuationLink == "" {
			return all, nil
		}
		link, err := url.Parse(s.ContinuationLink)
		if err != nil || len(all) == before {
			return nil, errors.New("device scope: the link to the next page leads nowhere")
		}
		query = link.Query()
	}
}

// refreshScope makes the identities here those upstream.
func (h *Hub) refreshScope(ctx context.Context) error {
	all, err := h.everything(ctx)
	if err != nil {
		return err
	}
	m := &h.mirror
	m.turn.Lock()
	defer m.turn.Unlock()
	var gone []hub.Identity
	have := make(map[iothub.Identity]hub.Identity)
	for _, id := range h.server.Identities() {
		key := iothub.Identity{DeviceID: id.DeviceID, ModuleID: id.ModuleID}
		have[key] = id
		if _, still := all[key]; !still {
			gone = append(gone, id)
		}
	}
	for _, modules := range []bool{false, true} { // devices first
		for key, id := range all {
			if key.IsModule() != modules || have[key] == id {
				continue
			}
			if err := h.server.PutIdentity(ctx, id); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				// The others are not to go without because of one.
				h.log.Error("an identity in scope is not served", "identity", id, "error", err)
			}
		}
	}
	for _, id := range gone {
		if err := h.server.DeleteIdentity(ctx, id.DeviceID, id.ModuleID); err != nil {
			return err
		}
		h.log.Info("an identity is not in scope any more", "identity", id)
		h.abandon(iothub.Identity{DeviceID: id.DeviceID, ModuleID: id.ModuleID})
	}
	return nil
}

// lookUp makes one identity here what it is upstream, and reports whether that
// changed anything and whether there is one.
func (h *Hub) lookUp(ctx context.Context, id iothub.Identity) (changed, found bool, err error) {
	query := url.Values{"targetDeviceId": {id.DeviceID}}
	if id.IsModule() {
		query.Set("targetModuleId", id.ModuleID)
	}
	s, err := h.ask(ctx, "deviceAndModuleInDeviceScope", query)
	if err != nil {
		return false, false, err
	}
	m := &h.mirror
	m.turn.Lock()
	defer m.turn.Unlock()
	have := make(map[iothub.Identity]hub.Identity)
	for _, old := range h.server.Identities() {
		have[iothub.Identity{DeviceID: old.DeviceID, ModuleID: old.ModuleID}] = old
	}
	for _, now := range s.identities() {
		key := iothub.Identity{DeviceID: now.DeviceID, ModuleID: now.ModuleID}
		if key.DeviceID != id.DeviceID {
			continue // not what was asked for
		}
		found = found || key == id
		if have[key] == now {
			continue
		}
		if err := h.server.PutIdentity(ctx, now); err != nil {
			return changed, found, err
		}
		changed = true
	}
	if _, known := have[id]; known && !found {
		h.log.Info("an identity is not in scope any more", "identity", id.String())
		err := h.server.DeleteIdentity(ctx, id.DeviceID, id.ModuleID)
		h.abandon(id)
		return true, false, err
	}
	return changed, found, nil
}

// Know makes modules of this device known that the hub upstream has just told of in
// another way, unless they are. Whoever starts them need not wait for the scope: until a
// module is known, what is routed to it goes upstream.
func (h *Hub) Know(ctx context.Context, modules ...hub.Identity) error {
	h.mirror.turn.Lock()
	defer h.mirror.turn.Unlock()
	if d := h.self.DeviceID; !h.server.HasIdentity(d, "") { // its keys come with the scope
		if err := h.server.PutIdentity(ctx, hub.Identity{DeviceID: d}); err != nil {
			return err
		}
	}
	for _, m := range modules {
		m.DeviceID = h.self.DeviceID
		if h.server.HasIdentity(m.DeviceID, m.ModuleID) {
			continue
		}
		if err := h.server.PutIdentity(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// find is called when somebody shows what does not let him in: it may have
// changed upstream.
func (h *Hub) find(deviceID, moduleID string) bool {
	id := iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}
	if id.Validate() != nil {
		return false
	}
	select { // whoever connects as soon as there is a listener is not to be refused for that
	case <-h.sessions.system.tried:
	case <-h.ctx.Done():
		return false
	}
	if !h.online() || !h.mirror.mayLook(id) {
		return false
	}
	select {
	case h.mirror.looking <- struct{}{}:
		defer func() { <-h.mirror.looking }()
	case <-h.ctx.Done():
		return false
	}
	changed, _, err := h.lookUp(h.ctx, id)
	if err != nil {
		h.log.Warn("an identity could not be looked up", "identity", id.String(), "error", err)
	}
	return changed
}

// mayLook notes that an identity is looked up, unless it was a moment ago.
func (m *mirror) mayLook(id iothub.Identity) bool {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.looked[id]; ok && now.Sub(at) < lookAgain {
		return false
	}
	if len(m.looked) >= maxLooked {
		for k, at := range m.looked {
			if now.Sub(at) >= lookAgain {
				delete(m.looked, k)
			}
		}
		if len(m.looked) >= maxLooked {
			return false
		}
	}
	m.looked[id] = now
	return true
}

// keepScope asks for the identities at the start, and again from time to time.
func (h *Hub) keepScope() {
	for {
		next := h.opts.Refresh
		if err := h.refreshScope(h.ctx); err != nil && h.ctx.Err() == nil {
			h.log.Warn("the identities in scope could not be had; those known are served", "error", err)
			next = min(next, scopeRetry)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-h.mirror.refresh:
			timer.Stop()
		case <-h.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// refreshSoon asks for the identities now.
func (h *Hub) refreshSoon() {
	select {
	case h.mirror.refresh <- struct{}{}:
	default:
	}
}
