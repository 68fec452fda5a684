package agent

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/plan"
)

// Bounds of what is told of the processes that programs start: a fork bomb is not recorded
// to its end, and a title that changes with every request is not told each time.
const (
	maxMembers = 10_000
	maxNames   = 32
	maxArgs    = 32
	maxArg     = 256
)

// namesEvery is how often titles are looked at, which no event tells.
const namesEvery = 200 * time.Millisecond

// lineage are the processes that programs of the user's own have started, and those that
// these have, as the kernel's process events tell them. Each has a name: that of the
// program and a number by order of start.
type lineage struct {
	events *observe.ProcEvents

	mu      sync.Mutex
	heads   map[int]string  // the programs themselves, by pid
	members map[int]*member // those that live, by pid
	mains   map[int]*member // the main processes of units, which systemd waits for
	counts  map[string]int  // by program
	total   int

	living, most map[string]int // by program, as the loop has told; of the loop alone

	// of the loop alone
	told  uint64 // events, numbered
	named time.Time
}

// member is one of them.
type member struct {
	name, of    string
	pid, parent int
	born, ended int64 // by the kernel, in ns: who tells of it later may tell of others first
	threads     int   // beside the first one
	status      *evidence.ExitStatus
	tells       int // how often its name was told

	// of the loop alone
	told    bool // its beginning
	program evidence.Program
	most    kernel.Pages
}

// follow begins to follow the programs of the plan, if it has any and the kernel tells.
func (r *run) follow() error {
	if !r.plan.Sliced() && !slices.ContainsFunc(r.plan.Processes, plan.Process.IsCommand) {
		return nil
	}
	f := &lineage{heads: map[int]string{}, members: map[int]*member{}, mains: map[int]*member{},
		counts: map[string]int{},
		living: map[string]int{}, most: map[string]int{}}
	r.lineage = f
	events, err := observe.OpenProcEvents(r.procEvent, func(n uint64, why string) {
		r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Lost, N: n, Text: "process events: " + why})
	})
	if err != nil {
		r.lineage = nil
		if r.agent.procEventsErr == nil {
			return err // the machine was said to have them
		}
		return nil
	}
	f.events = events
	return nil
}

// tryProcEvents says why the kernel does not tell of processes.
func tryProcEvents() error {
	events, err := observe.OpenProcEvents(func(observe.ProcEvent) {}, func(uint64, string) {})
	if err == nil {
		events.Close()
	}
	return err
}

// head notes that a program of the user's own has a pid.
func (r *run) head(p *process) {
	if r.lineage == nil || !p.plan.IsCommand() {
		return
	}
	r.lineage.mu.Lock()
	defer r.lineage.mu.Unlock()
	r.lineage.heads[p.pid] = p.plan.Name
}

// main notes that a unit's main process has a pid.
func (r *run) main(p *process) {
	if r.lineage == nil || !p.plan.Overseen() {
		return
	}
	r.lineage.mu.Lock()
	defer r.lineage.mu.Unlock()
	r.lineage.mains[p.pid] = &member{name: p.plan.Name, pid: p.pid}
}

// procEvent takes an event of the kernel's. It is not called from the loop.
func (r *run) procEvent(e observe.ProcEvent) {
	f := r.lineage
	f.mu.Lock()
	then := f.take(e, r)
	f.mu.Unlock()
	if then != nil {
		r.post(then)
	}
}

// take notes what an event says; the loop is to do what it returns. f.mu is held.
func (f *lineage) take(e observe.ProcEvent, r *run) func() {
	m := f.members[e.TGID]
	switch {
	case e.What == observe.ProcForked && e.PID == e.TGID:
		return f.born(e, r)
	case m == nil && f.mains[e.TGID] != nil:
		return f.mainLives(f.mains[e.TGID], e, r)
	case m == nil:
		if e.What == observe.ProcExited && e.PID == e.TGID {
			delete(f.heads, e.TGID) // the pid may be used again
		}
		return nil
	case e.What == observe.ProcForked:
		m.threads++
	case e.What == observe.ProcExecuted: // the other threads are gone, and the first one may have been among them
		m.threads, m.status = 0, nil
		return func() { r.look(m, "") }
	case e.What == observe.ProcRenamed && e.PID == e.TGID:
		return func() { r.look(m, e.Comm) }
	case e.What == observe.ProcExited:
		if !m.over(e) {
			return nil
		}
		delete(f.members, m.pid)
		return func() { r.memberEnded(m) }
	}
	return nil
}

// over notes the end of a thread, and reports whether it was the last.
func (m *member) over(e observe.ProcEvent) bool {
	if e.PID == e.TGID {
		m.status = waitStatus(e.Status)
	} else {
		m.threads--
	}
	if m.status == nil || m.threads > 0 {
		return false
	}
	m.ended = e.AtNS
	return true
}

// mainLives notes what happens to a unit's main process: systemd waits for it, and the
// kernel tells how it ends. f.mu is held.
func (f *lineage) mainLives(m *member, e observe.ProcEvent, r *run) func() {
	switch {
	case e.What == observe.ProcForked:
		m.threads++
	case e.What == observe.ProcExecuted: // the other threads are gone
		m.threads, m.status = 0, nil
	case e.What == observe.ProcExited && m.over(e):
		delete(f.mains, m.pid)
		delete(f.heads, m.pid)
		return func() {
			if p := r.byName[m.name]; p.pid == m.pid {
				r.exited(p, p.lives, m.status, m.ended)
			}
		}
	}
	return nil
}

// born names a new process, if it is a program's. f.mu is held.
func (f *lineage) born(e observe.ProcEvent, r *run) func() {
	of := f.heads[e.Parent]
	if parent := f.members[e.Parent]; parent != nil {
		of = parent.of
	}
	if of == "" {
		return nil
	}
	if f.total++; f.total > maxMembers {
		if f.total == maxMembers+1 {
			return func() {
				r.failure(fmt.Sprintf("%s has started more than %d processes, and the rest is not told", of,
					maxMembers))
			}
		}
		return nil
	}
	f.counts[of]++
	m := &member{name: plan.Descendant(of, f.counts[of]), of: of, pid: e.TGID, parent: e.Parent, born: e.AtNS}
	f.members[m.pid] = m
	r.know(m.pid, m.name)
	return func() { r.memberBorn(m) }
}

// waitStatus reads what wait(2) would.
func waitStatus(status uint32) *evidence.ExitStatus {
	s := unix.WaitStatus(status)
	out := &evidence.ExitStatus{By: evidence.ByProcessEvents}
	if s.Signaled() {
		out.Signal = int(s.Signal())
	} else {
		out.Code = s.ExitStatus()
	}
	return out
}

func (r *run) memberBorn(m *member) {
	m.program = evidence.Program{Parent: m.parent}
	m.program.Comm, m.program.Args = r.called(m.pid)
	r.tellMember(m, evidence.Forked, m.born)
	m.told = true
	l := r.lineage
	l.living[m.of]++
	l.most[m.of] = max(l.most[m.of], l.living[m.of])
	r.happened()
}

// tellMember says how a process came to be, or what it is called now. Without a time it is
// of now.
func (r *run) tellMember(m *member, kind evidence.Kind, atNS int64) {
	r.lineage.told++
	program := m.program
	r.emit(evidence.Event{AtNS: atNS, Source: evidence.Agent, Kind: kind, Process: m.name, PID: m.pid,
		N: r.lineage.told, Program: &program})
}

// look tells what a process is called, if that has changed. comm is known of one that may
// be gone; empty: it is called something that nobody has read.
func (r *run) look(m *member, comm string) {
	is, args := r.called(m.pid)
	if is == "" {
		is, args = comm, nil
	}
	if is == m.program.Comm && len(args) == 0 {
		args = m.program.Args // of one that ends there are none
	}
	if is == m.program.Comm && slices.Equal(args, m.program.Args) || m.tells >= maxNames {
		return
	}
	m.tells++
	m.program.Comm, m.program.Args = is, args
	r.tellMember(m, evidence.Named, 0)
}

// called is what /proc says that a process is called; empty: it is gone.
func (r *run) called(pid int) (comm string, args []string) {
	b, err := os.ReadFile(r.agent.root.Path("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return "", nil
	}
	comm = strings.ToValidUTF8(strings.TrimSuffix(string(b), "\n"), "\uFFFD")
	b, err = os.ReadFile(r.agent.root.Path("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(b) == 0 {
		return comm, nil
	}
	for _, arg := range strings.Split(strings.TrimRight(string(b), "\x00 "), "\x00") {
		if len(args) == maxArgs {
			break
		}
		args = append(args, strings.ToValidUTF8(arg[:min(len(arg), maxArg)], "\uFFFD"))
	}
	return comm, args
}

// memberEnded tells how a process ended.
func (r *run) memberEnded(m *member) {
	if m.most > 0 {
		most := m.most.Bytes(kernel.Bytes(os.Getpagesize())) // of the looks
		m.status.MaxRSS = &most
	}
	r.lineage.living[m.of]--
	r.emit(evidence.Event{AtNS: m.ended, Source: evidence.Wait, Kind: evidence.Exited, Process: m.name, PID: m.pid,
		Exit: m.status})
	r.happened()
}

// alive are the members that live, in order of start, those of one program or of all.
func (f *lineage) alive(of string) []*member {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.SortedFunc(maps.Values(f.members), func(a, b *member) int {
		return plan.CompareDescendants(a.name, b.name)
	})
	return slices.DeleteFunc(all, func(m *member) bool { return of != "" && m.of != of })
}

// byPID are the living members of a program.
func (f *lineage) byPID(of string) map[int]*member {
	out := map[int]*member{}
	for _, m := range f.alive(of) {
		out[m.pid] = m
	}
	return out
}

// lookAround takes a look at all titles.
func (r *run) lookAround(now time.Time) {
	if r.lineage == nil || now.Sub(r.lineage.named) < namesEvery {
		return
	}
	r.lineage.named = now
	for _, m := range r.lineage.alive("") {
		if m.told { // the next ones are known to whom the kernel tells, and not yet to the loop
			r.look(m, m.program.Comm)
		}
	}
}

// drainLineage returns when all that the kernel has told has been noted.
func (r *run) drainLineage() {
	if r.lineage != nil {
		r.lineage.events.Drain()
	}
}

// planned reports whether a pid is that of a process of the plan.
func (r *run) planned(pid int) bool { return r.byName[r.name(pid)] != nil }
