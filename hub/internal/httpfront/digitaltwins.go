package httpfront

import (
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func getDigitalTwin(q *request) error {
	body, etag, err := q.front.hub.DigitalTwin(q.path[1])
	if err != nil {
		return err
	}
	q.w.Header().Set("ETag", `"`+etag+`"`)
	return q.replyJSON(http.StatusOK, body)
}

// patchDigitalTwin answers 202: what the device makes of it shows later.
func patchDigitalTwin(q *request) error {
	patch, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	etag, err := q.front.hub.PatchDigitalTwin(q.r.Context(), q.path[1], patch, q.etagOrAny())
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("ETag", `"`+etag+`"`)
	h.Set("Location", "https://"+q.r.Host+"/digitaltwins/"+url.PathEscape(q.path[1])+"?"+url.Values{"api-version": {q.query.Get("api-version")}}.Encode())
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

// invokeCommand calls digitaltwins/{id}/commands/{name} or
// digitaltwins/{id}/components/{component}/commands/{name}. On the device it is
// a direct method, whose status is in a header of the answer.
func invokeCommand(q *request) error {
	payload, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	call := core.MethodCall{Name: q.path[len(q.path)-1], Payload: payload}
	if len(q.path) > 4 {
		call.Name = q.path[3] + "*" + call.Name
	}
	response, there, err := q.number("responseTimeoutInSeconds")
	if err == nil && there {
		if response == 0 { // which would be the default
			return core.NewError(core.CodeArgumentInvalid, "responseTimeoutInSeconds is 0, allowed are 5 to 300")
		}
		call.ResponseTimeout, err = seconds("responseTimeoutInSeconds", response)
	}
	if err != nil {
		return err
	}
	connect, _, err := q.number("connectTimeoutInSeconds")
	if err == nil {
		call.ConnectTimeout, err = seconds("connectTimeoutInSeconds", connect)
	}
	if err != nil {
		return err
	}
	result, err := q.front.hub.InvokeMethod(q.r.Context(), q.path[1], "", call)
	if err != nil {
		return err
	}
	q.w.Header().Set("x-ms-command-statuscode", strconv.Itoa(result.Status))
	return q.replyJSON(http.StatusOK, orNull(result.Payload))
}

// number is a parameter of the query that is a number.
func (q *request) number(name string) (n float64, there bool, err error) {
	text := q.query.Get(name)
	if text == "" {
		return 0, false, nil
	}
	if n, err = strconv.ParseFloat(text, 64); err != nil || math.IsNaN(n) {
		return 0, true, core.NewError(core.CodeArgumentInvalid, "%s is %.40q, it has to be a number", name, text)
	}
	return n, true, nil
}
