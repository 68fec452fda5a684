package scenario

import (
	"reflect"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// sameAgain writes a scenario and reads it back.
func sameAgain(t *testing.T, s Scenario) {
	t.Helper()
	text, err := Format(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(s.Name+".yaml", text)
	if err != nil {
		t.Fatalf("what Format wrote is not read:\n%v\n%s", err, text)
	}
	if !reflect.DeepEqual(again, s) {
		t.Fatalf("what Format wrote is another scenario:\ngot  %+v\nwant %+v\n%s", again, s, text)
	}
}

func TestFormatIsReadBack(t *testing.T) {
	for name, text := range map[string]string{"example": example, "base": base, "everything": everything,
		"pods": pods} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(name+".yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			sameAgain(t, s)
		})
	}
}

func TestFormat(t *testing.T) {
	got, err := Format(Scenario{
		APIVersion: APIVersion, Kind: Kind,
		Summary: "Small dies.",
		Because: "It is\nsmall.\n",
		Targets: []Target{VM},
		Cgroups: Cgroups{{Path: "/lab", MemoryMax: ptr(256 * kernel.MiB), MemorySwapMax: ptr(kernel.Bytes(0))}},
		Processes: Processes{
			{Name: "small", Cgroup: "/lab", Do: []Step{{Op: "touch", Size: 64 * kernel.MiB, Rate: 32 * kernel.MiB},
				{Op: "hold"}}},
		},
		Expect: Expect{
			Trigger:      Names{"small"},
			Killed:       &Killed{From: []string{"small"}, Count: Num{Min: 1, Max: NumMax}},
			Exit:         map[string]Exit{"small": {Signal: "SIGKILL"}},
			MemoryEvents: map[string]map[string]Num{"/lab": {"oom_kill": {Min: 1, Max: 1}}},
			Within:       defaultWithin,
		},
	})
	const want = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Small dies.
because: |
  It is
  small.
targets: [vm]
cgroups:
  /lab: {memory.max: 256Mi, memory.swap.max: 0}
processes:
  small:
    cgroup: /lab
    do: [{touch: 64Mi, rate: 32Mi/s}, hold]
expect:
  trigger: small
  killed: {from: [small], count: '>= 1'}
  exit: {small: SIGKILL}
  memory.events:
    /lab: {oom_kill: 1}
  within: 30s
`
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}
