package agent

import (
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// family is a run of a process, its child, a child that shares its memory, the
// child's own child, and a stranger; all of them alive.
func family() *run {
	r := &run{byName: map[string]*process{}, exiting: map[int]time.Time{}}
	add := func(name, parent string, pid int, children map[string]profile.Profile) {
		p := &process{plan: plan.Process{Name: name, Parent: parent, Profile: profile.Profile{Children: children}},
			state: ready, lives: 1, pid: pid}
		r.procs = append(r.procs, p)
		r.byName[name] = p
	}
	add("parent", "", 1, map[string]profile.Profile{"child": {}, "sharer": {SharesMemory: true}})
	add("child", "parent", 2, map[string]profile.Profile{"grandchild": {}})
	add("sharer", "parent", 3, nil)
	add("grandchild", "child", 4, nil)
	add("stranger", "", 5, nil)
	return r
}

func TestWhoIsKilledTakesAlong(t *testing.T) {
	for _, test := range []struct {
		name string
		pid  int
		want []int
	}{
		{"a parent takes all that it forked", 1, []int{1, 2, 3, 4}},
		{"a child takes its own", 2, []int{2, 4}},
		{"who shares memory takes its parent, and so everybody", 3, []int{1, 2, 3, 4}},
		{"a stranger takes nobody", 5, []int{5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := family()
			r.oomKilled(test.pid)
			if got := slices.Sorted(maps.Keys(r.exiting)); !slices.Equal(got, test.want) {
				t.Errorf("exiting %v; want %v", got, test.want)
			}
		})
	}
}

// A signal ends the process that it is sent to, not those who use its memory:
// to wait for them would be to wait until the run's time is up.
func TestASignalTakesNoSharersAlong(t *testing.T) {
	for _, test := range []struct {
		pid  int
		want []int
	}{{3, []int{3}}, {2, []int{2, 4}}, {1, []int{1, 2, 3, 4}}} {
		r := family()
		r.expectExit(test.pid, false)
		if got := slices.Sorted(maps.Keys(r.exiting)); !slices.Equal(got, test.want) {
			t.Errorf("a signal to %d: awaited %v; want %v", test.pid, got, test.want)
		}
	}
}

func TestActionsWaitForVictims(t *testing.T) {
	r, now := family(), time.Now()
	if r.victimExiting(now) {
		t.Fatal("nobody was killed, and somebody is awaited")
	}
	r.oomKilled(5)
	if !r.victimExiting(now) {
		t.Error("a victim that lives is not awaited")
	}
	if r.victimExiting(now.Add(exitWithin + time.Second)) {
		t.Errorf("a victim that does not leave is awaited for more than %s", exitWithin)
	}
	r.byName["stranger"].state = ended
	if r.victimExiting(now) {
		t.Error("a victim that has left is awaited")
	}
}

func TestEffectLater(t *testing.T) {
	signal := func(s unix.Signal) plan.During { return plan.During{Signal: map[string]int{"x": int(s)}} }
	for _, test := range []struct {
		name   string
		action plan.During
		want   bool
	}{
		{"SIGKILL is the kernel's", signal(unix.SIGKILL), false},
		{"so is SIGSTOP", signal(unix.SIGSTOP), false},
		{"SIGTERM is up to the process", signal(unix.SIGTERM), true},
		{"sysrq-f is awaited", plan.During{Sysrq: "f"}, false},
		{"a limit is written and done", plan.During{Writes: []plan.CgroupWrite{{Path: "/lab"}}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := effectLater(test.action); got != test.want {
				t.Errorf("effect later: %t; want %t", got, test.want)
			}
		})
	}
}
