package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/atomicfile"
	"github.com/iothub-go/iothub/internal/engine"
)

// stateFile remembers the desired properties that were delivered.
type stateFile struct {
	path  string
	state engine.TwinState
}

// openState reads path; a file that is not there is an empty memory.
func openState(path string) (*stateFile, engine.TwinState, error) {
	s := &stateFile{path: path, state: engine.TwinState{Desired: map[string]any{}}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, engine.TwinState{}, nil
	}
	if err != nil {
		return nil, engine.TwinState{}, fmt.Errorf("the twin state file: %w", err)
	}
	given := engine.TwinState{}
	for _, to := range []*engine.TwinState{&s.state, &given} { // two copies: each side changes its own
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(to); err != nil || to.Desired == nil {
			return nil, engine.TwinState{}, &iothub.Error{Op: "twin state file", Kind: iothub.KindInvalidArgument,
				Err: fmt.Errorf("%s does not hold a twin state; remove it to begin anew", path)}
		}
	}
	return s, given, nil
}

// save notes that c was delivered. A failure to write costs no more than a
// change delivered twice after a restart, so it stops nothing.
func (s *stateFile) save(c *iothub.DesiredChange) {
	var patch map[string]any
	d := json.NewDecoder(bytes.NewReader(c.Patch))
	d.UseNumber()
	if d.Decode(&patch) != nil {
		return
	}
	if c.Complete {
		s.state.Desired = map[string]any{}
	}
	engine.MergePatch(s.state.Desired, patch)
	s.state.Known, s.state.Version = true, c.Version
	b, err := json.Marshal(&s.state)
	if err != nil {
		return
	}
	_ = atomicfile.Write(s.path, b) // see above
}
