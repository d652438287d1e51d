package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/mqtt"
)

// goodbye bounds how long the last report may take.
const goodbye = 2 * time.Second

// agent is the module $edgeAgent: it reports on the modules and takes calls of its
// methods (wire-device G.7). It speaks to the hub upstream itself, as that of IoT Edge
// does.
type agent struct {
	rt     *Runtime
	client *module.Client
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	version int64 // of the desired properties
	desired bool  // they have modules
	online  bool
}

func newAgent(rt *Runtime, o *iothub.ClientOptions) (*agent, error) {
	a := &agent{rt: rt}
	own := *o
	own.Logger, own.OnConnectionStatus = rt.opts.Logger, a.connected
	cs := fmt.Sprintf("HostName=%s;DeviceId=%s;ModuleId=%s;SharedAccessKey=%s",
		rt.device.HostName, rt.device.DeviceID, edgeAgent, base64Text(rt.known.Modules[edgeAgent].Key))
	c, err := module.NewClientFromConnectionString(cs, &own)
	if err != nil {
		return nil, err
	}
	a.client = c
	a.ctx, a.cancel = context.WithCancel(context.Background())
	for name, h := range map[string]func([]byte) (int, any){
		"ping": func([]byte) (int, any) { return 200, nil }, "RestartModule": a.restartModule, "GetModuleLogs": a.moduleLogs,
	} {
		c.HandleMethod(name, func(r *iothub.MethodRequest) *iothub.MethodResponse { return answer(h(r.Payload)) })
	}
	if err := c.HandleDesired(a.told); err != nil {
		return nil, err
	}
	a.wg.Go(a.report)
	return a, nil
}

func (a *agent) close() {
	a.cancel()
	a.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	a.mu.Lock()
	online := a.online
	a.mu.Unlock()
	if online {
		_, _ = a.client.UpdateReported(ctx, a.state(nil)) // the hub upstream may have gone
	} else {
		cancel() // nobody to say goodbye to
	}
	_ = a.client.Close(ctx)
}

func (a *agent) connected(e iothub.ConnectionEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.online = e.Status == iothub.Authenticated
}

func answer(status int, body any) *iothub.MethodResponse {
	if body == nil {
		return &iothub.MethodResponse{Status: status}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return &iothub.MethodResponse{Status: 500}
	}
	return &iothub.MethodResponse{Status: status, Payload: text}
}

// problem is the answer to a call that cannot be carried out.
type problem struct {
	Message string `json:"message"`
}

// told takes the desired properties, a deployment: there are no containers here, so all
// that comes of it is an answer in the reported properties.
func (a *agent) told(c *iothub.DesiredChange) {
	var patch struct {
		Modules map[string]json.RawMessage `json:"modules"`
	}
	err := json.Unmarshal(c.Patch, &patch)
	a.mu.Lock()
	a.version = c.Version
	a.desired = a.desired && !c.Complete || err == nil && len(patch.Modules) > 0
	a.mu.Unlock()
	a.rt.changed()
}

// report tells the hub upstream what the modules are doing, as often as that changes
// and the hub upstream takes it.
func (a *agent) report() {
	a.client.Open()
	twin, err := a.client.Twin(a.ctx) // what an earlier run has left there
	for gone := a.gone(twin); err == nil; gone = nil {
		if _, err := a.client.UpdateReported(a.ctx, a.state(gone)); err != nil && a.ctx.Err() == nil {
			a.rt.opts.Logger.Warn("the modules cannot be reported", "error", err)
		}
		select {
		case <-a.rt.wake:
		case <-a.ctx.Done():
			return
		}
	}
	if a.ctx.Err() == nil {
		a.rt.opts.Logger.Warn("the modules cannot be reported", "error", err)
	}
}

// gone returns the modules that were reported and are not there any more.
func (a *agent) gone(twin *iothub.Twin) []string {
	var was struct {
		Modules map[string]json.RawMessage `json:"modules"`
	}
	if twin == nil || json.Unmarshal(twin.Reported.Values, &was) != nil {
		return nil
	}
	for _, m := range a.rt.modules {
		delete(was.Modules, m.Name)
	}
	var names []string
	for name := range was.Modules {
		names = append(names, name)
	}
	return names
}

// state is all that is reported.
func (a *agent) state(gone []string) map[string]any {
	a.mu.Lock()
	version, desired := a.version, a.desired
	a.mu.Unlock()
	status := map[string]any{"code": 417, "description": "there is no deployment; the modules are those of the command line"}
	if desired {
		status = map[string]any{"code": 400, "description": "this local runtime carries out no deployments; the modules are those of the command line"}
	}
	modules := map[string]any{}
	for _, name := range gone {
		modules[name] = nil
	}
	for _, s := range a.rt.Status() {
		modules[s.Name] = map[string]any{
			"type": "process", "status": "running", "runtimeStatus": s.State, "statusDescription": s.Problem, "exitCode": s.ExitCode,
			"startTimeUtc": stamp(s.Started), "lastExitTimeUtc": stamp(s.Exited), "restartCount": s.Restarts,
			"lastRestartTimeUtc": stamp(restarted(&s)),
		}
	}
	up := map[string]any{"type": "process", "runtimeStatus": "running", "statusDescription": "", "exitCode": 0}
	return map[string]any{
		"schemaVersion": "1.1", "version": map[string]any{"version": mqtt.Version},
		"lastDesiredVersion": version, "lastDesiredStatus": status,
		"runtime":       map[string]any{"type": "process", "platform": map[string]any{"os": runtime.GOOS, "architecture": runtime.GOARCH}},
		"systemModules": map[string]any{"edgeAgent": up, "edgeHub": up},
		"modules":       modules,
	}
}

func restarted(s *ModuleStatus) time.Time {
	if s.Restarts == 0 {
		return time.Time{}
	}
	return s.Started
}

// stamp is a time as IoT Edge reports it; null deletes.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

func (a *agent) restartModule(payload []byte) (int, any) {
	var b struct{ ID string }
	if err := json.Unmarshal(payload, &b); err != nil || b.ID == "" {
		return 400, problem{`the payload has to be {"schemaVersion":"1.0","id":"the module"}`}
	}
	if !a.rt.Restart(b.ID) {
		return 404, problem{fmt.Sprintf("there is no module %.130q here", b.ID)}
	}
	return 200, nil
}
