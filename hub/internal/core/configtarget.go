package core

import (
	"context"
	"strings"
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
func (s *configStore) parseTarget(text string, kind contentKind) (*target, error) {
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
	matches, err := s.parse(condition)
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
func parseCondition(string) (func(h *Hub, key identityKey) bool, error) {
	return nil, NewError(CodeInvalidTargetCondition, "this hub has no conditions yet, only * and nothing")
}

// checkMetric says what is wrong with the query of a metric.
func (h *Hub) checkMetric(query string) error {
	if strings.TrimSpace(query) == "" {
		return NewError(CodeInvalidMetricsQuery, "it is empty")
	}
	return nil
}

// countRows says how many rows a query has.
func (h *Hub) countRows(context.Context, string) (int64, error) {
	return 0, NewError(CodeInvalidMetricsQuery, "this hub has no queries yet")
}
