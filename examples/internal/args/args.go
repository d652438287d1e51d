// Package args reads the two flags that the small examples share.
package args

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/iothub-go/iothub"
)

// Run parses --connection-string and --ca, and runs the example until it
// returns or is interrupted.
func Run(name string, example func(ctx context.Context, connectionString string, o *iothub.ClientOptions) error) {
	log.SetFlags(0)
	cs := flag.String("connection-string", os.Getenv("IOTHUB_CONNECTION_STRING"), "connection string of the device or module")
	ca := flag.String("ca", "", "PEM `file` of the authority to trust, for a local hub; empty is the system's")
	flag.Parse()
	o := &iothub.ClientOptions{}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			log.Fatalf("%s holds no certificate", *ca)
		}
		o.TLS = &tls.Config{RootCAs: roots}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := example(ctx, *cs, o); err != nil {
		log.Fatal(fmt.Errorf("%s: %w", name, err))
	}
}
