package scenario

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
)

// example is the scenario of the design document, unchanged.
const example = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: The process that fills the cgroup lives; a smaller one dies for it.
because: |
  oom_badness() adds oom_score_adj * (limit pages / 1000). In 256Mi that is 65
  per point, so at -600 big is forgiven 39000 pages and ranks below small.
refs: [linux mm/oom_kill.c oom_badness]
targets: [local, vm]
needs: {memory: 512Mi}
cgroups:
  /lab: {memory.max: 256Mi, memory.swap.max: 0, memory.oom.group: 0}
processes:
  small: {cgroup: /lab, do: [{touch: 64Mi}, hold]}
  big:
    cgroup: /lab
    oom_score_adj: -600
    after: small                       # starts when small holds its 64Mi
    do: [{touch: 216Mi, rate: 32Mi/s}, hold]
expect:
  constraint: memcg
  trigger: big
  killed: [small]                      # exactly these, in this order
  survives: [big]
  exit: {small: SIGKILL}
  memory.events: {/lab: {oom: ">= 1", oom_kill: 1}}
  within: 30s
`

func ptr[T any](v T) *T { return &v }

func TestParseReadsTheExample(t *testing.T) {
	got, err := Parse("memcg/adj-outweighs-size.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := Scenario{
		Name:       "memcg/adj-outweighs-size",
		APIVersion: APIVersion,
		Kind:       Kind,
		Summary:    "The process that fills the cgroup lives; a smaller one dies for it.",
		Because: "oom_badness() adds oom_score_adj * (limit pages / 1000). In 256Mi that is 65\n" +
			"per point, so at -600 big is forgiven 39000 pages and ranks below small.\n",
		Refs:    []string{"linux mm/oom_kill.c oom_badness"},
		Targets: []Target{Local, VM},
		Needs:   Needs{Memory: 512 * kernel.MiB},
		Cgroups: Cgroups{{
			Path: "/lab", MemoryMax: ptr(256 * kernel.MiB), MemorySwapMax: ptr(kernel.Bytes(0)), MemoryOOMGroup: ptr(0),
		}},
		Processes: Processes{
			{Name: "small", Cgroup: "/lab", Do: []Step{{Op: "touch", Size: 64 * kernel.MiB}, {Op: "hold"}}},
			{
				Name: "big", Cgroup: "/lab", OOMScoreAdj: -600, After: Names{"small"},
				Do: []Step{{Op: "touch", Size: 216 * kernel.MiB, Rate: 32 * kernel.MiB}, {Op: "hold"}},
			},
		},
		Expect: Expect{
			Constraint:   "memcg",
			Trigger:      Names{"big"},
			Killed:       &Killed{InOrder: []string{"small"}},
			Survives:     Names{"big"},
			Exit:         map[string]Exit{"small": {Signal: "SIGKILL"}},
			MemoryEvents: map[string]map[string]Num{"/lab": {"oom": {1, NumMax, ">= 1"}, "oom_kill": {1, 1, "1"}}},
			Within:       30 * time.Second,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseReportsEveryProblemAtOnce(t *testing.T) {
	in := strings.NewReplacer("32Mi/s", "32MB/s", "killed: [small]", "killed: [smal]").Replace(example)
	_, err := Parse("memcg/adj-outweighs-size.yaml", []byte(in))
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatalf("got %T, want *Problems", err)
	}
	const want = `oomlab: memcg/adj-outweighs-size.yaml:18:31: rate: "32MB/s" is not a rate
oomlab: hint: sizes are powers of two here; write 32Mi/s
oomlab: memcg/adj-outweighs-size.yaml:22:12: killed: no process "smal"
oomlab: hint: did you mean "small"?`
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}
