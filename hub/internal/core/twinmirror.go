package core

import "context"

// MirroredTwin is the twin of an identity as the hub behind a gateway has it.
type MirroredTwin struct {
	// Desired are the desired properties, a JSON object; names that begin with '$'
	// do not count. DesiredVersion is their version there.
	Desired        []byte
	DesiredVersion uint64
	// Reported, unless it is nil, replaces the reported properties, which must not
	// have changed since ReportedVersion.
	Reported        []byte
	ReportedVersion uint64
}

// MirrorTwin makes a twin that of the hub behind. The device is told the
// difference of the desired properties, if there is one, with their version.
// Errors are *Error: 404001 or 404010 when there is no such identity, 412001
// when the device has changed its reported properties meanwhile.
func (h *Hub) MirrorTwin(ctx context.Context, deviceID, moduleID string, m MirroredTwin) error {
	key := identityKey{deviceID, moduleID}
	desired, err := parseMirrored(desiredPath, m.Desired)
	if err != nil {
		return err
	}
	weight := desired.encodedLen()
	var reported *twinNode
	if m.Reported != nil {
		if reported, err = parseMirrored(reportedPath, m.Reported); err != nil {
			return err
		}
		weight += reported.encodedLen()
	}
	_, err = h.twins.change(ctx, &twinOp{
		key: key, weight: weight,
		edit: func(doc *twinDoc, stamp int64) (*twinDoc, *twinNode, error) {
			return doc.mirror(&m, desired, reported, stamp)
		},
	})
	return err
}

func parseMirrored(path string, data []byte) (*twinNode, error) {
	v, err := decodeTwinJSON(data)
	if err != nil {
		return nil, err
	}
	p := twinParser{path: []string{path}, fromService: true, whole: true}
	return p.section(v)
}

// mirror gives what the twin becomes, and what the device has to be told.
func (d *twinDoc) mirror(m *MirroredTwin, desired, reported *twinNode, stamp int64) (next *twinDoc, notice *twinNode, err error) {
	c := *d
	changes := patchTo(d.desired.root, desired, false)
	if changes != nil || d.desired.version != m.DesiredVersion {
		c.desired.version = m.DesiredVersion
		if changes != nil {
			c.desired.root = mergeTwin(d.desired.root, changes, stamp, m.DesiredVersion)
			notice = changes
		}
	}
	if reported != nil {
		if d.reported.version != m.ReportedVersion {
			return nil, nil, preconditionFailed("Twin", etagOf(m.ReportedVersion), d.reported.version)
		}
		if changes := patchTo(d.reported.root, reported, false); changes != nil {
			c.reported.root = mergeTwin(d.reported.root, changes, stamp, 0)
			c.reported.version++
		}
	}
	if c.desired == d.desired && c.reported == d.reported {
		return d, nil, nil
	}
	c.version++
	return &c, notice, nil
}
