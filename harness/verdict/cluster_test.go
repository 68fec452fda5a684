package verdict_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// played are the library's scenarios for a cluster, played as predicted.
func played(t *testing.T) map[string]verdict.Input {
	t.Helper()
	all, err := scenarios.Match("kube/...")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]verdict.Input{}
	for _, s := range all {
		in, err := clustertest.Run(s, nil)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		out[s.Name] = in
	}
	return out
}

// TestEveryUntruthOfAClusterHasAName: what is said and was not so is told apart.
func TestEveryUntruthOfAClusterHasAName(t *testing.T) {
	all := played(t)
	status := func(change func(s *kubelet.Status)) func(*evidence.Event) {
		return func(e *evidence.Event) {
			for _, s := range []*kubelet.Status{e.Container, lastOf(e.Container)} {
				if s != nil && s.ExitCode != nil {
					change(s)
				}
			}
		}
	}
	reason := func(r string) func(*evidence.Event) {
		return status(func(s *kubelet.Status) { s.Reason = r })
	}
	code := func(n int) func(*evidence.Event) {
		return func(e *evidence.Event) {
			if e.Kind == evidence.TaskEnded {
				e.Exit.Code = n
			}
			status(func(s *kubelet.Status) { s.ExitCode = &n })(e)
		}
	}
	drop := func(k evidence.Kind) func(*evidence.Event) {
		return func(e *evidence.Event) {
			if e.Kind == k {
				*e = evidence.Event{AtNS: e.AtNS, Source: evidence.Sampler, Kind: evidence.Sample}
			}
		}
	}
	for _, tt := range []struct {
		name, scenario string
		change         func(*evidence.Event)
		want           string
	}{
		{"a first process was killed, and the reason is Error", "leak-until-the-limit", reason("Error"),
			"oom-kill-but-error"},
		{"a child was killed, and the reason is Completed", "exit-0-but-oomkilled", reason("Completed"),
			"oom-kill-unseen"},
		{"OOMKilled, and nobody was", "sidecar-is-as-safe-as-what-it-serves", func(e *evidence.Event) {
			if e.Process == "web/setup" {
				reason("OOMKilled")(e)
			}
		}, "oomkilled-without-kill"},
		{"the worker's kill of the life before", "stress-worker-dies-alone", laterLifeWithoutKill(),
			"oomkilled-from-earlier-kill"},
		{"its first process died of another's SIGKILL", "exit-0-but-oomkilled", code(137),
			"oomkilled-from-earlier-kill"},
		{"it exited with a code of its own", "exit-0-but-oomkilled", code(3), "oomkilled-but-own-exit"},
		{"it exited with 143", "exit-0-but-oomkilled", code(143), "oomkilled-but-143"},
		{"it exited with 0", "exit-143-but-oomkilled", code(0), "oomkilled-but-exit-0"},
		{"the node ran out without an event", "bigmem-2000m-does-not", drop(evidence.NodeEvent),
			"node-oom-without-event"},
		{"the API has another exit code", "leak-until-the-limit",
			status(func(s *kubelet.Status) { n := 1; s.ExitCode = &n }), "exit-differs"},
		{"the API never said that it ended", "leak-until-the-limit", func(e *evidence.Event) {
			if e.Container != nil && e.Container.State == "terminated" {
				drop(e.Kind)(e)
			}
		}, "status-missing"},
		{"the API says nothing at all", "leak-until-the-limit", drop(evidence.ContainerStatus), "no-witness"},
		{"a restart that nobody saw", "bigmem-1000m-fits", func(e *evidence.Event) {
			if e.Container != nil {
				e.Container.RestartCount = 1
			}
		}, "restarts-differ"},
		{"an OOM event of the runtime's for nothing", "bigmem-1000m-fits", func(e *evidence.Event) {
			if e.Kind == evidence.Ready {
				*e = evidence.Event{AtNS: e.AtNS, Source: evidence.Runtime, Kind: evidence.TaskOOM, Process: e.Process,
					Text: "id-bigmem-main-0"}
			}
		}, "runtime-without-kill"},
		{"SystemOOM for a pod's limit", "leak-until-the-limit", func(e *evidence.Event) {
			if e.Kind == evidence.NodeCondition {
				*e = evidence.Event{AtNS: e.AtNS, Source: evidence.API, Kind: evidence.NodeEvent,
					Happened: &evidence.Happened{
						Reason: "SystemOOM", Message: "System OOM encountered, victim process: leaky/main, pid: 1010"}}
			}
		}, "event-without-kill"},
		{"a counter that nobody was killed for", "bigmem-1000m-fits", func(e *evidence.Event) {
			if e.Counter != nil && e.Counter.When == "after" && e.Counter.Cgroup == "/kubepods" {
				e.Counter.Values["oom_kill"] = 1
			}
		}, "counter-without-kill"},
		{"a container that died of SIGKILL without a record", "sidecar-is-as-safe-as-what-it-serves",
			func(e *evidence.Event) {
				if e.Process == "web/setup" {
					code(137)(e)
				}
			}, "kill-without-record"},
		{"a member of a group that lives", "stress-worker-takes-its-container-along", func(e *evidence.Event) {
			if e.PID == 1031 && e.Kind == evidence.Spawned { // the worker's last life
				e.PID = 4000
			}
			if e.Kind == evidence.NodeCondition {
				*e = evidence.Event{AtNS: e.AtNS, Source: evidence.Agent, Kind: evidence.Spawned,
					Process: "demo/stress/worker", PID: 4001}
			}
			if e.Kind == evidence.PodStatus && e.Pod.Phase == "Running" {
				*e = evidence.Event{AtNS: e.AtNS, Source: evidence.Agent, Kind: evidence.Alive,
					Process: "demo/stress/worker", PID: 4001}
			}
		}, "group-partly-killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, ok := all["kube/"+tt.scenario]
			if !ok {
				t.Fatalf("no scenario %s", tt.scenario)
			}
			data, err := json.Marshal(in.Events)
			if err != nil {
				t.Fatal(err)
			}
			in.Events = nil
			if err := json.Unmarshal(data, &in.Events); err != nil {
				t.Fatal(err)
			}
			for i := range in.Events {
				tt.change(&in.Events[i])
			}
			r := verdict.Judge(in)
			named := slices.ContainsFunc(r.Disagreements,
				func(d verdict.Disagreement) bool { return string(d.Name) == tt.want })
			if r.Verdict != verdict.Broken || !named {
				t.Errorf("%s, %v; want broken with %s", r.Verdict, r.Disagreements, tt.want)
			}
		})
	}
}

func lastOf(s *kubelet.Status) *kubelet.Status {
	if s == nil {
		return nil
	}
	return s.Last
}

// laterLifeWithoutKill makes a container end a second time with nobody killed in
// that life: what is told of the second kill is forgotten.
func laterLifeWithoutKill() func(*evidence.Event) {
	kills := map[evidence.Kind]int{}
	second := func(e *evidence.Event) bool {
		switch {
		case e.OOM != nil:
			return e.OOM.Decision == 2 || e.Kind == evidence.TaskExit && e.OOM.Task.PID > 1025
		case e.Log != nil:
			kills[e.Kind]++
			return kills[e.Kind] > 3 // a report is three lines here
		}
		return false
	}
	return func(e *evidence.Event) {
		if second(e) {
			*e = evidence.Event{AtNS: e.AtNS, Source: evidence.Sampler, Kind: evidence.Sample}
		}
	}
}

func TestAClusterThatDoesAsPredictedPasses(t *testing.T) {
	for name, in := range played(t) {
		r := verdict.Judge(in)
		if r.Verdict != verdict.Pass {
			t.Errorf("%s: %s, %s", name, r.Verdict, r.Reason)
			for _, d := range r.Disagreements {
				t.Errorf("   %s: %s", d.Name, d.Detail)
			}
			for _, c := range r.Claims {
				if c.Verdict == verdict.Fail {
					t.Errorf("   %s: expected %s; observed %s", c.Name, c.Expected, c.Observed)
				}
			}
		}
	}
}

// TestAnEvictionThatWasLeftOpen: where the kubelet may look in time and does, what
// was predicted for the case that it does not is neither shown nor refuted.
func TestAnEvictionThatWasLeftOpen(t *testing.T) {
	in := played(t)["kube/eviction-wins"]
	none := *in.Prediction.Kube
	none.Evicted, none.Pods = nil, map[string]predict.PodEnd{}
	for name := range in.Prediction.Kube.Pods {
		none.Pods[name] = predict.PodEnd{Phase: "Running", Sure: true}
	}
	in.Prediction.Kube = &none
	for eviction, want := range map[predict.Chance]verdict.Verdict{predict.Impossible: verdict.Fail,
		predict.Possible: verdict.Skip} {
		none.Eviction = eviction
		claims := verdict.Judge(in).Claims
		i := slices.IndexFunc(claims, func(c verdict.Claim) bool { return c.Name == "prediction.pods" })
		if i < 0 || claims[i].Verdict != want {
			t.Errorf("eviction %s: claims %+v; want prediction.pods to %s", eviction, claims, want)
		}
	}
}

// TestANodeOfOursThatIsAContainer: its pods' cgroups are below the kubelet's, and each of
// them as far down as the plan has it.
func TestANodeOfOursThatIsAContainer(t *testing.T) {
	s, err := scenarios.Load("kube/guaranteed-over-its-own-limit")
	if err != nil {
		t.Fatal(err)
	}
	for root, differs := range map[string]bool{"/kubelet/kubepods": false, "/a/b/kubepods": true} {
		in, err := clustertest.Run(s, func(_ *kernel.Machine, n *kubelet.Node) {
			n.Ours, n.Kubepods = true, "/kubelet/kubepods"
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range in.Events {
			if e.Cgroup != nil {
				e.Cgroup.Path = root + strings.TrimPrefix(e.Cgroup.Path, kubelet.Root)
			}
			if c := e.Counter; c != nil && c.Cgroup != "" {
				c.Cgroup = root + strings.TrimPrefix(c.Cgroup, kubelet.Root)
			}
		}
		got := slices.ContainsFunc(verdict.Judge(in).Disagreements,
			func(d verdict.Disagreement) bool { return d.Name == verdict.ContainerDiffers })
		if got != differs {
			t.Errorf("%s: container-differs is %t, want %t", root, got, differs)
		}
	}
}

// TestWaitingForItsNextLifeIsAnEnd: where the kubelet comes to the back-off before it has
// sent the end, the API says that the container waits, and how it ended last. A container
// that is not started again has no back-off.
func TestWaitingForItsNextLifeIsAnEnd(t *testing.T) {
	for _, tt := range []struct {
		name, scenario string
		code, lives    int
		want           verdict.Verdict
	}{
		{"as claimed", "kube/stress-worker-takes-its-container-along", 137, 1, verdict.Pass},
		{"another end", "kube/stress-worker-takes-its-container-along", 1, 1, verdict.Fail},
		{"no next life", "kube/bigmem-2000m-does-not", 137, 0, verdict.Fail},
	} {
		s, err := scenarios.Load(tt.scenario)
		if err != nil {
			t.Fatal(err)
		}
		in, err := clustertest.Run(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range in.Events {
			s := in.Events[i].Container
			if s == nil || s.State != kubelet.Terminated || s.RestartCount != tt.lives {
				continue
			}
			end := *s
			end.ExitCode, end.Last = &tt.code, nil
			in.Events[i].Container = &kubelet.Status{
				State: kubelet.Waiting, Reason: kubelet.CrashLoopBackOff, RestartCount: tt.lives, Last: &end}
		}
		seen := 0
		for _, c := range verdict.Judge(in).Claims {
			if !strings.Contains(c.Name, "containers") {
				continue
			}
			if seen++; c.Verdict != tt.want {
				t.Errorf("%s: %s is %s: %s", tt.name, c.Name, c.Verdict, c.Observed)
			}
		}
		if seen != 2 {
			t.Errorf("%s: %d claims of containers", tt.name, seen)
		}
	}
}
