package scenario

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// kubeBase is a valid scenario for a cluster that the tests break in one place
// each.
const kubeBase = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: The worker dies.
pods:
  web:
    initContainers:
      setup: {do: [{touch: 1Mi}, {exit: 0}]}
      proxy: {restartPolicy: Always, do: [hold]}
    containers:
      main:
        requests: {memory: 32Mi}
        limits: {memory: 64Mi}
        do: [{fork: worker}, {wait: worker}, {exit: 1}]
        processes: {worker: {do: [{touch: 96Mi}, hold]}}
  own:
    after: web
    restartPolicy: Never
    containers: {app: {image: nginx, holds: 8Mi}}
node:
  singleProcessOOMKill: true
  evictionHard: {memory.available: 5%}
expect:
  domain: pod
  killed: [web/main/worker, web/main/worker]
  qosClass: {web: Burstable}
  oom_score_adj: {web/main: "900..999"}
  containers: {web/main: {state: waiting, reason: CrashLoopBackOff, lastState: {exitCode: 1}}}
  pods: {web: {phase: Running}}
  podEvents: {web: {BackOff: ">= 1"}}
  nodeEvents: {SystemOOM: 0}
  nodeConditions: {MemoryPressure: false}
  evicted: []
  misreports: [oomkilled-but-own-exit]
`

func TestKubeBaseIsValid(t *testing.T) {
	s, err := Parse("x.yaml", []byte(kubeBase))
	if err != nil {
		t.Fatal(err)
	}
	web, own := s.Pods[0], s.Pods[1]
	if web.RestartPolicy != "Always" || web.Restarts != 1 || own.Restarts != 0 {
		t.Errorf("web restarts %s %d, own %d; want Always 1, and 0", web.RestartPolicy, web.Restarts, own.Restarts)
	}
	if !reflect.DeepEqual(s.Targets, []Target{Kube}) || s.Expect.Within != defaultWithinKube {
		t.Errorf("targets %v within %v; want kube, %v", s.Targets, s.Expect.Within, defaultWithinKube)
	}
	if e := s.Expect.Evicted; e == nil || len(*e) != 0 {
		t.Error("evicted: [] is a claim, and was lost")
	}
	text, err := Format(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("x.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(again, s) {
		t.Errorf("written and read again: got %+v, want %+v", again, s)
	}
}

const bareHint = "hint: leave it out, or write targets: [kube]"

// TestKubeProblems breaks kubeBase once for each rule.
func TestKubeProblems(t *testing.T) {
	for _, tt := range []struct {
		name       string
		edit, want []string
	}{
		{"what takes a kubelet, on a target without one",
			[]string{"pods:\n  web:", "targets: [kube, vm]\npods:\n  web:"}, []string{
				"6:3: restartPolicy: Always takes a kubelet, and target vm has none",
				"hint: write restartPolicy: Never, or targets: [kube]",
				"7:5: initContainers: takes a kubelet, and target vm has none", bareHint,
				"19:31: image: takes a container runtime, and target vm has none", "hint: write do, or targets: [kube]",
				"22:3: evictionHard: takes a kubelet, and target vm has none", bareHint,
				"24:11: domain: is about a cluster, and target vm is none", bareHint,
				"26:3: qosClass: is about a cluster, and target vm is none", bareHint,
				"27:3: oom_score_adj: is about a cluster, and target vm is none", bareHint,
				"28:3: containers: is about a cluster, and target vm is none", bareHint,
				"29:3: pods: is about a cluster, and target vm is none", bareHint,
				"30:3: podEvents: is about a cluster, and target vm is none", bareHint,
				"31:3: nodeEvents: is about a cluster, and target vm is none", bareHint,
				"32:3: nodeConditions: is about a cluster, and target vm is none", bareHint,
				"33:3: evicted: is about a cluster, and target vm is none", bareHint,
				"34:3: misreports: is about a cluster, and target vm is none", bareHint,
			}},
		{"an amount of CPU", []string{"requests: {memory: 32Mi}", "requests: {cpu: lots}"}, []string{
			`11:25: cpu: "lots" is not an amount of CPU`, "hint: write cores or thousandths of one: 2, 0.5, 100m"}},
		{"a pod without containers", []string{"containers: {app: {image: nginx, holds: 8Mi}}", "containers: {}"},
			[]string{
				"18:5: containers: there is none", "hint: write at least one, or a manifest"}},
		{"actions beside pods", []string{"node:\n", "during: [{sysrq: f}]\nsystem: {swap: {size: 1Mi}}\nnode:\n"},
			[]string{
				"19:1: during: stands beside pods, which a cluster runs", "hint: leave it out; what a node is set " +
					"to is said in node",
				"20:1: system: stands beside pods, which a cluster runs", "hint: leave it out; what a node is set " +
					"to is said in node"}},
		{"cgroups beside pods", []string{"node:\n", "cgroups: {/lab: {}}\nnode:\n"},
			[]string{"19:1: cgroups: stands beside pods, which bring their own",
				"hint: leave it out; what a node is set to is said in node"}},
		{"node without pods", []string{"pods:\n  web:", "processes: {a: {do: [hold]}}\nx-pods:\n  web:"}, []string{
			`5:1: unknown field "x-pods"`, `hint: did you mean "pods"?`}},
		{"a name with a dot", []string{"  own:", "  o.n:"}, []string{
			`15:3: o.n: "o.n" is not a name for a pod`, "hint: begin and end with a letter or a digit, with these " +
				"and dashes between; at most 40"}},
		{"a restart policy", []string{"restartPolicy: Never", "restartPolicy: never"}, []string{
			`17:20: restartPolicy: "never" is not a restart policy`, `hint: did you mean "Never"?`}},
		{"restarts that never come", []string{"restartPolicy: Never", "restartPolicy: Never\n    restarts: 2"},
			[]string{
				"18:15: restarts: with restartPolicy Never nothing is started again",
				"hint: leave it out, or write restartPolicy: Always"}},
		{"requests above limits", []string{"{memory: 32Mi}", "{memory: 65Mi}"}, []string{
			"11:28: memory: 65Mi are more than the limit of 64Mi"}},
		{"a container above its pod", []string{"    after: web", "    limits: {memory: 4Mi}\n    after: web",
			"holds: 8Mi", "holds: 8Mi, limits: {memory: 5Mi}"}, []string{
			"19:67: memory: 5Mi are more than the pod's limit of 4Mi"}},
		{"two containers of one name", []string{"containers: {app:", "initContainers: {app: {do: [{exit: 0}]}}\n   " +
			" containers: {app:"}, []string{
			`19:18: app: "app" is the name of another container of this pod`}},
		{"an init container that holds", []string{"{touch: 1Mi}, {exit: 0}", "{touch: 1Mi}, hold"}, []string{
			"7:15: do: an init container that never ends keeps its pod waiting",
			"hint: end with {exit: 0}, or write restartPolicy: Always for a sidecar"}},
		{"a sidecar among the containers",
			[]string{"        limits:", "        restartPolicy: Always\n        limits:"}, []string{
				`12:24: restartPolicy: "Always" is not a restart policy of a container`,
				"hint: write Always at an init container to make it a sidecar"}},
		{"an image with steps", []string{"holds: 8Mi", "do: [hold]"}, []string{
			"18:18: app: has both do and image", "hint: do is for the stressor, image for a program of your own"}},
		{"a command without an image", []string{"image: nginx, holds: 8Mi", "command: [sleep]"}, []string{
			"18:18: app: has a command and no image that it is in", "hint: write image: NAME"}},
		{"an unknown child", []string{"{fork: worker}", "{fork: workr}", "{wait: worker}", "{wait: workr}"}, []string{
			`13:14: do: "workr" is not among the container's processes`, "hint: write processes: {workr: {do: " +
				"[...]}} in the container",
			`14:21: worker: nobody forks "worker"`, "hint: write {fork: worker} among the steps",
		}},
		{"a child that is waited for and not forked", []string{"{fork: worker}, {wait: worker}",
			"{fork: worker}, {wait: workr}"}, []string{
			`13:30: do: "workr" was not forked before it is waited for`, "hint: write {fork: workr} before it"}},
		{"a child that nobody forks", []string{"{fork: worker}, {wait: worker}, ", ""}, []string{
			`14:21: worker: nobody forks "worker"`, "hint: write {fork: worker} among the steps"}},
		{"a manifest elsewhere", []string{"containers: {app: {image: nginx, holds: 8Mi}}", "manifest: ../app.yaml"},
			[]string{
				`18:15: manifest: "../app.yaml" is not a file beside the scenario`,
				"hint: write its name, or a path below the directory that the scenario is in"}},
		{"steps beside a manifest", []string{"containers: {app: {image: nginx, holds: 8Mi}}",
			"manifest: app.yaml\n    containers: {app: {do: [hold]}}"}, []string{
			"19:18: app: beside a manifest a container only says what it holds", "hint: write {holds: 64Mi}"}},
		{"an eviction signal", []string{"{memory.available: 5%}", "{nodefs.available: 5%}"}, []string{
			`21:36: nodefs.available: "nodefs.available" is not a signal that is about memory`,
			"hint: known here: memory.available"}},
		{"a share of more than all", []string{"5%", "105%"}, []string{
			`21:36: memory.available: "105%" is not a share`, "hint: write a share of the node such as 5%"}},
		{"a swap behavior without swap", []string{"  singleProcessOOMKill: true", "  swapBehavior: LimitedSwap"},
			[]string{
				"20:17: swapBehavior: there is no swap to limit", "hint: write swap: 256Mi beside it"}},
		{"a domain", []string{"domain: pod", "domain: Pods"}, []string{
			`23:11: domain: "Pods" is not whose limit can be hit`, `hint: did you mean "pod"?`}},
		{"a domain and another constraint", []string{"domain: pod", "domain: pod\n  constraint: none"}, []string{
			"23:11: domain: pod contradicts constraint: none", "hint: leave constraint out"}},
		{"a domain of nobody's kill", []string{"[web/main/worker, web/main/worker]", "[]"}, []string{
			"23:11: domain: says how somebody is killed, but killed: [] says that nobody is", "hint: leave it out"}},
		{"an unknown container is killed", []string{"killed: [web/main/worker, web/main/worker]", "killed: [web/man]"},
			[]string{
				`24:12: killed: no process "web/man"`, `hint: did you mean "web/main"?`}},
		{"killed twice, started once", []string{"killed: [web/main/worker, web/main/worker]",
			"killed: [own/app, own/app]"}, []string{
			`24:3: killed: "own/app" is killed twice, but never started again`}},
		{"a class", []string{"web: Burstable", "web: burstable"}, []string{
			`25:19: web: "burstable" is not a QoS class`, `hint: did you mean "Burstable"?`}},
		{"an adjustment that holds for all", []string{`"900..999"`, `"-1000..1000"`}, []string{
			`26:29: web/main: "-1000..1000" holds for every oom_score_adj: it cannot fail`, "hint: write a number"}},
		{"a claim about a pod as if it were a container", []string{"containers: {web/main: {state",
			"containers: {web: {state"}, []string{
			`27:16: web: "web" is not a container`, "hint: write POD/CONTAINER"}},
		{"an empty claim", []string{"{state: waiting, reason: CrashLoopBackOff, lastState: {exitCode: 1}}", "{}"},
			[]string{
				"27:16: web/main: claims nothing", "hint: write {state: terminated, reason: OOMKilled}"}},
		{"an exit code of a waiting container", []string{"lastState: {exitCode: 1}", "exitCode: 1"}, []string{
			"27:79: exitCode: only a terminated container has one", "hint: write state: terminated beside it, or " +
				"lastState: {exitCode: 1}"}},
		{"a phase", []string{"phase: Running", "phase: Evicted"}, []string{
			`28:23: phase: "Evicted" is not a phase of a pod`, "hint: known here: Pending, Running, Succeeded, " +
				"Failed, Unknown"}},
		{"an event that cannot be missing", []string{`BackOff: ">= 1"`, `BackOff: ">= 0"`}, []string{
			`29:30: BackOff: ">= 0" holds for every count: it cannot fail`, `hint: write ">= 1", or a number`}},
		{"an unknown pod", []string{"podEvents: {web:", "podEvents: {wbe:"}, []string{
			`29:15: wbe: no pod "wbe"`, `hint: did you mean "web"?`}},
		{"a condition", []string{"MemoryPressure: false", "memorypressure: false"}, []string{
			`31:36: memorypressure: "memorypressure" is not a condition of a node`,
			`hint: did you mean "MemoryPressure"?`}},
		{"evicted and alive", []string{"evicted: []", "evicted: [own]\n  survives: [own]"}, []string{
			`32:13: evicted: "own/app" is also in survives`, "hint: leave it out of one of them"}},
		{"a misreport", []string{"[oomkilled-but-own-exit]", "[oomkilled-but-exit-1]"}, []string{
			`33:16: misreports: "oomkilled-but-exit-1" is not the name of a misreport`,
			`hint: did you mean "oomkilled-but-exit-0"?`}},
		{"a cgroup that pods are not in",
			[]string{"  evicted: []", "  memory.events: {/kubepods.slice: {oom_kill: 1}}"}, []string{
				`32:19: /kubepods.slice: no cgroup "/kubepods.slice"`, "hint: write /kubepods/burstable/podNAME; " +
					"pods are below /kubepods"}},
		{"pods that wait for each other", []string{"    containers:\n      main:",
			"    after: own\n    containers:\n      main:"}, []string{
			"9:12: after: web waits for own, which waits for web", "hint: one of them must start first"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(strings.NewReplacer(tt.edit...).Replace(kubeBase)))
			var p *Problems
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var got []string
			for line := range strings.SplitSeq(err.Error(), "\n") {
				got = append(got, strings.TrimPrefix(strings.TrimPrefix(line, "oomlab: "), "x.yaml:"))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestPodsOfNoCluster: what only pods of a cluster have is refused where one target
// is none, and what no cluster may be told is read where no target is one.
func TestPodsOfNoCluster(t *testing.T) {
	for _, tt := range []struct {
		name       string
		edit, want []string
	}{
		{"as it is", nil, nil},
		{"on a cluster too", []string{"[local, vm]", "[local, vm, kube]"}, []string{
			"17:7: side: has a command and no image that it is in", "hint: write image: NAME",
			"25:1: during: stands beside pods, which a cluster runs", "hint: leave it out; what a node is set to " +
				"is said in node"}},
		{"a restart policy that is left out", []string{"db: {restartPolicy: Never, ", "db: {"}, []string{
			"18:3: restartPolicy: Always takes a kubelet, and target local has none",
			"hint: write restartPolicy: Never, or targets: [kube]"}},
		{"where a pod runs", []string{"db: {", "db: {nodeName: a, nodeSelector: {b: c}, "}, []string{
			"18:18: nodeName: takes a kubelet, and target local has none", bareHint,
			"18:21: nodeSelector: takes a kubelet, and target local has none", bareHint}},
		{"a manifest", []string{"containers: {main: {do: [hold]}}", "manifest: db.yaml"}, []string{
			"18:64: manifest: takes a kubelet, and target local has none", bareHint}},
		{"settings of a kubelet", []string{"  singleProcessOOMKill: true", "  swap: 64Mi\n  swapBehavior: " +
			"LimitedSwap\n  cgroupDriver: systemd"}, []string{
			"20:9: swap: takes a kubelet, and target local has none", bareHint,
			"21:17: swapBehavior: takes a kubelet, and target local has none", bareHint,
			"22:17: cgroupDriver: takes a kubelet, and target local has none", bareHint}},
		{"a program that is said to hold something", []string{"args: [10]", "args: [10], holds: 8Mi"}, []string{
			"17:7: side: has a command, which is measured and does not fork on demand",
			"hint: leave out holds and processes"}},
		{"the cgroup of a node", []string{"/kubepods: {oom_kill", "/: {oom_kill"}, []string{
			`30:19: /: no cgroup "/"`, "hint: write /kubepods/burstable/podNAME; pods are below /kubepods"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(strings.NewReplacer(tt.edit...).Replace(pods)))
			var got []string
			if err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					got = append(got, strings.TrimPrefix(strings.TrimPrefix(line, "oomlab: "), "x.yaml:"))
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestClaimsAboutAClusterNeedOne: without pods none of them means anything.
func TestClaimsAboutAClusterNeedOne(t *testing.T) {
	for _, claim := range []string{
		"domain: pod", "qosClass: {a: Burstable}", "oom_score_adj: {small: 1}", "containers: {a/b: {state: running}}",
		"pods: {a: {phase: Failed}}", "podEvents: {a: {BackOff: 1}}", "nodeEvents: {SystemOOM: 1}",
		"nodeConditions: {Ready: true}",
		"evicted: []", "misreports: []",
	} {
		_, err := Parse("x.yaml", []byte(strings.Replace(base, "  constraint: memcg", "  "+claim, 1)))
		if err == nil || !strings.Contains(err.Error(), "is about a cluster, and there are no pods") {
			t.Errorf("%s without pods: got %v", claim, err)
		}
	}
}
