package hub

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/httpfront"
)

// openProvisioning opens the Device Provisioning Service, unless there is to be none.
func (s *Server) openProvisioning(storage core.Storage) error {
	if s.opts.NoProvisioning || s.opts.Gateway != nil {
		if len(s.opts.LinkedHubs) > 0 || s.opts.IDScope != "" {
			return fmt.Errorf("hub: Options.LinkedHubs and IDScope are for the provisioning service, which this server does not have")
		}
		return nil
	}
	hubs := []dps.Hub{dps.Local(s.hub, func() string { return s.hostFor(MQTT) })}
	web := s.newHTTPClient()
	for i, text := range s.opts.LinkedHubs {
		h, err := dps.Remote(text, s.newHTTPClient().Transport)
		if err != nil {
			return fmt.Errorf("hub: Options.LinkedHubs[%d]: %w", i, err)
		}
		hubs = append(hubs, h)
	}
	var err error
	s.dps, err = dps.New(s.ctx, dps.Config{
		HostNames: s.opts.HostNames, IDScope: s.opts.IDScope, Storage: storage, Hubs: hubs, HTTP: web,
		Clock: s.opts.Clock, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// vouches reports whether an authority stands behind a certificate: one of the options,
// or one that the provisioning service has.
func (s *Server) vouches(now time.Time, shown []*x509.Certificate) bool {
	if signer, _ := dps.SignedBy(now, shown, s.authorities); signer != nil {
		return true
	}
	return s.dps != nil && s.dps.Vouches(now, shown)
}

// provisioning is the service for the protocol heads.
func (s *Server) provisioning() dps.Provisioning {
	if s.dps == nil {
		return nil // not a pointer that is nil
	}
	return s.dps
}

// withProvisioning serves the API of the provisioning service, if there is one, and
// the rest by next.
func (s *Server) withProvisioning(next http.Handler) http.Handler {
	if s.dps == nil {
		return next
	}
	return httpfront.NewProvisioning(s.dps, next, s.log)
}

// IDScope returns the id scope that devices register with at this server, by any of
// its host names; empty when it has no provisioning service.
func (s *Server) IDScope() string {
	if s.dps == nil {
		return ""
	}
	return s.dps.IDScope()
}

// ProvisioningConnectionString returns the connection string of the policy
// provisioningserviceowner, which may do everything at the provisioning service and
// nothing at the hub; empty when there is no such service. The host name in it is
// that of [Server.ServiceConnectionString].
func (s *Server) ProvisioningConnectionString() string {
	if s.dps == nil {
		return ""
	}
	return s.dps.ConnectionString(s.hostFor(HTTPS))
}
