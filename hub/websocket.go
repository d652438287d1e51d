package hub

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/ws"
)

// Where clients that may only use the HTTPS port knock: those of the hub (C), and
// those of Event Hubs (wire-service E8).
const (
	webSocketPath   = "/$iothub/websocket"
	eventHubsWSPath = "/$servicebus/websocket"
)

// What they ask for; the official SDK for C asks for MQTT in upper case.
const (
	subprotocolMQTT = "mqtt"
	subprotocolAMQP = "AMQPWSB10"
)

// connKey is the key of the network connection in the context of a request.
type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// webSockets serves the path of the WebSockets and leaves the rest to next.
//
// A request is past the handshake and proves for itself who it is from, so that
// its connection gives its slot back; a WebSocket has proved nothing yet, and
// keeps it until the protocol inside it has.
func (s *Server) webSockets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, _ := r.Context().Value(connKey{}).(net.Conn)
		switch {
		case strings.EqualFold(r.URL.Path, webSocketPath), r.URL.Path == "/" && isUpgrade(r):
			s.serveWebSocket(w, r, nc, subprotocolMQTT, subprotocolAMQP)
			return
		case strings.EqualFold(r.URL.Path, eventHubsWSPath):
			s.serveWebSocket(w, r, nc, subprotocolAMQP)
			return
		}
		leave(nc)
		next.ServeHTTP(w, r)
	})
}

// isUpgrade tells a client that wants a WebSocket from a browser. The provisioning
// client for .NET asks for it at /.
func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, nc net.Conn, protocols ...string) {
	if !s.begin() {
		http.Error(w, ErrServerClosed.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.wg.Done()
	// A second request on a connection has to queue for a slot again.
	if !enter(nc) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many connections have not proved yet who they are", http.StatusServiceUnavailable)
		return
	}
	conn, protocol, err := ws.Accept(w, r, protocols...)
	if err != nil {
		s.log.Info("a WebSocket handshake was refused", "remote", r.RemoteAddr, "reason", err)
		leave(nc)
		return
	}
	// On a goroutine of its own the connection keeps nothing of the request.
	serve := s.mqtt.ServeConn
	if protocol == subprotocolAMQP {
		serve = s.amqp.ServeConn
	}
	s.wg.Go(func() {
		_ = serve(context.Background(), conn, func() { leave(conn) })
	})
}

// begin counts a goroutine of the caller's, to be ended by s.wg.Done, unless the
// server is being closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return false
	}
	s.wg.Add(1)
	return true
}
