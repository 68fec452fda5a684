package census

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/rank"
)

// Census reads a machine as often as one likes.
type Census struct {
	root    probe.Root
	machine rank.Machine // what does not change
	mount   kernel.CgroupMount
	notes   []string
	nested  bool // in a PID namespace other than the initial one
}

// initialPIDNamespace is PROC_PID_INIT_INO of include/linux/proc_ns.h.
const initialPIDNamespace = "pid:[4026531836]"

// Open reads what does not change.
func Open(root probe.Root) (*Census, error) {
	c := &Census{root: root}
	release, err := root.Text("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	c.machine = rank.Machine{Release: release, PageSize: kernel.Bytes(os.Getpagesize()), Nodes: map[int]kernel.Pages{}}
	if c.machine.Reads, err = root.ConcludeBadness(release); err != nil {
		return nil, err
	}
	zones, err := root.Zoneinfo()
	if err != nil {
		return nil, err
	}
	for _, z := range zones.Zones {
		if z.Present > 0 {
			c.machine.Nodes[z.Node] += z.Present
		}
	}
	if c.mount, err = root.CgroupMount(); err != nil {
		c.mount = kernel.CgroupMount{}
		c.notes = append(c.notes, "cgroups are not read: "+err.Error())
	}
	c.machine.CgroupVersion = c.mount.Version
	if ns, err := os.Readlink(root.Path("/proc/self/ns/pid")); err == nil && ns != initialPIDNamespace {
		c.nested = true
		c.notes = append(c.notes, "this is a PID namespace of its own: processes outside of it are not seen")
	}
	return c, nil
}

// Read reads the machine and all of its processes. One that ends while it is read is
// left out.
func (c *Census) Read(ctx context.Context) (rank.Snapshot, error) {
	return c.ReadFor(ctx, rank.Options{})
}

// ReadFor reads what a ranking with these options needs, which is less than everything
// where it shows only the first rows of some domains.
func (c *Census) ReadFor(ctx context.Context, o rank.Options) (rank.Snapshot, error) {
	s := rank.Snapshot{Machine: c.machine, Notes: slices.Clone(c.notes)}
	if err := c.begin(&s); err != nil {
		return s, err
	}
	pids, err := c.pids()
	if err != nil {
		return s, err
	}
	w := walker{root: c.root.Path(c.mount.Root), version: c.mount.Version, where: make(map[int]string, len(pids))}
	var walking sync.WaitGroup
	if c.mount.Version != 0 {
		walking.Go(func() { w.walk(ctx, "/") })
	}
	var scores []int
	if !o.Everyone(c.machine) {
		scores = c.scores(ctx, pids)
	}
	walking.Wait()
	s.Cgroups = w.cgroups
	if w.err != nil {
		s.Notes = append(s.Notes, "a cgroup could not be read: "+w.err.Error())
	}
	if scores != nil {
		pids = c.sift(&s, o, pids, scores, w.where)
	}
	s.Processes, s.Unread = c.processes(ctx, pids, w.where)
	return s, ctx.Err()
}

// begin reads the clock and the machine.
func (c *Census) begin(s *rank.Snapshot) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	s.AtNS = now.Nano()
	return c.readMachine(&s.Machine)
}

// scores reads the kernel's scores for the machine. 0: it has none, or it could not be
// read.
func (c *Census) scores(ctx context.Context, pids []int) []int {
	scores := make([]int, len(pids))
	inParallel(ctx, len(pids), func(i, _ int, r *reader) {
		text, err := readFile(unix.AT_FDCWD, c.process(pids[i])+"/oom_score", r.buf)
		if err != nil {
			return
		}
		if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil {
			scores[i] = n
		}
	}, c)
	return scores
}

// sift keeps the processes that a ranking needs in full, and notes the others.
func (c *Census) sift(s *rank.Snapshot, o rank.Options, pids, scores []int, where map[int]string) []int {
	all := make([]rank.Brief, len(pids))
	for i, pid := range pids {
		all[i] = rank.Brief{PID: pid, Cgroup: where[pid], Score: scores[i]}
	}
	needs, err := s.Needs(all, o)
	if err != nil || len(all) == 0 {
		return pids // the ranking says what is wrong
	}
	var kept []int
	for _, b := range all {
		// One without a cgroup was not there yet, or is in one whose members are not listed.
		if needs(b) || b.Cgroup == "" && c.mount.Version != 0 {
			kept = append(kept, b.PID)
		} else {
			s.Briefs = append(s.Briefs, b)
		}
	}
	return kept
}

// ReadDomains reads the machine without its processes: enough to see what grows.
func (c *Census) ReadDomains(ctx context.Context) (rank.Snapshot, error) {
	s := rank.Snapshot{Machine: c.machine}
	if err := c.begin(&s); err != nil {
		return s, err
	}
	if c.mount.Version != 0 {
		w := walker{root: c.root.Path(c.mount.Root), version: c.mount.Version}
		w.walk(ctx, "/")
		s.Cgroups = w.cgroups
	}
	return s, ctx.Err()
}

// Score reads /proc/PID/oom_score of the processes that a ranking shows.
func (c *Census) Score(rows []rank.Row) {
	for i := range rows {
		if n, err := c.root.OOMScore(rows[i].PID); err == nil {
			rows[i].Kernel = &n
		}
	}
}

func (c *Census) readMachine(m *rank.Machine) error {
	info, err := c.root.Meminfo()
	if err != nil {
		return err
	}
	m.MemTotal, m.SwapTotal, m.SwapFree = info.MemTotal, info.SwapTotal, info.SwapFree
	m.MemAvailable = info.MemFree
	if info.MemAvailable != nil {
		m.MemAvailable = *info.MemAvailable
	}
	for key, to := range map[string]*int{"vm.swappiness": &m.Swappiness, "vm.panic_on_oom": &m.PanicOnOOM,
		"vm.oom_kill_allocating_task": &m.KillAllocating} {
		text, err := c.root.Sysctl(key)
		if err != nil {
			return err
		}
		if *to, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("sysctl %s: %q is not a number", key, text)
		}
	}
	return nil
}

func (c *Census) pids() ([]int, error) {
	dir, err := os.Open(c.root.Path("/proc"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// processes reads those that have memory of their own.
func (c *Census) processes(ctx context.Context, pids []int, where map[int]string) ([]rank.Process, int) {
	found, unread := make([][]rank.Process, workers()), make([]int, workers())
	inParallel(ctx, len(pids), func(i, worker int, r *reader) {
		p, err := r.process(pids[i], where[pids[i]])
		switch {
		case err == nil && p != nil:
			found[worker] = append(found[worker], *p)
		case err != nil && !gone(err):
			unread[worker]++
		}
	}, c)
	n := 0
	for _, u := range unread {
		n += u
	}
	return slices.Concat(found...), n
}

// workers is how many readers there are at a time.
func workers() int { return max(1, runtime.GOMAXPROCS(0)) }

// inParallel calls f for each number below n. Calls of the same worker follow each
// other and share a reader.
func inParallel(ctx context.Context, n int, f func(i, worker int, r *reader), c *Census) {
	var group sync.WaitGroup
	for worker := range workers() {
		group.Go(func() {
			r := reader{c: c, buf: make([]byte, 16<<10)}
			for i := worker; i < n && ctx.Err() == nil; i += workers() {
				f(i, worker, &r)
			}
		})
	}
	group.Wait()
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// reader reads processes one by one.
type reader struct {
	c   *Census
	dir int // of the process: to look up its number takes as long as to read a file
	buf []byte
}

// process is the path of a process.
func (c *Census) process(pid int) string { return c.root.Path("/proc", strconv.Itoa(pid)) }

// file reads a small file of the process. The bytes are good until the next call.
func (r *reader) file(name string) ([]byte, error) { return readFile(r.dir, name, r.buf) }

// readFile reads a file of procfs or cgroupfs, below the directory dir, without package
// os, which would ask whether it can be polled. One read gives all of a file that the
// kernel prints in one piece, as all of these are; what does not fit into buf is cut off.
func readFile(dir int, name string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return buf[:n], nil
	}
}

// lines of /proc/PID/status that are needed; there are four times as many.
var lines = [][]byte{[]byte("Name:"), []byte("State:"), []byte("Tgid:"), []byte("Pid:"), []byte("PPid:"),
	[]byte("Uid:"), []byte("VmRSS:"), []byte("RssAnon:"), []byte("RssFile:"), []byte("RssShmem:"), []byte("VmPTE:"),
	[]byte("VmSwap:"), []byte("Mems_allowed_list:")}

// wanted moves the needed lines to the front of text.
func wanted(text []byte) []byte {
	n := 0
	for rest := text; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		line := rest[:end]
		rest = rest[end:]
		if slices.ContainsFunc(lines, func(key []byte) bool { return bytes.HasPrefix(line, key) }) {
			n += copy(text[n:], line)
		}
	}
	return text[:n]
}

// process reads one that is in cgroup, or in one that is not known; nil: it has no
// memory of its own.
func (r *reader) process(pid int, cgroup string) (*rank.Process, error) {
	var err error
	if r.dir, err = unix.Open(r.c.process(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(r.dir)
	text, err := r.file("status")
	if err != nil {
		return nil, err
	}
	// A kernel thread or a process on its way out; most are told apart without
	// reading the rest.
	if !bytes.Contains(text, []byte("\nVmRSS:")) {
		return nil, nil
	}
	status, err := kernel.ParseStatus(bytes.NewReader(wanted(text)))
	if err != nil || status.VmRSS == nil {
		return nil, err
	}
	p := &rank.Process{PID: pid, Comm: status.Name, Anon: status.RssAnon, File: status.RssFile,
		Shmem: status.RssShmem, Mems: status.Mems, Init: pid == 1 && !r.c.nested}
	size := r.c.machine.PageSize
	if status.VmSwap != nil {
		p.Swap = status.VmSwap.Pages(size)
	}
	if status.VmPTE != nil {
		p.PgTables = *status.VmPTE
	}
	if text, err = r.file("stat"); err != nil {
		return nil, err
	}
	stat, err := kernel.ParseStat(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	p.Start, p.RSS = stat.StartTime, stat.RSS
	if r.c.machine.Reads == kernel.ReadsExact {
		p.RSS = status.VmRSS.Pages(size)
	}
	if text, err = r.file("oom_score_adj"); err != nil {
		return nil, err
	}
	if p.Adj, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
		return nil, fmt.Errorf("oom_score_adj of process %d: %w", pid, err)
	}
	if p.Cgroup = cgroup; cgroup == "" {
		if text, err = r.file("cgroup"); err != nil {
			return nil, err
		}
		entries, err := kernel.ParseCgroup(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		own, _ := kernel.MemoryCgroup(entries)
		p.Cgroup = own.Path
	}
	return p, nil
}

// walker reads the memory cgroups, parents first.
type walker struct {
	root    string
	version int
	cgroups []rank.Cgroup
	where   map[int]string // nil: the members are not asked for
	err     error          // the first
	buf     [4096]byte
}

func (w *walker) walk(ctx context.Context, dir string) {
	if ctx.Err() != nil {
		return
	}
	d, err := os.Open(w.root + dir)
	if err != nil {
		w.fail(err)
		return
	}
	names, err := w.cgroup(d, dir)
	d.Close()
	if err != nil {
		w.fail(err)
	}
	for _, name := range names {
		w.walk(ctx, path.Join(dir, name))
	}
}

// cgroup reads one whose directory is open, and returns those in it.
func (w *walker) cgroup(d *os.File, dir string) ([]string, error) {
	c, fd := rank.Cgroup{Path: dir}, int(d.Fd())
	if dir != "/" {
		w.limits(fd, &c)
	}
	w.cgroups = append(w.cgroups, c)
	if w.where != nil {
		w.members(fd, dir)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Nlink == 2 {
		return nil, nil // "." and the name in the parent: no directory in it, but dozens of files
	}
	entries, err := d.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// fail keeps the first error that is not about a cgroup which is gone.
func (w *walker) fail(err error) {
	if w.err == nil && !gone(err) && !errors.Is(err, unix.ENODEV) {
		w.err = err
	}
}

// members notes who is in the cgroup. In a threaded cgroup they cannot be read; the
// domain above it has them all.
func (w *walker) members(fd int, dir string) {
	f, err := unix.Openat(fd, "cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.fail(err)
		return
	}
	defer unix.Close(f)
	pid := 0 // of a line that is not whole yet
	for {
		n, err := unix.Read(f, w.buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && err != unix.EOPNOTSUPP:
			w.fail(err)
			return
		case err != nil || n == 0:
			return
		}
		for _, c := range w.buf[:n] {
			switch {
			case c >= '0' && c <= '9':
				pid = pid*10 + int(c-'0')
			case pid > 0:
				w.where[pid], pid = dir, 0
			}
		}
	}
}

// unlimitedV1 is a little less than what cgroup v1 shows where there is no limit,
// PAGE_COUNTER_MAX pages.
const unlimitedV1 = kernel.Bytes(1 << 62)

func (w *walker) limits(fd int, c *rank.Cgroup) {
	amount := func(name string) *kernel.Bytes {
		text, err := readFile(fd, name, w.buf[:])
		if err != nil {
			w.fail(err)
			return nil
		}
		word := string(bytes.TrimSpace(text))
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil || kernel.Bytes(n) >= unlimitedV1 || n > 1<<63-1 {
			return nil // "max"
		}
		b := kernel.Bytes(n)
		return &b
	}
	usage := "memory.current"
	if w.version == 1 {
		usage = "memory.usage_in_bytes"
		c.Max = amount("memory.limit_in_bytes")
	} else {
		c.Max = amount("memory.max")
		group := amount("memory.oom.group")
		c.Group = group != nil && *group == 1
	}
	if c.Max == nil {
		return
	}
	if used := amount(usage); used != nil {
		c.Usage = *used
	}
	if w.version == 2 {
		c.SwapMax = amount("memory.swap.max")
		return
	}
	if both := amount("memory.memsw.limit_in_bytes"); both != nil {
		swap := max(0, *both-*c.Max)
		c.SwapMax = &swap
	}
	if s := amount("memory.swappiness"); s != nil {
		n := int(*s)
		c.Swappiness = &n
	}
	if text, err := readFile(fd, "memory.oom_control", w.buf[:]); err == nil {
		control, err := kernel.ParseOOMControl(bytes.NewReader(text))
		c.KillDisabled = err == nil && control.OOMKillDisable
	}
}
