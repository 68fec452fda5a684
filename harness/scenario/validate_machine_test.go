package scenario

import (
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// TestVMMemory: a VM is as large as what is held in it at the same time, where no limit
// of the machine's is meant to be hit.
func TestVMMemory(t *testing.T) {
	const head = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: s
targets: [vm]
`
	for _, tt := range []struct {
		name, text string
		want       kernel.Bytes
	}{
		{"two that stay", `
cgroups: {/a: {memory.max: 300Mi}, /b: {memory.max: 300Mi}}
processes:
  a: {cgroup: /a, do: [{touch: 290Mi}, hold]}
  b: {cgroup: /b, do: [{touch: 290Mi}, hold]}
expect: {killed: []}
`, 768 * kernel.MiB},
		{"one after the other", `
cgroups: {/a: {memory.max: 300Mi}, /b: {memory.max: 300Mi}}
processes:
  a: {cgroup: /a, do: [{touch: 400Mi}, hold]}
  b: {cgroup: /b, after: a, do: [{touch: 400Mi}, hold]}
expect: {killed: [a, b]}
`, 512 * kernel.MiB},
		{"one that has ended", `
cgroups: {/a: {memory.max: 1Gi}}
processes:
  a: {cgroup: /a, do: [{touch: 300Mi}, {exit: 0}]}
  b: {cgroup: /a, after: a, do: [{touch: 300Mi}, hold]}
expect: {killed: []}
`, 512 * kernel.MiB},
		{"the whole machine is meant", `
processes:
  a: {do: [{touch: 2Gi}, hold]}
expect: {constraint: none, killed: [a]}
`, 512 * kernel.MiB},
		{"what grows without bound fills its limit", `
cgroups: {/a: {memory.max: 1Gi}}
processes:
  a: {cgroup: /a, do: [{leak: 64Mi/s}]}
expect: {killed: [a]}
`, 1280 * kernel.MiB},
		{"what is said is what there is", `
needs: {memory: 600Mi}
processes:
  a: {do: [{touch: 64Mi}, hold]}
expect: {killed: []}
`, 600 * kernel.MiB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse("x.yaml", []byte(head+tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.VMMemory(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
