package core

import "strings"

// twinDoc is a twin as it is at one moment; it is never changed in place.
//
// Every identity has a twin, and one that nobody has changed is not stored: it
// follows from the identity. A stored twin belongs to one generation of its
// identity, so that it is gone, whatever a crash leaves behind, with the identity.
type twinDoc struct {
	gen     string // generation of the identity
	version uint64 // grows with each change of tags, desired or reported properties
	etag    uint64 // grows with each change by the back end
	model   string // that the device announced last

	tags, desired, reported twinSection

	encoded int // bytes as stored, 0 until then
}

type twinSection struct {
	version uint64
	root    *twinNode
}

var emptyObject = new(twinNode)

// freshTwin is the twin of an identity that nobody has changed yet.
func freshTwin(gen string) *twinDoc {
	first := twinSection{1, emptyObject}
	return &twinDoc{gen: gen, version: 2, etag: 1, tags: first, desired: first, reported: first}
}

// report applies a patch of the reported properties.
func (d *twinDoc) report(patch *twinNode, stamp int64) (*twinDoc, error) {
	next := *d
	next.version++
	next.reported.version++
	next.reported.root = mergeTwin(d.reported.root, patch, stamp, 0)
	if err := checkSectionSize(reportedPath, next.reported.root, maxPropertyBytes); err != nil {
		return nil, err
	}
	return &next, nil
}

// twinUpdate is a change by the back end.
type twinUpdate struct {
	etag          string
	tags, desired *sectionUpdate // nil: left alone
}

// sectionUpdate is a merge patch, or with whole the new content.
type sectionUpdate struct {
	patch *twinNode
	whole bool
}

func (u *sectionUpdate) apply(s *twinSection, stamp int64, version uint64) {
	old := s.root
	if u.whole {
		old = nil
	}
	s.version++
	s.root = mergeTwin(old, u.patch, stamp, version)
}

// update applies a change by the back end. The notice is what a device has to be
// told, as a merge patch; nil when it does not concern it.
func (d *twinDoc) update(u *twinUpdate, stamp int64) (next *twinDoc, notice *twinNode, err error) {
	if !etagMatches(u.etag, d.etag) {
		return nil, nil, preconditionFailed("Twin", u.etag, d.etag)
	}
	if u.tags == nil && u.desired == nil {
		return d, nil, nil
	}
	c := *d
	c.version++
	c.etag++
	if u.tags != nil {
		u.tags.apply(&c.tags, stamp, 0)
		if err := checkSectionSize(tagsPath, c.tags.root, maxTagBytes); err != nil {
			return nil, nil, err
		}
	}
	if u.desired != nil {
		u.desired.apply(&c.desired, stamp, c.desired.version+1)
		if err := checkSectionSize(desiredPath, c.desired.root, maxPropertyBytes); err != nil {
			return nil, nil, err
		}
		notice = u.desired.patch
		if u.desired.whole {
			notice = patchTo(d.desired.root, c.desired.root, true)
		}
	}
	return &c, notice, nil
}

// deviceView is the twin as its device sees it.
func (d *twinDoc) deviceView() []byte {
	dst := d.desired.root.appendVersioned([]byte(`{"desired":`), d.desired.version)
	dst = d.reported.root.appendVersioned(append(dst, `,"reported":`...), d.reported.version)
	return append(dst, '}')
}

// parseTwinUpdate parses the body of a change by the back end: a whole twin or a
// part of one. Only tags and desired properties count in it; the rest is what
// tools send back as they got it.
func parseTwinUpdate(key identityKey, data []byte, whole bool) (*twinUpdate, error) {
	v, err := decodeTwinJSON(data)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, NewError(CodeArgumentInvalid, "the twin has to be a JSON object, not %s", kindOf(v))
	}
	for name, id := range map[string]string{"deviceId": key.device, "moduleId": key.module} {
		if given, _ := memberOf(object, name).(string); given != "" && given != id {
			return nil, NewError(CodeArgumentInvalid, "%s is %q in the path and %q in the body", name, id, given)
		}
	}
	u := new(twinUpdate)
	if u.tags, err = parseSection(object, "tags", whole, tagsPath); err != nil {
		return nil, err
	}
	switch properties := memberOf(object, "properties").(type) {
	case nil:
	case map[string]any:
		u.desired, err = parseSection(properties, "desired", whole, desiredPath)
	default:
		err = NewError(CodeArgumentInvalid, "properties: it has to be a JSON object, not %s", kindOf(properties))
	}
	return u, err
}

func parseSection(object map[string]any, name string, whole bool, path string) (*sectionUpdate, error) {
	v, there := findMember(object, name)
	if !there {
		return nil, nil
	}
	if v == nil { // merge patch: it goes as a whole
		return &sectionUpdate{emptyObject, true}, nil
	}
	p := twinParser{path: []string{path}, fromService: true, whole: whole}
	patch, err := p.section(v)
	if err != nil {
		return nil, err
	}
	return &sectionUpdate{patch, whole}, nil
}

// findMember looks a member up whatever the case of its name (B1).
func findMember(object map[string]any, name string) (v any, ok bool) {
	if v, ok = object[name]; ok {
		return v, true
	}
	for n, v := range object {
		if strings.EqualFold(n, name) {
			return v, true
		}
	}
	return nil, false
}

func memberOf(object map[string]any, name string) any {
	v, _ := findMember(object, name)
	return v
}
