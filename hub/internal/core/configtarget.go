package core

import (
	"context"
	"math"
	"strings"
	"sync/atomic"

	"github.com/iothub-go/iothub/hub/internal/query"
)

// target decides which twins a configuration is for.
type target struct {
	where   string // the condition itself
	all     bool
	matches func(h *Hub, key identityKey) bool // nil: none, or with all every one
}

const moduleTargetPrefix = "from devices.modules where "

// isModuleTarget tells a condition over modules.
func isModuleTarget(text string) bool {
	text = strings.Join(strings.Fields(text), " ") + " "
	return len(text) >= len(moduleTargetPrefix) && strings.EqualFold(text[:len(moduleTargetPrefix)], moduleTargetPrefix) ||
		strings.EqualFold(text, "from devices.modules ")
}

// parseTarget parses a target condition: nothing, "*" or a condition over twins;
// over modules it is "FROM devices.modules" with or without a condition.
func parseTarget(text string, kind contentKind) (*target, error) {
	text = strings.TrimSpace(text)
	condition := text
	if isModuleTarget(text) != (kind == moduleContent) && condition != "" && condition != "*" {
		return nil, NewError(CodeInvalidTargetCondition, "targetCondition: a condition that begins with FROM devices.modules WHERE goes with moduleContent, and only that")
	}
	if kind == moduleContent && isModuleTarget(text) {
		fields := strings.Fields(condition)
		condition = "*"
		if len(fields) > 3 {
			// What follows the word WHERE, as it was written.
			i := strings.Index(strings.ToLower(text), "where")
			condition = strings.TrimSpace(text[i+len("where"):])
		}
	}
	t := &target{where: condition}
	switch condition {
	case "":
		return t, nil
	case "*":
		t.all = true
		return t, nil
	}
	matches, err := parseCondition(condition)
	if err != nil {
		return nil, NewError(CodeInvalidTargetCondition, "targetCondition: %s", messageOf(err))
	}
	t.matches = matches
	return t, nil
}

// condition is what stands behind WHERE in a query for the targets; "" when all
// are.
func (t *target) condition() string {
	switch {
	case t.all:
		return ""
	case t.matches == nil:
		return "false"
	}
	return t.where
}

func (t *target) includes(h *Hub, key identityKey) bool {
	return t.all || t.matches != nil && t.matches(h, key)
}

// parseCondition parses a condition over twins.
func parseCondition(text string) (func(h *Hub, key identityKey) bool, error) {
	c, err := parseTwinCondition(text)
	if err != nil {
		return nil, err
	}
	return func(h *Hub, key identityKey) bool {
		r := h.rowOf(key)
		return r != nil && c.Matches(r)
	}, nil
}

// checkMetric says what is wrong with the query of a metric.
func (h *Hub) checkMetric(text string) error {
	if strings.TrimSpace(text) == "" {
		return NewError(CodeInvalidMetricsQuery, "it is empty")
	}
	if _, err := query.Parse(text); err != nil {
		return NewError(CodeInvalidMetricsQuery, "%v", err)
	}
	return nil
}

// countRows says how many rows a query has.
func (h *Hub) countRows(ctx context.Context, text string) (int64, error) {
	q, err := query.Parse(text)
	if err != nil {
		return 0, NewError(CodeInvalidMetricsQuery, "%v", err)
	}
	s := &search{hub: h, query: q}
	if q.Grouped() {
		s.limit = math.MaxInt
		var page QueryPage
		err := s.grouped(ctx, &page)
		return int64(len(page.Rows)), err
	}
	var n atomic.Int64
	err = s.each(ctx, func() func(found) bool {
		return func(found) bool {
			n.Add(1)
			return true
		}
	})
	if q.Top > 0 {
		return min(n.Load(), int64(q.Top)), err
	}
	return n.Load(), err
}
