package observe

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"github.com/oomlab/oomlab/bpf"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

var bpfKinds = map[bpf.Kind]evidence.Kind{
	bpf.OutOfMemory:      evidence.OutOfMemory,
	bpf.OutOfMemoryRet:   evidence.OOMReturn,
	bpf.OOMBadness:       evidence.Badness,
	bpf.OOMEvaluateTask:  evidence.Badness,
	bpf.OOMKillProcess:   evidence.KillDecision,
	bpf.EachKill:         evidence.Kill,
	bpf.MarkVictim:       evidence.MarkVictim,
	bpf.SchedProcessExit: evidence.TaskExit,
	bpf.GivenUp:          evidence.GivenUp,
}

// The messages of a candidate that the kernel looked at without scoring it.
const (
	// MessageVictimAlready: tsk_is_oom_victim(). Unless its memory has been
	// reaped (OOMSkip), the scan ends here and nothing is killed.
	MessageVictimAlready = "is an OOM victim already"
	// MessageOrigin: oom_task_origin(), a task in swapoff or unmerging KSM. It
	// is chosen before any other.
	MessageOrigin = "oom_task_origin"
)

// oomEvent translates what a program saw. PID is set where the event is about
// a task. constraint names a value of enum oom_constraint; tgid finds the
// process of a thread id. The event has no number yet.
func oomEvent(e bpf.Event, constraint func(int32) string, tgid func(int) int) evidence.Event {
	oom := &evidence.OOM{
		Decision: e.Decision,
		Current: evidence.TaskID{PID: int(e.CurrentPid), TGID: int(e.CurrentTgid), NSTGID: int(e.CurrentNsTgid),
			Comm: bpf.Text(e.CurrentComm[:])},
		Message: bpf.Text(e.Message[:]),
	}
	if e.Flags&bpf.HasTask != 0 {
		oom.Task = task(e.Task, e.Flags)
		if e.Flags&bpf.HasIdentity == 0 {
			oom.Task.TGID = tgid(oom.Task.PID)
		}
	}
	if e.Flags&bpf.HasControl != 0 {
		oom.Control = &evidence.OOMControl{
			MemcgID:      e.MemcgId,
			TotalPages:   kernel.Pages(e.TotalPages),
			ChosenPoints: e.ChosenPoints,
			Order:        int(e.Order),
			GFP:          e.Gfp,
		}
		// On entry the constraint and the total are not computed yet.
		if e.Kind != bpf.OutOfMemory {
			oom.Control.Constraint = constraint(e.Constraint)
		}
	}
	if e.Flags&bpf.HasPoints != 0 {
		oom.Points = &e.Points
	}
	switch e.Kind {
	case bpf.OOMBadness:
		oom.TotalPages = &e.Value
	case bpf.OOMEvaluateTask:
		oom.Message = MessageVictimAlready
		if e.Flags&bpf.IsOrigin != 0 {
			oom.Message = MessageOrigin
		}
	case bpf.OutOfMemoryRet, bpf.GivenUp:
		result := e.Value != 0
		oom.Result = &result
	case bpf.SchedProcessExit:
		status := int(e.Value)
		oom.ExitCode = &status
	}
	event := evidence.Event{AtNS: int64(e.AtNs), Source: evidence.BPF, Kind: bpfKinds[e.Kind], OOM: oom}
	if oom.Task != nil {
		event.PID = oom.Task.TGID
	}
	return event
}

// statusEvent translates who was killed, or sent a signal, and who asked for it.
func statusEvent(s *bpf.Status) evidence.Event {
	k := &evidence.Killed{Decision: s.Decision, Signal: int(s.Sig), Code: int(s.Code), Result: int(s.Result),
		Victim: person(s, &s.Victim), Trigger: person(s, &s.Trigger)}
	if s.Same != 0 {
		k.Trigger = k.Victim
	}
	kind := evidence.VictimStatus
	if bpf.Kind(s.Kind) == bpf.Signal {
		kind = evidence.Signalled
	}
	if path, whole := s.Path(s.Domain); path != "/" {
		k.Domain, k.DomainCut = path, !whole
	}
	for _, address := range s.Stack {
		if address != 0 {
			k.Stack = append(k.Stack, address)
		}
	}
	return evidence.Event{AtNS: int64(s.AtNs), Source: evidence.BPF, Kind: kind, PID: k.Victim.TGID, Killed: k}
}

func person(s *bpf.Status, p *bpf.Person) evidence.Person {
	out := evidence.Person{HWM: kernel.Pages(p.HiwaterRss), Threads: int(p.Threads),
		Parent: evidence.TaskID{PID: int(p.ParentTgid), TGID: int(p.ParentTgid), Comm: bpf.Text(p.ParentComm[:])}}
	if p.Has == 0 {
		return out
	}
	out.Task = *task(p.Task, bpf.Has(p.Has))
	path, whole := s.Path(p.Cgroup)
	out.Cgroup, out.PathCut = path, !whole
	words, whole := s.Args(p.Args)
	out.Args, out.ArgsCut = words, !whole
	return out
}

func task(t bpf.Task, has bpf.Has) *evidence.Task {
	out := &evidence.Task{
		TaskID: evidence.TaskID{PID: int(t.Pid), TGID: int(t.Tgid), NSTGID: int(t.NsTgid),
			Comm: bpf.Text(t.Comm[:])},
		StartNS:  t.StartNs,
		UID:      int(t.Uid),
		Adj:      int(t.Adj),
		CgroupID: t.CgroupId,
		Refusal:  refusal(has),
	}
	if has&bpf.HasMM != 0 {
		out.MM = &evidence.MM{
			Batched:      counts(t.Batched),
			Exact:        counts(t.Exact),
			PgTables:     kernel.Bytes(t.Pgtables),
			TotalVM:      kernel.Pages(t.TotalVm),
			OOMSkip:      t.OomSkip != 0,
			Gone:         t.MmGone != 0,
			ExactUnknown: has&bpf.HasExact == 0,
		}
	}
	return out
}

func refusal(has bpf.Has) evidence.Refusal {
	switch {
	case has&bpf.IsInit != 0:
		return evidence.RefusedInit
	case has&bpf.IsKthread != 0:
		return evidence.RefusedKthread
	case has&bpf.InVfork != 0:
		return evidence.RefusedVfork
	case has&bpf.HasRefusal != 0:
		return evidence.NotRefused
	}
	return ""
}

func counts(c [4]int64) evidence.Counts {
	return evidence.Counts{
		File:  kernel.Pages(c[bpf.FilePages]),
		Anon:  kernel.Pages(c[bpf.AnonPages]),
		Swap:  kernel.Pages(c[bpf.SwapEnts]),
		Shmem: kernel.Pages(c[bpf.ShmemPages]),
	}
}

// tgid is the process of a thread, for kernels whose mark_victim tells only
// the thread. The victim is still there unless its parent was quick; then its
// thread id is the best there is, and in all but rare cases the same.
func (b *BPF) tgid(pid int) int {
	text, err := os.ReadFile(filepath.Join(b.root, "proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return pid
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if value, ok := bytes.CutPrefix(lines.Bytes(), []byte("Tgid:")); ok {
			if n, err := strconv.Atoi(string(bytes.TrimSpace(value))); err == nil {
				return n
			}
		}
	}
	return pid
}
