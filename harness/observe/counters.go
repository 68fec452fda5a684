package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// CountersOptions say which counters a run needs.
type CountersOptions struct {
	Root    string // "/" on a machine
	Version int    // of the cgroups
	Base    string // the directory of the run's own cgroup
	// Cgroups are paths below Base; Base itself ("/") is always read.
	Cgroups []string
}

// Counters reads the files that count OOM kills: /proc/vmstat for the machine;
// memory.events and memory.events.local, or on cgroup v1 memory.oom_control
// and memory.failcnt, for the cgroups.
//
// The files are opened once and read again from their start, so that a reading
// needs neither a descriptor nor a path walk on a machine without memory.
type Counters struct {
	files []counterFile
}

type counterFile struct {
	*reread
	cgroup, name string
	parse        func(io.Reader) (map[string]int64, error)
}

// vmstatKeys are the counters of the whole machine that tell an OOM's story.
var vmstatKeys = []string{
	"oom_kill", "pgmajfault", "pswpin", "pswpout", "pgscan_direct", "pgsteal_direct",
	"workingset_refault_anon", "workingset_refault_file",
}

// OpenCounters opens every file. One that this kernel does not have
// (memory.events.local before 5.2) is left out; a cgroup without any is an error.
func OpenCounters(o CountersOptions) (*Counters, error) {
	c := &Counters{}
	open := func(cgroup, name, path string, parse func(io.Reader) (map[string]int64, error)) error {
		f, err := openReread(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		c.files = append(c.files, counterFile{f, cgroup, name, parse})
		return nil
	}
	err := open("", evidence.FileVmstat, filepath.Join(o.Root, "proc/vmstat"), parseVmstat)
	if err == nil && len(c.files) == 0 {
		err = fmt.Errorf("counters: there is no %s; is /proc mounted?", filepath.Join(o.Root, "proc/vmstat"))
	}
	for _, cgroup := range append([]string{"/"}, o.Cgroups...) {
		before := len(c.files)
		dir := filepath.Join(o.Base, cgroup)
		files := []string{evidence.FileMemoryEvents, evidence.FileMemoryEventsLocal}
		parsers := []func(io.Reader) (map[string]int64, error){parseEvents, parseEvents}
		if o.Version == 1 {
			files = []string{evidence.FileOOMControl, evidence.FileFailcnt}
			parsers = []func(io.Reader) (map[string]int64, error){parseOOMControl, parseFailcnt}
		}
		for i, name := range files {
			if err == nil {
				err = open(cgroup, name, filepath.Join(dir, name), parsers[i])
			}
		}
		if err == nil && len(c.files) == before {
			err = fmt.Errorf("counters: %s holds neither %s nor %s", dir, files[0], files[1])
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// OpenVmstat opens the counters of the whole machine alone.
func OpenVmstat(root string) (*Counters, error) {
	path := filepath.Join(root, "proc/vmstat")
	f, err := openReread(path)
	if err != nil {
		return nil, err
	}
	return &Counters{files: []counterFile{{f, "", evidence.FileVmstat, parseVmstat}}}, nil
}

// ParseEvents reads a file of a cgroup's counters, by its name.
func ParseEvents(name string, r io.Reader) (map[string]int64, error) {
	if name == evidence.FileOOMControl {
		return parseOOMControl(r)
	}
	return parseEvents(r)
}

// Read reads every file once and passes each on as an event of kind Reading;
// when is "before" or "after". It goes on past a file that cannot be read.
func (c *Counters) Read(when string, sink func(evidence.Event)) error {
	var errs []error
	for _, f := range c.files {
		values, err := f.values()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		sink(evidence.Event{
			AtNS: monotonic(), Source: evidence.Counters, Kind: evidence.Reading,
			Counter: &evidence.CounterFile{When: when, Cgroup: f.cgroup, File: f.name, Values: values},
		})
	}
	return errors.Join(errs...)
}

func (f counterFile) values() (map[string]int64, error) {
	b, err := f.read()
	if err != nil {
		return nil, err
	}
	values, err := f.parse(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.file.Name(), err)
	}
	return values, nil
}

// Close closes the files.
func (c *Counters) Close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.file.Close())
	}
	c.files = nil
	return errors.Join(errs...)
}

func parseVmstat(r io.Reader) (map[string]int64, error) {
	v, err := kernel.ParseVmstat(r)
	out := make(map[string]int64, len(vmstatKeys))
	for _, k := range vmstatKeys {
		if n, ok := v.Values[k]; ok {
			out[k] = int64(n)
		}
	}
	return out, err
}

func parseEvents(r io.Reader) (map[string]int64, error) {
	e, err := kernel.ParseMemoryEvents(r)
	return signed(e.Values), err
}

func parseOOMControl(r io.Reader) (map[string]int64, error) {
	c, err := kernel.ParseOOMControl(r)
	return signed(c.Values), err
}

func parseFailcnt(r io.Reader) (map[string]int64, error) {
	n, err := parseInteger(r)
	return map[string]int64{"failcnt": n}, err
}

func parseInteger(r io.Reader) (int64, error) {
	var n int64
	_, err := fmt.Fscan(r, &n)
	return n, err
}

func signed(in map[string]uint64) map[string]int64 {
	out := make(map[string]int64, len(in))
	for k, n := range in {
		out[k] = int64(n)
	}
	return out
}

// reread is a kernel file that is opened once and read from its start as often
// as one likes.
type reread struct {
	file *os.File
	buf  []byte
}

func openReread(path string) (*reread, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &reread{file: f, buf: make([]byte, 4096)}, nil
}

// read returns the whole file; the bytes are good until the next read.
func (r *reread) read() ([]byte, error) {
	n := 0
	for {
		m, err := r.file.ReadAt(r.buf[n:], int64(n))
		n += m
		switch {
		case err == io.EOF:
			return r.buf[:n], nil
		case err != nil:
			return nil, err
		case n == len(r.buf):
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
	}
}
