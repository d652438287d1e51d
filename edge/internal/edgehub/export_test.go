package edgehub

import (
	"encoding/json"
	"time"

	"github.com/iothub-go/iothub"
)

// SetPatience sets how long an identity may hold others up, and how often it is
// tried again afterwards.
func SetPatience(o *Options, stall, unpark time.Duration) { o.stall, o.unpark = stall, unpark }

// DecodeScope is for the fuzz target.
func DecodeScope(body []byte) (ids []iothub.Identity, err error) {
	s, err := decodeScope(body)
	if err != nil {
		return nil, err
	}
	for _, id := range s.identities() {
		ids = append(ids, iothub.Identity{DeviceID: id.DeviceID, ModuleID: id.ModuleID})
	}
	return ids, nil
}

// DesiredRoutes are the routes of desired properties.
func DesiredRoutes(text []byte) ([]string, error) {
	var d desired
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	return d.routes()
}
