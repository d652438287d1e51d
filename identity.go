package iothub

import "strings"

// Identity names a device, or a module of a device.
type Identity struct {
	// DeviceID is case-sensitive, 1 to 128 ASCII letters, digits and
	// -:.+%_#*?!(),=@$'.
	DeviceID string
	// ModuleID follows the same rules; it is empty for a device.
	ModuleID string
}

// IsModule reports whether id names a module.
func (id Identity) IsModule() bool { return id.ModuleID != "" }

// String returns "device" or "device/module".
func (id Identity) String() string {
	if id.ModuleID == "" {
		return id.DeviceID
	}
	return id.DeviceID + "/" + id.ModuleID
}

// Validate reports which part of id breaks IoT Hub's rules, as an *[Error] of
// kind [KindInvalidArgument].
func (id Identity) Validate() error {
	if err := validateName("DeviceId", id.DeviceID); err != nil {
		return err
	}
	if id.ModuleID != "" {
		return validateName("ModuleId", id.ModuleID)
	}
	return nil
}

func validateName(what, s string) error {
	if s == "" {
		return invalid("%s is empty", what)
	}
	if len(s) > 128 {
		return invalid("%s has %d characters, the limit is 128", what, len(s))
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !idRune(r) }); i >= 0 {
		// Not the whole: what runs into an id may be a secret.
		return invalid("%s has %q at byte %d, which IoT Hub does not take: use ASCII letters, digits and -:.+%%_#*?!(),=@$'", what, s[i], i)
	}
	return nil
}

// Resource returns the resource that a token for id is signed for:
// "{host}/devices/{device}" or "{host}/devices/{device}/modules/{module}",
// ids percent-encoded (IoT Hub SAS guide).
func (id Identity) Resource(hostName string) string {
	r := hostName + "/devices/" + escape(id.DeviceID)
	if id.ModuleID != "" {
		r += "/modules/" + escape(id.ModuleID)
	}
	return r
}
