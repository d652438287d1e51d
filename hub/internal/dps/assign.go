package dps

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// mayAssign reports whether another registration may be worked on.
func (s *Service) mayAssign(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigning[key] || len(s.assigning) < maxAssigning
}

// assign has a registration worked on, unless it is already or the service closes.
func (s *Service) assign(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.assigning[key] || len(s.assigning) >= maxAssigning {
		return
	}
	s.assigning[key] = true
	s.wg.Go(func() { s.work(key) })
}

// work brings one registration to its end. A request that comes meanwhile replaces
// the one in hand.
func (s *Service) work(key string) {
	for {
		r := s.registrations.get(key)
		if r.doc == nil || r.doc.Status != StatusAssigning {
			if s.finished(key) {
				return
			}
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, assignTimeout)
		doc := s.result(ctx, r)
		cancel()
		if s.ctx.Err() != nil {
			s.finished(key)
			return // its device asks again after the next start
		}
		_, err := s.registrations.put(s.ctx, key, doc, r)
		if errors.Is(err, core.ErrRevision) && s.registrations.get(key).rev != r.rev {
			continue // asked again, or deleted
		}
		if err != nil {
			s.log.Error("provisioning: a registration was not stored; its device has to ask again", "registration", key, "error", err)
		}
		if err != nil || s.finished(key) {
			s.done(key)
			return
		}
	}
}

// finished ends the work on a registration unless there is more.
func (s *Service) finished(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.registrations.get(key); r.doc != nil && r.doc.Status == StatusAssigning && s.ctx.Err() == nil {
		return false
	}
	delete(s.assigning, key)
	return true
}

func (s *Service) done(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.assigning, key)
}

// result is what becomes of a registration.
func (s *Service) result(ctx context.Context, r row[registrationDoc]) *registrationDoc {
	next := *r.doc
	next.Request = nil
	next.LastUpdated = s.stamp()
	e := s.table(r.doc.Group).get(r.doc.Enrollment).doc
	if e == nil || e.Generation != r.doc.Generation {
		next.fail(NewError(CodeNotFound, "the enrollment was removed"))
		return &next
	}
	if e.ProvisioningStatus == core.StatusDisabled {
		next.Status, next.ErrorCode, next.ErrorMessage = StatusDisabled, CodeDisabled, "the enrollment is disabled"
		return &next
	}
	if err := s.place(ctx, e, r, &next); err != nil {
		refusal, ok := errors.AsType[*core.Error](err)
		if !ok {
			refusal = NewError(CodeUnavailable, "the hub did not answer in time")
		}
		s.log.Warn("provisioning: a registration failed", "registration", r.key, "enrollment", e.id(), "error", err)
		next.fail(refusal)
		return &next
	}
	s.log.Info("provisioning: a device was assigned", "registration", r.key, "enrollment", e.id(),
		"hub", next.AssignedHub, "device", next.DeviceID, "substatus", next.Substatus)
	return &next
}

func (d *registrationDoc) fail(e *core.Error) {
	d.Status, d.ErrorCode, d.ErrorMessage = StatusFailed, e.Code, e.Message
}

// allocation is which hub a device goes to, and what comes with it.
type allocation struct {
	hub     Hub
	twin    *InitialTwin    // of the webhook; nil: that of the enrollment
	payload json.RawMessage // for the device
}

// place finds the hub and has the device there. (wire-service G3)
func (s *Service) place(ctx context.Context, e *enrollmentDoc, r row[registrationDoc], next *registrationDoc) error {
	asked := r.doc.Request
	before := s.hubWithKey(r.doc.Hub)
	deviceID := s.deviceID(e, r.doc)
	var to allocation
	if before != nil && !e.ReprovisionPolicy.UpdateHubAssignment {
		to.hub = before
	} else {
		var err error
		if to, err = s.allocate(ctx, e, r, before); err != nil {
			return err
		}
	}
	twin := e.InitialTwin
	if to.twin != nil {
		twin = to.twin
	}
	d := core.Device{DeviceID: deviceID, Authentication: asked.Authentication, Capabilities: e.Capabilities}
	if e.Attestation.Type == AttestTPM {
		key, wrapped, err := s.hubKey(e, asked.StorageRootKey)
		if err != nil {
			return err
		}
		d.Authentication, next.TPM = symmetric([][]byte{key}), &RegistrationTPM{wrapped}
	}
	substatus := SubstatusInitial
	var err error
	switch {
	case before == nil:
		err = settle(ctx, to.hub, d, twin, true)
	case before.Key() == to.hub.Key() && r.doc.InHub == deviceID:
		substatus = SubstatusReprovisioned
		err = settle(ctx, to.hub, d, twin, to.twin != nil)
	default:
		substatus, err = s.move(ctx, e, r.doc.InHub, before, to, d, twin)
	}
	if err != nil {
		return err
	}
	next.Hub, next.InHub = to.hub.Key(), deviceID
	next.AssignedHub, next.DeviceID = to.hub.HostName(), deviceID
	next.Status, next.Substatus, next.Payload = StatusAssigned, substatus, to.payload
	return nil
}

// deviceID is the id in the hub: that of the enrollment, the one the device has
// there already, or the registration id as the device writes it.
func (s *Service) deviceID(e *enrollmentDoc, d *registrationDoc) string {
	switch {
	case e.DeviceID != "":
		return e.DeviceID
	case !e.isGroup():
		return e.RegistrationID
	case d.InHub != "":
		return d.InHub
	}
	return d.Request.ID
}

// settle has a device in a hub. A new one begins with the initial twin; one that was
// there takes it over its own if initial says so.
func settle(ctx context.Context, hub Hub, d core.Device, twin *InitialTwin, initial bool) error {
	created, err := hub.Put(ctx, d)
	if err != nil || twin == nil || !created && !initial {
		return err
	}
	tags, desired := twin.sections()
	return hub.PatchTwin(ctx, d.DeviceID, twinOf(tags, desired))
}

// move has a device in another hub, with its twin or with the initial one, and not
// any more in the hub before.
func (s *Service) move(ctx context.Context, e *enrollmentDoc, old string, before Hub, to allocation, d core.Device, twin *InitialTwin) (substatus string, err error) {
	substatus = SubstatusReset
	tags, desired := twin.sections()
	gone := false
	if e.ReprovisionPolicy.MigrateDeviceData {
		substatus = SubstatusMigrated
		t, err := before.Twin(ctx, old)
		if gone = isGone(err); err != nil && !gone {
			return "", err
		}
		if !gone {
			d.Status, d.StatusReason = t.Status, t.StatusReason
		}
		if !gone && to.twin == nil { // that of the webhook goes before
			tags, desired = t.Tags, t.Properties.Desired
		}
	}
	created, err := to.hub.Put(ctx, d)
	if err != nil {
		return "", err
	}
	// When it has gone from there and is here, a crash came between: it has moved.
	if created || !gone {
		if err := to.hub.ReplaceTwin(ctx, d.DeviceID, twinOf(tags, desired)); err != nil {
			return "", err
		}
	}
	if err := before.Delete(ctx, old); err != nil && !isGone(err) {
		return "", err
	}
	return substatus, nil
}

func isGone(err error) bool { return errors.Is(err, &core.Error{Code: core.CodeDeviceNotFound}) }

// allocate finds a hub by the policy of the enrollment.
func (s *Service) allocate(ctx context.Context, e *enrollmentDoc, r row[registrationDoc], before Hub) (allocation, error) {
	hubs := s.candidates(&e.Enrollment)
	if len(hubs) == 0 {
		return allocation{}, NewError(CodeNoHub, "none of the hubs of the enrollment is linked any more")
	}
	switch e.AllocationPolicy {
	case AllocateGeoLatency:
		return allocation{hub: nearest(hubs)}, nil
	case AllocateStatic:
		if e.IoTHubHostName == "" {
			return allocation{hub: hubs[0]}, nil
		}
		if h := s.hubNamed(e.IoTHubHostName); h != nil {
			return allocation{hub: h}, nil
		}
		return allocation{}, NewError(CodeNoHub, "the hub %q is not linked any more", e.IoTHubHostName)
	case AllocateCustom:
		return s.askWebhook(ctx, e, r.doc, hubs, before)
	}
	return allocation{hub: hashed(hubs, r.key)}, nil
}
