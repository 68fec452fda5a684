package agent

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/observe"
)

// TestLineage: who is a program's, what it is called, and when it has ended, by what the
// kernel tells. Nothing is done with it.
func TestLineage(t *testing.T) {
	const agent, db, worker, deeper = 10, 20, 21, 22
	fork := func(parent, pid int) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcForked, Parent: parent, PID: pid, TGID: pid}
	}
	thread := func(tgid, pid int) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcForked, Parent: db, PID: pid, TGID: tgid}
	}
	exec := func(pid int) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcExecuted, PID: pid, TGID: pid}
	}
	exit := func(tgid, pid int, status uint32) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcExited, PID: pid, TGID: tgid, Status: status}
	}
	for _, tt := range []struct {
		name   string
		events []observe.ProcEvent
		living []string
	}{
		{"of the program, and of what it has started", []observe.ProcEvent{fork(db, worker), fork(worker, deeper)},
			[]string{"db/1", "db/2"}},
		{"of nobody's", []observe.ProcEvent{fork(agent, 30), fork(30, 31), exit(30, 30, 0)}, nil},
		{"the program's own fork is told when it is known", []observe.ProcEvent{fork(agent, db), fork(db, worker)},
			[]string{"db/1"}},
		{"an orphan remains the program's",
			[]observe.ProcEvent{fork(db, worker), fork(worker, deeper), exit(worker, worker, 0), fork(deeper, 23)},
			[]string{"db/2", "db/3"}},
		{"it is there until its last thread has ended",
			[]observe.ProcEvent{fork(db, worker), thread(worker, 40), exit(worker, worker, 9)}, []string{"db/1"}},
		{"and then no more",
			[]observe.ProcEvent{fork(db, worker), thread(worker, 40), exit(worker, worker, 9), exit(worker, 40, 9)},
			nil},
		{"a thread that executes a program is alone, and the first one",
			[]observe.ProcEvent{fork(db, worker), thread(worker, 40), exit(worker, worker, 0), exec(worker),
				exit(worker, worker, 0)}, nil},
		{"a pid of the program's that is used again is another one's",
			[]observe.ProcEvent{exit(db, db, 0), fork(agent, db), fork(db, worker)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &lineage{heads: map[int]string{db: "db"}, members: map[int]*member{}, counts: map[string]int{}}
			r := &run{session: session{names: map[int]string{}}, lineage: l}
			for _, e := range tt.events {
				l.take(e, r)
			}
			var got []string
			for _, m := range l.alive("db") {
				got = append(got, m.name)
				if r.name(m.pid) != m.name {
					t.Errorf("pid %d is known as %q", m.pid, r.name(m.pid))
				}
			}
			if !slices.Equal(got, tt.living) {
				t.Errorf("%q live, want %q", got, tt.living)
			}
		})
	}
}

// TestTheEndOfAUnitsMainProcess is what the kernel tells of it: it is no child of the agent's.
func TestTheEndOfAUnitsMainProcess(t *testing.T) {
	const main = 20
	thread := observe.ProcEvent{What: observe.ProcForked, Parent: 1, PID: 21, TGID: main}
	exec := observe.ProcEvent{What: observe.ProcExecuted, PID: main, TGID: main}
	exit := func(pid int) observe.ProcEvent {
		return observe.ProcEvent{What: observe.ProcExited, PID: pid, TGID: main, Status: 9, AtNS: 7}
	}
	for _, tt := range []struct {
		name   string
		events []observe.ProcEvent
		ended  bool
	}{
		{"it executes programs", []observe.ProcEvent{exec, exec}, false},
		{"it has ended", []observe.ProcEvent{exec, exit(main)}, true},
		{"not before its last thread", []observe.ProcEvent{exec, thread, exit(main)}, false},
		{"with its last thread", []observe.ProcEvent{exec, thread, exit(main), exit(21)}, true},
		{"threads of before count for nothing", []observe.ProcEvent{exit(99), exec, thread, exit(main)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &process{state: running, lives: 1, pid: main, child: &child{}, pidfd: -1}
			l := &lineage{mains: map[int]*member{main: {name: "web", pid: main}}}
			r := &run{session: session{names: map[int]string{}}, lineage: l, byName: map[string]*process{"web": p}}
			var then func()
			for _, e := range tt.events {
				then = l.take(e, r)
			}
			if (then != nil) != tt.ended {
				t.Fatalf("it has ended: %v", then != nil)
			}
			if then == nil {
				return
			}
			then()
			if p.status == nil || p.status.Signal != 9 || p.status.By != evidence.ByProcessEvents || p.endedAt != 7 {
				t.Errorf("it ended with %+v at %d", p.status, p.endedAt)
			}
		})
	}
}

// TestABeginningIsToldFirst: what the kernel has told of is not looked at before the loop has
// told that it began.
func TestABeginningIsToldFirst(t *testing.T) {
	var got []evidence.Kind
	l := &lineage{heads: map[int]string{20: "db"}, members: map[int]*member{}, counts: map[string]int{},
		living: map[string]int{}, most: map[string]int{}}
	r := &run{session: session{agent: &Agent{}, names: map[int]string{},
		sink: func(e evidence.Event) { got = append(got, e.Kind) }}, lineage: l}
	then := l.take(observe.ProcEvent{What: observe.ProcForked, Parent: 20, PID: os.Getpid(), TGID: os.Getpid()}, r)
	r.lookAround(time.Now())
	if len(got) > 0 {
		t.Fatalf("told before its beginning: %q", got)
	}
	then()
	l.members[os.Getpid()].program.Comm = "another"
	r.lookAround(time.Now().Add(namesEvery))
	if want := []evidence.Kind{evidence.Forked, evidence.Named}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestWaitStatusOfProcessEvents reads what wait(2) would return.
func TestWaitStatusOfProcessEvents(t *testing.T) {
	got := map[uint32][2]int{}
	want := map[uint32][2]int{0: {0, 0}, 3 << 8: {3, 0}, 9: {0, 9}, 0x80 | 11: {0, 11}}
	for status := range want {
		s := waitStatus(status)
		got[status] = [2]int{s.Code, s.Signal}
	}
	if !maps.Equal(got, want) {
		t.Errorf("code and signal are %v, want %v", got, want)
	}
}
