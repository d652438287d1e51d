package amqpfront

import "time"

const (
	// maxFrame is the largest frame in either direction, and what is read before
	// the client has proved who it is: a SASL token fits.
	maxFrame = 64 << 10
	// channelMax and handleMax bound the sessions of a connection and the links
	// of a session: gateways put many devices on one connection.
	channelMax = 1023
	handleMax  = 255
	// maxLinks bounds the links of a connection over all sessions, those included
	// that have ended and whose node still works.
	maxLinks = 4096
	// maxGrants bounds the tokens of a connection.
	maxGrants = 1024

	// Before a client has proved who it is, these count instead.
	unprovedSessions = 4
	unprovedLinks    = 8
	unprovedHeld     = 128 << 10
	unprovedOut      = 128 << 10

	// maxHeld bounds the deliveries of one connection that are not settled.
	maxHeld = 8 << 20
	// deliveryCost is what a delivery is taken to cost beside its bytes.
	deliveryCost = 256
	// maxOut bounds what waits to be written to one connection; nodes stop to send
	// at roomyOut already.
	maxOut   = 2 << 20
	roomyOut = 128 << 10

	// sessionWindow is how many transfers a session takes ahead.
	sessionWindow = 2048
	// defaultWindow is the credit of links on which clients send.
	defaultWindow = 100
	// defaultMaxMessage is the largest message on them, in bytes.
	defaultMaxMessage = 1 << 20
	// maxUnsettled bounds the messages of one link that the client has not
	// settled, whatever credit it gives.
	maxUnsettled = 5000

	// idleTimeout is what the hub asks clients to keep, and twice that, by which
	// they may exceed it, when it gives them up. (AMQP 2.4.5)
	idleTimeout = 4 * time.Minute
	idleGrace   = 2 * idleTimeout
	// beat is how often the hub at least looks whether it has said something. It
	// is never silent for more than twice as long to a client that minds.
	beat    = 7500 * time.Millisecond
	minBeat = 50 * time.Millisecond

	// closeTimeout bounds how long a closing connection waits for the client.
	closeTimeout = time.Second
)
