package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/rank"
	"github.com/oomlab/oomlab/harness/trace"
)

// Snapshots stores what a machine looks like a moment after each kill.
type Snapshots struct {
	root   probe.Root
	dir    string
	census *census.Census
	mount  kernel.CgroupMount
}

// OpenSnapshots makes dir, below which each snapshot gets a directory.
func OpenSnapshots(root probe.Root, dir string) (*Snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c, err := census.Open(root)
	if err != nil {
		return nil, err
	}
	s := &Snapshots{root: root, dir: dir, census: c}
	s.mount, _ = root.CgroupMount() // without, the snapshot has no cgroup's files
	return s, nil
}

// machineFiles are copied from /proc.
var machineFiles = []string{"meminfo", "vmstat", "slabinfo", "buddyinfo", "zoneinfo", "pressure/memory", "swaps"}

// cgroupFiles are copied from the cgroup that ran out, or the victim's.
var cgroupFiles = []string{"memory.stat", "memory.events", "memory.current", "memory.max", "memory.pressure",
	"memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"}

// Take stores one and returns its directory. Each file begins with how long after the
// kill it was read. What does not exist here is left out.
func (s *Snapshots) Take(ctx context.Context, k trace.Kill) (string, error) {
	at, err := time.Parse(time.RFC3339Nano, k.Time)
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	name := fmt.Sprintf("%s-%d", at.UTC().Format("20060102T150405.000000000Z"), k.Victim.PID)
	final := filepath.Join(s.dir, name)
	tmp, err := os.MkdirTemp(s.dir, ".snapshot-")
	if err != nil {
		return "", err
	}
	err = s.fill(ctx, tmp, k)
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp)) // nothing half-written stays
	}
	return final, nil
}

func (s *Snapshots) fill(ctx context.Context, dir string, k trace.Kill) error {
	late := func() string {
		return fmt.Sprintf("# read %s after the kill\n", time.Duration(monotonic()-k.AtNS).Round(time.Microsecond))
	}
	store := func(name, path string) error {
		head := late()
		text, err := os.ReadFile(path)
		if err != nil {
			return nil // this kernel has no such file, or the cgroup is gone
		}
		return os.WriteFile(filepath.Join(dir, name), append([]byte(head), text...), 0o600)
	}
	var errs []error
	for _, name := range machineFiles {
		errs = append(errs, store(strings.ReplaceAll(name, "/", "-"), s.root.Path("/proc", name)))
	}
	cgroup := k.Victim.Cgroup
	if k.Limit != nil && k.Limit.Cgroup != "" {
		cgroup = k.Limit.Cgroup
	}
	if cgroup != "" && s.mount.Version != 0 {
		for _, name := range cgroupFiles {
			errs = append(errs, store(name, s.root.Path(s.mount.Root, cgroup, name)))
		}
	}
	head := late()
	shown := rank.Options{Top: 10, Domains: 10}
	now, err := s.census.ReadFor(ctx, shown)
	if err == nil {
		var r rank.Ranking
		if r, err = rank.Rank(now, shown); err == nil {
			var b bytes.Buffer
			b.WriteString(head)
			err = r.Text(&b, 0)
			errs = append(errs, os.WriteFile(filepath.Join(dir, "rank"), b.Bytes(), 0o600))
		}
	}
	return errors.Join(append(errs, err)...)
}
