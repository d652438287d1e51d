// Package client is what a handle of the C library stands for: a poll-driven
// client, with what the C functions add to it. Whatever happens inside the
// client becomes a [Record], which the layer above turns into a call of the
// program's function, on the thread that called DoWork or on the client's own.
// No lock is held meanwhile, so the program may call everything, Destroy
// included, from there.
package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/mqtt"
)

// Result is an IOTHUB_CLIENT_RESULT.
type Result int

// The results, with the documented numbers.
const (
	OK Result = iota
	InvalidArg
	Failed
	InvalidSize
	IndefiniteTime
)

// Callback is a function of the program and the context it wants to see. Both
// are numbers: the context is passed on and never followed. The zero value is
// no function.
type Callback struct{ Func, Context uintptr }

// RecordKind is what a record tells.
type RecordKind uint8

// The kinds of records.
const (
	RecordConfirm    RecordKind = iota // Result: confirmation
	RecordStatus                       // Result: status, Reason
	RecordMessage                      // Message
	RecordMethod                       // Method, Style
	RecordTwin                         // Result: update state, Payload
	RecordProperties                   // the same, for the properties functions
	RecordReported                     // Result: status code
	RecordInvoked                      // Result: client result, Reason: status, Payload
	RecordUploaded                     // Result: file upload result
	RecordBlock                        // a block of a file is wanted: Answer, Reason
	RecordBlocksEnd                    // Result: file upload result, Reason
)

// noAbort is the reason of a record about blocks for a function that cannot end
// the upload.
const noAbort = 1

// Record is one call of a function of the program that is due.
type Record struct {
	Kind   RecordKind
	Style  MethodStyle
	Result int32
	Reason int32
	Callback
	Payload []byte
	Message *iothub.ReceivedMessage
	Method  *iothub.MethodRequest
	// Answer takes a block of a file: none for its end.
	Answer func(block []byte, abort bool)
}

// CanAbort reports whether the function of a record about blocks returns whether
// the upload goes on.
func (r *Record) CanAbort() bool { return r.Reason != noAbort }

// Asked reports whether a record of the twin answers a request, rather than
// tells a subscriber.
func (r *Record) Asked() bool { return r.Reason == asked }

// Update states of twin records.
const (
	updateComplete = 0
	updatePartial  = 1
)

// Host is what the C side offers. Its methods are called without locks.
type Host interface {
	// Dispatch calls the program's functions in the order of the records,
	// which it does not keep.
	Dispatch(c *Client, records []Record)
	// Thread returns a number that only this thread has.
	Thread() uintptr
	// Log tells the program's log what went wrong.
	Log(err error)
}

// api is what both clients of package ll have.
type api interface {
	SendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error
	DoWork() (next time.Time, err error)
	Wakeup() <-chan struct{}
	SendStatus() (ll.SendStatus, error)
	Destroy() error
	SetMethodCallback(name string, h iothub.MethodHandler) error
	SetTwinCallback(h iothub.DesiredHandler) error
	GetTwinAsync(done func(*iothub.Twin, error)) error
	SendReportedState(patch any, done iothub.ReportedFunc) error
	SetOption(name string, value any) error
	SetRetryPolicy(policy iothub.RetryStrategy, limit time.Duration) error
	RetryPolicy() (policy iothub.RetryStrategy, limit time.Duration, err error)
	LastMessageReceiveTime() (time.Time, error)
	UploadFileAsync(name string, r io.Reader, o *ll.UploadOptions, done func(error)) error
	BeginUploadAsync(name string, port int, done func(*iothub.UploadTicket, error)) error
	EndUploadAsync(t *iothub.UploadTicket, failed error, port int, done func(error)) error
	OpenUpload(t *iothub.UploadTicket) (*ll.Upload, error)
}

// Client is a client of either layer. It is safe for concurrent use.
type Client struct {
	host     Host
	threaded bool
	// httpsPort is where methods of others are called and files uploaded, 0 for
	// 443: the port that a connection string names for WebSockets is the same
	// one.
	httpsPort int
	wanted    chan Record   // blocks that goroutines of uploads wait for
	gone      chan struct{} // closed with torn

	mu          sync.Mutex
	ll          api
	device      *ll.DeviceClient // or
	module      *ll.ModuleClient
	records     []Record
	spare       []Record
	dispatching bool // on some thread, without mu
	closed      bool // nothing is accepted any more
	torn        bool // everything is confirmed, the connection gone
	worker      *worker
	uploads     int // that a client with a thread finishes before it ends

	status     Callback
	messages   Callback
	inputs     map[string]Callback
	method     methodCallback
	twin       twinState
	autoEncode bool
	sampling   sampling
	timeout    time.Duration // option messageTimeout
	interval   time.Duration // option do_work_freq_ms
}

// Options configure a client.
type Options struct {
	// Threaded is the convenience layer: the client has a thread of its own.
	Threaded bool
	// WebSocket carries MQTT over WebSockets.
	WebSocket bool
	// Credential takes the place of x509=true; nil for none.
	Credential *iothub.Credential
	// Logger takes what the option logtrace turns on.
	Logger *slog.Logger
	// DialTLS is for tests, which have a network of their own.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)
}

// The C SDK's queue has no bound but memory. Here it has one, far beyond what a
// program means to queue, so that one that never calls DoWork is told.
const (
	maxQueuedMessages = 1 << 20
	maxQueuedBytes    = 1 << 30
)

// New returns a client for the device or module that the connection string
// names. Errors never repeat a secret.
func New(connectionString string, host Host, o Options) (*Client, error) {
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	c := newClient(host, o)
	if _, port, err := net.SplitHostPort(cmp.Or(cs.GatewayHostName, cs.HostName)); err == nil && o.WebSocket {
		c.httpsPort, _ = strconv.Atoi(port) // a port that is none fails below
	}
	if cs.ModuleID != "" {
		c.module, err = ll.NewModuleClientFromConnectionString(connectionString, c.options(o))
		c.ll = c.module
	} else {
		c.device, err = ll.NewDeviceClientFromConnectionString(connectionString, c.options(o))
		c.ll = c.device
	}
	return c.made(err)
}

// NewFromEnvironment returns a client for the module that IoT Edge has started this
// program as.
func NewFromEnvironment(host Host, o Options) (*Client, error) {
	c := newClient(host, o)
	var err error
	c.module, err = ll.NewModuleClientFromEnvironment(c.options(o))
	c.ll = c.module
	return c.made(err)
}

func newClient(host Host, o Options) *Client {
	return &Client{
		host: host, threaded: o.Threaded, interval: time.Millisecond,
		wanted: make(chan Record), gone: make(chan struct{}),
	}
}

func (c *Client) options(o Options) *ll.ClientOptions {
	return &ll.ClientOptions{
		Transport:          mqtt.New(&mqtt.Options{WebSocket: o.WebSocket}),
		MaxQueuedMessages:  maxQueuedMessages,
		MaxQueuedBytes:     maxQueuedBytes,
		OnConnectionStatus: c.statusChanged,
		Credential:         o.Credential,
		Logger:             o.Logger,
		DialTLS:            o.DialTLS,
	}
}

// made finishes a client whose ll could be made, or could not.
func (c *Client) made(err error) (*Client, error) {
	if err != nil {
		return nil, err
	}
	if err := c.ll.SetOption("logtrace", false); err != nil {
		return nil, errors.Join(err, c.ll.Destroy())
	}
	return c, nil
}

// Threaded reports whether the client has a thread of its own.
func (c *Client) Threaded() bool { return c.threaded }

// failed logs err and returns its code.
func (c *Client) failed(err error) Result {
	if err == nil {
		return OK
	}
	c.host.Log(err)
	return Failed
}

// call runs f with the lock; wake says that the client's thread, if it has one,
// must live for what f asks.
func (c *Client) call(wake bool, f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return iothub.ErrClosed
	}
	if wake {
		c.start()
	}
	return f()
}

// answer is call for what a function of the program has decided, which counts
// even when that function has called Destroy.
func (c *Client) answer(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.torn {
		return iothub.ErrClosed
	}
	return f()
}

// Send accepts a copy of msg. msg.Properties may be changed here.
func (c *Client) Send(msg *iothub.Message, cb Callback) Result {
	var confirm iothub.ConfirmFunc
	if cb.Func != 0 {
		confirm = func(r iothub.Confirmation) {
			c.records = append(c.records, Record{Kind: RecordConfirm, Result: int32(r.Result), Callback: cb})
		}
	}
	return c.failed(c.call(true, func() error {
		if !c.autoEncode {
			decodeMessage(msg)
		}
		c.sampling.mark(msg)
		return c.ll.SendEventAsync(msg, confirm)
	}))
}

// Busy reports whether accepted messages are not confirmed.
func (c *Client) Busy() (busy bool, r Result) {
	err := c.call(false, func() error {
		s, err := c.ll.SendStatus()
		busy = s == ll.SendBusy
		return err
	})
	return busy, c.failed(err)
}

// LastReceived returns when a message last came.
func (c *Client) LastReceived() (at time.Time, r Result) {
	err := c.call(false, func() (err error) {
		at, err = c.ll.LastMessageReceiveTime()
		return err
	})
	if err == nil && at.IsZero() {
		return at, IndefiniteTime
	}
	return at, c.failed(err)
}

// SetRetryPolicy changes how the client connects again; see package ll.
func (c *Client) SetRetryPolicy(policy int, limit time.Duration) Result {
	return c.failed(c.call(true, func() error {
		if policy < 0 || policy > int(iothub.RetryRandom) {
			return errors.New("there is no such retry policy")
		}
		return c.ll.SetRetryPolicy(iothub.RetryStrategy(policy), limit)
	}))
}

// RetryPolicy returns how the client connects again.
func (c *Client) RetryPolicy() (policy int, limit time.Duration, r Result) {
	err := c.call(true, func() error {
		p, l, err := c.ll.RetryPolicy()
		policy, limit = int(p), l
		return err
	})
	return policy, limit, c.failed(err)
}

// SetStatusCallback sets who is told of changes of the connection.
func (c *Client) SetStatusCallback(cb Callback) Result {
	return c.failed(c.call(true, func() error {
		c.status = cb
		return nil
	}))
}

// statusChanged is called inside the lock, as all callbacks of ll are.
func (c *Client) statusChanged(e iothub.ConnectionEvent) {
	if c.status.Func != 0 {
		c.records = append(c.records, Record{Kind: RecordStatus, Result: int32(e.Status), Reason: int32(e.Reason), Callback: c.status})
	}
}
