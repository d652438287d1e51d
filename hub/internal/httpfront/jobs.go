package httpfront

import "github.com/iothub-go/iothub/hub/internal/core"

// createJob begins an import or an export.
func createJob(q *request) error {
	var body core.RegistryJob
	if err := q.body(&body); err != nil {
		return err
	}
	j, err := q.front.hub.CreateRegistryJob(q.r.Context(), body)
	if err != nil {
		return err
	}
	return q.reply("", j)
}

func listJobs(q *request) error { return q.reply("", q.front.hub.RegistryJobs()) }

func getJob(q *request) error {
	j, err := q.front.hub.RegistryJob(q.path[1])
	if err != nil {
		return err
	}
	return q.reply("", j)
}

func cancelJob(q *request) error {
	if err := q.front.hub.CancelRegistryJob(q.path[1]); err != nil {
		return err
	}
	return q.noContent()
}
