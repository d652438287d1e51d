package hub

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Gateway makes a server one that stands before another hub, as the hub of an IoT
// Edge device does: its clients dial it and name the other hub in their user names
// and tokens, it knows the identities that [Server.PutIdentity] tells it of, and
// keeps events until [Server.TrimEvents] lets go of them, whatever Retention is.
// Subscriptions that IoT Hub would refuse are let be.
//
// The functions tell what passes things on what has happened. They are called from
// many goroutines at once, and all are required.
type Gateway struct {
	// UpstreamHostName is the name of the hub behind.
	UpstreamHostName string
	// DeviceID is the device whose modules [Options.Routes] lead to, also what
	// other devices send.
	DeviceID string
	// Find is called when an identity is unknown, or shows what does not prove it.
	// It may wait for the hub behind, and reports whether it has changed anything,
	// so that it is worth looking again.
	Find func(deviceID, moduleID string) bool
	// Connection is called after an identity has connected or gone. Calls about one
	// identity may overtake each other: [Server.IsConnected] says what is true. It
	// must not block.
	Connection func(deviceID, moduleID string)
	// Reported is called after an identity has changed its reported properties. It
	// must not block.
	Reported func(deviceID, moduleID string)
	// Fresh is called before an identity reads its twin. It calls ready once, when
	// the twin is as new as it can be had, within seconds; it must not block.
	Fresh func(deviceID, moduleID string, ready func())
	// StoreLimit bounds the bytes of events that are kept. Beyond it nothing is
	// taken in: publishes wait for their acknowledgement, up to 30 s, after which
	// the connection is closed. Zero is no bound.
	StoreLimit int64
}

func (g *Gateway) validate() error {
	switch {
	case g == nil:
		return nil
	case g.Find == nil || g.Connection == nil || g.Reported == nil || g.Fresh == nil:
		return errors.New("hub: Options.Gateway: a function is nil, all are required")
	case g.StoreLimit < 0:
		return errors.New("hub: Options.Gateway.StoreLimit must be 0 or more")
	}
	return validateHostName("Gateway.UpstreamHostName", g.UpstreamHostName)
}

// core gives the gateway as package core knows it, nil for none.
func (g *Gateway) core() *core.Gateway {
	if g == nil {
		return nil
	}
	return &core.Gateway{DeviceID: g.DeviceID, Find: g.Find, Connection: g.Connection, Reported: g.Reported, Fresh: g.Fresh, StoreLimit: g.StoreLimit}
}

// PutIdentity makes a device or module as it is given: with these keys or
// thumbprints, in place of those it has. A module needs its device to be there,
// and Disabled is for devices only. Connections that it no longer lets in are
// closed.
func (s *Server) PutIdentity(ctx context.Context, id Identity) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	auth := id.authentication()
	i := core.ImportIdentity{ID: id.DeviceID, ModuleID: id.ModuleID, Authentication: &auth}
	if id.ModuleID == "" {
		i.Status = core.StatusEnabled
		if id.Disabled {
			i.Status = core.StatusDisabled
		}
	}
	if err := s.hub.Import(ctx, i); err != nil {
		return s.contextFailed(ctx, "put identity", err)
	}
	return nil
}

// DeleteIdentity removes a device with its modules, or a module. It is no error
// when there is none.
func (s *Server) DeleteIdentity(ctx context.Context, deviceID, moduleID string) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	var err error
	if moduleID == "" {
		err = s.hub.DeleteDevice(ctx, deviceID, core.AnyETag)
	} else {
		err = s.hub.DeleteModule(ctx, deviceID, moduleID, core.AnyETag)
	}
	if err == nil || errors.Is(err, &core.Error{Code: core.CodeDeviceNotFound}) || errors.Is(err, &core.Error{Code: core.CodeModuleNotFound}) {
		return nil
	}
	return s.contextFailed(ctx, "delete identity", err)
}

// Identities returns all devices and modules with their keys, sorted, each device
// before its modules.
func (s *Server) Identities() []Identity {
	var list []Identity
	s.hub.Identities(func(deviceID, moduleID string, a core.Authentication, enabled bool) bool {
		id := identityOf(deviceID, moduleID, a)
		id.Disabled = !enabled && moduleID == ""
		list = append(list, id)
		return true
	})
	slices.SortFunc(list, func(a, b Identity) int {
		if c := strings.Compare(a.DeviceID, b.DeviceID); c != 0 {
			return c
		}
		return strings.Compare(a.ModuleID, b.ModuleID)
	})
	return list
}

// ConnectedModel is the Plug and Play model that a connected identity has announced;
// "" when it has none, or is not connected.
func (s *Server) ConnectedModel(deviceID, moduleID string) string {
	return s.hub.ConnectedModel(deviceID, moduleID)
}

// HasIdentity reports whether there is a device, or a module when moduleID is not
// empty.
func (s *Server) HasIdentity(deviceID, moduleID string) bool {
	return s.hub.HasIdentity(deviceID, moduleID)
}

// IsConnected reports whether a device, or a module when moduleID is not empty, has
// a connection.
func (s *Server) IsConnected(deviceID, moduleID string) bool {
	return s.hub.IsConnected(deviceID, moduleID)
}

// MirroredTwin is the twin of an identity as the hub behind a gateway has it.
type MirroredTwin struct {
	// Desired are the desired properties, a JSON object, and DesiredVersion their
	// version there. Names that begin with '$' do not count.
	Desired        []byte
	DesiredVersion int64
	// Reported, unless it is nil, replaces the reported properties, which must not
	// have changed since ReportedVersion.
	Reported        []byte
	ReportedVersion int64
}

// MirrorTwin makes a twin that of the hub behind. A connected identity is told
// what is different in its desired properties, with the version given. The error
// is an [iothub.Error] with the code 412001 when the reported properties have
// changed since ReportedVersion.
func (s *Server) MirrorTwin(ctx context.Context, deviceID, moduleID string, t MirroredTwin) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	m := core.MirroredTwin{
		Desired: t.Desired, DesiredVersion: uint64(max(t.DesiredVersion, 1)),
		Reported: t.Reported, ReportedVersion: uint64(max(t.ReportedVersion, 0)),
	}
	if err := s.hub.MirrorTwin(ctx, deviceID, moduleID, m); err != nil {
		return s.contextFailed(ctx, "mirror twin", err)
	}
	return nil
}

// SetRoutes replaces Options.Routes. What modules send from then on goes by them.
func (s *Server) SetRoutes(routes []Route) error {
	parsed, err := parseRoutes(routes)
	if err != nil {
		return err
	}
	s.hub.SetRoutes(parsed)
	return nil
}

// TrimEvents lets go of the events of a partition up to the one of that offset.
// They go in pieces as they were stored. The newest stays, but does not count for
// Gateway.StoreLimit once it is let go of.
func (s *Server) TrimEvents(ctx context.Context, partition int, offset string) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	if err := s.hub.BuiltIn().Trim(ctx, partition, offset); err != nil {
		return s.contextFailed(ctx, "trim events", err)
	}
	return nil
}

// EventsKept is about how many bytes the events take that the built-in event hub
// keeps.
func (s *Server) EventsKept() int64 { return s.hub.BuiltIn().Kept() }

// Partitions is how many partitions the built-in event hub has.
func (s *Server) Partitions() int { return s.hub.Partitions() }
