// Command embedded is a hub for the conformance tests that does what "iothub hub"
// has no way to be told: send cloud-to-device messages, and route the messages of
// module "source", output "alerts", to input "in1" of module "mod1".
//
// It prints a line of JSON when it is ready, as "iothub hub --json" does, and
// runs until SIGTERM. Its control address takes, over plain HTTP,
//
//	POST /messages?device=ID
//
// with a JSON object: body, messageId, correlationId, contentType,
// contentEncoding, ack and properties.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

// route is what moduleInputs of the tests counts on.
const route = `FROM /messages/modules/source/outputs/alerts INTO BrokeredEndpoint("/modules/mod1/inputs/in1")`

// report is what is printed; the names are those of "iothub hub --json".
type report struct {
	Listeners               []listener `json:"listeners"`
	ServiceConnectionString string     `json:"serviceConnectionString"`
	CAFile                  string     `json:"caFile"`
	Control                 string     `json:"control"`
}

type listener struct {
	Protocol hub.Protocol `json:"protocol"`
	Address  string       `json:"address"`
}

func main() {
	data := flag.String("data", "", "folder for the data")
	address := flag.String("listen", "127.0.0.1", "IP address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *data, *address); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, data, address string) (err error) {
	srv, err := hub.New(&hub.Options{
		DataDir: data, HostNames: []string{address}, Routes: []hub.Route{{Text: route}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, srv.Shutdown(end))
	}()
	r := report{CAFile: srv.CACertFile()}
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		addr, err := srv.Listen(p, net.JoinHostPort(address, strconv.Itoa(p.Port())))
		if err != nil {
			if addr, err = srv.Listen(p, net.JoinHostPort(address, "0")); err != nil {
				return err
			}
		}
		r.Listeners = append(r.Listeners, listener{p, addr.String()})
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	control := &http.Server{Handler: messages(srv), ReadHeaderTimeout: 10 * time.Second}
	defer control.Close()
	go func() { _ = control.Serve(l) }() // until Close
	r.Control = l.Addr().String()
	r.ServiceConnectionString = srv.ServiceConnectionString()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// messages sends cloud-to-device messages.
func messages(srv *hub.Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /messages", func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			Body, MessageID, CorrelationID, ContentType, ContentEncoding, Ack string
			Properties                                                        map[string]string
		}
		err := json.NewDecoder(r.Body).Decode(&m)
		if err == nil {
			err = srv.SendC2D(r.Context(), r.URL.Query().Get("device"), &iothub.Message{
				Payload: []byte(m.Body), MessageID: m.MessageID, CorrelationID: m.CorrelationID,
				ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, Ack: m.Ack, Properties: m.Properties,
			})
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
