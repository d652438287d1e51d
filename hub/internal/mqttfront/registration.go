package mqttfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/guid"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// admitRegistration checks who a device says it is that asks to be provisioned.
func (c *conn) admitRegistration(p *mqtt.ConnectPacket, scope, id string) error {
	if !strings.EqualFold(p.ClientID, id) {
		return refuse(mqtt.ConnackNotAuthorized, "the client identifier is %q but the user name is for the registration %q", p.ClientID, id)
	}
	if p.Will != nil {
		return errors.New("a device that is provisioned has no will")
	}
	c.id = "registration " + id
	r, err := c.front.cfg.Provisioning.SignUp(time.Now(), dps.Credential{
		IDScope: scope, RegistrationID: id, Token: string(p.Password), Certificates: c.certificates(),
	})
	if err != nil {
		return refused(err)
	}
	c.expires, c.window, c.session = r.Expires(), c.front.keepAliveWindow(p.KeepAlive), new(session)
	c.registration = r
	return nil
}

// handleRegistration answers one request, behind its PUBACK: the client for .NET
// expects the packets in that order.
func (c *conn) handleRegistration(frame []byte) error {
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		return err
	}
	kind, query := topic.ClassifyRegistration(p.Topic)
	rid, ok := topic.RequestID(query)
	if p.QoS > 1 || kind == topic.RegistrationOther || !ok || len(rid) > maxRequestID {
		return fmt.Errorf("publish to %.100q with QoS %d: a device that is provisioned has two topics (F.2)", p.Topic, p.QoS)
	}
	if p.QoS > 0 {
		c.out.send(mqtt.AppendAck(nil, mqtt.TypePuback, p.PacketID))
	}
	// Nobody waits but this connection, and not for longer than the storage takes.
	var answer dps.Answer
	if kind == topic.RegistrationRegister {
		answer, err = c.registration.Register(context.Background(), bytes.Clone(p.Payload))
	} else {
		id, _ := topic.OperationID(query)
		answer, err = c.registration.Operation(context.Background(), string(id))
	}
	wait := answer.RetryAfter
	if err != nil {
		e, ok := errors.AsType[*core.Error](err)
		if !ok {
			e = dps.NewError(dps.CodeInternal, "the request failed")
		}
		answer, wait = dps.Answer{Status: e.Status, Body: head.ErrorBody(e, guid.New(), time.Now())}, e.RetryAfter
	}
	qos, ok := c.session.granted(featureRegistration)
	if ok { // otherwise nobody listens
		c.publish(topic.AppendRegistrationResult(nil, answer.Status, rid, int(math.Ceil(wait.Seconds()))), answer.Body, qos)
	}
	return nil
}
