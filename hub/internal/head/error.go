package head

import (
	"encoding/json"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// ErrorBody is an error as JSON, in the form in which devices get it over MQTT and
// AMQP, and everybody from the Device Provisioning Service. (wire-device F.3,
// wire-service G1)
func ErrorBody(e *core.Error, trackingID string, now time.Time) []byte {
	data, _ := json.Marshal(struct { // texts and a number always encode
		ErrorCode    int    `json:"errorCode"`
		TrackingID   string `json:"trackingId"`
		Message      string `json:"message"`
		TimestampUTC string `json:"timestampUtc"`
	}{e.Code, trackingID, e.Message, now.UTC().Format("2006-01-02T15:04:05.0000000Z")})
	return data
}
