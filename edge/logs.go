package edge

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge/internal/supervisor"
)

const (
	// maxLogs bounds what is in one answer, as JSON.
	maxLogs = iothub.MaxMethodPayload - 1024
	// around is what stands around the logs of one module, its name included.
	around = 256
)

// logsRequest is the payload of GetModuleLogs (IoT Edge, retrieve logs).
type logsRequest struct {
	Items []struct {
		ID     string // a regular expression for names of modules
		Filter logsFilter
	}
	Encoding    string // none, gzip
	ContentType string // text, json
}

type logsFilter struct {
	Tail         *int
	Since, Until json.RawMessage // a time, seconds since 1970, or how long ago: "15m"
	Regex        string
}

// logs is the answer for one module.
type logs struct {
	ID           string  `json:"id"`
	Payload      *string `json:"payload"`
	PayloadBytes []byte  `json:"payloadBytes"`
}

func (a *agent) moduleLogs(payload []byte) (int, any) {
	var q logsRequest
	if err := json.Unmarshal(payload, &q); err != nil || len(q.Items) == 0 {
		return 400, problem{`the payload has to be {"schemaVersion":"1.0","items":[{"id":"a regular expression","filter":{"tail":100}}]}`}
	}
	if !slices.Contains([]string{"", "none", "gzip"}, q.Encoding) || !slices.Contains([]string{"", "text", "json"}, q.ContentType) {
		return 400, problem{"encoding has to be none or gzip, contentType text or json"}
	}
	all := []logs{}
	room := maxLogs
	for _, item := range q.Items {
		names, err := regexp.Compile("^(?:" + item.ID + ")$")
		if err != nil {
			return 400, problem{fmt.Sprintf("the id %.100q is no regular expression: %v", item.ID, err)}
		}
		f, err := item.Filter.parse(time.Now())
		if err != nil {
			return 400, problem{err.Error()}
		}
		for _, m := range a.rt.modules {
			if !names.MatchString(m.Name) {
				continue
			}
			if room -= around; room < 0 {
				return 400, problem{"that is more than one answer holds: ask for fewer modules"}
			}
			var text string
			text, room = f.apply(m.log.Lines(), func(l supervisor.Line) string { return a.format(m.Name, l, q.ContentType) }, room)
			all = append(all, encode(m.Name, text, q.Encoding))
		}
	}
	if len(all) == 0 {
		return 404, problem{"no module has such a name"}
	}
	return 200, all
}

func encode(name, text, encoding string) logs {
	if encoding != "gzip" {
		return logs{ID: name, Payload: &text}
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a buffer takes everything
	_ = w.Close()
	return logs{ID: name, PayloadBytes: b.Bytes()}
}

// format makes a line one of the answer.
func (a *agent) format(name string, l supervisor.Line, contentType string) string {
	if contentType != "json" {
		return l.Text + "\n"
	}
	stream := "stdout"
	if l.Error {
		stream = "stderr"
	}
	text, _ := json.Marshal(map[string]any{ // strings always encode
		"iothub": a.rt.device.HostName, "device": a.rt.device.DeviceID, "id": name, "stream": stream,
		"timestamp": l.At.UTC().Format(time.RFC3339Nano), "text": l.Text,
	})
	return string(text) + "\n"
}

// filter is a parsed logsFilter.
type filter struct {
	tail         int // negative for all
	since, until time.Time
	regex        *regexp.Regexp
}

func (f *logsFilter) parse(now time.Time) (p filter, err error) {
	if p.tail = -1; f.Tail != nil {
		p.tail = max(*f.Tail, 0)
	}
	if p.since, err = moment(f.Since, now); err != nil {
		return p, fmt.Errorf("since: %w", err)
	}
	if p.until, err = moment(f.Until, now); err != nil {
		return p, fmt.Errorf("until: %w", err)
	}
	if p.regex, err = regexp.Compile(f.Regex); err != nil {
		return p, fmt.Errorf("regex %.100q is no regular expression: %w", f.Regex, err)
	}
	return p, nil
}

// apply takes the last lines that the filter lets through and that there is room for
// in an answer. It returns the room that is left.
func (p *filter) apply(lines []supervisor.Line, format func(supervisor.Line) string, room int) (string, int) {
	var kept []string
	for _, l := range slices.Backward(lines) {
		if p.tail >= 0 && len(kept) == p.tail {
			break
		}
		if l.At.Before(p.since) || !p.until.IsZero() && l.At.After(p.until) || !p.regex.MatchString(l.Text) {
			continue
		}
		text := format(l)
		escaped, _ := json.Marshal(text)       // a string always encodes
		size := max(len(escaped), 2*len(text)) // what does not compress grows in base64
		if size > room {
			break
		}
		room -= size
		kept = append(kept, text)
	}
	slices.Reverse(kept)
	return strings.Join(kept, ""), room
}

// moment reads a time in one of the forms of IoT Edge; none is the zero time.
func moment(raw json.RawMessage, now time.Time) (time.Time, error) {
	text := strings.Trim(string(raw), `"`)
	if text == "" || text == "null" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	ago := text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(strings.TrimSpace(days)); err == nil && n >= 0 && n < 36500 {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(strings.ReplaceAll(ago, " ", "")); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%.40q is no time: use 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, such as 15m, 2h or 3d", text)
}
