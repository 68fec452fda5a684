package scenario

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
)

func TestParseNum(t *testing.T) {
	for _, tt := range []struct {
		in       string
		min, max int64
	}{
		{"1", 1, 1},
		{"== 2", 2, 2},
		{">= 1", 1, NumMax},
		{">=1", 1, NumMax},
		{"> 0", 1, NumMax},
		{"<= 3", math.MinInt64, 3},
		{"< 3", math.MinInt64, 2},
		{"2..5", 2, 5},
		{" 2 .. 5 ", 2, 5},
		{"-3..-1", -3, -1},
	} {
		got, err := parseNum(tt.in)
		if err != nil || got.Min != tt.min || got.Max != tt.max {
			t.Errorf("parseNum(%q) = %d..%d, %v, want %d..%d", tt.in, got.Min, got.Max, err, tt.min, tt.max)
		}
	}
}

func TestParseNumRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                        `"" is not a comparison`,
		">= ":                     `">=" is not a comparison`,
		"1.5":                     `"1.5" is not a comparison`,
		"=> 1":                    `"=> 1" is not a comparison`,
		"1..2..3":                 `"1..2..3" is not a comparison`,
		"3..2":                    `"3..2" holds for nothing: its first number is the larger one`,
		"> 9223372036854775807":   `"> 9223372036854775807" is more than any counter counts`,
		"99999999999999999999":    `"99999999999999999999" is more than any counter counts`,
		"1..99999999999999999999": `"1..99999999999999999999" is more than any counter counts`,
	} {
		if _, err := parseNum(in); err == nil || err.Error() != want {
			t.Errorf("parseNum(%q): got %v, want %s", in, err, want)
		}
	}
}

// everything has every key once, and every spelling of a value.
const everything = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Everything at once.
because: It is a test.
refs: [linux mm/oom_kill.c, "#1"]
claim: {statement: It does., made: in a test, answer: false, when: it is Monday, formerly: it did not}
targets: [vm]
needs: {memory: 1.5Gi, cpus: 2, kernel: ">= 5.17, < 8.0", cgroup: 2, abilities: [swap, kprobes]}
system:
  sysctls: {vm.swappiness: 10, kernel.core_pattern: core, vm.nr_hugepages: 1}
  swap: {size: 200M, kind: zram}
  disk: {size: 1Gi, write: 20Mi/s}
cgroups:
  /lab: {memory.max: max, memory.min: 1048576, memory.low: 1Mi, memory.high: 100k, memory.swap.max: 0, memory.oom.group: 1}
  /lab/empty:
  /lab/a.b_c-d: {memory.max: 1Gi}
processes:
  boss:
    cgroup: /lab/a.b_c-d
    do:
      - fork: kid
      - {wait: kid}
      - touch: 64Mi
        rate: 1.5Gi/s
      - {file: 1Mi}
      - {write: 1Mi, rate: 1Mi/s}
      - {shmem: 1Mi}
      - {mlock: 1Mi}
      - {hugepages: 2Mi}
      - {hugetlb: 2Mi}
      - {swapout: 1Mi}
      - {free: 1Mi}
      - {sleep: 1m30s}
      - {exit: 3}
  kid: {parent: boss, shares_memory_with: boss, oom_score_adj: 7, do: [hold]}
  crowd: {copies: 3, respawn: true, nice: -5, uid: 1000, ignore: [SIGTERM, SIGINT], after: [boss, kid], do: [{sawtooth: 8Mi, rate: 8Mi/s}]}
  drip: {threads: 3, do: [{leak: 1Mi/s}]}
  own: {respawn: 2, after: crowd/2, command: [sleep, 10]}
during:
  - {after: boss, delay: 250ms, set: {/lab: {memory.max: 2Gi}}}
  - {oom_score_adj: {crowd: 500, kid: -1}}
  - {signal: {own: SIGSTOP}}
  - {freeze: /lab}
  - {thaw: /lab}
  - {sysctls: {vm.swappiness: 0}}
  - {sysrq: f}
  - {swapoff: true}
expect:
  constraint: memcg
  oom_memcg: /lab/a.b_c-d
  trigger: [boss, crowd]
  killed: {from: [crowd, kid], count: "2..5"}
  survives: own
  throttled: []
  exit: {kid: SIGKILL, boss: 3}
  memory.events: {/lab: {oom_kill: "> 0"}}
  memory.events.local: {/lab/a.b_c-d: {oom: 1}}
  vmstat: {oom_kill: "<= 9", nr_free_pages: "< 0"}
  within: 1m
`

func TestParseReadsEverything(t *testing.T) {
	got, err := Parse("./x/everything.yml", []byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	const mi = kernel.MiB
	want := Scenario{
		Name: "x/everything", APIVersion: APIVersion, Kind: Kind,
		Summary: "Everything at once.", Because: "It is a test.", Refs: []string{"linux mm/oom_kill.c", "#1"},
		Claim: &Statement{Statement: "It does.", Made: "in a test", Answer: False, When: "it is Monday",
			Formerly: "it did not"},
		Targets: []Target{VM},
		Needs: Needs{
			Memory: 1536 * mi, CPUs: 2, Kernel: ">= 5.17, < 8.0", Cgroup: 2,
			Abilities: []kernel.Ability{kernel.AbilitySwap, kernel.AbilityKprobes},
		},
		System: System{
			Sysctls: map[string]string{"vm.swappiness": "10", "kernel.core_pattern": "core", "vm.nr_hugepages": "1"},
			Disk:    &Disk{Size: 1 << 30, Write: 20 << 20},
			Swap:    &Swap{Size: 200_000_000, Kind: "zram"},
		},
		Cgroups: Cgroups{
			{
				Path: "/lab", MemoryMax: ptr(Max), MemoryMin: ptr(mi), MemoryLow: ptr(mi),
				MemoryHigh:    ptr(kernel.Bytes(100_000)),
				MemorySwapMax: ptr(kernel.Bytes(0)), MemoryOOMGroup: ptr(1),
			},
			{Path: "/lab/empty"},
			{Path: "/lab/a.b_c-d", MemoryMax: ptr(kernel.GiB)},
		},
		Processes: Processes{
			{Name: "boss", Cgroup: "/lab/a.b_c-d", Do: []Step{
				{Op: "fork", Name: "kid"},
				{Op: "wait", Name: "kid"},
				{Op: "touch", Size: 64 * mi, Rate: 1536 * mi},
				{Op: "file", Size: mi},
				{Op: "write", Size: mi, Rate: mi},
				{Op: "shmem", Size: mi},
				{Op: "mlock", Size: mi},
				{Op: "hugepages", Size: 2 * mi},
				{Op: "hugetlb", Size: 2 * mi},
				{Op: "swapout", Size: mi},
				{Op: "free", Size: mi},
				{Op: "sleep", Duration: 90 * time.Second},
				{Op: "exit", Code: 3},
			}},
			{
				// the cgroup is its parent's
				Name: "kid", Cgroup: "/lab/a.b_c-d", Parent: "boss", SharesMemoryWith: "boss", OOMScoreAdj: 7,
				Do: []Step{{Op: "hold"}},
			},
			{
				Name: "crowd", Copies: 3, Respawn: RespawnForever, Nice: -5, UID: 1000, Ignore: []string{"SIGTERM",
					"SIGINT"},
				After: Names{"boss", "kid"}, Do: []Step{{Op: "sawtooth", Size: 8 * mi, Rate: 8 * mi}},
			},
			{Name: "drip", Threads: 3, Do: []Step{{Op: "leak", Rate: mi}}},
			{Name: "own", Respawn: 2, After: Names{"crowd/2"}, Command: []string{"sleep", "10"}},
		},
		During: []During{
			{After: Names{"boss"}, Delay: 250 * time.Millisecond,
				Set: map[string]Cgroup{"/lab": {MemoryMax: ptr(2 * kernel.GiB)}}},
			{OOMScoreAdj: map[string]int{"crowd": 500, "kid": -1}},
			{Signal: map[string]string{"own": "SIGSTOP"}},
			{Freeze: "/lab"},
			{Thaw: "/lab"},
			{Sysctls: map[string]string{"vm.swappiness": "0"}},
			{Sysrq: "f"},
			{Swapoff: true},
		},
		Expect: Expect{
			Constraint: "memcg", OOMMemcg: "/lab/a.b_c-d", Trigger: Names{"boss", "crowd"},
			Killed:            &Killed{From: []string{"crowd", "kid"}, Count: Num{2, 5, "2..5"}},
			Survives:          Names{"own"},
			Throttled:         Names{},
			Exit:              map[string]Exit{"kid": {Signal: "SIGKILL"}, "boss": {Code: 3}},
			MemoryEvents:      map[string]map[string]Num{"/lab": {"oom_kill": {1, NumMax, "> 0"}}},
			MemoryEventsLocal: map[string]map[string]Num{"/lab/a.b_c-d": {"oom": {1, 1, "1"}}},
			Vmstat: map[string]Num{"oom_kill": {math.MinInt64, 9, "<= 9"}, "nr_free_pages": {math.MinInt64,
				-1, "< 0"}},
			Within: time.Minute,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// pods run with a kubelet or without one, and use every key that takes none.
const pods = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Pods.
targets: [local, vm]
pods:
  web:
    restartPolicy: Never
    priorityClassName: system-node-critical
    limits: {memory: 1Gi}
    requests: {memory: 512Mi}
    containers:
      main:
        requests: {memory: 64Mi, cpu: 100m}
        limits: {memory: 128Mi, cpu: 0.5}
        do: [{fork: kid}, {touch: 256Mi}, hold]
        processes: {kid: {do: [{touch: 1Mi}]}}
      side: {limits: {cpu: 2}, command: [sleep], args: [10]}
  db: {restartPolicy: Never, after: [web, web/side], containers: {main: {do: [hold]}}}
node:
  singleProcessOOMKill: true
  evictionHard: {memory.available: 0%}
  kubeReserved: {memory: 64Mi}
  systemReserved: {memory: 64Mi}
  enforceNodeAllocatable: [pods]
during:
  - {after: db, set: {/kubepods: {memory.max: 64Mi}}}
expect:
  killed: [web/main]
  survives: [db, web/side]
  memory.events: {/kubepods: {oom_kill: 1}}
`

func TestParseReadsPods(t *testing.T) {
	got, err := Parse("pods.yaml", []byte(pods))
	if err != nil {
		t.Fatal(err)
	}
	want := Pods{
		{
			Name: "web", RestartPolicy: "Never", PriorityClassName: "system-node-critical",
			Requests: Resources{Memory: 512 * kernel.MiB}, Limits: Resources{Memory: kernel.GiB},
			Containers: Containers{
				{
					Name: "main", Requests: Resources{Memory: 64 * kernel.MiB, CPU: 100},
					Limits:    Resources{Memory: 128 * kernel.MiB, CPU: 500},
					Do:        []Step{{Op: "fork", Name: "kid"}, {Op: "touch", Size: 256 * kernel.MiB}, {Op: "hold"}},
					Processes: Forks{{Name: "kid", Do: []Step{{Op: "touch", Size: kernel.MiB}}}},
				},
				{Name: "side", Limits: Resources{CPU: 2000}, Command: []string{"sleep"}, Args: []string{"10"}},
			},
		},
		{
			Name: "db", RestartPolicy: "Never", After: Names{"web", "web/side"},
			Containers: Containers{{Name: "main", Do: []Step{{Op: "hold"}}}},
		},
	}
	if !reflect.DeepEqual(got.Pods, want) {
		t.Errorf("got  %+v\nwant %+v", got.Pods, want)
	}
	if got.Expect.Within != defaultWithin || got.NeedsKubelet() {
		t.Errorf("within %v, needs a kubelet: %v; want what runs without one", got.Expect.Within, got.NeedsKubelet())
	}
}

// TestParseFillsIn: what a file may leave out.
func TestParseFillsIn(t *testing.T) {
	got, err := Parse("x.yaml", []byte(`apiVersion: oomlab/v1alpha1
kind: Scenario
summary: As short as it gets.
system: {swap: {size: 1Gi}}
processes: {calm: {do: [hold]}}
expect: {killed: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Target{Local, VM}; !reflect.DeepEqual(got.Targets, want) {
		t.Errorf("targets: got %v, want %v", got.Targets, want)
	}
	if got.Expect.Within != 30*time.Second {
		t.Errorf("within: got %v, want 30s", got.Expect.Within)
	}
	if got.System.Swap.Kind != "disk" {
		t.Errorf("kind of swap: got %q, want disk", got.System.Swap.Kind)
	}
	if k := got.Expect.Killed; k == nil || k.InOrder == nil || len(k.InOrder) != 0 {
		t.Errorf("killed: got %+v, want a claim that nobody dies", k)
	}
}
