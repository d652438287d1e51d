package ll

import (
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/setup"
)

// ModuleClient is the poll-driven client of a module: the counterpart of the C
// SDK's IoTHubModuleClient_LL handle. It belongs to one goroutine and must be
// destroyed.
type ModuleClient struct{ c *client }

// NewModuleClientFromConnectionString returns a client for the module that the
// connection string names. Nothing touches the network yet; errors are
// *iothub.Error of kind KindInvalidArgument and name what is wrong, never a
// secret. o may be nil.
func NewModuleClientFromConnectionString(connectionString string, o *ClientOptions) (*ModuleClient, error) {
	c, err := fromConnectionString(connectionString, setup.Module, o)
	if err != nil {
		return nil, err
	}
	return &ModuleClient{c}, nil
}

// NewModuleClientFromEnvironment returns a client for the module that IoT Edge has
// started this program as: see NewClientFromEnvironment of package module for the
// variables. The daemon is asked behind DoWork, never inside it. Nothing touches
// the network yet; errors are *iothub.Error of kind KindInvalidArgument and name
// every variable that is missing. o may be nil.
func NewModuleClientFromEnvironment(o *ClientOptions) (*ModuleClient, error) {
	s, err := setup.FromEnvironment(o)
	if err != nil {
		return nil, err
	}
	return &ModuleClient{newClient(s)}, nil
}

// Identity returns the module the client is for.
func (c *ModuleClient) Identity() iothub.Identity { return c.c.setup.Identity }

// SendEventAsync accepts a copy of msg to be sent by later calls of DoWork and
// returns at once. msg is the caller's again when it returns.
//
// If the returned error is nil, confirm, which may be nil, runs exactly once,
// inside DoWork or Destroy: with ConfirmOK when the hub has the message
// durably, with ConfirmMessageTimeout when ClientOptions.MessageTimeout or
// msg.ExpiryTime passed first, with ConfirmBecauseDestroy when the client was
// destroyed first, with ConfirmError when the retry policy gave up. In it
// every call is allowed but DoWork: sending the same message again to retry
// it, sending others, Destroy.
//
// If the returned error is not nil, nothing was kept and confirm never runs:
// iothub.ErrQueueFull, iothub.ErrClosed, iothub.ErrConcurrentUse, or an
// *iothub.Error that says what is wrong with msg (nil, larger than
// iothub.MaxMessageSize, a property that cannot be carried).
func (c *ModuleClient) SendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error {
	return c.c.sendEventAsync(msg, confirm)
}

// SendEventToOutputAsync is SendEventAsync through the module output named
// output, which IoT Edge routes select on. msg itself is not changed; its
// OutputName is ignored.
func (c *ModuleClient) SendEventToOutputAsync(output string, msg *iothub.Message, confirm iothub.ConfirmFunc) error {
	m, err := msg.ForOutput(output)
	if err != nil {
		return err
	}
	return c.c.sendEventAsync(m, confirm)
}

// DoWork does everything there is to do now, without blocking: it connects,
// reads, writes, renews, retries and runs the callbacks that are due. It
// returns when it wants to be called next unless Wakeup fires first. The error
// is iothub.ErrClosed after Destroy and iothub.ErrConcurrentUse on misuse;
// trouble with the connection is no error but retried and reported to
// ClientOptions.OnConnectionStatus.
func (c *ModuleClient) DoWork() (next time.Time, err error) { return c.c.doWork() }

// Wakeup returns a channel that receives when DoWork has something to do: bytes
// have arrived or left, a message was accepted, a dial has ended. It may be
// waited on from any goroutine.
func (c *ModuleClient) Wakeup() <-chan struct{} { return c.c.wakeup }

// SendStatus reports whether accepted messages are still unconfirmed.
func (c *ModuleClient) SendStatus() (SendStatus, error) { return c.c.sendStatus() }

// Stats returns the client's counters.
func (c *ModuleClient) Stats() (iothub.Stats, error) { return c.c.stats() }

// Destroy ends the client: messages in flight, then those waiting, confirm
// ConfirmBecauseDestroy inside this call, and the connection is closed. Nothing
// is flushed: call DoWork until SendStatus is SendIdle for that. Inside a
// callback it takes effect when the DoWork that runs it has called back what it
// has. It takes at most a second, and the time of the callbacks. Destroying
// twice is allowed; the error is iothub.ErrConcurrentUse or nil.
func (c *ModuleClient) Destroy() error { return c.c.destroy() }

// SetInputCallback sets the handler of the module input called name, or of all
// inputs without their own when name is empty; nil removes it. It runs inside
// DoWork. What it returns settles the message; DispositionLater keeps it for
// ReceivedMessage.Settle, on the goroutine that owns the client.
func (c *ModuleClient) SetInputCallback(name string, h iothub.MessageHandler) error {
	return c.c.setInput(name, h)
}

// SetMethodCallback sets the handler of the direct method called name, or of
// all methods without their own when name is empty; nil removes it. It runs
// inside DoWork; a nil answer is given later by MethodRequest.Respond, on the
// goroutine that owns the client. A panic, or 30 s without an answer, is
// answered with status 500.
func (c *ModuleClient) SetMethodCallback(name string, h iothub.MethodHandler) error {
	return c.c.setMethod(name, h)
}

// SetTwinCallback sets the handler of desired properties, which runs inside
// DoWork; nil removes it. It is told everything first, and then exactly what
// changes, across reconnects and, with ClientOptions.TwinStateFile, across
// processes: see the managed clients' HandleDesired.
func (c *ModuleClient) SetTwinCallback(h iothub.DesiredHandler) error { return c.c.setDesired(h) }

// GetTwinAsync reads the twin; done runs once, inside DoWork or Destroy.
func (c *ModuleClient) GetTwinAsync(done func(*iothub.Twin, error)) error { return c.c.getTwin(done) }

// SendReportedState changes reported properties by a JSON merge patch, given as
// for the managed clients' UpdateReported; done, which may be nil, runs once,
// inside DoWork or Destroy, with the new version.
func (c *ModuleClient) SendReportedState(patch any, done iothub.ReportedFunc) error {
	return c.c.report(patch, done)
}
