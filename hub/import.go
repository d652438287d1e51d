package hub

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// ImportMode says what is done to an identity that is imported.
type ImportMode string

// The import modes.
const (
	ImportCreateOrUpdate ImportMode = "createOrUpdate" // the default
	ImportCreate         ImportMode = "create"         // an error when it is there
	ImportUpdate         ImportMode = "update"         // an error when it is not
	ImportDelete         ImportMode = "delete"
	ImportUpdateTwin     ImportMode = "updateTwin" // leaves the identity alone
)

// ImportItem is one identity of many that [Server.Import] takes.
type ImportItem struct {
	// Identity names it. Without keys and thumbprints a new one gets generated keys,
	// and one that is there keeps what it has.
	Identity Identity
	// Mode is what is done; empty is ImportCreateOrUpdate.
	Mode ImportMode
	// ETag, unless it is empty or "*", has to be that of the identity, or, with
	// ImportUpdateTwin, that of the twin. It is not for ImportCreate.
	ETag string
	// IoTEdge says of a device that it is an IoT Edge device.
	IoTEdge bool
	// Tags and Desired are JSON objects that are merged into the twin; nil leaves
	// the half alone.
	Tags    json.RawMessage
	Desired json.RawMessage
}

// ImportError is the error of an import of which something failed. The rest was
// done.
type ImportError struct {
	// Total is how many items there were.
	Total int
	// Failed are those that failed, in their order.
	Failed []ImportFailure
}

// ImportFailure says why one item failed.
type ImportFailure struct {
	// Index is its place in the list, Identity what it was about, without keys.
	Index    int
	Identity string
	// Err is an [iothub.Error], or the error of the context for an item that was
	// not begun.
	Err error
}

// Error counts the failures and shows the first.
func (e *ImportError) Error() string {
	if len(e.Failed) == 0 {
		return fmt.Sprintf("hub: import: not all of %d were done", e.Total)
	}
	return fmt.Sprintf("hub: import: %d of %d failed, first %s: %v", len(e.Failed), e.Total, e.Failed[0].Identity, e.Failed[0].Err)
}

// Unwrap returns the errors of the items, for errors.Is and errors.As.
func (e *ImportError) Unwrap() []error {
	var errs []error
	for _, f := range e.Failed {
		errs = append(errs, f.Err)
	}
	return errs
}

// Import makes, changes or deletes many identities, as POST /devices and import jobs
// do, several at once, but all about one device in their order: a device goes before
// its modules. It returns when all is durable. The error is an *[ImportError] when
// some failed; the others were done. When ctx ends, what has begun may be done or
// not.
func (s *Server) Import(ctx context.Context, items []ImportItem) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	list := make([]core.ImportIdentity, len(items))
	errs := make([]error, len(items))
	var places []int // of those that are worth a try, in list
	n := 0
	for i := range items {
		if list[n], errs[i] = items[i].core(); errs[i] == nil {
			places = append(places, i)
			n++
		}
	}
	for i, err := range s.hub.ImportAll(ctx, list[:n]) {
		errs[places[i]] = err
	}
	failed := &ImportError{Total: len(items)}
	for i, err := range errs {
		if err != nil {
			failed.Failed = append(failed.Failed, ImportFailure{i, items[i].Identity.String(), s.contextFailed(ctx, "import", err)})
		}
	}
	if len(failed.Failed) > 0 {
		return failed
	}
	return nil
}

// core gives the item as package core knows it.
func (i *ImportItem) core() (core.ImportIdentity, error) {
	c := core.ImportIdentity{ID: i.Identity.DeviceID, ModuleID: i.Identity.ModuleID, ImportMode: string(i.Mode), Tags: i.Tags}
	if i.Desired != nil {
		c.Properties = &core.ImportProperties{Desired: i.Desired}
	}
	if auth := i.Identity.authentication(); auth.Type != core.AuthNone {
		c.Authentication = &auth
	}
	if i.Identity.ModuleID == "" {
		c.Status = core.StatusEnabled
		if i.Identity.Disabled {
			c.Status = core.StatusDisabled
		}
		c.Capabilities = &core.Capabilities{IoTEdge: i.IoTEdge}
	}
	if i.ETag == "" || i.ETag == core.AnyETag {
		return c, nil
	}
	if i.Mode == ImportCreate {
		return c, core.NewError(core.CodeArgumentInvalid, "an ETag is not for the mode %s: there is nothing yet that could have it", i.Mode)
	}
	if i.Mode == "" {
		c.ImportMode = string(ImportCreateOrUpdate)
	}
	c.ImportMode += "IfMatchETag"
	c.ETag, c.TwinETag = i.ETag, i.ETag
	return c, nil
}
