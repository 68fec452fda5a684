package verdict

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// failed holds what a stressor says of a step that the kernel refused memory against its
// steps, what it held, and how it ended. done is how many steps it had done.
func (w *agentWitness) failed(l *life, e evidence.Event, done int, found *findings) {
	steps := l.plan.Profile.Steps
	var held evidence.Holding
	if e.Held != nil {
		held = *e.Held
	}
	switch {
	case e.Call == nil || e.Call.Errno != profile.ENOMEM || l.plan.IsCommand():
		found.add(CallDiffers, "%s was refused memory, and does not say how", l)
		return
	case e.Call.Step != done || done >= len(steps) || !steps[done].Op.Row().Committed():
		found.add(CallDiffers, "%s was refused memory by its step %d, after %d of them; it is none that maps any", l,
			e.Call.Step+1, done)
		return
	}
	want, part := w.mapped(steps, done, held.Told)
	if text := refusal(steps[done].Op, done, want, held.Told); part < 0 || e.Text != text {
		found.add(CallDiffers, "%s says %q with %s held; its steps say %q", l, e.Text, held.Told, text)
	}
	switch {
	case held.Resident != 0 || held.Overhead != 0:
		found.add(CallDiffers, "%s has measured what it holds before it was ready", l)
	case l.ready:
		found.add(CallDiffers, "%s was refused memory and was ready", l)
	case l.exit == nil:
		found.add(CallDiffers, "%s was refused memory, and nobody saw it end", l)
	case l.exit.Signal != sigkill && l.exit.Code != profile.ExitFailed:
		found.add(CallDiffers, "%s was refused memory, and ended with %s", l, status(*l.exit))
	}
}

// mapped is what a step maps next that has taken a part of what it is told to take, when
// the process holds told. The part is -1 if there is no such moment: a piece is filled
// before the next one is mapped.
func (w *agentWitness) mapped(steps []profile.Step, step int, told kernel.Bytes) (next, part kernel.Bytes) {
	s := steps[step]
	part = told - w.amount(steps[:step])
	if s.Op.Row().Memory == profile.AddressSpace {
		if part != 0 {
			part = -1
		}
		return kernel.Bytes(s.Bytes), part
	}
	page := max(1, w.in.Machine.PageSize)
	all := (kernel.Bytes(s.Bytes) + page - 1) / page * page
	next = profile.LargestPiece
	if !s.Op.Row().Unbounded() {
		next = min(next, all-part)
	}
	if part < 0 || part%profile.LargestPiece != 0 || next <= 0 {
		part = -1
	}
	return next, part
}

// refusal is what a stressor says of a mapping that it was refused.
func refusal(op profile.Op, step int, mapping, held kernel.Bytes) string {
	return fmt.Sprintf("step %d (%s): mapping %s beside %s held: cannot allocate memory", step+1, op,
		profile.Quantity(int64(mapping)), profile.Quantity(int64(held)))
}

// enoughMemory is what the lines begin with in which the kernel says whom it refused
// memory: since 6.5, and as often as its rate limit has it.
const enoughMemory = "__vm_enough_memory: pid: "

// refusalsPrinted is how many of them come at once at the least (DEFAULT_RATELIMIT_BURST).
const refusalsPrinted = 10

// printedRefusal is the line about a process that was refused memory.
func (a *account) printedRefusal(l *life) string {
	if l.failed == nil || l.failed.Call == nil || l.failed.Call.Step < 0 ||
		l.failed.Call.Step >= len(l.plan.Profile.Steps) {
		return ""
	}
	var told kernel.Bytes
	if l.failed.Held != nil {
		told = l.failed.Held.Told
	}
	bytes, _ := a.agent().mapped(l.plan.Profile.Steps, l.failed.Call.Step, told)
	page := a.pageSize()
	bytes = (bytes + page - 1) / page * page
	if l.plan.Profile.Steps[l.failed.Call.Step].Op == profile.HugePages {
		bytes += a.in.Machine.HugePageSize() // to begin at a huge page's boundary
	}
	comm := cmp.Or(l.plan.Launch.Comm, l.process)
	return fmt.Sprintf("%s%d, comm: %s, bytes: %d not enough memory for the allocation", enoughMemory, l.kernelPID,
		comm[:min(len(comm), profile.CommLen)], bytes)
}

// refusals holds the kernel's word for whom it refused memory against theirs.
func (w *kmsgWitness) refusals(a *account, found *findings) {
	lines := map[string]int{}
	for _, e := range w.heard {
		if strings.HasPrefix(e.Log.Text, enoughMemory) {
			lines[e.Log.Text]++
		}
	}
	told := 0
	for _, l := range a.lives {
		if l.failed != nil {
			told++
		}
	}
	v, err := kernel.ParseVersion(a.in.Machine.Release)
	prints := err == nil && v.AtLeast(6, 12) && told <= refusalsPrinted && !w.lost
	for _, l := range a.lives {
		want := a.printedRefusal(l)
		if n := lines[want]; want != "" && (prints && n == 0 || n > 1) {
			found.add(LogIncomplete, "%s was refused memory, and the log has %d lines %q", l, n, want)
		}
		delete(lines, want)
	}
	for _, line := range sortedKeys(lines) {
		var pid int
		if _, err := fmt.Sscanf(line, enoughMemory+"%d,", &pid); err == nil && a.life(pid) != nil {
			found.add(LogDiffers, "the log has %q, and %s does not say so", line, a.life(pid))
		}
	}
}
