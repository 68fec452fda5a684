package scenario

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/engine"
)

// TestAContainerHasACgroupAndAProcess of its own, which the file does not name.
func TestAContainerHasACgroupAndAProcess(t *testing.T) {
	s, err := Parse("c.yaml", []byte(unitHead+`
containers:
  web:
    runtime: runc
    memory: 64Mi
    restart: on-failure:2
    oom-score-adj: -500
    do: [{touch: 128Mi}, hold]
  db:
    engine: docker
    memory: 64Mi
    memory-swap: 64Mi
    do: [hold]
expect: {killed: [web, web, web], inspect: {web: {OOMKilled: true, ExitCode: 137, RestartCount: 2, Events: start died}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, c := s.Processes[0], s.Cgroups[0]
	if p.Name != "web" || p.Container != "web" || p.Cgroup != "/web.scope" || p.OOMScoreAdj != -500 || p.Respawn != 2 {
		t.Errorf("the first process is %+v", p)
	}
	// without memory-swap there is as much swap as memory
	if c.Path != "/web.scope" || *c.MemoryMax != 64<<20 || *c.MemorySwapMax != 64<<20 || !c.Transient {
		t.Errorf("the cgroup is %+v", c)
	}
	if c := s.Cgroups[1]; *c.MemorySwapMax != 0 {
		t.Errorf("the cgroup is %+v", c)
	}
	want := slices.Sorted(slices.Values(slices.Concat(engine.Packages[engine.Podman], engine.Packages[engine.Docker])))
	if got := s.Packages(); !slices.Equal(got, want) {
		t.Errorf("the packages are %q, want %q", got, want)
	}
	text, err := Format(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("c.yaml", text)
	if err != nil || !reflect.DeepEqual(s, again) {
		t.Errorf("written and read again it is another scenario, %v:\n%s", err, text)
	}
}

func TestProblemsOfContainers(t *testing.T) {
	of := func(text string) string { return unitHead + "containers: {web: {" + text + "}}" + unitTail }
	for _, tt := range []struct{ name, text, want string }{
		{"without a userland", strings.Replace(of("memory: 64Mi, do: [hold]"), "needs: {userland: debian}\n", "", 1),
			"4:1: containers: an engine of containers is a program of a userland"},
		{"an unknown flag", of("memry: 64Mi, do: [hold]"), `unknown field "memry"`},
		{"an unknown engine", of("engine: dokcer, do: [hold]"), `engine: "dokcer" is not an engine`},
		{"a runtime that docker is not run with", of("engine: docker, runtime: crun, do: [hold]"),
			`runtime: "crun" is not a runtime that docker is run with`},
		{"a restart without an end", of("restart: always, do: [hold]"),
			`restart: "always" is not a restart policy that comes to an end`},
		{"too little", of("memory: 8Mi, do: [hold]"), "memory: 8Mi are too little for a runtime"},
		{"swap alone", of("memory-swap: 64Mi, do: [hold]"), "memory-swap: the engines limit swap only together"},
		{"less than the memory", of("memory: 64Mi, memory-swap: 32Mi, do: [hold]"),
			"memory-swap: 32Mi are less than the memory"},
		{"a stressor that forks", unitHead + "containers: {web: {memory: 64Mi, do: [{fork: a}, hold]}}\n" +
			"processes: {a: {do: [hold]}}" + unitTail, "the stressor of a container does not fork"},
		{"its counters", unitHead + "containers: {web: {memory: 64Mi, do: [{touch: 128Mi}, hold]}}\n" +
			"expect: {killed: [web], memory.events: {/web.scope: {oom_kill: 1}}}",
			`the counters of "/web.scope" begin anew with each start of its container`},
		{"a frozen one", unitHead + "containers: {web: {memory: 64Mi, do: [{touch: 32Mi}, hold]}}\n" +
			"during: [{after: web, freeze: /web.scope}]" + unitTail,
			`"/web.scope" is the cgroup of a container, which its engine freezes`},
		{"a group of docker's", of("engine: docker, cgroup-conf: {memory.oom.group: 1}, do: [hold]"),
			"docker has no flag that sets memory.oom.group"},
		{"another group", of("cgroup-conf: {memory.oom.group: 2}, do: [hold]"), "2 is not a value of memory.oom.group"},
		{"a stop that it would not see", unitHead + "containers: {web: {do: [hold]}, on: {do: [hold]}}\n" +
			"during: [{after: on, stop: web}]" + unitTail, "the kernel keeps SIGTERM from one that does not handle it"},
		{"a stop of one that comes back", unitHead + "containers: {web: {restart: on-failure:1, command: [sh]}}\n" +
			"during: [{stop: web}]" + unitTail, `"web" is started again when it has ended`},
		{"a stop of a process", unitHead + "processes: {web: {do: [hold]}}\nduring: [{after: web, stop: web}]" +
			unitTail, `"web" is no unit and no container`},
		{"a second stop", unitHead + "containers: {web: {command: [sh]}}\nduring: [{stop: web}, {stop: web}]" + unitTail,
			`"web" is stopped twice`},
		{"a stop of nobody", unitHead + "processes: {web: {do: [hold]}}\nduring: [{after: web, stop: wob}]" +
			unitTail, `no process "wob"`},
		{"a name that is taken", unitHead + "containers: {web: {do: [hold]}}\nprocesses: {web: {do: [hold]}}" + unitTail,
			`"web" is a process or a unit, too`},
		{"a claim of nobody", unitHead + "containers: {web: {memory: 64Mi, do: [{touch: 128Mi}, hold]}}\n" +
			"expect: {killed: [web], inspect: {wob: {OOMKilled: true}}}", `no container "wob"`},
		{"a property that there is not", unitHead + "containers: {web: {memory: 64Mi, do: [{touch: 128Mi}, hold]}}\n" +
			"expect: {killed: [web], inspect: {web: {OomKilled: true}}}", `no property that is claimed is called`},
		{"an event that there is not", unitHead + "containers: {web: {memory: 64Mi, do: [{touch: 128Mi}, hold]}}\n" +
			"expect: {killed: [web], inspect: {web: {Events: start dead}}}", `Events never have "dead"`},
	} {
		_, err := Parse("c.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		}
	}
}
