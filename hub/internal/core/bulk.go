package core

import (
	"context"
	"encoding/json"
	"strings"
)

// MaxBulk is how many identities one bulk operation, or one regeneration of keys,
// may name.
const MaxBulk = 100

// ImportIdentity is one identity of a bulk operation or of an import, and one
// line of an export (wire-service B3.1). What is left out keeps its value in an
// update and gets its default in a creation.
type ImportIdentity struct {
	ID       string `json:"id"`
	ModuleID string `json:"moduleId,omitempty"`
	ETag     string `json:"eTag,omitempty"`
	// ImportMode says what to do, whatever its case: create, update,
	// updateIfMatchETag, createOrUpdate (the default), createOrUpdateIfMatchETag,
	// delete, deleteIfMatchETag, updateTwin or updateTwinIfMatchETag.
	ImportMode     string          `json:"importMode,omitempty"`
	Status         string          `json:"status,omitempty"`
	StatusReason   *string         `json:"statusReason,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	ManagedBy      string          `json:"managedBy,omitempty"`
	// TwinETag, Tags and Properties are about the twin. Tags and desired
	// properties are merged into it; reported ones are the device's and ignored.
	TwinETag     string            `json:"twinETag,omitempty"`
	Tags         json.RawMessage   `json:"tags,omitempty"`
	Properties   *ImportProperties `json:"properties,omitempty"`
	Capabilities *Capabilities     `json:"capabilities,omitempty"`
	DeviceScope  string            `json:"deviceScope,omitempty"`
	ParentScopes []string          `json:"parentScopes,omitempty"`
}

// ImportProperties are the properties of a twin in an [ImportIdentity].
type ImportProperties struct {
	Desired  json.RawMessage `json:"desired,omitempty"`
	Reported json.RawMessage `json:"reported,omitempty"`
}

// String names the identity; the keys stay out of it.
func (i ImportIdentity) String() string { return identityKey{i.ID, i.ModuleID}.String() }

// GoString is String.
func (i ImportIdentity) GoString() string { return "core.ImportIdentity{" + i.String() + "}" }

// importMode is what a mode means.
type importMode struct {
	name                   string
	create, update, delete bool
	twinOnly               bool
	ifMatch                bool
}

var importModes = []importMode{
	{name: "createOrUpdate", create: true, update: true},
	{name: "create", create: true},
	{name: "update", update: true},
	{name: "updateIfMatchETag", update: true, ifMatch: true},
	{name: "createOrUpdateIfMatchETag", create: true, update: true, ifMatch: true},
	{name: "delete", delete: true},
	{name: "deleteIfMatchETag", delete: true, ifMatch: true},
	{name: "updateTwin", twinOnly: true},
	{name: "updateTwinIfMatchETag", twinOnly: true, ifMatch: true},
}

func importModeOf(text string) (importMode, error) {
	if text == "" {
		return importModes[0], nil
	}
	for _, m := range importModes {
		if strings.EqualFold(m.name, text) {
			return m, nil
		}
	}
	return importMode{}, NewError(CodeArgumentInvalid, "importMode is %.40q, which is none of IoT Hub's", text)
}

// Import does to one identity what its ImportMode says. The twin is checked
// before the identity is touched; a failure in between leaves the identity
// changed and its twin not. Errors are those of the operations on devices,
// modules and twins that it stands for.
func (h *Hub) Import(ctx context.Context, i ImportIdentity) error {
	mode, err := importModeOf(i.ImportMode)
	if err != nil {
		return err
	}
	etag := AnyETag
	if mode.ifMatch {
		if etag = unquoteETag(i.ETag); mode.twinOnly {
			etag = unquoteETag(i.TwinETag)
		}
		if etag == "" {
			return NewError(CodeArgumentNull, "importMode %s needs an ETag", mode.name)
		}
	}
	if mode.delete {
		if i.ModuleID != "" {
			return h.DeleteModule(ctx, i.ID, i.ModuleID, etag)
		}
		return h.DeleteDevice(ctx, i.ID, etag)
	}
	patch, err := i.twinPatch()
	if err != nil {
		return err
	}
	if mode.twinOnly {
		_, err := h.UpdateTwin(ctx, i.ID, i.ModuleID, patch, etag)
		return err
	}
	if patch != nil {
		if _, err := parseTwinUpdate(identityKey{i.ID, i.ModuleID}, patch, false); err != nil {
			return err
		}
	}
	if err := h.importIdentity(ctx, &i, mode, etag); err != nil || patch == nil {
		return err
	}
	_, err = h.UpdateTwin(ctx, i.ID, i.ModuleID, patch, AnyETag)
	return err
}

// ImportAll does what [Hub.Import] does to many identities, several at once, and all
// about one device in order. It returns an error, or nil, for each. When ctx ends,
// those that were not begun have its error.
func (h *Hub) ImportAll(ctx context.Context, list []ImportIdentity) []error {
	errs := make([]error, len(list))
	crew := newImportCrew()
	for i, identity := range list {
		crew.do(identity.ID, func() {
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = h.Import(ctx, identity)
			}
		})
	}
	crew.wait()
	return errs
}

// importIdentity creates or updates, whichever the mode allows and there is to do.
func (h *Hub) importIdentity(ctx context.Context, i *ImportIdentity, mode importMode, etag string) error {
	d := Device{
		DeviceID: i.ID, Status: i.Status, StatusReason: i.StatusReason,
		DeviceScope: i.DeviceScope, ParentScopes: i.ParentScopes,
	}
	if i.Capabilities != nil {
		d.Capabilities = *i.Capabilities
	}
	m := Module{DeviceID: i.ID, ModuleID: i.ModuleID, ManagedBy: i.ManagedBy}
	if i.Authentication != nil {
		d.Authentication, m.Authentication = *i.Authentication, *i.Authentication
	}
	update := func() (err error) {
		if i.ModuleID != "" {
			_, err = h.UpdateModule(ctx, m, etag)
		} else {
			_, err = h.UpdateDevice(ctx, d, etag)
		}
		return err
	}
	create := func() (err error) {
		if i.ModuleID != "" {
			_, err = h.CreateModule(ctx, m)
		} else {
			_, err = h.CreateDevice(ctx, d)
		}
		return err
	}
	if !mode.create {
		return update()
	}
	if mode.update {
		if _, err := h.generationFor(identityKey{i.ID, i.ModuleID}); err == nil {
			return update()
		}
	}
	return create()
}

// twinPatch is what an identity says about its twin, nil for nothing.
func (i *ImportIdentity) twinPatch() ([]byte, error) {
	type properties struct {
		Desired json.RawMessage `json:"desired"`
	}
	patch := struct {
		Tags       json.RawMessage `json:"tags,omitempty"`
		Properties *properties     `json:"properties,omitempty"`
	}{}
	if said(i.Tags) {
		patch.Tags = i.Tags
	}
	if i.Properties != nil && said(i.Properties.Desired) {
		patch.Properties = &properties{i.Properties.Desired}
	}
	mode, err := importModeOf(i.ImportMode)
	if err != nil || patch.Tags == nil && patch.Properties == nil && !mode.twinOnly {
		return nil, err
	}
	return json.Marshal(patch)
}

// said tells a value from null, which SDKs write for what was not set.
func said(v json.RawMessage) bool { return len(v) > 0 && string(v) != "null" }

// unquoteETag takes the quotes off that clients leave around an ETag.
func unquoteETag(etag string) string {
	if n := len(etag); n >= 2 && etag[0] == '"' && etag[n-1] == '"' {
		return etag[1 : n-1]
	}
	return etag
}

// WhichKeys says which keys are to be made anew.
type WhichKeys struct{ Primary, Secondary bool }

// RegenerateKeys gives an identity new keys and returns both that it then has.
// Connections that used the old ones are dropped. Errors are *Error: 404001,
// 404010, and 400004 when the identity does not authenticate with keys.
func (h *Hub) RegenerateKeys(ctx context.Context, deviceID, moduleID string, which WhichKeys) (SymmetricKey, error) {
	var keys SymmetricKey
	_, err := h.change(ctx, deviceID, "regenerate keys", func(doc *deviceDoc) error {
		auth, version := &doc.Auth, &doc.Version
		if moduleID != "" {
			m := doc.module(moduleID)
			if m == nil {
				return moduleNotFound(deviceID, moduleID)
			}
			auth, version = &m.Auth, &m.Version
		}
		if auth.Type != AuthSAS {
			return NewError(CodeArgumentInvalid, "%s authenticates by %s, not by symmetric keys",
				identityKey{deviceID, moduleID}, auth.Type)
		}
		if which.Primary {
			auth.SymmetricKey.PrimaryKey = NullString(newKey())
		}
		if which.Secondary {
			auth.SymmetricKey.SecondaryKey = NullString(newKey())
		}
		*version++
		keys = auth.SymmetricKey
		return nil
	})
	return keys, err
}
