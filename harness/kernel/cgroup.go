package kernel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// CgroupEntry is one line of /proc/PID/cgroup: where the process is in one
// hierarchy.
type CgroupEntry struct {
	ID          int      // 0: the cgroup v2 hierarchy
	Controllers []string // nil for cgroup v2; name=systemd counts as one
	Path        string   // from the root of the reader's cgroup namespace
	// Deleted: the cgroup was removed while the process, now a zombie, was in
	// it. Path is without the mark.
	Deleted bool
}

// ParseCgroup reads /proc/PID/cgroup (kernel/cgroup/cgroup.c,
// proc_cgroup_show).
func ParseCgroup(r io.Reader) ([]CgroupEntry, error) {
	var all []CgroupEntry
	err := eachLine("cgroup", r, func(line string) error {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			return errors.New("want ID:CONTROLLERS:PATH")
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil || id < 0 {
			return fmt.Errorf("%q is not the number of a hierarchy", fields[0])
		}
		c := CgroupEntry{ID: id}
		if fields[1] != "" {
			c.Controllers = strings.Split(fields[1], ",")
		}
		c.Path, c.Deleted = strings.CutSuffix(fields[2], " (deleted)")
		if !strings.HasPrefix(c.Path, "/") {
			return fmt.Errorf("path %q does not begin with /", c.Path)
		}
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// InCgroup reports whether path is the cgroup dir or below it. Everything is
// below the root, "/" or "".
func InCgroup(path, dir string) bool {
	return dir == "" || dir == "/" || path == dir ||
		len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// MemoryCgroup picks the line of the memory controller: the v1 hierarchy that
// has it, else cgroup v2. It does not know whether cgroup v2 has the controller
// enabled; cgroup.controllers says.
func MemoryCgroup(all []CgroupEntry) (CgroupEntry, bool) {
	for _, c := range all {
		if slices.Contains(c.Controllers, "memory") {
			return c, true
		}
	}
	for _, c := range all {
		if c.ID == 0 && len(c.Controllers) == 0 {
			return c, true
		}
	}
	return CgroupEntry{}, false
}
