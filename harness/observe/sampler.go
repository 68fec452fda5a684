package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// SamplerOptions say what a timeline shows.
type SamplerOptions struct {
	Root    string // "/" on a machine
	Version int    // of the cgroups
	Base    string // the directory of the run's own cgroup
	Cgroups []string
	// Processes gives the pids of the processes that live now, by name. It is
	// called from the sampler's own goroutine.
	Processes func() map[string]int
	Period    time.Duration
}

// Sampler reads the timeline of a run: what its cgroups and processes hold and
// how the machine fares. A sample is a picture for the reader; no claim rests
// on one, because what lies between two samples is not seen.
type Sampler struct {
	o                          SamplerOptions
	cgroups                    map[string]*reread
	meminfo, loadavg, pressure *reread // pressure is nil on a kernel without PSI
	begun                      bool
	stop, stopped              chan struct{}
}

// OpenSampler opens the files that every sample reads.
func OpenSampler(o SamplerOptions) (*Sampler, error) {
	if o.Period <= 0 {
		return nil, fmt.Errorf("sampler: a period of %s", o.Period)
	}
	s := &Sampler{o: o, cgroups: map[string]*reread{}, stop: make(chan struct{}), stopped: make(chan struct{})}
	usage := "memory.current"
	if o.Version == 1 {
		usage = "memory.usage_in_bytes"
	}
	fail := func(err error) (*Sampler, error) { return nil, errors.Join(err, s.closeFiles()) }
	for _, c := range o.Cgroups {
		f, err := openReread(filepath.Join(o.Base, c, usage))
		if err != nil {
			return fail(err)
		}
		s.cgroups[c] = f
	}
	var err error
	if s.meminfo, err = openReread(filepath.Join(o.Root, "proc/meminfo")); err != nil {
		return fail(err)
	}
	if s.loadavg, err = openReread(filepath.Join(o.Root, "proc/loadavg")); err != nil {
		return fail(err)
	}
	// Without PSI the file is missing, or there and cannot be opened (psi=0).
	s.pressure, _ = openReread(filepath.Join(o.Root, "proc/pressure/memory"))
	return s, nil
}

// Start takes a sample every period until Close.
func (s *Sampler) Start(sink func(evidence.Event)) {
	s.begun = true
	go func() {
		defer close(s.stopped)
		tick := time.NewTicker(s.o.Period)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				sink(evidence.Event{AtNS: monotonic(), Source: evidence.Sampler, Kind: evidence.Sample,
					Sample: s.sample()})
			}
		}
	}()
}

// Close ends the sampling and closes the files.
func (s *Sampler) Close() error {
	close(s.stop)
	if s.begun {
		<-s.stopped
	}
	return s.closeFiles()
}

func (s *Sampler) closeFiles() error {
	var errs []error
	for _, f := range s.cgroups {
		errs = append(errs, f.file.Close())
	}
	for _, f := range []*reread{s.meminfo, s.loadavg, s.pressure} {
		if f != nil {
			errs = append(errs, f.file.Close())
		}
	}
	return errors.Join(errs...)
}

// sample reads what can be read now. What cannot is left out: a process may
// have ended since it was named.
func (s *Sampler) sample() *evidence.SampleData {
	d := &evidence.SampleData{Cgroups: map[string]kernel.Bytes{}, Processes: map[string]evidence.ProcessUsage{}}
	for path, f := range s.cgroups {
		if n, err := parse(f, parseInteger); err == nil {
			d.Cgroups[path] = kernel.Bytes(n)
		}
	}
	for name, pid := range s.o.Processes() {
		if u, ok := s.usage(pid); ok {
			d.Processes[name] = u
		}
	}
	if m, err := parse(s.meminfo, kernel.ParseMeminfo); err == nil {
		d.MemFree, d.SwapFree = m.MemFree, m.SwapFree
	}
	if l, err := parse(s.loadavg, kernel.ParseLoadavg); err == nil {
		d.Load1 = l.Load1
	}
	if s.pressure != nil {
		if p, err := parse(s.pressure, kernel.ParsePressure); err == nil {
			d.PSISome = &p.Some.Avg10
			if p.Full != nil {
				d.PSIFull = &p.Full.Avg10
			}
		}
	}
	return d
}

func (s *Sampler) usage(pid int) (evidence.ProcessUsage, bool) {
	b, err := os.ReadFile(filepath.Join(s.o.Root, "proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return evidence.ProcessUsage{}, false
	}
	st, err := kernel.ParseStatus(bytes.NewReader(b))
	if err != nil || st.VmRSS == nil {
		return evidence.ProcessUsage{}, false
	}
	u := evidence.ProcessUsage{RSS: *st.VmRSS}
	if st.VmSwap != nil {
		u.Swap = *st.VmSwap
	}
	return u, true
}

func parse[T any](f *reread, with func(io.Reader) (T, error)) (T, error) {
	b, err := f.read()
	if err != nil {
		var zero T
		return zero, err
	}
	return with(bytes.NewReader(b))
}
