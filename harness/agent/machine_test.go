package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/alone"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// The tests in this file carry out real plans on the machine they run on, with
// the real stressor, in small memory cgroups of their own.

var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program builds one of oomlab's programs once for all tests. A machine
// without the Go tools brings them in OOMLAB_TEST_PROGRAMS.
func program(t *testing.T, pkg string) string {
	t.Helper()
	if dir := os.Getenv("OOMLAB_TEST_PROGRAMS"); dir != "" {
		return filepath.Join(dir, pkg)
	}
	programs.once.Do(func() {
		programs.dir, programs.err = os.MkdirTemp("", "oomlab-agent-test")
		if programs.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", programs.dir+"/", "../../cmd/oomlab-agent", "../../stressor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("%v: %w\n%s", build.Args, err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, pkg)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// here opens an agent on this machine, or skips.
func here(t *testing.T) *Agent {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making memory cgroups needs root")
	}
	a, err := New(t.Context(), Options{Stressor: program(t, "stressor"), ScratchDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	if a.mountErr != nil {
		t.Skip("no memory controller:", a.mountErr)
	}
	return a
}

const mib = 1 << 20

func stressor(name, cgroup string, steps ...profile.Step) plan.Process {
	return plan.Process{
		Name: name, Of: name, Cgroup: cgroup,
		Launch:  profile.Launch{Comm: name[:min(len(name), profile.CommLen)], DeadlineMS: 60_000},
		Profile: profile.Profile{Name: name, Steps: steps, DeadlineMS: 60_000},
	}
}

func command(name, cgroup string, argv ...string) plan.Process {
	return plan.Process{Name: name, Of: name, Cgroup: cgroup, Launch: profile.Launch{Argv: argv, DeadlineMS: 60_000}}
}

func touch(bytes int64) profile.Step { return profile.Step{Op: profile.Touch, Bytes: bytes} }

var hold = profile.Step{Op: profile.Hold}

// limited is a plan with one cgroup /lab that may hold limit bytes and no swap.
func (a *Agent) limited(t *testing.T, limit int64, processes ...plan.Process) plan.Plan {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	p := plan.Plan{
		Scenario: t.Name(), Base: fmt.Sprintf("oomlab-%s-%d", name, os.Getpid()), CgroupVersion: a.mount.Version,
		Processes: processes, WithinMS: 30_000, DeadlineMS: 45_000,
		Cgroups: []plan.Cgroup{{Path: "/lab", Writes: []plan.Write{a.limit(limit)}}},
	}
	if a.mount.Version == 2 {
		p.Cgroups[0].Writes = append(p.Cgroups[0].Writes, plan.Write{File: "memory.swap.max", Value: "0"})
	}
	return p
}

// limit is the write that limits a cgroup's memory.
func (a *Agent) limit(bytes int64) plan.Write {
	file := "memory.max"
	if a.mount.Version == 1 {
		file = "memory.limit_in_bytes"
	}
	return plan.Write{File: file, Value: fmt.Sprint(bytes)}
}

// carriedOut does a plan and returns its events, after checking what is true
// of every run: it begins and ends once, and nothing is left.
func (a *Agent) carriedOut(t *testing.T, p plan.Plan) events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return a.done(t, ctx, wire.Request{ID: 1, Plan: p}, nil)
}

func (a *Agent) done(t *testing.T, ctx context.Context, req wire.Request, want error) events {
	t.Helper()
	alone.OnMachine(t)
	var all events
	err := a.Do(ctx, req, func(ev evidence.Event) { all = append(all, ev) })
	skipRefused(t, err)
	if !errors.Is(err, want) {
		t.Fatalf("Do: %v, want %v\n%s", err, want, all)
	}
	a.nothingLeft(t, req.Plan)
	for _, kind := range []evidence.Kind{evidence.Begin, evidence.End} {
		if n := len(all.of(kind)); n != 1 {
			t.Errorf("%d events %s, want 1", n, kind)
		}
	}
	if last := all[len(all)-1]; last.Kind != evidence.End {
		t.Errorf("the last event is %s, want %s", last.Kind, evidence.End)
	}
	if t.Failed() {
		t.Log(all)
	}
	return all
}

// skipRefused skips a test on a machine that cannot carry out plans, such as one
// where the tests share their cgroup v2 with other processes.
func skipRefused(t *testing.T, err error) {
	t.Helper()
	var refusal *Refusal
	if errors.As(err, &refusal) {
		t.Skip("this machine cannot: ", err)
	}
}

func (a *Agent) nothingLeft(t *testing.T, p plan.Plan) {
	t.Helper()
	tree := filepath.Join(a.root.Path(a.mount.Root, a.mount.Self), p.Base)
	if _, err := os.Stat(tree); err == nil {
		t.Errorf("%s is left", tree)
	}
	if left, err := Pending(a.scratch); err != nil || len(left) > 0 {
		t.Errorf("undo lists are left: %v, %v", left, err)
	}
}

type events []evidence.Event

func (e events) of(kind evidence.Kind, processes ...string) events {
	var out events
	for _, ev := range e {
		if ev.Kind == kind && (len(processes) == 0 || slices.Contains(processes, ev.Process)) {
			out = append(out, ev)
		}
	}
	return out
}

func (e events) String() string {
	var b bytes.Buffer
	for _, ev := range e {
		if ev.Kind == evidence.Sample {
			continue
		}
		fmt.Fprintf(&b, "%d %s %s %s %d %s", ev.AtNS, ev.Source, ev.Kind, ev.Process, ev.PID, ev.Text)
		if ev.Exit != nil {
			fmt.Fprintf(&b, " exit %+v", *ev.Exit)
		}
		if ev.Log != nil {
			fmt.Fprintf(&b, " %q", ev.Log.Text)
		}
		if ev.Counter != nil {
			fmt.Fprintf(&b, " %+v", *ev.Counter)
		}
		if ev.OOM != nil && ev.OOM.Task != nil {
			fmt.Fprintf(&b, " task %+v", *ev.OOM.Task)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// exit is how a process ended, once.
func (e events) exit(t *testing.T, process string) evidence.ExitStatus {
	t.Helper()
	ends := e.of(evidence.Exited, process)
	if len(ends) != 1 || ends[0].Exit == nil {
		t.Fatalf("%s: %d exits with a status, want 1\n%s", process, len(ends), e)
	}
	exit := *ends[0].Exit
	exit.MaxRSS = nil // a measurement; TestMaxRSS looks at it
	return exit
}

// delta is how far a counter has moved from before to after.
func (e events) delta(t *testing.T, cgroup, file, key string) int64 {
	t.Helper()
	var value [2]*int64
	for _, ev := range e.of(evidence.Reading) {
		if c := ev.Counter; c.Cgroup == cgroup && c.File == file {
			v, ok := c.Values[key]
			if !ok {
				t.Fatalf("%s of %q has no %s: %v", file, cgroup, key, c.Values)
			}
			value[slices.Index([]string{"before", "after"}, c.When)] = &v
		}
	}
	if value[0] == nil || value[1] == nil {
		t.Fatalf("%s of %q was not read before and after", file, cgroup)
	}
	return *value[1] - *value[0]
}

// kills is how many kills the cgroup's own counter says.
func (a *Agent) kills(t *testing.T, e events, cgroup string) int64 {
	t.Helper()
	if a.mount.Version == 1 {
		return e.delta(t, cgroup, "memory.oom_control", "oom_kill")
	}
	return e.delta(t, cgroup, "memory.events.local", "oom_kill")
}

func (e events) ended(t *testing.T, how string) {
	t.Helper()
	if end := e.of(evidence.End); end[0].Text != how {
		t.Fatalf("the run ended %s, want %s\n%s", end[0].Text, how, e)
	}
	if failures := e.of(evidence.Failure); len(failures) > 0 {
		t.Errorf("failures: %s", failures)
	}
}

func TestKill(t *testing.T) {
	a := here(t)
	small := stressor("small", "/lab", touch(16*mib), hold)
	big := stressor("big", "/lab", touch(100*mib), hold)
	big.After = []string{"small"}
	e := a.carriedOut(t, a.limited(t, 64*mib, small, big))
	e.ended(t, endSettled)

	if exit := e.exit(t, "big"); exit != (evidence.ExitStatus{Signal: 9, By: "agent"}) {
		t.Errorf("big: %+v, want killed by SIGKILL", exit)
	}
	alive := e.of(evidence.Alive)
	if len(alive) != 1 || alive[0].Process != "small" {
		t.Fatalf("alive: %s, want small alone", alive)
	}
	if rss := alive[0].Status.RssAnon; rss == nil || *rss < 16*mib {
		t.Errorf("small has %v of anonymous memory, want 16Mi and more", rss)
	}
	if n := a.kills(t, e, "/lab"); n != 1 {
		t.Errorf("the cgroup counts %d kills, want 1", n)
	}
	if n := e.delta(t, "", "vmstat", "oom_kill"); n < 1 {
		t.Errorf("vmstat counts %d kills, want 1 or, with others on the machine, more", n)
	}
	pid := e.of(evidence.Spawned, "big")[0].PID
	ready, spawned := e.of(evidence.Ready, "small"), e.of(evidence.Spawned, "big")
	if ready[0].AtNS > spawned[0].AtNS {
		t.Errorf("big was started before small was ready")
	}
	if a.observers.kmsg != nil {
		said := slices.ContainsFunc(e.of(evidence.Record),
			func(ev evidence.Event) bool { return killedPID(ev.Log.Text) == pid })
		if !said {
			t.Errorf("no record of the kernel log says that %d was killed", pid)
		}
	}
	if a.observers.tier().Tier >= 1 {
		i := slices.IndexFunc(e,
			func(ev evidence.Event) bool { return ev.Kind == evidence.MarkVictim && ev.PID == pid })
		if i < 0 {
			t.Fatalf("no mark_victim of %d", pid)
		}
		if e[i].Process != "big" || e[i].OOM.Task.Cgroup != "/lab" {
			t.Errorf("mark_victim of %q in %q, want big in /lab", e[i].Process, e[i].OOM.Task.Cgroup)
		}
	}
	if len(e.of(evidence.Sample)) == 0 {
		t.Error("no samples")
	}
}

func TestRespawn(t *testing.T) {
	a := here(t)
	p := stressor("again", "/lab", touch(64*mib), hold)
	p.Respawn = 2
	e := a.carriedOut(t, a.limited(t, 24*mib, p))
	e.ended(t, endSettled)
	if n := len(e.of(evidence.Spawned, "again")); n != 3 {
		t.Errorf("started %d times, want 3", n)
	}
	pids := map[int]bool{}
	for _, ev := range e.of(evidence.Exited, "again") {
		if ev.Exit == nil || ev.Exit.Signal != 9 {
			t.Errorf("exit %+v, want SIGKILL", ev.Exit)
		}
		pids[ev.PID] = true
	}
	if len(pids) != 3 {
		t.Errorf("ends of the pids %v, want three", pids)
	}
	if n := a.kills(t, e, "/lab"); n != 3 {
		t.Errorf("the cgroup counts %d kills, want 3", n)
	}
}

func TestFork(t *testing.T) {
	a := here(t)
	for _, test := range []struct {
		name        string
		parent      []profile.Step
		child       []profile.Step
		cgroup      string
		limit       int64
		parentExit  *evidence.ExitStatus
		childExit   *evidence.ExitStatus
		parentAlive bool
	}{
		{
			name:        "the child exits",
			parent:      []profile.Step{{Op: profile.Fork, Name: "child"}, {Op: profile.Wait, Name: "child"}, hold},
			child:       []profile.Step{{Op: profile.Exit, Code: 7}},
			limit:       64 * mib,
			childExit:   &evidence.ExitStatus{Code: 7, By: "parent"},
			parentAlive: true,
		},
		{
			name:        "the child is killed",
			parent:      []profile.Step{{Op: profile.Fork, Name: "child"}, hold},
			child:       []profile.Step{touch(100 * mib), hold},
			limit:       64 * mib,
			childExit:   &evidence.ExitStatus{Signal: 9, By: "parent"},
			parentAlive: true,
		},
		{
			name:       "the parent ends first",
			parent:     []profile.Step{{Op: profile.Fork, Name: "child"}, {Op: profile.Exit}},
			child:      []profile.Step{touch(1 * mib), hold},
			limit:      64 * mib,
			parentExit: &evidence.ExitStatus{By: "agent"},
			childExit:  &evidence.ExitStatus{Signal: 9, By: "agent"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			parent, child := stressor("parent", "/lab", test.parent...), stressor("child", "/lab", test.child...)
			child.Parent = "parent"
			parent.Profile.Children = map[string]profile.Profile{"child": child.Profile}
			e := a.carriedOut(t, a.limited(t, test.limit, parent, child))
			e.ended(t, endSettled)
			if n := len(e.of(evidence.Spawned)); n != 2 {
				t.Errorf("%d processes were started, want 2", n)
			}
			if got := e.exit(t, "child"); got != *test.childExit {
				t.Errorf("child: %+v, want %+v", got, *test.childExit)
			}
			if test.parentExit != nil {
				if got := e.exit(t, "parent"); got != *test.parentExit {
					t.Errorf("parent: %+v, want %+v", got, *test.parentExit)
				}
			}
			if got := len(e.of(evidence.Alive, "parent")) == 1; got != test.parentAlive {
				t.Errorf("parent alive: %t, want %t", got, test.parentAlive)
			}
		})
	}
}

func TestCommand(t *testing.T) {
	a := here(t)
	talk := command("talk", "/lab", "sh", "-c", "echo hello; echo trouble >&2; exit 3")
	stay := command("stay", "/lab", "sh", "-c", "while :; do read x; done < /dev/zero")
	e := a.carriedOut(t, a.limited(t, 64*mib, talk, stay))
	e.ended(t, endSettled)
	if exit := e.exit(t, "talk"); exit != (evidence.ExitStatus{Code: 3, By: "agent"}) {
		t.Errorf("talk: %+v, want exit status 3", exit)
	}
	var said string
	for _, ev := range e.of(evidence.Step, "talk") {
		said += ev.Text
	}
	if said != "hello\ntrouble\n" {
		t.Errorf("talk said %q", said)
	}
	if len(e.of(evidence.Alive, "stay")) != 1 {
		t.Error("stay is not alive at the end")
	}
}

func TestCommandThatIsNot(t *testing.T) {
	a := here(t)
	e := a.carriedOut(t, a.limited(t, 64*mib, command("none", "/lab", "/no/such/program")))
	failures := e.of(evidence.Failure, "none")
	if len(failures) != 1 || !strings.Contains(failures[0].Text, "/no/such/program") {
		t.Errorf("failures: %s, want one that names the program", failures)
	}
	if exit := e.exit(t, "none"); exit.Code != profile.ExitFailed {
		t.Errorf("exit %+v, want %d", exit, profile.ExitFailed)
	}
}

// The agent says how much a process had at most, if that was more than the
// agent itself has: a smaller one is hidden behind it.
func TestMaxRSS(t *testing.T) {
	a := here(t)
	e := a.carriedOut(t, a.limited(t, 256*mib,
		stressor("large", "/lab", touch(160*mib), profile.Step{Op: profile.Exit}),
		stressor("small", "/lab", touch(1*mib), profile.Step{Op: profile.Exit}),
		command("program", "/lab", "sleep", "0.3")))
	most := func(process string) *kernel.Bytes {
		ends := e.of(evidence.Exited, process)
		if len(ends) != 1 || ends[0].Exit == nil {
			t.Fatalf("%s: no exit with a status\n%s", process, e)
		}
		return ends[0].Exit.MaxRSS
	}
	if m := most("large"); m == nil || *m < 160*mib || *m > 168*mib {
		t.Errorf("large had %v at most, want 160Mi and some overhead", m)
	}
	if m := most("small"); m != nil {
		t.Errorf("small had %s at most; that is the agent's own", m.Human())
	}
	if m := most("program"); m == nil || *m > 8*mib {
		t.Errorf("program had %v at most, want a sample", m)
	}
}

func TestRehearsal(t *testing.T) {
	a := here(t)
	p := a.limited(t, 64*mib, stressor("big", "/lab", touch(8*mib), hold), command("stay", "/lab", "sleep", "60"))
	p, _ = plan.Rehearsal(p, kernel.Machine{PageSize: 4096, MemAvailable: 256 * mib, Cgroup: a.mount})
	e := a.done(t, t.Context(), wire.Request{ID: 2, Plan: p}, nil)
	e.ended(t, endSettled)
	if n := len(e.of(evidence.Spawned)); n != 1 {
		t.Errorf("%d processes were started, want the command alone", n)
	}
	alive := e.of(evidence.Alive, "stay")
	if len(alive) != 1 || alive[0].Status.RssFile == nil || *alive[0].Status.RssFile == 0 {
		t.Errorf("alive: %s, want stay with what it holds", alive)
	}
}

// TestDescendants: a program is quiet when those are that it has started, and what they
// are and hold is told of it.
func TestDescendants(t *testing.T) {
	a := here(t)
	for _, tt := range []struct {
		name, script string
		least        uint64 // of them at a time
		killed       bool
	}{
		{name: "its child fills the cgroup", script: "tail /dev/zero; sleep 60", least: 1, killed: true},
		{name: "its orphan does", script: "tail /dev/zero & exit 0", least: 1, killed: true},
		{name: "they are quiet", script: "sleep 60 & sleep 60 & wait", least: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := a.limited(t, 64*mib, command("shell", "/lab", "sh", "-c", tt.script))
			e := a.carriedOut(t, p)
			e.ended(t, endSettled)
			if told := e.of(evidence.Descendants, "shell"); len(told) != 1 || told[0].N < tt.least ||
				told[0].Held == nil {
				t.Errorf("descendants: %s, want %d at least", told, tt.least)
			}
			var kills int64
			for _, ev := range e.of(evidence.Reading) {
				if ev.Counter.When == "after" && ev.Counter.Cgroup == "/lab" {
					kills = max(kills, ev.Counter.Values[evidence.CounterOOMKill])
				}
			}
			if killed := kills > 0; killed != tt.killed {
				t.Errorf("killed: %t, want %t", killed, tt.killed)
			}
		})
	}
	alone := a.carriedOut(t, a.limited(t, 64*mib, command("one", "/lab", "sleep", "60")))
	if told := alone.of(evidence.Descendants); len(told) != 0 {
		t.Errorf("descendants: %s, want none of a program that starts nobody", told)
	}
}

func TestDuring(t *testing.T) {
	a := here(t)
	holder := stressor("holder", "/lab", touch(32*mib), hold)
	p := a.limited(t, 64*mib, holder)
	// The process is frozen, thawed, stopped and continued, made the favourite
	// victim, and then a limit falls below what it holds. v1 refuses such a
	// limit where it cannot reclaim, so there a second process grows instead.
	p.During = []plan.During{
		{After: []string{"holder"}, Freeze: "/lab"},
		{After: []string{"holder"}, DelayMS: 100, Thaw: "/lab"},
		{After: []string{"holder"}, DelayMS: 150, Signal: map[string]int{"holder": 19}},
		{After: []string{"holder"}, DelayMS: 200, Signal: map[string]int{"holder": 18}},
		{After: []string{"holder"}, DelayMS: 250, OOMScoreAdj: map[string]int{"holder": 500}},
	}
	if a.mount.Version == 2 {
		p.During = append(p.During, plan.During{
			After: []string{"holder"}, DelayMS: 300,
			Writes: []plan.CgroupWrite{{Path: "/lab", Writes: []plan.Write{a.limit(8 * mib)}}},
		})
	}
	e := a.carriedOut(t, p)
	e.ended(t, endSettled)
	var did []string
	for _, ev := range e.of(evidence.Did) {
		did = append(did, ev.Text)
	}
	want := []string{"freeze /lab", "thaw /lab", "SIGSTOP to holder", "SIGCONT to holder",
		"oom_score_adj of holder = 500"}
	if !slices.Equal(did[:min(len(did), len(want))], want) {
		t.Errorf("did %q, want %q first", did, want)
	}
	if a.mount.Version == 2 {
		if exit := e.exit(t, "holder"); exit.Signal != 9 {
			t.Errorf("holder: %+v, want killed when the limit fell", exit)
		}
	}
}

func TestDuringOnNobody(t *testing.T) {
	a := here(t)
	p := a.limited(t, 64*mib, stressor("gone", "/lab", profile.Step{Op: profile.Exit}))
	p.During = []plan.During{{After: []string{"gone"}, Signal: map[string]int{"gone": 9}}}
	e := a.carriedOut(t, p)
	failures := e.of(evidence.Failure)
	if len(failures) != 1 || failures[0].Text != "SIGKILL to gone: process gone is not running" {
		t.Errorf("failures: %s", failures)
	}
}

// A run with a process that is not expected to finish lasts all its time.
func TestWithin(t *testing.T) {
	a := here(t)
	p := a.limited(t, 64*mib, stressor("slow", "/lab", profile.Step{Op: profile.Leak, Rate: mib}))
	p.WithinMS = 400
	start := time.Now()
	e := a.carriedOut(t, p)
	e.ended(t, endWithin)
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("took %s, want 400ms and more", took)
	}
	if len(e.of(evidence.Alive, "slow")) != 1 {
		t.Error("slow is not alive at the end")
	}
}

func TestInterrupt(t *testing.T) {
	a := here(t)
	p := a.limited(t, 64*mib, stressor("holder", "/lab", touch(mib), hold))
	p.Throttled = []string{"holder"} // so that the run does not end by itself
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all events
	err := a.Do(ctx, wire.Request{Plan: p}, func(ev evidence.Event) {
		all = append(all, ev)
		if ev.Kind == evidence.Ready {
			cancel()
		}
	})
	skipRefused(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v, want %v", err, context.Canceled)
	}
	a.nothingLeft(t, p)
	all.ended(t, endInterrupted)
}
