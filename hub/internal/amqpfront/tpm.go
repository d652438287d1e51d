package amqpfront

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// The SASL mechanism TPM. (wire-device F.5) The client begins with a zero byte, the
// id scope, the registration id and the public part of its TPM's endorsement key, and
// sends that of the storage root key when it is asked by a zero byte. The hub sends
// what only this TPM can open, in segments, and the client answers the last with a
// token that is signed with the key inside.

const (
	// maxTPMKey bounds the public part of a key; RSA of 2048 bits takes 316 bytes.
	maxTPMKey = 2 << 10
	// tpmSegment is how much of the nonce a frame takes: a frame of SASL may have
	// 512 bytes in all. (AMQP 5.3.1)
	tpmSegment = 470

	// The first byte of a segment: the two highest bits tell whether more come, the
	// two lowest count.
	moreSegments, lastSegment = 0x80, 0xc0
)

var errTPM = errors.New("SASL TPM: the client does not keep to the mechanism")

// parseTPMInit takes the client's first response apart.
func parseTPMInit(b []byte) (scope, registrationID string, endorsementKey []byte, err error) {
	rest, ok := bytes.CutPrefix(b, []byte{0})
	first, rest, ok1 := bytes.Cut(rest, []byte{0})
	second, key, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok1 || !ok2 || len(first) == 0 || len(second) == 0 || len(key) == 0 || len(key) > maxTPMKey {
		return "", "", nil, fmt.Errorf("%w: its first response is not a zero byte, an id scope, a registration id and an endorsement key", errTPM)
	}
	return string(first), string(second), key, nil
}

// tpmSegments cuts a nonce into challenges.
func tpmSegments(nonce []byte) [][]byte {
	var segments [][]byte
	for seq := byte(0); ; seq++ {
		n := min(len(nonce), tpmSegment)
		control := byte(moreSegments)
		if n == len(nonce) {
			control = lastSegment
		}
		segments = append(segments, append([]byte{control | seq&3}, nonce[:n]...))
		if nonce = nonce[n:]; len(nonce) == 0 {
			return segments
		}
	}
}

// tpm runs the mechanism behind its first response.
func (c *conn) tpm(first []byte) error {
	scope, id, ek, err := parseTPMInit(first)
	if err != nil {
		return err
	}
	srk, err := c.challenge([]byte{0})
	if err != nil {
		return err
	}
	if len(srk) == 0 || len(srk) > maxTPMKey {
		return fmt.Errorf("%w: its second response is not a zero byte and a storage root key", errTPM)
	}
	srk = bytes.Clone(srk)
	p := c.front.cfg.Provisioning
	nonce, err := p.Challenge(c.ctx, dps.TPMChallenge{IDScope: scope, RegistrationID: id, EndorsementKey: ek, StorageRootKey: srk})
	if err != nil {
		return fmt.Errorf("SASL TPM: %w", err)
	}
	var answer []byte
	for _, segment := range tpmSegments(nonce) {
		if len(answer) > 0 {
			return fmt.Errorf("%w: it answers a segment with more than a zero byte", errTPM)
		}
		if answer, err = c.challenge(segment); err != nil {
			return err
		}
	}
	if len(answer) == 0 {
		return fmt.Errorf("%w: its last response has no token", errTPM)
	}
	return c.signUp(dps.Credential{IDScope: scope, RegistrationID: id, Token: string(answer), StorageRootKey: srk})
}

// challenge sends a challenge and returns the response behind its zero byte, which
// is good until the next one.
func (c *conn) challenge(b []byte) ([]byte, error) {
	c.saySASL(&amqp.SASLChallenge{Challenge: b})
	var p amqp.SASLResponse
	if err := c.readSASL(&p); err != nil {
		return nil, fmt.Errorf("sasl-response: %w", err)
	}
	answer, ok := bytes.CutPrefix(p.Response, []byte{0})
	if !ok {
		return nil, fmt.Errorf("%w: its response does not begin with a zero byte", errTPM)
	}
	return answer, nil
}
