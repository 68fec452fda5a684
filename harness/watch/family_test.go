package watch

import (
	"os"
	"testing"

	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/trace"
)

// TestFamily: a process is of the family from its fork to its end, by its pid and the time; a
// stranger that gets the same pid is not, and what cannot be told is not said.
func TestFamily(t *testing.T) {
	fork := func(parent, pid int, at int64) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcForked, Parent: parent, PID: pid, TGID: pid, AtNS: at}
	}
	exit := func(pid int, at int64) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcExited, PID: pid, TGID: pid, AtNS: at}
	}
	const s = int64(1e9)
	f := &family{events: &observe.ProcEvents{}, members: map[int][]life{}}
	for _, e := range []observe.ProcEvent{
		fork(os.Getpid(), 10, 1*s), // the command
		fork(10, 11, 2*s),
		{What: observe.ProcForked, Parent: 10, PID: 12, TGID: 10, AtNS: 2 * s}, // a thread
		exit(10, 3*s),
		fork(11, 13, 4*s), // of an orphan
		fork(1, 14, 4*s),  // a stranger
		exit(11, 5*s),
		fork(1, 11, 6*s), // a stranger with a pid that was used
		exit(11, 7*s),
		fork(13, 11, 8*s), // and a member again
	} {
		f.event(e)
	}
	yes, no := true, false
	at := func(pid int, at int64) trace.Kill {
		return trace.Kill{Source: trace.FromBPF, AtNS: at, Victim: trace.Process{PID: pid}}
	}
	check := func(name string, k trace.Kill, want *bool) {
		t.Helper()
		got := f.owns(k)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("the command", at(10, 2*s), &yes)
	check("before it was there", at(10, 0), &no)
	check("on its way out", at(10, 3*s+afterDeath/2), &yes)
	check("long after its end", at(10, 5*s), &no)
	check("a thread is no process", at(12, 3*s), &no)
	check("an orphan's child", at(13, 9*s), &yes)
	check("a stranger", at(14, 5*s), &no)
	check("a pid while it was a member's", at(11, 4*s), &yes)
	check("while it was a stranger's", at(11, 6*s+s/2), &no)
	check("when it was a member's again", at(11, 9*s), &yes)
	log := at(14, 5*s)
	log.Source = trace.FromLog
	check("by the log, whose clock is another", log, &no)
	f.lost = true
	check("a member, though events were lost", at(13, 9*s), &yes)
	check("anybody else, when events were lost", at(14, 5*s), nil)

	f = &family{members: map[int][]life{}}
	f.look(0)
	for pid := range f.members {
		t.Errorf("%d is a child of a process that has none", pid)
	}
	old, young := at(14, 5*s), at(14, 5*s)
	old.Victim.StartNS, young.Victim.StartNS = uint64(s), uint64(5*s-s/100)
	check("who lived long would have been seen in /proc", old, &no)
	check("who did not, perhaps not", young, nil)
}
