package httpfront

import (
	"strconv"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxConfigurationList is the largest and the default length of a list of
// configurations, which is as many as there can be.
const maxConfigurationList = 100

func listConfigurations(q *request) error {
	top := maxConfigurationList
	if text := q.query.Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return core.NewError(core.CodeArgumentInvalid, "top is %.40q, it has to be 1 or more", text)
		}
		top = min(n, top)
	}
	return q.reply("", q.front.hub.ListConfigurations(q.r.Context(), top))
}

func getConfiguration(q *request) error {
	c, err := q.front.hub.GetConfiguration(q.r.Context(), q.path[1])
	if err != nil {
		return err
	}
	return q.reply(c.ETag, c)
}

// putConfiguration creates without If-Match and updates with it. An ETag in the
// body counts for nothing: the Node SDK sends "*" there when it creates.
func putConfiguration(q *request) error {
	var c core.Configuration
	if err := q.body(&c); err != nil {
		return err
	}
	if err := sameID("id", q.path[1], &c.ID); err != nil {
		return err
	}
	var err error
	if etag := q.etag(); etag == "" {
		c, err = q.front.hub.CreateConfiguration(q.r.Context(), c)
	} else {
		c, err = q.front.hub.UpdateConfiguration(q.r.Context(), c, etag)
	}
	if err != nil {
		return err
	}
	return q.reply(c.ETag, c)
}

func deleteConfiguration(q *request) error {
	if err := q.front.hub.DeleteConfiguration(q.r.Context(), q.path[1], q.etagOrAny()); err != nil {
		return err
	}
	return q.noContent()
}

func testConfigurationQueries(q *request) error {
	var body struct {
		TargetCondition     string            `json:"targetCondition"`
		CustomMetricQueries map[string]string `json:"customMetricQueries"`
	}
	if err := q.body(&body); err != nil {
		return err
	}
	return q.reply("", q.front.hub.TestConfigurationQueries(body.TargetCondition, body.CustomMetricQueries))
}

func applyConfigurationContent(q *request) error {
	var content core.ConfigurationContent
	if err := q.body(&content); err != nil {
		return err
	}
	if err := q.front.hub.ApplyConfigurationContent(q.r.Context(), q.path[1], content); err != nil {
		return err
	}
	return q.noContent()
}
