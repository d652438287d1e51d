package amqpfront

import (
	"errors"
	"fmt"
	"slices"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// mechanisms are the SASL mechanisms offered. Of these only PLAIN proves anything:
// the proof comes with a token on $cbs, or is the certificate. (wire-service D1)
var mechanisms = []amqp.Symbol{"MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"}

// mechanismTPM is offered besides where devices are provisioned. (wire-device F.5)
const mechanismTPM amqp.Symbol = "TPM"

// errSASLFrame is the end of clients that speak AMQP, or nonsense, too early.
var errSASLFrame = errors.New("the client has left the SASL layer before its end")

func (f *Front) mechanisms() []amqp.Symbol {
	if f.cfg.Provisioning == nil {
		return mechanisms
	}
	return append(slices.Clone(mechanisms), mechanismTPM)
}

// sasl runs the SASL layer. (AMQP 5.3)
func (c *conn) sasl() error {
	c.mu.Lock()
	c.out.buf = append(c.out.buf, amqp.HeaderSASL...)
	c.frameLocked(amqp.FrameSASL, 0, &amqp.SASLMechanisms{Mechanisms: c.front.mechanisms()})
	c.flushLocked()
	c.mu.Unlock()
	var init amqp.SASLInit
	if err := c.readSASL(&init); err != nil {
		return fmt.Errorf("sasl-init: %w", err)
	}
	failure := c.mechanism(&init)
	outcome := &amqp.SASLOutcome{Code: amqp.SASLOK}
	if failure != nil {
		outcome.Code = amqp.SASLAuth
	}
	c.saySASL(outcome)
	return failure
}

// readSASL reads the next frame of the SASL layer, which has to be of p's kind. What
// p holds is good until the next one.
func (c *conn) readSASL(p interface{ Decode([]byte) error }) error {
	frame, err := c.readFrame()
	if err != nil {
		return err
	}
	t, _, body, err := amqp.DecodeFrame(frame)
	if err != nil {
		return err
	}
	if t != amqp.FrameSASL {
		return errSASLFrame
	}
	return p.Decode(body)
}

func (c *conn) saySASL(p amqp.Performative) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frameLocked(amqp.FrameSASL, 0, p)
	c.flushLocked()
}

func (c *conn) mechanism(init *amqp.SASLInit) error {
	switch {
	case !slices.Contains(c.front.mechanisms(), init.Mechanism):
		return fmt.Errorf("the SASL mechanism %q is not offered", init.Mechanism)
	case init.Mechanism == "PLAIN":
		return c.plain(init.InitialResponse)
	case init.Mechanism == mechanismTPM:
		return c.tpm(slices.Clone(init.InitialResponse))
	case init.Mechanism == "EXTERNAL" && len(c.certificates()) == 0:
		return errors.New("SASL EXTERNAL without a client certificate")
	}
	return nil
}
