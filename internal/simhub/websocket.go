package simhub

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// rawConn is the key of the network connection in the context of a request.
type rawConn struct{}

// ServeWebSocket is Serve for clients that speak MQTT over WebSockets.
func (h *Hub) ServeWebSocket(l net.Listener) {
	s := &http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, rawConn{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/$iothub/websocket" {
				http.Error(w, "not here", http.StatusNotFound)
				return
			}
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
			if err != nil {
				return
			}
			c.SetReadLimit(-1)
			raw := r.Context().Value(rawConn{}).(net.Conn)
			h.wg.Add(1)
			defer h.wg.Done()
			// Dropping skips the closing handshake: that is what dropping is.
			h.session(websocket.NetConn(context.Background(), c, websocket.MessageBinary), raw.Close)
			c.CloseNow()
		}),
	}
	s.Serve(l)
	s.Close()
}
