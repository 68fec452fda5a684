package harness_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// player is a target that plays a recording back: what it says and what happens
// on it happened on a real kernel.
type player struct {
	name     scenario.Target // empty: vm
	hello    wire.Hello
	events   []evidence.Event
	helloErr error
	err      error // of Do, after the events
	requests []wire.Request
	rehearse []evidence.Event // answers a plan of commands alone
}

func (p *player) Name() scenario.Target { return cmp.Or(p.name, scenario.VM) }

func (p *player) Hello(context.Context) (wire.Hello, error) { return p.hello, p.helloErr }

func (p *player) Do(_ context.Context, req wire.Request, sink func(evidence.Event)) error {
	p.requests = append(p.requests, req)
	if p.rehearse != nil && len(p.requests) == 1 {
		for _, e := range p.rehearse {
			sink(e)
		}
		return nil
	}
	for _, e := range p.events {
		sink(e)
	}
	return p.err
}

func (p *player) Artifacts() map[string]string { return nil }

func (p *player) Close() error { return nil }

// recorded opens a recording as a target, and its scenario.
func recorded(t *testing.T, name string) (*player, scenario.Scenario, []byte) {
	t.Helper()
	dir, err := fs.Sub(selftest.Recorded(), name)
	if err != nil {
		t.Fatal(err)
	}
	in, err := verdict.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	source, err := fs.ReadFile(dir, verdict.ScenarioFile)
	if err != nil {
		t.Fatal(err)
	}
	in.Machine.Stressor.Charged = max(in.Machine.Stressor.Charged, 1)
	return &player{hello: wire.Hello{Machine: in.Machine, Tier: in.Tier}, events: in.Events}, in.Scenario, source
}

const adjOutweighsSize = "6.12/memcg-adj-outweighs-size"

// TestRunKeepsAllThatItsVerdictIsMadeOf: what Run returns is what its directory
// says when it is judged again, to the byte.
func TestRunKeepsAllThatItsVerdictIsMadeOf(t *testing.T) {
	p, s, source := recorded(t, adjOutweighsSize)
	dir := filepath.Join(t.TempDir(), "run")
	result, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: dir, Command: []string{"oomlab", "run"}})
	if err != nil || len(result.Kills) != 1 || result.Kills[0].Victim.Process != "small" {
		t.Fatalf("%v, kills %+v", err, result.Kills)
	}
	first, err := os.ReadFile(filepath.Join(dir, verdict.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Judge(dir); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(dir, verdict.ResultFile))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("judged again (%v), it says\n%s\nafter\n%s", err, second, first)
	}
	var onDisk verdict.Result
	if err := json.Unmarshal(first, &onDisk); err != nil || onDisk.Verdict != result.Verdict {
		t.Errorf("result.json says %s (%v), Run %s", onDisk.Verdict, err, result.Verdict)
	}
	log, err := os.ReadFile(filepath.Join(dir, verdict.LogFile))
	if err != nil || !strings.Contains(string(log), "Killed process") {
		t.Errorf("kmsg.txt (%v) holds no kill", err)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, verdict.ScenarioFile)); err != nil || !bytes.Equal(kept, source) {
		t.Errorf("the scenario was not kept as it is: %v", err)
	}
	if _, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: dir}); err == nil ||
		!strings.Contains(err.Error(), "holds a run already") {
		t.Errorf("a second run into the same directory: %v", err)
	}
}

// TestRunStartsNothingThatCannotRun: the reason is the result.
func TestRunStartsNothingThatCannotRun(t *testing.T) {
	p, s, source := recorded(t, adjOutweighsSize)
	p.hello.Machine.Abilities = map[kernel.Ability]kernel.Answer{}
	result, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: filepath.Join(t.TempDir(), "run")})
	if err != nil || result.Verdict != verdict.Skip || !strings.Contains(result.Reason, "needs root") {
		t.Errorf("%v, %s, %q; want a skip that needs root", err, result.Verdict, result.Reason)
	}
	if len(p.requests) != 0 {
		t.Errorf("%d plans were carried out", len(p.requests))
	}
}

// described is a target that knows its node before it says Hello.
type described struct {
	player
	node kubelet.Node
}

func (d *described) Describe(context.Context) (wire.Hello, error) {
	return wire.Hello{Node: &d.node}, nil
}

// TestRunAsksTheNodeFirst: what a node lacks by its own word is the result before it is
// probed; what only a probe can tell is left to the probe.
func TestRunAsksTheNodeFirst(t *testing.T) {
	const name = "kube/exit-0-but-oomkilled"
	source, err := scenarios.Source(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		single bool
		want   string
	}{
		{false, "needs a node with singleProcessOOMKill true; here it is false"}, {true, "the probe was asked"},
	} {
		d := &described{player{name: scenario.Kube, helloErr: errors.New("the probe was asked")},
			kubelet.Node{Name: "worker-1", KubeletVersion: "v1.36.3", SingleProcessOOMKill: tt.single}}
		result, err := harness.Run(t.Context(), d, s, source, harness.Options{Dir: filepath.Join(t.TempDir(), "run")})
		if err != nil || !strings.Contains(result.Reason, tt.want) || (result.Verdict == verdict.Skip) == tt.single {
			t.Errorf("%v, %s, %q; want %q", err, result.Verdict, result.Reason, tt.want)
		}
	}
}

// TestCgroupsAreOneRunsAlone: two oomlabs with run directories of their own number
// their runs alike, and still do not get into each other's way on one machine.
func TestCgroupsAreOneRunsAlone(t *testing.T) {
	bases := map[string]bool{}
	for range 2 {
		p, s, source := recorded(t, adjOutweighsSize)
		p.name = scenario.Local
		if _, err := harness.Run(t.Context(), p, s, source,
			harness.Options{Dir: filepath.Join(t.TempDir(), "0001-run")}); err != nil {
			t.Fatal(err)
		}
		base := p.requests[0].Plan.Base
		if !strings.HasPrefix(base, "oomlab-0001-run-") { // which is what oomlab clean looks for
			t.Errorf("the cgroups are below %s", base)
		}
		bases[base] = true
	}
	if len(bases) != 2 {
		t.Errorf("both runs have their cgroups below %v", bases)
	}
}

// TestRunOfAMachineThatGoesDown: a panic that was not expected, a hang and a
// target that fails are broken, each with its reason.
func TestRunOfAMachineThatGoesDown(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{&target.Down{How: "panic", Message: "Fatal exception"}, "panic: Fatal exception"},
		{&target.Down{How: "hang", Message: "no line for 30 s"}, "hang: no line for 30 s"},
		{errors.New("the line was cut"), "the line was cut"},
	} {
		p, s, source := recorded(t, adjOutweighsSize)
		p.events, p.err = p.events[:20], tt.err
		result, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: filepath.Join(t.TempDir(), "run")})
		if err != nil || result.Verdict != verdict.Broken {
			t.Errorf("%v: %v, %s; want broken", tt.err, err, result.Verdict)
		}
		told := result.Reason
		for _, d := range result.Disagreements {
			told += "\n" + d.Detail
		}
		if !strings.Contains(told, tt.reason) {
			t.Errorf("%v: told %q; want %q", tt.err, told, tt.reason)
		}
	}
}

// TestAPanicThatIsExpectedIsForgiven, with a run directory and without one: the
// machine that goes down as the scenario says is evidence, not a failed run.
func TestAPanicThatIsExpectedIsForgiven(t *testing.T) {
	for _, tt := range []struct {
		how  string
		want verdict.Verdict
	}{{"panic", verdict.Pass}, {"hang", verdict.Broken}} {
		p, s, source := recorded(t, "7.3/system-panic-on-oom")
		last := p.events[len(p.events)-1]
		how, message, _ := strings.Cut(last.Text, ": ")
		if last.Kind != evidence.Down || how != "panic" {
			t.Fatalf("the recording ends with %+v", last)
		}
		p.events, p.err = p.events[:len(p.events)-1], &target.Down{How: tt.how, Message: message,
			Console: "its last lines"}
		result, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: filepath.Join(t.TempDir(), "run")})
		if err != nil || result.Verdict != tt.want {
			t.Errorf("%s: Run: %v, %s (%s); want %s", tt.how, err, result.Verdict, result.Reason, tt.want)
		}
		in, err := harness.Attempt(t.Context(), p, s, harness.Options{Name: "run"})
		if attempted := verdict.Judge(in); err != nil || attempted.Verdict != result.Verdict ||
			attempted.Reason != result.Reason {
			t.Errorf("%s: Attempt: %v, %s (%s); Run: %s (%s)", tt.how, err, attempted.Verdict, attempted.Reason,
				result.Verdict, result.Reason)
		}
		if got := in.Events[len(in.Events)-1]; got.Kind != evidence.Down || got.Text != tt.how+": "+message {
			t.Errorf("%s: the last event of the attempt is %+v", tt.how, got)
		}
		if failed := in.Meta.Error != "" && in.Meta.Console != ""; failed != (tt.how != "panic") {
			t.Errorf("%s: the attempt says error %q, console %q", tt.how, in.Meta.Error, in.Meta.Console)
		}
	}
}

// TestACancelledRunHasNoResult when it was cancelled before anything was started.
func TestACancelledRunHasNoResult(t *testing.T) {
	p, s, source := recorded(t, adjOutweighsSize)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.helloErr = ctx.Err()
	dir := filepath.Join(t.TempDir(), "run")
	if r, err := harness.Run(ctx, p, s, source, harness.Options{Dir: dir}); !errors.Is(err, context.Canceled) ||
		r.Verdict != "" {
		t.Errorf("Run: %v, %q; want the context's error and no verdict", err, r.Verdict)
	}
	if _, err := harness.Attempt(ctx, p, s, harness.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Attempt: %v; want the context's error", err)
	}
}

// TestAnAttemptSaysWhatIsLacking, and starts nothing.
func TestAnAttemptSaysWhatIsLacking(t *testing.T) {
	p, s, _ := recorded(t, adjOutweighsSize)
	p.hello.Machine.Abilities = map[kernel.Ability]kernel.Answer{}
	_, err := harness.Attempt(t.Context(), p, s, harness.Options{})
	if !errors.Is(err, target.ErrUnsupported) || !strings.Contains(err.Error(), "needs root") || len(p.requests) > 0 {
		t.Errorf("%v, %d plans carried out; want unsupported, needs root", err, len(p.requests))
	}
}

// TestRunRehearsesProgramsFirst: a command is measured before anything is
// predicted, in a cage, and the plan proper comes second.
func TestRunRehearsesProgramsFirst(t *testing.T) {
	p, _, _ := recorded(t, adjOutweighsSize)
	source := []byte(`apiVersion: oomlab/v1alpha1
kind: Scenario
summary: A program that holds what fits is not killed.
cgroups: {/lab: {memory.max: 64Mi, memory.swap.max: 0}}
processes: {own: {cgroup: /lab, command: [own]}}
expect: {killed: []}
`)
	s, err := scenario.Parse("own.yaml", source)
	if err != nil {
		t.Fatal(err)
	}
	held := 16 * kernel.MiB
	p.rehearse = []evidence.Event{
		{Kind: evidence.Ready, Process: "own"},
		{Kind: evidence.Alive, Process: "own", Status: &evidence.ProcessStatus{RssAnon: &held, Threads: 1}},
	}
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if len(p.requests) != 2 {
		t.Fatalf("%d plans were carried out; want a rehearsal and the plan", len(p.requests))
	}
	if cages := p.requests[0].Plan.Cgroups; len(cages) != 1 || cages[0].Max == nil || *cages[0].Max != 64*kernel.MiB {
		t.Errorf("the rehearsal's cages are %+v; want one of 64Mi", cages)
	}
	var prediction struct {
		Killed []string `json:"killed"`
	}
	data, err := os.ReadFile(filepath.Join(dir, verdict.PredictionFile))
	if err == nil {
		err = json.Unmarshal(data, &prediction)
	}
	if err != nil || prediction.Killed == nil || !slices.Equal(prediction.Killed, []string{}) {
		t.Errorf("predicted %v, %v; want nobody: 16Mi fit into 64Mi", prediction.Killed, err)
	}
}
