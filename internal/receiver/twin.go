package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
)

// maxReport bounds a report in bytes; the hub's own limit, which leaves out
// some of the syntax, is 32 KiB.
const maxReport = 64 << 10

// Report checks what a user gave as a patch of the reported properties and
// returns it as JSON.
func Report(patch any) ([]byte, error) {
	var b []byte
	switch p := patch.(type) {
	case []byte:
		b = p
	case json.RawMessage:
		b = p
	case string:
		b = []byte(p)
	default:
		var err error
		if b, err = json.Marshal(patch); err != nil {
			return nil, badReport("%w", err)
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return nil, badReport("it is not a JSON object")
	}
	if len(b) > maxReport {
		return nil, badReport("it has %d bytes, the hub takes 32 KiB", len(b))
	}
	return bytes.Clone(b), nil
}

func badReport(format string, args ...any) error {
	return &iothub.Error{Op: "report properties", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// Twin decodes the answer to a read of the twin.
func Twin(r engine.Response) (*iothub.Twin, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	var body struct{ Desired, Reported map[string]any }
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, &iothub.Error{Op: "get twin", Kind: iothub.KindProtocol, Err: err}
	}
	t := &iothub.Twin{}
	for _, half := range []struct {
		from map[string]any
		to   *iothub.TwinProperties
	}{{body.Desired, &t.Desired}, {body.Reported, &t.Reported}} {
		if n, ok := half.from["$version"].(json.Number); ok {
			half.to.Version, _ = n.Int64()
		}
		delete(half.from, "$version")
		if half.from == nil {
			half.from = map[string]any{}
		}
		values, err := json.Marshal(half.from)
		if err != nil {
			return nil, err
		}
		half.to.Values = values
	}
	return t, nil
}
