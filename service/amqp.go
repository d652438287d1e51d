package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/guid"
	"github.com/iothub-go/iothub/internal/link"
)

const (
	// cbsTimeout bounds one exchange of a token.
	cbsTimeout = 30 * time.Second
	// minRenewal is the shortest time between two tokens, whatever a source
	// says of theirs.
	minRenewal = time.Second
	// renewAgain is the pause after a renewal that failed.
	renewAgain = 5 * time.Second
	// webSocketPath and webSocketProtocol carry AMQP in HTTPS.
	webSocketPath     = "/$iothub/websocket"
	webSocketProtocol = "AMQPWSB10"
)

// connection is the AMQP connection of a client: made when it is needed, made again
// when it is lost, with a token that is renewed for as long as it is there.
type connection struct {
	auth   *backend.Authorizer
	opts   *backend.Options
	name   string
	dialer *link.Dialer

	turn backend.Turn // free while nobody connects

	ctx    context.Context // ends in close
	cancel context.CancelFunc

	mu     sync.Mutex
	live   *session // nil before the first one
	closed bool
	wg     sync.WaitGroup // renewals
	calls  sync.WaitGroup // what Close waits for
}

// session is one connection that the hub has accepted.
type session struct {
	conn    *amqp.Conn
	amqp    *amqp.Session
	written *atomic.Int64
	cbs     *cbs

	turn   backend.Turn // free while nobody makes sender
	mu     sync.Mutex
	sender *amqp.Sender // of cloud-to-device messages; nil until needed, or lost
}

func newConnection(c *Client, httpsPort string) (*connection, error) {
	path := link.Path{Port: fmt.Sprint(c.opts.AMQPPort)}
	if c.opts.WebSocket {
		path = link.Path{Port: httpsPort, WebSocket: &link.WebSocket{Path: webSocketPath, Subprotocol: webSocketProtocol}}
	}
	d, err := link.NewDialer(c.name, nil, c.opts.Link(), path)
	if err != nil {
		return nil, err
	}
	conn := &connection{auth: c.auth, opts: c.opts, name: c.name, dialer: d, turn: backend.NewTurn()}
	conn.ctx, conn.cancel = context.WithCancel(context.Background())
	return conn, nil
}

// get returns a session that is not known to be lost. Nothing has been sent when it
// fails.
func (c *connection) get(ctx context.Context) (*session, error) {
	if err := c.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer c.turn.Give()
	c.mu.Lock()
	s, closed := c.live, c.closed
	c.mu.Unlock()
	if closed {
		return nil, iothub.ErrClosed
	}
	if s != nil && !s.lost() {
		return s, nil
	}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = s.conn.Close() // nothing was said yet
		return nil, iothub.ErrClosed
	}
	c.live = s
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		c.renew(s)
	}()
	return s, nil
}

// lost reports whether the connection has ended.
func (s *session) lost() bool {
	select {
	case <-s.conn.Done():
		return true
	default:
		return false
	}
}

// connect opens a connection and presents a token on it.
func (c *connection) connect(ctx context.Context) (*session, error) {
	const op = "connect"
	ctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()
	raw, err := c.dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	counted := &countingConn{Conn: raw}
	conn, err := amqp.NewConn(ctx, counted, &amqp.ConnOptions{
		HostName: c.name, ContainerID: guid.New(), IdleTimeout: time.Minute,
		Properties: map[string]any{"product": c.opts.UserAgent(userAgent)},
	})
	if err != nil {
		_ = raw.Close() // has failed already
		return nil, amqpError(ctx, op, err)
	}
	s := &session{conn: conn, written: &counted.written, turn: backend.NewTurn()}
	if s.amqp, err = conn.NewSession(ctx, nil); err == nil {
		s.cbs, err = newCBS(ctx, s.amqp)
	}
	if err == nil {
		err = s.cbs.put(ctx, c.auth)
	}
	if err != nil {
		_ = conn.Close() // says nothing that err does not
		return nil, amqpError(ctx, op, err)
	}
	c.opts.Logger.Info("AMQP connection made", "host", c.name, "web_socket", c.opts.WebSocket)
	return s, nil
}

// renew presents new tokens until the connection ends. When none could be had
// before the last one expires, it ends the connection: the next call then says
// why.
func (c *connection) renew(s *session) {
	defer s.conn.Close()
	for {
		t := time.NewTimer(max(time.Until(s.cbs.renew), minRenewal))
		select {
		case <-s.conn.Done():
			t.Stop()
			c.opts.Logger.Info("AMQP connection ended", "host", c.name, "error", s.conn.Err())
			return
		case <-t.C:
		}
		// The end of the client's life ends a token source, that of the
		// connection all else.
		ctx, cancel := context.WithTimeout(c.ctx, cbsTimeout)
		err := s.cbs.put(ctx, c.auth)
		cancel()
		if err == nil {
			continue
		}
		c.opts.Logger.Warn("the token was not renewed", "host", c.name, "error", err)
		if !s.cbs.expires.IsZero() && time.Until(s.cbs.expires) <= renewAgain {
			return
		}
		s.cbs.renew = time.Now().Add(renewAgain)
	}
}

// enter counts a call that close waits for, unless it is closed.
func (c *connection) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return iothub.ErrClosed
	}
	c.calls.Add(1)
	return nil
}

// bind returns a context that ends with ctx and with the connection.
func (c *connection) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// close refuses new calls and connections, waits for calls under way until ctx ends,
// and ends the connection.
func (c *connection) close(ctx context.Context) {
	c.mu.Lock()
	s := c.live
	c.closed, c.live = true, nil
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		c.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	defer func() { <-done }() // soon, without a connection
	c.cancel()
	if s != nil {
		_ = s.conn.Close() // the end all the same
	}
	c.wg.Wait()
}

// cbs presents tokens on a connection (claims-based security).
type cbs struct {
	sender   *amqp.Sender
	receiver *amqp.Receiver
	renew    time.Time
	expires  time.Time // zero: never, or not known
}

func newCBS(ctx context.Context, s *amqp.Session) (*cbs, error) {
	sender, err := s.NewSender(ctx, "$cbs", nil)
	if err != nil {
		return nil, err
	}
	receiver, err := s.NewReceiver(ctx, "$cbs", &amqp.ReceiverOptions{Credit: 4, MaxMessageSize: 1 << 16})
	if err != nil {
		return nil, err
	}
	return &cbs{sender: sender, receiver: receiver}, nil
}

// put presents a token and waits for the hub's answer.
func (b *cbs) put(ctx context.Context, auth *backend.Authorizer) error {
	token, renew, err := auth.Get(ctx)
	if err != nil {
		return err
	}
	id, to, replyTo := guid.New(), "$cbs", "cbs"
	err = b.sender.Send(ctx, &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: id, To: &to, ReplyTo: &replyTo},
		ApplicationProperties: map[string]any{
			"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": auth.Audience(),
		},
		Value: token.Value,
	}, nil)
	if err != nil {
		return err
	}
	for {
		m, err := b.receiver.Receive(ctx, nil)
		if err != nil {
			return err
		}
		if err := b.receiver.AcceptMessage(ctx, m); err != nil {
			return err
		}
		if m.Properties == nil || m.Properties.CorrelationID != id {
			continue // of an exchange that was given up
		}
		if err := cbsStatus(m); err != nil {
			return err
		}
		b.renew, b.expires = renew, token.Expires
		return nil
	}
}

// cbsStatus returns the refusal in an answer, if it is one.
func cbsStatus(m *amqp.Message) error {
	code := 0
	switch v := m.ApplicationProperties["status-code"].(type) {
	case int32:
		code = int(v)
	case int64:
		code = int(v)
	case uint32:
		code = int(v)
	}
	if code >= 200 && code < 300 {
		return nil
	}
	text, _ := m.ApplicationProperties["status-description"].(string)
	e := &iothub.Error{Op: "present token", Kind: iothub.KindOfStatus(code), Code: code, Err: errors.New(text)}
	if e.Kind == iothub.KindUnknown {
		e.Kind = iothub.KindProtocol
	}
	e.Retryable = e.Kind.Retryable()
	return e
}

// countingConn counts the bytes that may have left, so that it can be said of a
// message whether any of it has.
type countingConn struct {
	net.Conn
	written atomic.Int64
}

// Write counts first.
func (c *countingConn) Write(p []byte) (int, error) {
	c.written.Add(int64(len(p)))
	return c.Conn.Write(p)
}
