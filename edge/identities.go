package edge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/atomicfile"
	"github.com/iothub-go/iothub/internal/devicerest"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/internal/transport"
)

const (
	edgeAgent = "$edgeAgent"
	edgeHub   = "$edgeHub"

	// askTimeout bounds how long the hub upstream is waited for when it is known who
	// the modules are.
	askTimeout = 15 * time.Second
	maxAnswer  = 1 << 20
)

// identity is a module as the hub upstream has made it.
type identity struct {
	GenerationID string `json:"generationId"`
	Key          []byte `json:"key"`
	Secondary    []byte `json:"secondaryKey"`
}

// String hides the key.
func (i identity) String() string { return "generation " + i.GenerationID }

// GoString hides the key.
func (i identity) GoString() string { return i.String() }

// identities are those of the modules. They are kept, so that a device that starts
// without the hub upstream can work.
type identities struct {
	HostName string              `json:"hostName"`
	DeviceID string              `json:"deviceId"`
	Secret   []byte              `json:"secret"` // of this daemon: what modules encrypt depends on it
	Modules  map[string]identity `json:"modules"`
}

func identitiesFile(dir string) string { return filepath.Join(dir, "identities.json") }

// loadIdentities reads what is kept, or begins anew. The folder of another device is
// refused.
func loadIdentities(dir string, cs *iothub.ConnectionString) (*identities, error) {
	k := &identities{HostName: cs.HostName, DeviceID: cs.DeviceID, Modules: map[string]identity{}}
	data, err := os.ReadFile(identitiesFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		k.Secret = make([]byte, 32)
		_, _ = rand.Read(k.Secret) // never fails (crypto/rand)
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	var kept identities
	if err = json.Unmarshal(data, &kept); err == nil && len(kept.Secret) == 0 {
		err = errors.New("it has no secret")
	}
	if err != nil {
		return nil, fmt.Errorf("edge: %s is damaged; without it modules are looked up again, but cannot decrypt what they have encrypted: %w", identitiesFile(dir), err)
	}
	if kept.DeviceID != cs.DeviceID {
		return nil, bad("the data folder %s is that of device %s, not of %s: choose another one", dir, kept.DeviceID, cs.DeviceID)
	}
	kept.HostName = cs.HostName
	if kept.Modules == nil {
		kept.Modules = map[string]identity{}
	}
	return &kept, nil
}

func (k *identities) save(dir string) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(identitiesFile(dir), data); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

// registry keeps the modules of the device at the hub upstream, with the credential
// of the device.
type registry struct {
	params *transport.Params
	port   int
}

// moduleBody is a module in the REST API, as far as it matters here.
type moduleBody struct {
	ModuleID       string          `json:"moduleId"`
	DeviceID       string          `json:"deviceId"`
	ManagedBy      string          `json:"managedBy,omitempty"`
	GenerationID   string          `json:"generationId,omitempty"`
	Authentication *authentication `json:"authentication,omitempty"`
}

type authentication struct {
	Type         string `json:"type"`
	SymmetricKey struct {
		PrimaryKey   []byte `json:"primaryKey"`
		SecondaryKey []byte `json:"secondaryKey"`
	} `json:"symmetricKey"`
}

// ensure returns a module, made if it is missing and no system module.
func (g *registry) ensure(ctx context.Context, name string) (identity, error) {
	i, err := g.call(ctx, http.MethodGet, name, nil)
	if iothub.KindOf(err) == iothub.KindNotFound && name != edgeAgent && name != edgeHub {
		i, err = g.call(ctx, http.MethodPut, name, &moduleBody{ModuleID: name, DeviceID: g.params.Identity.DeviceID, ManagedBy: "IotEdge"})
	}
	if err != nil && (name == edgeAgent || name == edgeHub) && (iothub.KindOf(err) == iothub.KindNotFound || iothub.KindOf(err) == iothub.KindUnauthorized) {
		return i, fmt.Errorf("%w; is %s an IoT Edge device? One is made by: iothub device create %[2]s --edge", err, g.params.Identity.DeviceID)
	}
	return i, err
}

func (g *registry) call(ctx context.Context, method, name string, body *moduleBody) (identity, error) {
	op := "module " + name
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return identity{}, err
		}
		r = bytes.NewReader(text)
	}
	u := "https://hub/devices/" + url.PathEscape(g.params.Identity.DeviceID) + "/modules/" + url.PathEscape(name) + "?api-version=" + devicerest.APIVersion
	req, err := http.NewRequestWithContext(ctx, method, u, r)
	if err != nil {
		return identity{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := devicerest.Do(ctx, op, g.params, g.params.HostName, g.port, req)
	if err != nil {
		return identity{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return identity{}, &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return identity{}, rest.Refused(op, resp, text)
	}
	return decodeModule(op, text)
}

func decodeModule(op string, text []byte) (identity, error) {
	var m moduleBody
	if err := json.Unmarshal(text, &m); err != nil {
		return identity{}, &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: err}
	}
	if m.Authentication == nil || m.Authentication.Type != "sas" || len(m.Authentication.SymmetricKey.PrimaryKey) == 0 || m.GenerationID == "" {
		return identity{}, &iothub.Error{Op: op, Kind: iothub.KindProtocol,
			Err: errors.New("the module has no symmetric key, which is what modules of IoT Edge authenticate with")}
	}
	return identity{m.GenerationID, m.Authentication.SymmetricKey.PrimaryKey, m.Authentication.SymmetricKey.SecondaryKey}, nil
}

// find brings the identities up to date. Without the hub upstream those that are
// known have to do.
func (k *identities) find(ctx context.Context, g *registry, names []string) (offline error, err error) {
	known := true
	for _, name := range names {
		_, ok := k.Modules[name]
		known = known && ok
	}
	if known {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	for _, name := range names {
		i, err := g.ensure(ctx, name)
		if err == nil {
			k.Modules[name] = i
			continue
		}
		if known && iothub.KindOf(err).Retryable() { // a wrong certificate is none that waiting helps
			return err, nil
		}
		return nil, err
	}
	return nil, nil
}
