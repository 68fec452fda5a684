package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// state is how far a process is.
type state int

const (
	waiting  state = iota // not started, or about to be started again
	starting              // started; has not said so yet
	running               // does its steps
	ready                 // holds what it was told to
	ended
)

// A process is one process of the plan through all its lives. Only the run's
// loop touches it.
type process struct {
	plan  plan.Process
	state state
	lives int // how often it was started
	pid   int // of the present or last life
	pidfd int // of the present life, for signals; -1: it has ended
	child *child
	// eof: nothing more comes from the child's report pipe.
	eof bool
	// status is how it ended, kept until its last reports are read.
	status  *evidence.ExitStatus
	endedAt int64
	// unknown since: it has ended and its parent has to say how.
	unknown time.Time
	quiet   quiet
	// left: it has ended, and what it has started has not been quiet since.
	left bool
	// overhead is what a stressor that is ready has beside what it was told to
	// hold, by its own count.
	overhead kernel.Bytes
}

// alive reports whether the process exists.
func (p *process) alive() bool { return p.state == starting || p.state == running || p.state == ready }

// settled reports whether nothing more is to be expected of the process.
func (p *process) settled() bool { return p.state == ready || p.state == ended && !p.left }

// outputLimit bounds what is kept of a program's output.
const outputLimit = 64 << 10

// start starts a process: a launcher that waits, is put where it belongs, and
// is then told what to become.
func (r *run) start(p *process) error {
	if p.plan.Unit != "" {
		return r.startUnit(p)
	}
	if p.plan.Container != "" {
		return r.startContainer(p)
	}
	c, err := r.agent.spawner.start([]string{r.agent.stressor, "launch"}, os.Environ())
	if err != nil {
		return fmt.Errorf("process %s: %w", p.plan.Name, err)
	}
	fail := func(err error) error {
		killAll([]int{c.pid}, time.Now().Add(endDeadline), nobody)
		unix.Close(c.pidfd)
		c.close()
		return fmt.Errorf("process %s: %w", p.plan.Name, err)
	}
	if err := r.place(c.pid, p.plan); err != nil {
		return fail(err)
	}
	// one descriptor for the reaper, which closes it, and one for signals
	pidfd, err := unix.FcntlInt(uintptr(c.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fail(fmt.Errorf("dup: %w", err))
	}
	p.pidfd = pidfd
	r.live(p, c)
	life := p.lives
	if err := r.agent.reaper.watch(c.pid, c.pidfd, func(status *evidence.ExitStatus) {
		at := monotonic()
		r.post(func() { r.exited(p, life, status, at) })
	}); err != nil {
		return err
	}
	r.order(p)
	return nil
}

// order tells a launcher what to become. It may have been killed by now; then its end tells.
func (r *run) order(p *process) {
	p.child.control.SetWriteDeadline(time.Now().Add(startDeadline))
	p.child.control.Write(r.orders(p.plan))
}

// live begins a life of a process, whose pidfd is known.
func (r *run) live(p *process, c *child) {
	p.state, p.pid, p.child, p.eof, p.status, p.quiet = starting, c.pid, c, false, nil, quiet{}
	p.left = false
	p.lives++
	r.children = append(r.children, c)
	r.register(p)
	r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: p.plan.Name, PID: p.pid})
	r.readers.Add(2)
	go r.readReports(p, p.lives, c)
	go r.readOutput(p.plan.Name, c)
}

// place puts a launcher into its cgroup and sets its oom_score_adj, always:
// it has inherited the agent's.
func (r *run) place(pid int, p plan.Process) error {
	if p.Cgroup != "" {
		if err := writeFile(filepath.Join(r.tree.dir(p.Cgroup), procsFile), strconv.Itoa(pid)); err != nil {
			return err
		}
		for _, other := range []string{r.tree.freezer, r.tree.cpuset} {
			if other == "" {
				continue
			}
			if err := writeFile(filepath.Join(other, p.Cgroup, procsFile), strconv.Itoa(pid)); err != nil {
				return err
			}
		}
	}
	file, value := kernel.FileOOMScoreAdj, p.OOMScoreAdj
	if p.OOMAdj != 0 {
		file, value = kernel.FileOOMAdj, p.OOMAdj
	}
	err := writeFile(r.agent.root.Path("/proc", strconv.Itoa(pid), file), strconv.Itoa(value))
	if err != nil && p.OOMScoreAdj < 0 {
		return fmt.Errorf("%w; below 0 it needs CAP_SYS_RESOURCE", err)
	}
	return err
}

// orders are the lines that a launcher reads: what to become and, for a
// stressor, what to do.
func (r *run) orders(p plan.Process) []byte {
	lines := p.Launch.Line() + "\n"
	if !p.IsCommand() {
		lines += r.homes(p).Line() + "\n"
	}
	return []byte(lines)
}

// homes fills in where the children of a stressor go, and its files in a tmpfs: the plan
// knows the cgroups and the steps, and only the agent knows the directories.
func (r *run) homes(p plan.Process) profile.Profile {
	var fill func(string, profile.Profile) profile.Profile
	fill = func(name string, in profile.Profile) profile.Profile {
		in.Steps = tmpfsPaths(r.plan, name, in.Steps)
		children := in.Children
		in.Children = nil
		for name, child := range children {
			if q := r.byName[name]; q != nil && q.plan.Cgroup != "" {
				child.CgroupProcs = filepath.Join(r.tree.dir(q.plan.Cgroup), procsFile)
			}
			if in.Children == nil {
				in.Children = make(map[string]profile.Profile, len(children))
			}
			in.Children[name] = fill(name, child)
		}
		return in
	}
	return fill(p.Name, p.Profile)
}

// readReports passes on what a stressor and its children say, until the last
// of them has closed the pipe.
func (r *run) readReports(p *process, life int, c *child) {
	defer r.readers.Done()
	defer c.reports.Close()
	lines := bufio.NewScanner(c.reports)
	lines.Buffer(make([]byte, 0, 4096), 64<<10)
	lines.Split(wire.ScanLines)
	for lines.Scan() {
		var rep profile.Report
		if err := json.Unmarshal(lines.Bytes(), &rep); err != nil {
			text := fmt.Sprintf("report of %s is not understood: %q: %v", p.plan.Name, lines.Text(), err)
			r.post(func() { r.failure(text) })
			continue
		}
		if p.plan.Container != "" {
			rep.PID = c.pid // it has a pid namespace of its own, and is alone in it
		}
		r.post(func() { r.reported(p, life, rep) })
	}
	r.post(func() { r.silent(p, life) })
}

// readOutput keeps the first of what a program prints and discards the rest,
// so that the program never waits for its reader.
func (r *run) readOutput(name string, c *child) {
	defer r.readers.Done()
	defer c.output.Close()
	buf := make([]byte, 4096)
	kept := 0
	for {
		n, err := c.output.Read(buf)
		if n = min(n, outputLimit-kept); n > 0 {
			kept += n
			text := strings.ToValidUTF8(string(buf[:n]), "\uFFFD")
			r.emit(evidence.Event{Source: evidence.Stressor, Kind: evidence.Step, Process: name, PID: c.pid,
				Text: text})
		}
		if err != nil {
			return
		}
	}
}
