// Ll-loop is a program that owns its loop: nothing of the client happens and
// no callback runs except inside DoWork, on this goroutine. It sends an event
// now and then, and sleeps whenever there is nothing to do.
//
//	go run ./examples/ll-loop --connection-string "…" --ca ./hub-data/ca.pem
//
// The connection string may stand in IOTHUB_MODULE_CONNECTION_STRING instead.
// Against Azure leave --ca out.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
)

func main() {
	log.SetFlags(0)
	l := &loop{}
	connectionString := flag.String("connection-string", os.Getenv("IOTHUB_MODULE_CONNECTION_STRING"), "connection string of a module")
	ca := flag.String("ca", "", "PEM `file` of the authority to trust, for a local hub; empty is the system's")
	flag.IntVar(&l.count, "count", 10, "how many events to send")
	flag.DurationVar(&l.interval, "interval", 100*time.Millisecond, "time between two events")
	timeout := flag.Duration("timeout", time.Minute, "when to give up")
	flag.Parse()
	l.giveUp = time.Now().Add(*timeout)
	if err := l.run(*connectionString, *ca); err != nil {
		log.Fatal("ll-loop: ", err)
	}
}

// loop is the program's state. It needs no lock: everything runs on one
// goroutine.
type loop struct {
	count    int
	interval time.Duration
	giveUp   time.Time

	client    *ll.ModuleClient
	sent      int
	confirmed int
	nextEvent time.Time
}

func (l *loop) run(connectionString, ca string) error {
	o := &ll.ClientOptions{
		OnConnectionStatus: func(e iothub.ConnectionEvent) { log.Println("connection:", e) },
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", ca)
		}
		o.TLS = &tls.Config{RootCAs: roots}
	}
	var err error
	if l.client, err = ll.NewModuleClientFromConnectionString(connectionString, o); err != nil {
		return err
	}
	err = l.poll()
	if e := l.client.Destroy(); err == nil {
		err = e
	}
	if err == nil {
		fmt.Printf("%d events confirmed\n", l.confirmed)
	}
	return err
}

// poll is the loop itself: the client's work, the program's work, sleep until
// either has something to do.
func (l *loop) poll() error {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for l.confirmed < l.count {
		if time.Now().After(l.giveUp) {
			return fmt.Errorf("only %d of %d events were confirmed in time", l.confirmed, l.count)
		}
		if l.sent < l.count && !time.Now().Before(l.nextEvent) {
			if err := l.send(); err != nil {
				return err
			}
		}
		next, err := l.client.DoWork()
		if err != nil {
			return err
		}
		if l.sent < l.count && l.nextEvent.Before(next) {
			next = l.nextEvent
		}
		if l.giveUp.Before(next) {
			next = l.giveUp
		}
		wait.Reset(time.Until(next))
		select {
		case <-l.client.Wakeup():
		case <-wait.C:
		}
	}
	return nil
}

func (l *loop) send() error {
	msg := &iothub.Message{Payload: fmt.Appendf(nil, `{"n": %d}`, l.sent), ContentType: "application/json", ContentEncoding: "utf-8"}
	l.sent++
	l.nextEvent = time.Now().Add(l.interval)
	return l.client.SendEventAsync(msg, l.confirm)
}

func (l *loop) confirm(c iothub.Confirmation) {
	if c.Result != iothub.ConfirmOK {
		log.Printf("not delivered: %v: %v", c.Result, c.Err)
		return
	}
	l.confirmed++
}
