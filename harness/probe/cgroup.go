package probe

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// CgroupMount finds the hierarchy with the memory controller and the caller's
// own place in it. It fills in what the mount tells; [Cgroup.apply] adds what
// only a cgroup's files tell.
func (r Root) CgroupMount() (kernel.CgroupMount, error) {
	mounts, err := r.mountinfo()
	if err != nil {
		return kernel.CgroupMount{}, err
	}
	entries, err := r.Cgroup(0)
	if err != nil {
		return kernel.CgroupMount{}, err
	}
	v1, v2 := kernel.MemoryMounts(mounts)
	own, _ := kernel.MemoryCgroup(entries)
	switch {
	case v1 != nil && slices.Contains(own.Controllers, "memory"):
		self, err := below(v1, own.Path)
		m := kernel.CgroupMount{Version: 1, Root: v1.Point, Self: self}
		if words, _ := r.commandLine(); slices.ContainsFunc(words, nokmem) {
			m.Kmem = "nokmem"
		}
		_, cpusetErr := r.HierarchyV1("cpuset")
		m.Cpuset = cpusetErr == nil
		return m, err
	case v2 != nil:
		self, err := below(v2, own.Path)
		if err != nil {
			return kernel.CgroupMount{}, err
		}
		controllers, err := r.Text(filepath.Join(v2.Point, "cgroup.controllers"))
		if err != nil {
			return kernel.CgroupMount{}, err
		}
		if !slices.Contains(strings.Fields(controllers), "memory") {
			return kernel.CgroupMount{}, fmt.Errorf("the cgroup v2 hierarchy at %s has no memory controller", v2.Point)
		}
		m := kernel.CgroupMount{Version: 2, Root: v2.Point, Self: self, Local: v2.Has("memory_localevents")}
		offered, _ := r.Text(filepath.Join(v2.Point, self, "cgroup.controllers")) // or it cannot be handed on
		m.Cpuset = slices.Contains(strings.Fields(offered), "cpuset")
		return m, nil
	}
	return kernel.CgroupMount{}, errors.New("no cgroup hierarchy with the memory controller is mounted")
}

func nokmem(word string) bool {
	list, ok := strings.CutPrefix(word, "cgroup.memory=")
	return ok && slices.Contains(strings.Split(list, ","), "nokmem")
}

// below turns a path of /proc/PID/cgroup, which starts at the hierarchy's root
// or the cgroup namespace's, into one below the mount point: a container sees
// only its part of the hierarchy mounted.
func below(m *kernel.Mount, path string) (string, error) {
	if m.Root == "/" {
		return path, nil
	}
	rest, ok := strings.CutPrefix(path, m.Root)
	switch {
	case ok && rest == "":
		return "/", nil
	case ok && strings.HasPrefix(rest, "/"):
		return rest, nil
	}
	return "", fmt.Errorf("this process's cgroup %s is not below %s, which is all that is mounted at %s", path, m.Root,
		m.Point)
}

// HierarchyV1 is the caller's own cgroup in the v1 hierarchy of a controller.
func (r Root) HierarchyV1(controller string) (string, error) {
	mounts, err := r.mountinfo()
	if err != nil {
		return "", err
	}
	entries, err := r.Cgroup(0)
	if err != nil {
		return "", err
	}
	for i := range mounts {
		m := &mounts[i]
		if m.Type != "cgroup" || !m.Has(controller) {
			continue
		}
		for _, e := range entries {
			if slices.Contains(e.Controllers, controller) {
				self, err := below(m, e.Path)
				return r.Path(m.Point, self), err
			}
		}
	}
	return "", fmt.Errorf("no cgroup hierarchy with the %s is mounted", controller)
}

// Cgroup is what the files of a memory cgroup, other than the root, tell of
// the kernel.
type Cgroup struct {
	Swap   bool // memory.swap.max or memory.memsw.limit_in_bytes
	Group  bool // memory.oom.group
	High   bool // memory.high
	Freeze bool // cgroup.freeze
}

// CgroupFiles looks at the files of the memory cgroup in directory dir, a path
// on the machine.
func (r Root) CgroupFiles(dir string) Cgroup {
	has := func(file string) bool { return r.Has(filepath.Join(dir, file)) }
	return Cgroup{
		Swap:   has("memory.swap.max") || has("memory.memsw.limit_in_bytes"),
		Group:  has("memory.oom.group"),
		High:   has("memory.high"),
		Freeze: has("cgroup.freeze"),
	}
}

// apply adds what the files tell to what the mount told.
func (c Cgroup) apply(m *kernel.CgroupMount) {
	m.Swap, m.Group = c.Swap, c.Group
}
