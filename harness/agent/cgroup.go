package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// A Refusal says what the machine lacks to carry out a plan and what would
// supply it. Nothing was started, and everything was put back.
type Refusal struct{ What, Hint string }

func (r *Refusal) Error() string {
	if r.Hint == "" {
		return "needs " + r.What
	}
	return "needs " + r.What + "; " + r.Hint
}

// delegateHint is how a user gets a cgroup that oomlab may divide.
const delegateHint = "run it as systemd-run --scope -p Delegate=yes oomlab ..."

const (
	procsFile   = "cgroup.procs"
	controlFile = "cgroup.subtree_control"
)

// A tree is where a run's cgroups are: directories on this machine.
type tree struct {
	version int
	own     string   // the agent's own cgroup
	base    string   // the run's, below own
	leaf    string   // v2: where the agent goes when own holds processes; else ""
	enable  []string // v2: the controllers that own does not hand on yet
	freezer string   // v1: base in the freezer hierarchy, if the plan freezes
	cpuset  string   // v1: base in the cpuset hierarchy, if the plan sets cpuset.mems
	cgroups []plan.Cgroup
}

// dir is the directory of a cgroup by its path below base.
func (t *tree) dir(path string) string { return filepath.Join(t.base, path) }

// plant works out where a run's cgroups go. It changes nothing.
func plant(root probe.Root, m kernel.CgroupMount, base string, cgroups []plan.Cgroup) (*tree, error) {
	if base == "" || base != filepath.Base(base) || strings.HasPrefix(base, ".") {
		return nil, fmt.Errorf("plan: base %q is not the name of a directory", base)
	}
	t := &tree{version: m.Version, own: root.Path(m.Root, m.Self), cgroups: cgroups}
	t.base = filepath.Join(t.own, base)
	if _, err := os.Lstat(t.base); err == nil {
		return nil, fmt.Errorf("plan: %s exists already; another run has it, or oomlab clean removes it", t.base)
	}
	for _, c := range cgroups {
		if !strings.HasPrefix(c.Path, "/") || c.Path == "/" || c.Path != filepath.Clean(c.Path) {
			return nil, fmt.Errorf("plan: cgroup %q is not an absolute path below the run's base", c.Path)
		}
	}
	switch m.Version {
	case 1:
		return t, nil
	case 2:
	default:
		return nil, &Refusal{What: "a memory controller", Hint: "no cgroup hierarchy with one is mounted"}
	}
	handed, err := readWords(filepath.Join(t.own, controlFile))
	if err != nil {
		return nil, err
	}
	offered, err := readWords(filepath.Join(t.own, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	for _, controller := range t.controllers() {
		switch {
		case slices.Contains(handed, controller):
		case !slices.Contains(offered, controller):
			return nil, &Refusal{What: "the " + controller + " controller in " + t.own, Hint: delegateHint}
		default:
			t.enable = append(t.enable, controller)
		}
	}
	if len(t.enable) == 0 {
		return t, nil
	}
	if m.Self != "/" { // the root may hold processes and divide its memory too
		t.leaf = filepath.Join(t.own, base+"-agent")
	}
	return t, nil
}

// controllers are those of cgroup v2 that the run's cgroups need. With cpusets the kernel
// asks at every allocation which nodes it may use (cpusets_enabled()), and so cgroups have
// them only where the plan sets some.
func (t *tree) controllers() []string {
	if plan.Cpusets(t.cgroups) {
		return []string{"memory", "cpuset"}
	}
	return []string{"memory"}
}

// words begins each name with a sign, as cgroup.subtree_control takes them.
func words(sign string, names []string) string {
	return sign + strings.Join(names, " "+sign)
}

// undo lists what make changes, in the order of the changes.
func (t *tree) undo() ([]plan.Undo, error) {
	var list []plan.Undo
	if t.leaf != "" {
		start, err := startTime(os.Getpid())
		if err != nil {
			return nil, err
		}
		list = append(list,
			plan.Undo{Op: undoRmdir, Path: t.leaf},
			plan.Undo{Op: undoMove, Path: filepath.Join(t.own, procsFile),
				Value: strconv.Itoa(os.Getpid()) + " " + start})
	}
	if len(t.enable) > 0 {
		list = append(list,
			plan.Undo{Op: undoWrite, Path: filepath.Join(t.own, controlFile), Value: words("-", t.enable)})
	}
	bases := []string{t.base}
	for _, base := range []string{t.freezer, t.cpuset} {
		if base != "" {
			bases = append(bases, base)
		}
	}
	for _, base := range bases {
		list = append(list, plan.Undo{Op: undoRmdir, Path: base})
		for _, c := range t.cgroups {
			list = append(list, plan.Undo{Op: undoRmdir, Path: filepath.Join(base, c.Path)})
		}
	}
	list = append(list, plan.Undo{Op: undoKill, Path: t.base})
	if t.freezer != "" { // a process that v1 has frozen does not die before it is thawed
		for _, c := range t.cgroups {
			list = append(list,
				plan.Undo{Op: undoWrite, Path: filepath.Join(t.freezer, c.Path, "freezer.state"), Value: "THAWED"})
		}
	}
	return list, nil
}

// make makes the cgroups and writes their files, in the plan's order.
func (t *tree) make() error {
	if len(t.enable) > 0 {
		if err := t.handOn(); err != nil {
			return err
		}
	}
	if err := makeCgroup(t.base); err != nil {
		return err
	}
	if err := t.divide("/"); err != nil {
		return err
	}
	for _, c := range t.cgroups {
		if c.Container != "" {
			continue // its engine makes it
		}
		dir := t.dir(c.Path)
		if err := makeCgroup(dir); err != nil {
			return err
		}
		for _, w := range c.Writes {
			if err := writeFile(filepath.Join(dir, w.File), w.Value); err != nil {
				return err
			}
		}
		if err := t.divide(c.Path); err != nil {
			return err
		}
	}
	if err := t.makeCpusets(); err != nil || t.freezer == "" {
		return err
	}
	if err := makeCgroup(t.freezer); err != nil {
		return err
	}
	for _, c := range t.cgroups {
		if err := makeCgroup(filepath.Join(t.freezer, c.Path)); err != nil {
			return err
		}
	}
	return nil
}

// makeCpusets makes the cgroups of v1's cpuset hierarchy. Such a cgroup begins without
// processors and nodes, and takes no process before it has both.
func (t *tree) makeCpusets() error {
	if t.cpuset == "" {
		return nil
	}
	dirs := map[string]kernel.Nodes{"": nil}
	order := []string{""}
	for _, c := range t.cgroups {
		order, dirs[c.Path] = append(order, c.Path), c.Mems
	}
	for _, path := range order {
		dir := filepath.Join(t.cpuset, path)
		if err := makeCgroup(dir); err != nil {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			if err != nil {
				return err
			}
			text := strings.TrimSpace(string(value))
			if file == "cpuset.mems" && dirs[path] != nil {
				text = dirs[path].String()
			}
			if err := writeFile(filepath.Join(dir, file), text); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOn lets the children of the agent's own cgroup have the controllers of
// the run's. A v2 cgroup that does so may not hold processes itself ("no
// internal processes"), so the agent steps aside into a leaf.
func (t *tree) handOn() error {
	control := filepath.Join(t.own, controlFile)
	err := writeFile(control, words("+", t.enable))
	if !errors.Is(err, unix.EBUSY) || t.leaf == "" {
		return err
	}
	if err := makeCgroup(t.leaf); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(t.leaf, procsFile), strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	err = writeFile(control, words("+", t.enable))
	if errors.Is(err, unix.EBUSY) {
		others, _ := readWords(filepath.Join(t.own, procsFile)) // only for the message
		return &Refusal{
			What: fmt.Sprintf("a cgroup of its own; %s also holds the processes %s", t.own, strings.Join(others, " ")),
			Hint: delegateHint,
		}
	}
	return err
}

// divide prepares a cgroup for having children with limits of their own.
func (t *tree) divide(path string) error {
	switch t.version {
	case 1:
		// Up to 5.10 a cgroup v1 counts its children only when told so; later
		// kernels always do (mm/memcontrol.c, mem_cgroup_hierarchy_write).
		file := filepath.Join(t.dir(path), "memory.use_hierarchy")
		now, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(now)) == "1" {
			return nil
		}
		if err != nil {
			return err
		}
		return writeFile(file, "1")
	default:
		parent := path == "/"
		for _, c := range t.cgroups {
			parent = parent || filepath.Dir(c.Path) == path
		}
		if !parent || len(t.cgroups) == 0 {
			return nil
		}
		return writeFile(filepath.Join(t.dir(path), controlFile), words("+", t.controllers()))
	}
}

func makeCgroup(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, unix.EROFS):
		return &Refusal{What: "a writable cgroup file system; " + dir + " cannot be made",
			Hint: "mount it read-write, or use --target vm"}
	case errors.Is(err, fs.ErrPermission):
		return &Refusal{What: "permission to make " + dir, Hint: "run it as root, or " + delegateHint}
	}
	return err
}

func readWords(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	return strings.Fields(string(b)), err
}

// endDeadline bounds every wait for processes that were sent SIGKILL: a dying
// process may have to write gigabytes of page tables back, but not for longer.
const endDeadline = 20 * time.Second

// killCgroup kills every process in a cgroup and below, and waits until all
// have ended. Processes that are born meanwhile are killed too.
func killCgroup(dir string, say func(string)) error {
	deadline := time.Now().Add(endDeadline)
	for {
		pids, err := membersBelow(dir)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if err := killAll(pids, deadline, say); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
}

// membersBelow lists the processes in a cgroup and everywhere below it.
func membersBelow(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		words, err := readWords(filepath.Join(path, procsFile))
		if errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		for _, w := range words {
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 { // 0: of another pid namespace
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

// killAll sends SIGKILL to processes and then waits for their ends; those that
// are our children are reaped. say is told whom it waits for.
func killAll(pids []int, deadline time.Time, say func(string)) error {
	fds := make(map[int]int, len(pids))
	defer func() {
		for _, fd := range fds {
			collect(unix.P_PIDFD, fd)
			unix.Close(fd)
		}
	}()
	var errs []error
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("kill %d: pidfd_open: %w", pid, err))
			continue
		}
		fds[pid] = fd
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	soon := time.Now().Add(patience)
	var slow []string
	for pid, fd := range fds {
		if awaitEnd(fd, soon) != nil {
			slow = append(slow, named(pid))
		}
	}
	if len(slow) > 0 {
		say(fmt.Sprintf("waiting up to %s for killed processes to end: %s", endDeadline, strings.Join(slow, ", ")))
	}
	for pid, fd := range fds {
		if err := awaitEnd(fd, deadline); err != nil {
			errs = append(errs, fmt.Errorf("kill %s: %w", named(pid), err))
		}
	}
	return errors.Join(errs...)
}

// named is a process for a message: 123 (comm).
func named(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return strconv.Itoa(pid)
	}
	return fmt.Sprintf("%d (%s)", pid, strings.TrimSuffix(string(comm), "\n"))
}

// awaitEnd waits until the process behind a pidfd has ended.
func awaitEnd(pidfd int, deadline time.Time) error {
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n > 0:
			return nil
		default:
			return fmt.Errorf("its end was awaited for %s after SIGKILL", endDeadline)
		}
	}
}

// removeCgroup removes a cgroup and everything that was made below it.
//
// A process leaves its cgroup a moment after its pidfd said that it ended
// (since 6.19 only when its last thread was switched away from for good, see
// cgroup_task_dead), and no file tells when; so EBUSY is tried again for a while.
func removeCgroup(dir string, say func(string)) error {
	children, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, c := range children {
		if c.IsDir() {
			if err := removeCgroup(filepath.Join(dir, c.Name()), say); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	deadline := time.NewTimer(endDeadline)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	soon := time.After(patience)
	for {
		err := unix.Rmdir(dir)
		if !errors.Is(err, unix.EBUSY) {
			if err != nil {
				return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
			}
			return nil
		}
		select {
		case <-again.C:
		case <-soon:
			left, _ := membersBelow(dir) // only for the message
			say(fmt.Sprintf("waiting up to %s for %s to be empty; processes: %v", endDeadline, dir, left))
		case <-deadline.C:
			left, _ := membersBelow(dir) // only for the message
			return fmt.Errorf("rmdir %s: still busy after %s; it holds the processes %v", dir, endDeadline, left)
		}
	}
}
