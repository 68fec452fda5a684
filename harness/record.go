package harness

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// record is the part of a run directory that grows while the run goes on.
type record struct {
	events, samples, log *os.File
	failed               error
}

func openRecord(dir string) (*record, error) {
	r := &record{}
	for _, f := range []struct {
		name string
		to   **os.File
	}{{verdict.EventsFile, &r.events}, {verdict.SamplesFile, &r.samples}, {verdict.LogFile, &r.log}} {
		var err error
		if *f.to, err = os.Create(filepath.Join(dir, f.name)); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// add writes one event down. What goes wrong is for close to say.
func (r *record) add(e evidence.Event) {
	var to io.Writer = r.events
	if e.Kind == evidence.Sample {
		to = r.samples
	}
	if err := evidence.Write(to, e); err != nil && r.failed == nil {
		r.failed = err
	}
	if e.Kind == evidence.Record && e.Log != nil {
		_, err := io.WriteString(r.log, verdict.LogLine(*e.Log))
		if err != nil && r.failed == nil {
			r.failed = err
		}
	}
}

func (r *record) close() error {
	err := r.failed
	for _, f := range []*os.File{r.events, r.samples, r.log} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
