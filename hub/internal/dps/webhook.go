package dps

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// webhookTimeout is how long a webhook may take, maxWebhookAnswer how much it may
	// say.
	webhookTimeout   = 5 * time.Second
	maxWebhookAnswer = 128 << 10
)

// webhookRequest is what a webhook is asked. (wire-service G4)
type webhookRequest struct {
	Group      *Enrollment    `json:"enrollmentGroup,omitempty"`
	Individual *Enrollment    `json:"individualEnrollment,omitempty"`
	Device     runtimeContext `json:"deviceRuntimeContext"`
	LinkedHubs []string       `json:"linkedHubs"`
}

// runtimeContext is the device that asks.
type runtimeContext struct {
	RegistrationID string           `json:"registrationId"`
	CurrentHub     string           `json:"currentIotHubHostName,omitempty"`
	CurrentDevice  string           `json:"currentDeviceId,omitempty"`
	SymmetricKey   *struct{}        `json:"symmetricKey,omitempty"`
	X509           *X509Attestation `json:"x509,omitempty"`
	TPM            *TPMAttestation  `json:"tpm,omitempty"`
	Payload        json.RawMessage  `json:"payload,omitempty"`
}

// webhookAnswer is what it says.
type webhookAnswer struct {
	IoTHubHostName string          `json:"iotHubHostName"`
	InitialTwin    *InitialTwin    `json:"initialTwin"`
	Payload        json.RawMessage `json:"payload"`
}

// askWebhook has a webhook choose among the hubs.
func (s *Service) askWebhook(ctx context.Context, e *enrollmentDoc, d *registrationDoc, hubs []Hub, before Hub) (allocation, error) {
	definition := e.CustomAllocationDefinition
	view := s.view(s.table(d.Group).get(d.Enrollment), false)
	ask := webhookRequest{LinkedHubs: hostNames(hubs), Device: runtimeContext{RegistrationID: d.ID, Payload: d.Request.Payload}}
	if d.Group {
		ask.Group = &view
	} else {
		ask.Individual = &view
	}
	if before != nil {
		ask.Device.CurrentHub, ask.Device.CurrentDevice = before.HostName(), d.InHub
	}
	switch e.Attestation.Type {
	case AttestSymmetricKey:
		ask.Device.SymmetricKey = &struct{}{}
	case AttestTPM:
		ask.Device.TPM = e.Attestation.TPM
	case AttestX509:
		ask.Device.X509 = &X509Attestation{ClientCertificates: &X509Certificates{
			Primary: &X509Certificate{Certificate: d.Request.Certificate, Info: d.X509.CertificateInfo},
		}}
	}
	answer, err := s.post(ctx, definition, encode(ask))
	if err != nil {
		return allocation{}, err
	}
	hub := hubAmong(hubs, answer.IoTHubHostName)
	if hub == nil {
		return allocation{}, NewError(CodeNoHub, "the webhook of the enrollment answers with the hub %.140q, which is none of %s",
			answer.IoTHubHostName, strings.Join(ask.LinkedHubs, ", "))
	}
	if err := answer.InitialTwin.validate(); err != nil {
		return allocation{}, err
	}
	return allocation{hub: hub, twin: answer.InitialTwin, payload: answer.Payload}, nil
}

// post calls a webhook. Its URL may hold a secret: no error repeats it.
func (s *Service) post(ctx context.Context, c *CustomAllocation, body []byte) (*webhookAnswer, error) {
	fail := func(format string, args ...any) (*webhookAnswer, error) {
		return nil, NewError(CodeNoHub, "the webhook of the enrollment "+format, args...)
	}
	u, err := url.Parse(c.WebhookURL)
	if err != nil {
		return fail("has no URL")
	}
	if c.APIVersion != "" && !u.Query().Has("api-version") {
		q := u.Query()
		q.Set("api-version", c.APIVersion)
		u.RawQuery = q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fail("cannot be called")
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := s.cfg.HTTP.Do(r)
	if err != nil {
		if e, ok := err.(*url.Error); ok {
			err = e.Err
		}
		return fail("did not answer: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail("answered with the status %d, not 200", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxWebhookAnswer+1))
	if err != nil || len(data) > maxWebhookAnswer {
		return fail("broke off, or answered with more than %d bytes", maxWebhookAnswer)
	}
	var answer webhookAnswer
	if err := json.Unmarshal(data, &answer); err != nil {
		return fail("answered with what is not the JSON of an allocation: %v", err)
	}
	return &answer, nil
}
