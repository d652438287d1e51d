// Pnp-thermostat is a device, or a module, that follows the IoT Plug and Play
// conventions: it is the thermostat of Microsoft's samples, model dtmi:com:example:Thermostat;1.
// It sends its temperature, takes the writable property targetTemperature and
// acknowledges it, reports maxTempSinceLastReboot, and answers the command
// getMaxMinReport.
//
//	go run ./examples/pnp-thermostat --connection-string "…" --ca ./hub-data/ca.pem
//
// The connection string, of a device or a module, may stand in
// IOTHUB_DEVICE_CONNECTION_STRING instead. Against Azure leave --ca out. It ends
// after --count measurements, or on an interrupt.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/pnp"
)

const modelID = "dtmi:com:example:Thermostat;1"

func main() {
	log.SetFlags(0)
	connectionString := flag.String("connection-string", os.Getenv("IOTHUB_DEVICE_CONNECTION_STRING"), "connection string of a device or a module")
	ca := flag.String("ca", "", "PEM `file` of the authority to trust, for a local hub; empty is the system's")
	count := flag.Int("count", 10, "how many measurements to send; 0 is no end")
	interval := flag.Duration("interval", 200*time.Millisecond, "time between two measurements")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *connectionString, *ca, *count, *interval); err != nil {
		log.Fatal("pnp-thermostat: ", err)
	}
}

// thermostat is what the device measures. Handlers run on the client's
// goroutine, so it has a lock.
type thermostat struct {
	mu      sync.Mutex
	current float64
	target  float64
	began   time.Time
	max     float64
	min     float64
	sum     float64
	n       int
}

// measure moves the temperature towards its target. It reports whether there is
// a new maximum.
func (t *thermostat) measure() (temperature, max float64, higher bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current += (t.target - t.current) / 4
	higher = t.n == 0 || t.current > t.max
	if higher {
		t.max = t.current
	}
	if t.n == 0 || t.current < t.min {
		t.min = t.current
	}
	t.sum += t.current
	t.n++
	return t.current, t.max, higher
}

// aim is the handler of the writable property targetTemperature.
func (t *thermostat) aim(u pnp.Update[float64]) pnp.Ack {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.Deleted {
		return pnp.Ack{}
	}
	if u.Value < -50 || u.Value > 100 {
		return pnp.Ack{Status: 400, Description: "out of range", Value: t.target}
	}
	log.Printf("the target is now %.1f", u.Value)
	t.target = u.Value
	return pnp.Ack{Description: "on its way"}
}

// maxMin is the response of the command getMaxMinReport.
type maxMin struct {
	Max     float64   `json:"maxTemp"`
	Min     float64   `json:"minTemp"`
	Average float64   `json:"avgTemp"`
	Start   time.Time `json:"startTime"`
	End     time.Time `json:"endTime"`
}

func (t *thermostat) report(since time.Time) (maxMin, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.n == 0 || since.After(now) {
		return maxMin{}, &pnp.CommandError{Status: 404, Message: "nothing was measured since then"}
	}
	start := t.began
	if since.After(start) {
		start = since
	}
	return maxMin{t.max, t.min, t.sum / float64(t.n), start, now}, nil
}

func run(ctx context.Context, connectionString, ca string, count int, interval time.Duration) error {
	o := &iothub.ClientOptions{
		ModelID:            modelID,
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
	client, err := newClient(connectionString, o)
	if err != nil {
		return err
	}
	t := &thermostat{current: 18, target: 21, began: time.Now()}
	err = t.live(ctx, client, count, interval)
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, client.Close(closing))
}

// client is what the program needs of a client.
type client interface {
	pnp.Client
	Close(ctx context.Context) error
}

// newClient returns a client of the kind that the connection string is for.
func newClient(connectionString string, o *iothub.ClientOptions) (client, error) {
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	if cs.Identity().IsModule() {
		return module.NewClientFromConnectionString(connectionString, o)
	}
	return device.NewClientFromConnectionString(connectionString, o)
}

// live is the thermostat's life until ctx ends or count measurements are sent.
func (t *thermostat) live(ctx context.Context, client pnp.Client, count int, interval time.Duration) error {
	d := pnp.New(client, &pnp.Options{OnError: func(err error) { log.Println("plug and play:", err) }})
	pnp.HandleWritable(d, "", "targetTemperature", t.aim)
	pnp.HandleCommand(d, "", "getMaxMinReport", t.report)
	if err := d.Start(); err != nil {
		return err
	}
	for i := 0; count == 0 || i < count; i++ {
		temperature, highest, higher := t.measure()
		if err := d.SendTelemetry(ctx, "", map[string]float64{"temperature": temperature}); err != nil {
			return stopped(ctx, err)
		}
		if higher {
			if err := d.Report(ctx, "", map[string]any{"maxTempSinceLastReboot": highest}); err != nil {
				return stopped(ctx, err)
			}
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil
		}
	}
	fmt.Printf("%d events confirmed\n", count)
	return nil
}

// stopped returns err, unless it is only that somebody has stopped the program.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
