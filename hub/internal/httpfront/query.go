package httpfront

import (
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// The headers of pages. Some clients know their names in this case only.
const (
	headerMaxItems     = "x-ms-max-item-count"
	headerContinuation = "x-ms-continuation"
	headerItemType     = "x-ms-item-type"
)

// page is what a request asks of a list: how much, and from where on.
func (q *request) page() (size int, continuation string, err error) {
	continuation = q.r.Header.Get(headerContinuation)
	text := q.r.Header.Get(headerMaxItems)
	if text == "" {
		text = q.query.Get("pageSize")
	}
	if text == "" || text == "-1" { // which some clients mean by nothing
		return 0, continuation, nil
	}
	size, err = strconv.Atoi(text)
	if err != nil || size < 1 {
		return 0, "", core.NewError(core.CodeArgumentInvalid, "%s is %q, allowed are 1 to 1000", headerMaxItems, text)
	}
	return min(size, 1000), continuation, nil
}

// paged says what kind of rows an answer has and where the next ones are. Without
// more there is no header: some clients take an empty one for more.
func (q *request) paged(itemType, continuation string) {
	q.w.Header()[headerItemType] = []string{itemType}
	if continuation != "" {
		q.w.Header()[headerContinuation] = []string{continuation}
	}
}

func queryDevices(q *request) error {
	var b struct{ Query string }
	if err := q.body(&b); err != nil {
		return err
	}
	size, continuation, err := q.page()
	if err != nil {
		return err
	}
	page, err := q.front.hub.Query(q.r.Context(), b.Query, size, continuation)
	if err != nil {
		return err
	}
	q.paged(page.ItemType, page.Continuation)
	return q.reply("", page.Rows)
}

func createScheduledJob(q *request) error {
	var j core.ScheduledJob
	if err := q.body(&j); err != nil {
		return err
	}
	if err := sameID("jobId", q.path[2], &j.JobID); err != nil {
		return err
	}
	j, err := q.front.hub.CreateJob(q.r.Context(), j)
	if err != nil {
		return err
	}
	return q.reply("", j)
}

func getScheduledJob(q *request) error {
	j, err := q.front.hub.Job(q.path[2])
	if err != nil {
		return err
	}
	return q.reply("", j)
}

func cancelScheduledJob(q *request) error {
	j, err := q.front.hub.CancelJob(q.r.Context(), q.path[2])
	if err != nil {
		return err
	}
	return q.reply("", j)
}

func queryScheduledJobs(q *request) error {
	size, continuation, err := q.page()
	if err != nil {
		return err
	}
	list, next, err := q.front.hub.Jobs(q.parameter("jobType"), q.parameter("jobStatus"), size, continuation)
	if err != nil {
		return err
	}
	q.paged(core.ItemJob, next)
	return q.reply("", list)
}

// parameter is a parameter of the query whatever the case of its name.
func (q *request) parameter(name string) string {
	for n, values := range q.query {
		if strings.EqualFold(n, name) {
			return values[0]
		}
	}
	return ""
}
