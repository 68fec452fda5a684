package verdict

import (
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// TestTogether: what descendants held together is at least what each of those held that have
// ended, whoever lives on.
func TestTogether(t *testing.T) {
	mi := func(n kernel.Bytes) *kernel.Bytes { n *= kernel.MiB; return &n }
	lives := []*life{
		{process: "db/1", of: "db", alive: true},
		{process: "db/2", of: "db", exit: &evidence.ExitStatus{MaxRSS: mi(40)}},
		{process: "db/3", of: "db", exit: &evidence.ExitStatus{MaxRSS: mi(30)}},
	}
	for _, tt := range []struct {
		name  string
		lives []*life
		n     uint64
		held  kernel.Bytes
		wrong int
	}{
		{"as much as the largest", lives, 3, 40, 0},
		{"more than those that ended", lives, 3, 100, 0},
		{"less than the largest", lives, 3, 39, 1},
		{"more than all, who have ended", lives[1:], 3, 71, 1},
		{"fewer of them", lives, 2, 40, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Events: []evidence.Event{{Kind: evidence.Descendants, Process: "db", N: tt.n,
				Held: &evidence.Holding{Resident: tt.held * kernel.MiB}}}}
			in.Machine.Abilities = map[kernel.Ability]kernel.Answer{kernel.AbilityProcessEvents: {Is: "yes"}}
			found := &findings{}
			(&agentWitness{in: in}).together(&account{in: in, lives: tt.lives}, map[string]int{"db": 3}, found)
			if got := len(found.sorted()); got != tt.wrong {
				t.Errorf("%d disagreements, want %d: %v", got, tt.wrong, found.sorted())
			}
		})
	}
}

// TestMisnamed: the kernel's name of a process is one that was told, unless one was not read.
func TestMisnamed(t *testing.T) {
	task := func(pid int, comm string) *evidence.Task {
		return &evidence.Task{TaskID: evidence.TaskID{PID: pid, TGID: 7, Comm: comm}}
	}
	called := []evidence.Program{{Comm: "sh"}, {Comm: "postgres"}}
	for _, tt := range []struct {
		name string
		l    life
		t    *evidence.Task
		want bool
	}{
		{"first name", life{of: "db", called: called}, task(7, "sh"), false},
		{"last name", life{of: "db", called: called}, task(7, "postgres"), false},
		{"another one", life{of: "db", called: called}, task(7, "psql"), true},
		{"of a thread", life{of: "db", called: called}, task(8, "psql"), false},
		{"after one that nobody has read", life{of: "db", called: append(called, evidence.Program{})}, task(7, "psql"),
			false},
		{"of the program itself", life{}, task(7, "psql"), false},
	} {
		if got := tt.l.misnamed(tt.t); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestOrderOfForks: a fork has the kernel's time, and may be told after what the agent said
// later; what follows is later than all of these.
func TestOrderOfForks(t *testing.T) {
	agent := func(kind evidence.Kind, at int64) evidence.Event {
		return evidence.Event{AtNS: at, Source: evidence.Agent, Kind: kind, Process: "db/1"}
	}
	for _, tt := range []struct {
		name   string
		events []evidence.Event
		wrong  int
	}{
		{"as they were", []evidence.Event{agent(evidence.Forked, 1), agent(evidence.Named, 2)}, 0},
		{"a fork told late", []evidence.Event{agent(evidence.Named, 3), agent(evidence.Forked, 2),
			agent(evidence.Named, 4)}, 0},
		{"forks of two processors", []evidence.Event{agent(evidence.Forked, 3), agent(evidence.Forked, 2)}, 0},
		{"a name before the fork that was told", []evidence.Event{agent(evidence.Forked, 3),
			agent(evidence.Named, 2)}, 1},
		{"a name before the last one", []evidence.Event{agent(evidence.Named, 5), agent(evidence.Forked, 2),
			agent(evidence.Named, 4)}, 1},
		{"a fork before the run", []evidence.Event{agent(evidence.Forked, 0)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Events: tt.events}
			found := &findings{}
			(&agentWitness{in: in, begin: 1}).order(&account{in: in}, found)
			if got := len(found.sorted()); got != tt.wrong {
				t.Errorf("%d disagreements, want %d: %v", got, tt.wrong, found.sorted())
			}
		})
	}
}
