package core

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/routing"
)

// Route says where the messages go that a module of a device sends, as IoT Edge
// does on the device itself. Make one with [ParseRoute].
//
// A message goes to every route that it matches, once to each destination. What
// no route matches, and what would go to a module that is not registered, goes
// upstream: nothing is dropped.
type Route struct {
	device string // "": every one
	module string // "": any sender, also the device itself; anyName: any module
	output string // "": any, also none; anyName: any that has a name

	condition *routing.Condition // nil: none

	toModule, toInput string // both "": upstream
}

const anyName = "*"

// ParseRoute reads a route in the language of IoT Edge:
//
//	FROM source [WHERE condition] INTO sink
//
// The source is one of
//
//	/messages/*                              whatever the device and its modules send
//	/messages/modules/{module}/*             what a module sends
//	/messages/modules/{module}/outputs/*     what it sends by an output
//	/messages/modules/{module}/outputs/{output}
//
// where {module} may be *, and the sink $upstream or
// BrokeredEndpoint("/modules/{module}/inputs/{input}"). The condition is one of
// package routing. Changes of twins cannot be routed. The route is for one device,
// or for every one when deviceID is empty.
func ParseRoute(deviceID, text string) (Route, error) {
	r := Route{device: deviceID}
	fail := func(format string, args ...any) (Route, error) {
		return Route{}, fmt.Errorf("route %q: %s", text, fmt.Sprintf(format, args...))
	}
	rest, ok := cutWord(text, "FROM")
	if !ok {
		return fail("it does not begin with FROM")
	}
	words := strings.Fields(rest)
	if len(words) == 0 || strings.EqualFold(words[0], "INTO") {
		return fail("the source after FROM is missing")
	}
	source := words[0]
	rest = strings.TrimSpace(rest)[len(source):]
	if condition, where := cutWord(rest, "WHERE"); where {
		at := lastWord(condition, "INTO")
		if at < 0 {
			return fail("INTO and a sink have to follow the condition")
		}
		var err error
		if r.condition, err = routing.Compile(strings.TrimSpace(condition[:at]), nil); err != nil {
			return fail("%v", err)
		}
		rest = condition[at:]
	}
	sink, ok := cutWord(rest, "INTO")
	if !ok {
		return fail("INTO and a sink have to follow the source %s", source)
	}
	if err := r.parseSource(source); err != nil {
		return fail("%v", err)
	}
	if err := r.parseSink(strings.TrimSpace(sink)); err != nil {
		return fail("%v", err)
	}
	return r, nil
}

// cutWord cuts a keyword and the space behind it off the front, whatever its case.
func cutWord(s, word string) (rest string, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return s, false
	}
	rest = s[len(word):]
	return rest, rest == "" || strings.TrimSpace(rest[:1]) == ""
}

// lastWord finds where a keyword stands last, as a word of its own; -1 when it
// does not. A sink holds no such word, while a string in a condition may.
func lastWord(s, word string) int {
	space := func(i int) bool { return i < 0 || i >= len(s) || strings.TrimSpace(s[i:i+1]) == "" }
	for i := len(s) - len(word); i >= 0; i-- {
		if strings.EqualFold(s[i:i+len(word)], word) && space(i-1) && space(i+len(word)) {
			return i
		}
	}
	return -1
}

func (r *Route) parseSource(source string) error {
	path := strings.Split(strings.TrimPrefix(source, "/"), "/")
	if strings.EqualFold(path[0], "twinChangeNotifications") {
		return fmt.Errorf("the source %s, changes of twins, cannot be routed", source)
	}
	word := func(i int, want string) bool { return i < len(path) && strings.EqualFold(path[i], want) }
	switch {
	case len(path) == 1 && path[0] == anyName:
		return nil
	case !word(0, "messages"):
	case len(path) == 2 && path[1] == anyName:
		return nil
	case !word(1, "modules") || len(path) < 4 || path[2] == "":
	case len(path) == 4 && path[3] == anyName:
		r.module = path[2]
		return nil
	case len(path) == 5 && word(3, "outputs") && path[4] != "":
		r.module, r.output = path[2], path[4]
		return nil
	}
	return fmt.Errorf("the source is %s, allowed are /messages/*, /messages/modules/{module}/* and "+
		"/messages/modules/{module}/outputs/{output}", source)
}

func (r *Route) parseSink(sink string) error {
	const form = `$upstream and BrokeredEndpoint("/modules/{module}/inputs/{input}")`
	if sink == "" {
		return fmt.Errorf("the sink after INTO is missing, allowed are %s", form)
	}
	if strings.EqualFold(sink, "$upstream") {
		return nil
	}
	const function = "BrokeredEndpoint"
	if len(sink) >= len(function) && strings.EqualFold(sink[:len(function)], function) {
		arg := strings.TrimSpace(sink[len(function):])
		if n := len(arg); n > 2 && arg[0] == '(' && arg[n-1] == ')' {
			arg = strings.TrimSpace(arg[1 : n-1])
			if n := len(arg); n > 2 && (arg[0] == '"' || arg[0] == '\'') && arg[n-1] == arg[0] {
				path := strings.Split(strings.TrimPrefix(arg[1:n-1], "/"), "/")
				if len(path) == 4 && strings.EqualFold(path[0], "modules") && strings.EqualFold(path[2], "inputs") &&
					path[1] != "" && path[3] != "" && !strings.ContainsAny(path[3], "+#\x00") {
					r.toModule, r.toInput = path[1], path[3]
					return nil
				}
			}
		}
	}
	return fmt.Errorf("the sink is %s, allowed are %s", sink, form)
}

// SetRoutes replaces the routes of messages of modules. What is sent from then on
// goes by them, also over the connections that there are.
func (h *Hub) SetRoutes(routes []Route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.edgeRoutes = slices.Clone(routes)
	for k, a := range h.live {
		a.routes.Store(h.routesForLocked(k))
	}
}

// routesForLocked gives the routes that may match what an identity sends; nil for
// none. h.mu is held.
func (h *Hub) routesForLocked(k identityKey) *[]Route {
	var list []Route
	for _, r := range h.edgeRoutes {
		if r.device != "" && r.device != k.device {
			continue
		}
		if r.module == "" || r.module == k.module || r.module == anyName && k.module != "" {
			list = append(list, r)
		}
	}
	if list == nil {
		return nil
	}
	return &list
}

// takes reports whether a message that leaves by an output goes this way.
func (r *Route) takes(output string, m routing.Message) bool {
	return (r.output == "" || r.output == output || r.output == anyName && output != "") &&
		(r.condition == nil || r.condition.Matches(m))
}

// destination is an input of a module.
type destination struct{ module, input string }

// destinations finds where the event of an identity goes: upstream, to inputs, or
// both. known says whether there is a module.
func destinations(routes []Route, output string, m routing.Message, known func(module string) bool) (upstream bool, inputs []destination) {
	for i := range routes {
		r := &routes[i]
		if !r.takes(output, m) {
			continue
		}
		if r.toModule == "" || !known(r.toModule) {
			upstream = true
			continue
		}
		d := destination{r.toModule, r.toInput}
		repeated := false
		for _, have := range inputs {
			repeated = repeated || have == d
		}
		if !repeated {
			inputs = append(inputs, d)
		}
	}
	return upstream || len(inputs) == 0, inputs
}
