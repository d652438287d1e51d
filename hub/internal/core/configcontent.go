package core

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// ConfigurationContent is what a configuration puts into twins; one of the three
// is set. Names are dotted paths, "properties.desired" or below.
type ConfigurationContent struct {
	// DeviceContent is for the twins of devices, ModuleContent for those of
	// modules.
	DeviceContent map[string]json.RawMessage `json:"deviceContent,omitempty"`
	ModuleContent map[string]json.RawMessage `json:"moduleContent,omitempty"`
	// ModulesContent is the deployment of an IoT Edge device, by module.
	ModulesContent map[string]map[string]json.RawMessage `json:"modulesContent,omitempty"`
}

// contentKind says which of the three contents a configuration has.
type contentKind uint8

const (
	deviceContent contentKind = iota + 1
	moduleContent
	edgeContent
)

// parsedContent is a content that was checked.
type parsedContent struct {
	kind contentKind
	// parts are by module; the twin itself that is a target is "".
	parts map[string]*assignment
	// layered is set for a deployment that only adds to another one.
	layered bool
}

// assignment is what is said about the desired properties of one twin: all of
// them, or some.
type assignment struct {
	whole *twinNode // nil when only the settings count
	sets  []setting // in the order in which they apply
}

// setting is the value of one path under the desired properties.
type setting struct {
	path  string
	value *twinNode
}

func invalidContent(format string, args ...any) *Error {
	return NewError(CodeInvalidConfigContent, "content: "+format, args...)
}

func (c *ConfigurationContent) parse() (*parsedContent, error) {
	p := &parsedContent{parts: make(map[string]*assignment)}
	given := 0
	for kind, n := range map[contentKind]int{
		deviceContent: len(c.DeviceContent), moduleContent: len(c.ModuleContent), edgeContent: len(c.ModulesContent),
	} {
		if n > 0 {
			given++
			p.kind = kind
		}
	}
	if given != 1 {
		return nil, invalidContent("one of deviceContent, moduleContent and modulesContent is needed, %d were given", given)
	}
	var err error
	switch p.kind {
	case deviceContent:
		p.parts[""], err = parseAssignment(c.DeviceContent, "deviceContent")
	case moduleContent:
		p.parts[""], err = parseAssignment(c.ModuleContent, "moduleContent")
	default:
		p.layered = true
		for module, content := range c.ModulesContent {
			if err := validateID("modulesContent", module); err != nil {
				return nil, invalidContent("%s", err.(*Error).Message)
			}
			part, err := parseAssignment(content, module)
			if err != nil {
				return nil, err
			}
			p.parts[module] = part
			if module == edgeAgent && part.whole != nil {
				p.layered = false
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func parseAssignment(content map[string]json.RawMessage, where string) (*assignment, error) {
	a := new(assignment)
	for name, text := range content {
		path, below := strings.CutPrefix(name, desiredPath+".")
		if !below && name != desiredPath {
			return nil, invalidContent("%s: the path %.100q is not under %s", where, name, desiredPath)
		}
		v, err := decodeTwinJSON(text)
		if err != nil {
			return nil, invalidContent("%s: %s is not JSON", where, name)
		}
		p := twinParser{path: []string{where, name}, fromService: true, whole: true}
		if !below {
			if a.whole, err = p.section(v); err != nil {
				return nil, invalidContent("%s", err.(*Error).Message)
			}
			continue
		}
		segments := strings.Split(path, ".")
		for _, segment := range segments {
			if err := p.name(segment); err != nil {
				return nil, invalidContent("%s", err.(*Error).Message)
			}
		}
		node, err := p.value(v, len(segments)-1)
		if err != nil {
			return nil, invalidContent("%s", err.(*Error).Message)
		}
		if node.leaf == nullLeaf {
			return nil, invalidContent("%s: %s is null; what a configuration does not name it leaves alone", where, name)
		}
		a.sets = append(a.sets, setting{path, node})
	}
	slices.SortFunc(a.sets, func(x, y setting) int { return cmp.Compare(x.path, y.path) })
	for i := 1; i < len(a.sets); i++ {
		for _, other := range a.sets[:i] {
			if strings.HasPrefix(a.sets[i].path, other.path+".") {
				return nil, invalidContent("%s: %s is under %s, and both have a value", where, a.sets[i].path, other.path)
			}
		}
	}
	return a, nil
}

// wholePath stands for all desired properties among the paths that a
// configuration has set.
const wholePath = ""

func (a *assignment) paths() []string {
	if a == nil {
		return nil
	}
	var list []string
	if a.whole != nil {
		list = append(list, wholePath)
	}
	for _, s := range a.sets {
		list = append(list, s.path)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// apply gives what becomes of desired properties in which configurations have set
// those paths before. a is nil when there is none any more.
func (a *assignment) apply(root *twinNode, before []string) *twinNode {
	next := root
	paths := a.paths()
	switch {
	case a != nil && a.whole != nil:
		next = a.whole
	case slices.Contains(before, wholePath):
		next = emptyObject
	default:
		for _, path := range before {
			if !slices.Contains(paths, path) {
				next = setAt(next, strings.Split(path, "."), nil)
			}
		}
	}
	if a != nil {
		for _, s := range a.sets {
			next = setAt(next, strings.Split(s.path, "."), s.value)
		}
	}
	return next
}

// setAt gives the object n with another value at a path, or with nil without it
// and without what is empty then. It shares what is beside the path.
func setAt(n *twinNode, path []string, value *twinNode) *twinNode {
	var old *twinNode
	if n.isObject() {
		old = n.member(path[0])
	} else {
		n = emptyObject
	}
	if len(path) > 1 {
		if value == nil && old == nil {
			return n
		}
		wasEmpty := old.isObject() && len(old.members) == 0
		value = setAt(old, path[1:], value)
		if value.isObject() && len(value.members) == 0 && !wasEmpty {
			value = nil
		}
	}
	out := &twinNode{stamp: n.stamp, version: n.version}
	i := 0
	for ; i < len(n.members) && n.members[i].name < path[0]; i++ {
		out.add(n.members[i])
	}
	if value != nil {
		out.add(twinMember{path[0], value})
	}
	if i < len(n.members) && n.members[i].name == path[0] {
		i++
	}
	for ; i < len(n.members); i++ {
		out.add(n.members[i])
	}
	return out
}

// difference gives the merge patch that makes next of old, nil when they are the
// same but for stamps.
func difference(old, next *twinNode) *twinNode {
	if old == next {
		return nil
	}
	if !old.isObject() || !next.isObject() {
		if old != nil && !old.isObject() && !next.isObject() && old.leaf == next.leaf {
			return nil
		}
		return next
	}
	out := new(twinNode)
	for _, p := range unionOf(old, next) {
		switch was, is := p.desired, p.reported; {
		case is == nil:
			out.add(twinMember{p.name, &twinNode{leaf: nullLeaf}})
		case was == nil:
			out.add(twinMember{p.name, is})
		default:
			if d := difference(was, is); d != nil {
				out.add(twinMember{p.name, d})
			}
		}
	}
	if len(out.members) == 0 {
		return nil
	}
	return out
}

// assign puts an assignment into the desired properties. The twin stays as it is
// when it says so already.
func (d *twinDoc) assign(a *assignment, before []string, stamp int64) (next *twinDoc, notice *twinNode, err error) {
	patch := difference(d.desired.root, a.apply(d.desired.root, before))
	if patch == nil {
		return d, nil, nil
	}
	c := *d
	c.version++
	c.etag++
	c.desired.version++
	c.desired.root = mergeTwin(d.desired.root, patch, stamp, c.desired.version)
	if err := checkSectionSize(desiredPath, c.desired.root, maxPropertyBytes); err != nil {
		return nil, nil, err
	}
	return &c, patch, nil
}
