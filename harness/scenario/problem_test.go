package scenario

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// base is a valid scenario that the tests break in one place each.
const base = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Small dies.
targets: [vm]
cgroups:
  /lab: {memory.max: 256Mi}
processes:
  small: {cgroup: /lab, do: [{touch: 64Mi}, hold]}
  big:
    cgroup: /lab
    oom_score_adj: -600
    after: small
    do: [{touch: 216Mi, rate: 32Mi/s}, hold]
expect:
  constraint: memcg
  killed: [small]
  memory.events: {/lab: {oom: ">= 1"}}
  within: 20s
`

// TestProblems breaks base once for each rule. edit is what is replaced by
// what; want is the whole error without the file's name.
func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name       string
		edit, want []string
	}{
		{
			name: "wrong apiVersion",
			edit: []string{"oomlab/v1alpha1", "oomlab/v2"},
			want: []string{
				`1:13: apiVersion: "oomlab/v2" is not a version that is read here`,
				"hint: write apiVersion: oomlab/v1alpha1",
			},
		},
		{
			name: "wrong kind",
			edit: []string{"kind: Scenario", "kind: Plan"},
			want: []string{
				`2:7: kind: "Plan" is not a kind of file that is read here`,
				"hint: write kind: Scenario",
			},
		},
		{
			name: "no summary",
			edit: []string{`summary: Small dies.
`, ""},
			want: []string{
				"1: summary: is missing",
				"hint: say in one sentence what happens",
			},
		},
		{
			name: "unknown top field with suggestion",
			edit: []string{"processes:", "procesess:"},
			want: []string{
				`7:1: unknown field "procesess"`,
				`hint: did you mean "processes"?`,
			},
		},
		{
			name: "unknown field without suggestion",
			edit: []string{"summary:", `colour: red
summary:`},
			want: []string{
				`3:1: unknown field "colour"`,
				"hint: known here: apiVersion, kind, summary, because, refs, claim, targets, needs, system, " +
					"cgroups, processes, units, containers, pods, node, during, expect",
			},
		},
		{
			name: "a claim that says nothing",
			edit: []string{"summary: Small dies.", `summary: Small dies.
claim: {made: "articles\nand books", answer: maybe}`},
			want: []string{
				"4:1: statement: is missing",
				"hint: write the sentence as people say it",
				"4:15: made: has more than one line",
				"hint: the arithmetic belongs into because",
				`4:46: answer: "maybe" is not an answer`,
				"hint: write true or false; what holds on some kernels only takes two scenarios with needs: {kernel: ...}",
			},
		},
		{
			name: "a claim that nobody makes and nothing answers",
			edit: []string{"summary: Small dies.", `summary: Small dies.
claim: {statement: The biggest dies.}`},
			want: []string{
				"4:1: made: is missing",
				"hint: name the manual page or the articles that say so",
				"4:1: answer: is missing",
				"hint: write what a run that passes shows: true or false",
			},
		},
		{
			name: "unknown nested field",
			edit: []string{"cgroup: /lab, do: [{touch: 64Mi}", "cgruop: /lab, do: [{touch: 64Mi}"},
			want: []string{
				`8:11: small: unknown field "cgruop"`,
				`hint: did you mean "cgroup"?`,
			},
		},
		{
			name: "duplicate key",
			edit: []string{"summary: Small dies.", `summary: Small dies.
summary: Twice.`},
			want: []string{
				`4:1: "summary" was already given in line 3`,
			},
		},
		{
			name: "duplicate process",
			edit: []string{"  big:", `  small: {do: [hold]}
  big:`},
			want: []string{
				`9:3: processes: "small" was already given in line 8`,
			},
		},
		{
			name: "null value",
			edit: []string{"summary: Small dies.", "summary:"},
			want: []string{
				"3:9: summary: has no value",
				"hint: write one or remove the line",
			},
		},
		{
			name: "a list for text",
			edit: []string{"summary: Small dies.", "summary: [a]"},
			want: []string{
				"3:10: summary: a list is not text",
			},
		},
		{
			name: "text for a list",
			edit: []string{"targets: [vm]", "targets: vm"},
			want: []string{
				`4:10: targets: "vm" is not a list`,
				"hint: write [..., ...] or one line for each, beginning with a dash",
			},
		},
		{
			name: "a list for a map",
			edit: []string{`cgroups:
  /lab: {memory.max: 256Mi}`, "cgroups: [/lab]"},
			want: []string{
				"5:10: cgroups: a list is not a map",
				"hint: write {key: value} or one line for each key",
			},
		},
		{
			name: "text for a number",
			edit: []string{"oom_score_adj: -600", `oom_score_adj: "-600"`},
			want: []string{
				`11:20: oom_score_adj: "-600" is text, not a number`,
				"hint: remove the quotes",
			},
		},
		{
			name: "a fraction for a number",
			edit: []string{"oom_score_adj: -600", "oom_score_adj: 1.5"},
			want: []string{
				`11:20: oom_score_adj: "1.5" is not a whole number`,
			},
		},
		{
			name: "a number out of range",
			edit: []string{"oom_score_adj: -600", "oom_score_adj: 99999999999"},
			want: []string{
				"11:20: oom_score_adj: 99999999999 is out of range",
			},
		},
		{
			name: "anchor",
			edit: []string{"targets: [vm]", "targets: &x [vm]"},
			want: []string{
				"4:10: anchors (&x) are not read here",
				"hint: write the value out where it is used",
			},
		},
		{
			name: "merge key",
			edit: []string{"    oom_score_adj: -600", "    <<: {nice: 1}"},
			want: []string{
				"11:5: merge keys (<<) are not read here",
				"hint: write the keys out",
			},
		},
		{
			name: "tag",
			edit: []string{"targets: [vm]", "targets: !!seq [vm]"},
			want: []string{
				"4:10: tags (!!seq) are not read here",
				"hint: remove it",
			},
		},
		{
			name: "two documents",
			edit: []string{`  within: 20s
`, `  within: 20s
---
a: 1
`},
			want: []string{
				"19:1: a second document begins here",
				"hint: write one file for each scenario",
			},
		},
		{
			name: "unquoted comparison in a map",
			edit: []string{`{oom: ">= 1"}`, "{oom: >= 1}"},
			want: []string{
				"17: this is not YAML: found character that cannot start any token",
				`hint: put comparisons in quotes: ">= 1"`,
			},
		},
		{
			name: "unquoted comparison",
			edit: []string{`memory.events: {/lab: {oom: ">= 1"}}`, `vmstat:
    oom_kill: >= 1`},
			want: []string{
				"18: this is not YAML: did not find expected comment or line break",
				`hint: put comparisons in quotes: ">= 1"`,
			},
		},
		{
			name: "tab",
			edit: []string{"  big:", "\tbig:"},
			want: []string{
				"9: this is not YAML: found character that cannot start any token",
				"hint: indent with spaces, not with tabs",
			},
		},
		{
			name: "unknown target",
			edit: []string{"[vm]", "[vn]"},
			want: []string{
				`4:11: targets: no target is called "vn"`,
				`hint: did you mean "vm"?`,
			},
		},
		{
			name: "target twice",
			edit: []string{"[vm]", "[vm, vm]"},
			want: []string{
				`4:15: targets: "vm" is named twice`,
			},
		},
		{
			name: "kube without pods",
			edit: []string{"[vm]", "[vm, kube]"},
			want: []string{
				"4:1: targets: kube runs pods, and there are none",
				"hint: write pods, or leave kube out",
			},
		},
		{
			name: "size in MB",
			edit: []string{"memory.max: 256Mi", "memory.max: 256MB"},
			want: []string{
				`6:22: memory.max: "256MB" is not a size`,
				"hint: sizes are powers of two here; write 256Mi",
			},
		},
		{
			name: "size that is none",
			edit: []string{"memory.max: 256Mi", "memory.max: lots"},
			want: []string{
				`6:22: memory.max: "lots" is not a size`,
				"hint: write bytes or a suffix such as 64Mi, 1.5Gi, 200M",
			},
		},
		{
			name: "too much memory",
			edit: []string{"memory.max: 256Mi", "memory.max: 100Ti"},
			want: []string{
				`6:22: memory.max: "100Ti" is more memory than a machine can have`,
			},
		},
		{
			name: "more is protected than there can be",
			edit: []string{"memory.max: 256Mi", "memory.max: 256Mi, memory.min: 300Mi, memory.low: max"},
			want: []string{
				"6:41: memory.min: 300Mi is above memory.max: there is never so much to protect",
				"hint: write at most 256Mi",
			},
		},
		{
			name: "memory.high is never reached",
			edit: []string{"memory.max: 256Mi", "memory.max: 256Mi, memory.high: 1Gi"},
			want: []string{
				"6:42: memory.high: 1Gi is above memory.max: it is never reached",
				"hint: write at most 256Mi",
			},
		},
		{
			name: "max is for knobs only",
			edit: []string{"touch: 64Mi", "touch: max"},
			want: []string{
				`8:38: touch: "max" is not a size`,
				"hint: write bytes or a suffix such as 64Mi, 1.5Gi, 200M",
			},
		},
		{
			name: "no memory",
			edit: []string{"touch: 64Mi", "touch: 0"},
			want: []string{
				`8:38: touch: "0" is no memory`,
			},
		},
		{
			name: "rate without /s",
			edit: []string{"rate: 32Mi/s", "rate: 32Mi"},
			want: []string{
				`13:31: rate: "32Mi" is not a rate`,
				"hint: write 32Mi/s",
			},
		},
		{
			name: "rate in MB/s",
			edit: []string{"rate: 32Mi/s", "rate: 32MB/s"},
			want: []string{
				`13:31: rate: "32MB/s" is not a rate`,
				"hint: sizes are powers of two here; write 32Mi/s",
			},
		},
		{
			name: "rate of nothing",
			edit: []string{"rate: 32Mi/s", "rate: 0/s"},
			want: []string{
				`13:31: rate: "0/s" is no progress`,
				"hint: leave the rate out to go as fast as possible",
			},
		},
		{
			name: "duration without unit",
			edit: []string{"within: 20s", "within: 20"},
			want: []string{
				`18:11: within: "20" has no unit`,
				"hint: write 20s",
			},
		},
		{
			name: "duration that is none",
			edit: []string{"within: 20s", "within: soon"},
			want: []string{
				`18:11: within: "soon" is not a duration`,
				"hint: write a number and a unit, such as 30s, 500ms, 1m30s",
			},
		},
		{
			name: "no time",
			edit: []string{"within: 20s", "within: 0s"},
			want: []string{
				"18:11: within: there is no time to run",
				"hint: write within: 30s",
			},
		},
		{
			name: "too much time",
			edit: []string{"within: 20s", "within: 2h"},
			want: []string{
				"18:11: within: 2h0m0s is longer than a run may last (10m0s)",
			},
		},
		{
			name: "unknown step",
			edit: []string{"{touch: 64Mi}", "{tuch: 64Mi}"},
			want: []string{
				`8:31: do: no step is called "tuch"`,
				`hint: did you mean "touch"?`,
			},
		},
		{
			name: "step without its value",
			edit: []string{"[{touch: 64Mi}, hold]", "[touch, hold]"},
			want: []string{
				"8:30: do: touch needs a size",
				"hint: write {touch: 64Mi}",
			},
		},
		{
			name: "step with a value too many",
			edit: []string{"[{touch: 64Mi}, hold]", "[{touch: 64Mi}, {hold: 1s}]"},
			want: []string{
				"8:45: do: hold takes no value",
				"hint: write just hold",
			},
		},
		{
			name: "qualifier first",
			edit: []string{"{touch: 216Mi, rate: 32Mi/s}", "{rate: 32Mi/s, touch: 216Mi}"},
			want: []string{
				`13:11: do: no step is called "rate"`,
				"hint: the first key names the step: {touch: 64Mi, rate: 32Mi/s}",
			},
		},
		{
			name: "qualifier that the step does not take, in its map",
			edit: []string{"{touch: 64Mi}", "{touch: {size: 64Mi, speed: 1}}"},
			want: []string{
				`8:51: do: touch does not take "speed"`,
				"hint: known here: rate, content",
			},
		},
		{
			name: "a map without a size",
			edit: []string{"{touch: 64Mi}", "{touch: {content: zeros}}"},
			want: []string{
				"8:38: do: touch needs a size",
				"hint: write {touch: {size: 64Mi}}",
			},
		},
		{
			name: "a map, and a qualifier beside it",
			edit: []string{"{touch: 64Mi}", "{touch: {size: 64Mi}, content: zeros}"},
			want: []string{
				"8:38: do: touch has a map, and more beside it",
				"hint: put all of it into that map",
			},
		},
		{
			name: "no number of huge pages",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {sysctls: {vm.nr_hugepages: -4}}"},
			want: []string{
				`5:37: vm.nr_hugepages: "-4" is not a number of pages`,
				"hint: write how many huge pages there are: 64",
			},
		},
		{
			name: "qualifier that the step does not take",
			edit: []string{"{touch: 64Mi}", "{touch: 64Mi, speed: 1}"},
			want: []string{
				`8:44: do: touch does not take "speed"`,
				"hint: known here: rate, content",
			},
		},
		{
			name: "leak takes a rate",
			edit: []string{"[{touch: 64Mi}, hold]", "[{leak: 64Mi}]"},
			want: []string{
				`8:37: leak: "64Mi" is not a rate`,
				"hint: write 64Mi/s",
			},
		},
		{
			name: "sawtooth needs a rate",
			edit: []string{"[{touch: 64Mi}, hold]", "[{sawtooth: 64Mi}]"},
			want: []string{
				"8:30: do: sawtooth needs a rate",
				"hint: write {sawtooth: 64Mi, rate: 32Mi/s}",
			},
		},
		{
			name: "nothing after hold",
			edit: []string{"[{touch: 64Mi}, hold]", "[hold, {touch: 64Mi}]"},
			want: []string{
				"8:30: do: nothing after hold is ever done",
				"hint: make it the last step",
			},
		},
		{
			name: "free more than is held",
			edit: []string{"[{touch: 64Mi}, hold]", "[{touch: 64Mi}, {free: 65Mi}, hold]"},
			want: []string{
				"8:45: do: free: 65Mi are more than the 64Mi that are held by then",
			},
		},
		{
			name: "exit code out of range",
			edit: []string{"[{touch: 64Mi}, hold]", "[{touch: 64Mi}, {exit: 256}]"},
			want: []string{
				"8:45: do: 256 is not an exit code",
				"hint: it goes from 0 to 255",
			},
		},
		{
			name: "nothing to do",
			edit: []string{", do: [{touch: 64Mi}, hold]", ""},
			want: []string{
				"8:3: small: has nothing to do",
				"hint: write do: [{touch: 64Mi}, hold] or command: [program, argument]",
			},
		},
		{
			name: "do and command",
			edit: []string{"do: [{touch: 64Mi}, hold]", "do: [hold], command: [sleep, 10]"},
			want: []string{
				"8:3: small: has both do and command",
				"hint: do is for the stressor, command for a program of your own",
			},
		},
		{
			name: "name with capitals",
			edit: []string{"killed: [small]", `killed: [small]
  survives: [Big]`},
			want: []string{
				`17:14: survives: no process "Big"`,
				`hint: did you mean "big"?`,
			},
		},
		{
			name: "bad process name",
			edit: []string{"  big:", "  Big_One:"},
			want: []string{
				`9:3: Big_One: "Big_One" is not a name for a process`,
				"hint: begin with a letter or a digit and go on with these, dots and dashes",
			},
		},
		{
			name: "name longer than comm",
			edit: []string{"  big:", "  a-much-too-long-name:"},
			want: []string{
				`9:3: a-much-too-long-name: "a-much-too-long-name" is longer than the 15 bytes that the kernel keeps of a name`,
				"hint: take a shorter one",
			},
		},
		{
			name: "name and copies longer than comm",
			edit: []string{`cgroup: /lab
`, `cgroup: /lab
    copies: 100
  a-long-worker-1:
    copies: 100
`},
			want: []string{
				"9:3: big: has nothing to do",
				"hint: write do: [{touch: 64Mi}, hold] or command: [program, argument]",
				`12:3: a-long-worker-1: "a-long-worker-1/100" is longer than the 15 bytes that the kernel keeps of a name`,
				"hint: take a shorter one",
			},
		},
		{
			name: "unknown cgroup",
			edit: []string{"{cgroup: /lab,", "{cgroup: /lob,"},
			want: []string{
				`8:19: cgroup: no cgroup "/lob"`,
				`hint: did you mean "/lab"?`,
			},
		},
		{
			name: "cgroup without slash",
			edit: []string{"{cgroup: /lab,", "{cgroup: lab,"},
			want: []string{
				`8:19: cgroup: no cgroup "lab"`,
				`hint: did you mean "/lab"?`,
			},
		},
		{
			name: "cgroup without parent",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab: {memory.max: 256Mi}
  /x/y: {}`},
			want: []string{
				`7:3: /x/y: "/x/y" comes before its parent`,
				"hint: write /x: {} before it; the order is that in which the kernel visits them",
			},
		},
		{
			name: "cgroup before its parent",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab/y: {}
  /lab: {memory.max: 256Mi}`},
			want: []string{
				`6:3: /lab/y: "/lab/y" comes before its parent`,
				"hint: move /lab before it",
			},
		},
		{
			name: "cgroup outside",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab: {memory.max: 256Mi}
  /lab/..: {}`},
			want: []string{
				`7:3: /lab/..: "/lab/.." is not a path of names made of letters, digits, dots, dashes and underscores`,
				"hint: write a path below the run's own cgroup, such as /lab/a",
			},
		},
		{
			name: "cgroup like a file",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab: {memory.max: 256Mi}
  /memory.max: {}`},
			want: []string{
				`7:3: /memory.max: "/memory.max" could be a file of the kernel's`,
				"hint: write a path below the run's own cgroup, such as /lab/a",
			},
		},
		{
			name: "oom.group neither on nor off",
			edit: []string{"memory.max: 256Mi", "memory.max: 256Mi, memory.oom.group: 2"},
			want: []string{
				"6:47: memory.oom.group: 2 is neither on nor off",
				"hint: write 0 or 1",
			},
		},
		{
			name: "adj out of range",
			edit: []string{"oom_score_adj: -600", "oom_score_adj: -1001"},
			want: []string{
				"11:20: oom_score_adj: -1001 is not an oom_score_adj",
				"hint: it goes from -1000 to 1000",
			},
		},
		{
			name: "nice out of range",
			edit: []string{"oom_score_adj: -600", "nice: 20"},
			want: []string{
				"11:11: nice: 20 is not a nice value",
				"hint: it goes from -20 to 19",
			},
		},
		{
			name: "unknown signal",
			edit: []string{"oom_score_adj: -600", "ignore: [SIGTREM]"},
			want: []string{
				`11:14: ignore: "SIGTREM" is not a signal`,
				`hint: did you mean "SIGTERM"?`,
			},
		},
		{
			name: "signal that cannot be ignored",
			edit: []string{"oom_score_adj: -600", "ignore: [SIGKILL]"},
			want: []string{
				"11:14: ignore: SIGKILL cannot be ignored",
			},
		},
		{
			name: "no copies",
			edit: []string{"oom_score_adj: -600", "copies: 0"},
			want: []string{
				"11:13: copies: 0 copies are no process",
			},
		},
		{
			name: "respawn of another kind",
			edit: []string{"oom_score_adj: -600", "respawn: often"},
			want: []string{
				`11:14: respawn: "often" is not a number of restarts`,
				"hint: write true or how often",
			},
		},
		{
			name: "after an unknown process",
			edit: []string{"after: small", "after: smal"},
			want: []string{
				`12:12: after: no process "smal"`,
				`hint: did you mean "small"?`,
			},
		},
		{
			name: "after a copy that is none",
			edit: []string{"after: small", "after: small/2"},
			want: []string{
				`12:12: after: process "small" has no copy "2"`,
				"hint: it has no copies; write small",
			},
		},
		{
			name: "after itself",
			edit: []string{"after: small", "after: big"},
			want: []string{
				"12:12: after: big waits for big",
				"hint: one of them must start first",
			},
		},
		{
			name: "cycle",
			edit: []string{"small: {cgroup: /lab,", "small: {cgroup: /lab, after: big,"},
			want: []string{
				"8:32: after: small waits for big, which waits for small",
				"hint: one of them must start first",
			},
		},
		{
			name: "fork of nobody",
			edit: []string{"[{touch: 64Mi}, hold]", "[{fork: child}, hold]"},
			want: []string{
				`8:30: do: no process "child"`,
				"hint: known here: small, big",
			},
		},
		{
			name: "fork of a stranger",
			edit: []string{"[{touch: 64Mi}, hold]", "[{fork: big}, hold]"},
			want: []string{
				`8:30: do: "big" does not name "small" as its parent`,
				"hint: write parent: small at big",
			},
		},
		{
			name: "parent that does not fork",
			edit: []string{"after: small", "parent: small"},
			want: []string{
				`12:13: parent: "small" never forks "big"`,
				"hint: write {fork: big} among the steps of small",
			},
		},
		{
			name: "wait without fork",
			edit: []string{"[{touch: 64Mi}, hold]", "[{wait: big}, hold]"},
			want: []string{
				`8:30: do: "big" was not forked before it is waited for`,
				"hint: write {fork: big} before it",
			},
		},
		{
			name: "forked process with settings of its own",
			edit: []string{`  big:
`, `  child: {parent: small, nice: 3, do: [hold]}
  big:
`},
			want: []string{
				`9:19: parent: "small" never forks "child"`,
				"hint: write {fork: child} among the steps of small",
				"9:32: nice: a forked process has no nice of its own",
				"hint: set it at its parent, or start it without one",
			},
		},
		{
			name: "shared memory without a parent",
			edit: []string{"after: small", "shares_memory_with: small"},
			want: []string{
				"12:25: shares_memory_with: only a process that is forked can share its parent's memory",
				"hint: write parent: small too",
			},
		},
		{
			name: "during does nothing",
			edit: []string{"expect:", `during: [{after: small}]
expect:`},
			want: []string{
				"14:10: during: does nothing",
				"hint: write one of set, oom_score_adj, signal, freeze, thaw, sysctls, sysrq, swapoff or stop",
			},
		},
		{
			name: "during does two things",
			edit: []string{"expect:", `during: [{freeze: /lab, thaw: /lab}]
expect:`},
			want: []string{
				"14:10: during: does 2 things at once",
				"hint: write an entry for each; they are done in order",
			},
		},
		{
			name: "during sets nothing",
			edit: []string{"expect:", `during: [{set: {/lab: {}}}]
expect:`},
			want: []string{
				"14:17: /lab: sets nothing",
				"hint: write a knob and its value, such as {memory.max: 64Mi}",
			},
		},
		{
			name: "during presses another key",
			edit: []string{"expect:", `during: [{sysrq: b}]
expect:`},
			want: []string{
				`14:18: sysrq: "b" is not a key that is pressed here`,
				"hint: f calls the OOM killer; the other keys are not offered",
			},
		},
		{
			name: "swapoff without swap",
			edit: []string{"expect:", `during: [{swapoff: true}]
expect:`},
			want: []string{
				"14:20: swapoff: there is no swap to switch off",
				"hint: set system.swap",
			},
		},
		{
			name: "sysctl that is a path",
			edit: []string{"expect:", `system: {sysctls: {../vm: 1}}
expect:`},
			want: []string{
				`14:27: ../vm: "../vm" is not the name of a sysctl`,
				"hint: write it as sysctl(8) does: vm.panic_on_oom",
			},
		},
		{
			name: "swap without size",
			edit: []string{"expect:", `system: {swap: {kind: zram}}
expect:`},
			want: []string{
				"14:10: size: there is none",
				"hint: write size: 256Mi",
			},
		},
		{
			name: "unknown ability",
			edit: []string{"expect:", `needs: {abilities: [root, swapp]}
expect:`},
			want: []string{
				`14:27: abilities: no ability is called "swapp"`,
				`hint: did you mean "swap"?`,
			},
		},
		{
			name: "kernel that is no range",
			edit: []string{"expect:", `needs: {kernel: new}
expect:`},
			want: []string{
				`14:17: kernel: "new" is not a range of kernels`,
				`hint: write a comparison such as ">= 5.17"`,
			},
		},
		{
			name: "unknown constraint",
			edit: []string{"constraint: memcg", "constraint: CONSTRAINT_MEMCG"},
			want: []string{
				`15:15: constraint: "CONSTRAINT_MEMCG" is not a constraint`,
				`hint: did you mean "memcg"?`,
			},
		},
		{
			name: "constraint without a limit",
			edit: []string{"{memory.max: 256Mi}", "{}"},
			want: []string{
				"15:15: constraint: no cgroup has a limit that could be hit",
				"hint: give a cgroup a memory.max",
			},
		},
		{
			name: "nothing that could fail",
			edit: []string{`  killed: [small]
`, ""},
			want: []string{
				"14:1: expect: says neither who is killed nor that the kernel panics: nothing in it could fail",
				"hint: add killed: [NAME], or killed: [] if nobody dies",
			},
		},
		{
			name: "any number of anybody",
			edit: []string{"killed: [small]", `killed: {from: [small, big], count: ">= 0"}`},
			want: []string{
				`16:39: count: ">= 0" of everybody holds whatever happens: it cannot fail`,
				`hint: write ">= 1", or leave a process out of from`,
			},
		},
		{
			name: "nobody from a list",
			edit: []string{"killed: [small]", "killed: {from: [small], count: 0}"},
			want: []string{
				`16:34: count: "0" holds only when nobody is killed`,
				"hint: write killed: [] for nobody",
			},
		},
		{
			name: "more kills than processes",
			edit: []string{"killed: [small]", "killed: {from: [small], count: 2}"},
			want: []string{
				`16:34: count: "2" can never hold: from has 1, and none of them is started again`,
			},
		},
		{
			name: "count is missing",
			edit: []string{"killed: [small]", "killed: {from: [small]}"},
			want: []string{
				"16:3: count: is missing",
				`hint: write count: 1, ">= 1" or "2..5"`,
			},
		},
		{
			name: "from is empty",
			edit: []string{"killed: [small]", "killed: {from: [], count: 1}"},
			want: []string{
				"16:12: from: there is nobody to kill",
				"hint: name those who may be killed, or write killed: [] for nobody",
			},
		},
		{
			name: "killed twice",
			edit: []string{"killed: [small]", "killed: [small, small]"},
			want: []string{
				`16:3: killed: "small" is killed twice, but never started again`,
			},
		},
		{
			name: "killed and survives",
			edit: []string{"killed: [small]", `killed: [small]
  survives: [small]`},
			want: []string{
				`17:3: survives: "small" is also in killed`,
				"hint: leave it out of one of them",
			},
		},
		{
			name: "killed and throttled",
			edit: []string{"killed: [small]", `killed: [small]
  throttled: [small]`},
			want: []string{
				`17:3: throttled: "small" is also in killed`,
				"hint: leave it out of one of them",
			},
		},
		{
			name: "exit of an unknown process",
			edit: []string{"killed: [small]", `killed: [small]
  exit: {smell: SIGKILL}`},
			want: []string{
				`17:17: smell: no process "smell"`,
				`hint: did you mean "small"?`,
			},
		},
		{
			name: "killed with an exit code",
			edit: []string{"killed: [small]", `killed: [small]
  exit: {small: 1}`},
			want: []string{
				`17:17: small: "small" is in killed, and so ends by SIGKILL`,
				"hint: write SIGKILL",
			},
		},
		{
			name: "killed by nobody",
			edit: []string{"killed: [small]", `killed: [small]
  exit: {big: SIGKILL}`},
			want: []string{
				`17:15: big: nothing kills "big": it is not in killed`,
			},
		},
		{
			name: "137",
			edit: []string{"killed: [small]", `killed: [small]
  exit: {big: 137}`},
			want: []string{
				`17:15: big: "big" does not exit with 137`,
				"hint: write SIGKILL; 137 is how a shell reports it",
			},
		},
		{
			name: "signal without SIG",
			edit: []string{"killed: [small]", `killed: [small]
  exit: {small: kill}`},
			want: []string{
				`17:17: small: "kill" is neither an exit code nor a signal`,
				"hint: write SIGKILL",
			},
		},
		{
			name: "unknown event",
			edit: []string{`{oom: ">= 1"}`, "{oom_killed: 1}"},
			want: []string{
				`17:38: oom_killed: memory.events has no "oom_killed"`,
				`hint: did you mean "oom_kill"?`,
			},
		},
		{
			name: "event that cannot fail",
			edit: []string{`{oom: ">= 1"}`, `{oom: ">= 0"}`},
			want: []string{
				`17:31: oom: ">= 0" holds for every count: it cannot fail`,
				`hint: write ">= 1", or a number`,
			},
		},
		{
			name: "event that can never be",
			edit: []string{`{oom: ">= 1"}`, `{oom: "< 0"}`},
			want: []string{
				`17:31: oom: "< 0" holds for no count: it only goes up`,
			},
		},
		{
			name: "range the wrong way round",
			edit: []string{`{oom: ">= 1"}`, "{oom: 5..2}"},
			want: []string{
				`17:31: oom: "5..2" holds for nothing: its first number is the larger one`,
				`hint: write 1, ">= 1", "< 3" or "2..5", with the quotes`,
			},
		},
		{
			name: "comparison that is none",
			edit: []string{`{oom: ">= 1"}`, "{oom: some}"},
			want: []string{
				`17:31: oom: "some" is not a comparison`,
				`hint: write 1, ">= 1", "< 3" or "2..5", with the quotes`,
			},
		},
		{
			name: "fewer kills counted than claimed",
			edit: []string{`{oom: ">= 1"}`, "{oom_kill: 0}"},
			want: []string{
				`17:36: oom_kill: "0" contradicts killed, which has 1 of its processes`,
			},
		},
		{
			name: "trigger of no kill",
			edit: []string{"killed: [small]", `killed: []
  trigger: big`},
			want: []string{
				"15:15: constraint: says how somebody is killed, but killed: [] says that nobody is",
				"hint: leave it out",
				"17:12: trigger: says how somebody is killed, but killed: [] says that nobody is",
				"hint: leave it out",
			},
		},
		{
			name: "claims after a panic",
			edit: []string{"killed: [small]", `panic: Out of memory
  survives: [big]`},
			want: []string{
				"17:3: survives: cannot be seen: the machine panics",
				"hint: leave it out",
				"18:3: memory.events: cannot be seen: the machine panics",
				"hint: leave it out",
			},
		},
		{
			name: "oom_memcg without a limit",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab: {memory.max: 256Mi}
  /other: {}`, "constraint: memcg", "oom_memcg: /other"},
			want: []string{
				"16:14: oom_memcg: /other has no memory.max that could be hit",
			},
		},
		{
			name: "oom_memcg of another constraint",
			edit: []string{"constraint: memcg", `constraint: none
  oom_memcg: /lab`},
			want: []string{
				"16:14: oom_memcg: a cgroup's limit is hit with constraint memcg, not none",
			},
		},
		{
			name: "a process where cgroups are below",
			edit: []string{"/lab: {memory.max: 256Mi}", `/lab: {memory.max: 256Mi}
  /lab/a: {}`, "big:\n    cgroup: /lab", "big:\n    cgroup: /lab/a"},
			want: []string{
				"9:19: cgroup: /lab has /lab/a below it, and with cgroup v2 a cgroup whose children have limits holds " +
					"no process",
				"hint: give it a cgroup of its own, such as /lab/own, or write needs: {cgroup: 1}",
			},
		},
		{
			name: "a limit that the machine does not have",
			edit: []string{"targets: [vm]", "targets: [vm]\nneeds: {memory: 512Mi}", "256Mi}", "1Gi}", "216Mi", "1Gi",
				"constraint: memcg", "oom_memcg: /lab"},
			want: []string{
				"7:22: memory.max: 1Gi is more than the 512Mi of the machine: the limit is never hit",
				"hint: write needs: {memory: 1280Mi}",
			},
		},
		{
			name: "a machine too small for what its cgroups allow",
			edit: []string{"targets: [vm]", "targets: [vm]\nneeds: {memory: 512Mi}", "small: {cgroup: /lab,",
				"small: {copies: 30,", "64Mi", "8Mi", "216Mi", "400Mi", "256Mi", "330Mi", "killed: [small]",
				"killed: [big]"},
			want: []string{
				"5:17: memory: 512Mi is too small: the processes take up to 600Mi at once, /lab most of it, and about " +
					"425.8Mi can be had; the machine would run out before a cgroup does",
				"hint: write needs: {memory: 768Mi}",
			},
		},
		{
			name: "pages that hold something else",
			edit: []string{"{touch: 64Mi}", "{touch: 64Mi, content: zeroes}"},
			want: []string{
				`8:30: do: "zeroes" is not what pages can hold`,
				`hint: did you mean "zeros"?`,
			},
		},
		{
			name: "overcommit that contradicts itself, and is everybody's",
			edit: []string{"targets: [vm]", "targets: [vm, local]\nsystem: {sysctls: {vm.overcommit_memory: 3, " +
				"vm.overcommit_ratio: 80, vm.overcommit_kbytes: many}}"},
			want: []string{
				"4:15: targets: vm.overcommit_memory is in force for everybody on local: others would be refused memory",
				"hint: write targets: [vm]",
				`5:42: vm.overcommit_memory: "3" is no policy`,
				"hint: write 0, 1 or 2",
				"5:92: vm.overcommit_kbytes: setting it sets vm.overcommit_ratio to 0, and the other way round",
				"hint: leave one of them out",
				`5:92: vm.overcommit_kbytes: "many" is not a number`,
			},
		},
		{
			name: "a failure that nothing causes",
			edit: []string{"killed: [small]", "killed: [small]\n  fails: {big: ENOMEM}"},
			want: []string{
				`17:16: big: "big" maps 64Mi at a time, and with vm.overcommit_memory 0 only one mapping that is larger ` +
					"than memory and swap is refused: a map step",
				"hint: write system: {sysctls: {vm.overcommit_memory: 2}}",
			},
		},
		{
			name: "failures where everything is granted, of nobody, for no reason, and with another end",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {sysctls: {vm.overcommit_memory: 1}}",
				"killed: [small]", "killed: [small]\n  fails: {big: ENOMEMM, smal: ENOMEM, small: ENOMEM}\n" +
					"  exit: {big: 1}"},
			want: []string{
				`18:16: big: "ENOMEMM" is not why a process fails`,
				`hint: did you mean "ENOMEM"?`,
				"18:16: big: with vm.overcommit_memory 1 nobody is refused memory",
				"hint: write system: {sysctls: {vm.overcommit_memory: 2}}",
				`18:31: smal: no process "smal"`,
				`hint: did you mean "small"?`,
				`18:46: small: "small" is also in killed`,
				"hint: leave it out of one of them",
				`19:15: big: "big" is also in fails, and a stressor that is refused memory exits with 71`,
				"hint: write 71, or leave it out",
			},
		},
		{
			name: "more address space than there is",
			edit: []string{"{touch: 64Mi}", "{map: 65Ti}"},
			want: []string{
				`8:36: map: "65Ti" is more memory than a machine can have`,
			},
		},
		{
			name: "a disk that files do not fit on",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {disk: {size: 64Mi, write: 20Mi/s}}", "{touch: 64Mi}",
				"{write: 60Mi}"},
			want: []string{
				"9:25: do: the disk of 64Mi is full: files take 60Mi by then",
				"hint: write system: {disk: {size: 83Mi}}",
			},
		},
		{
			name: "a tmpfs that files do not fit in",
			edit: []string{"{touch: 64Mi}", "{tmpfs: 230Mi}"},
			want: []string{
				"8:30: do: the tmpfs is full: files take 230Mi by then, and it has half of the memory, about 212.9Mi",
				"hint: write needs: {memory: 768Mi}",
			},
		},
		{
			name: "a file in a tmpfs that is written anew",
			edit: []string{"do: [{touch: 64Mi}", "respawn: 2, do: [{tmpfs: 64Mi}"},
			want: []string{
				"8:42: do: a process that is started again would write its file anew",
				"hint: leave out respawn",
			},
		},
		{
			name: "a disk of nothing that takes nothing, here",
			edit: []string{"targets: [vm]", "targets: [local, vm]\nsystem: {disk: {size: 0, write: 0Mi/s}}"},
			want: []string{
				"4:11: targets: local has the disk that it has: system.disk is for a VM",
				"hint: write targets: [vm]",
				"5:23: size: 0 is too small for a file system",
				`5:33: write: "0Mi/s" is no progress`,
				"hint: leave the rate out to go as fast as possible",
			},
		},
		{
			name: "cpuset.mems and mempolicy without nodes",
			edit: []string{"memory.max: 256Mi", "memory.max: 256Mi, cpuset.mems: 1", "after: small",
				"mempolicy: {bind: [1]}"},
			want: []string{
				`6:42: cpuset.mems: the machine has no NUMA nodes`,
				"hint: write system: {nodes: [256Mi, 256Mi]}",
				"12:17: bind: the machine has no NUMA nodes",
				"hint: write system: {nodes: [256Mi, 256Mi]}",
			},
		},
		{
			name: "nodes that are not there",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {nodes: [256Mi, 256Mi]}", "memory.max: 256Mi",
				"memory.max: 256Mi, cpuset.mems: 0-2", "after: small", "mempolicy: {bind: [0, 3]}"},
			want: []string{
				"7:42: cpuset.mems: there is no node 2",
				"hint: system.nodes has the nodes 0-1",
				"13:17: bind: there is no node 3",
				"hint: system.nodes has the nodes 0-1",
			},
		},
		{
			name: "nodes too small, odd, and not adding up, here",
			edit: []string{"targets: [vm]", "targets: [vm, local]\nneeds: {memory: 512Mi}\n" +
				"system: {nodes: [128Mi, 32Mi, 97Mi]}"},
			want: []string{
				"4:15: targets: local has the nodes that it has: system.nodes is for a VM",
				"hint: write targets: [vm]",
				"5:17: memory: the nodes have 257Mi together, not 512Mi",
				"hint: write 257Mi, or leave it out",
				"6:18: nodes: 128Mi is too small: node 0 of a VM takes 192Mi",
				"6:25: nodes: 32Mi is too small: node 1 of a VM takes 64Mi",
				"6:31: nodes: 97Mi is not a multiple of 32Mi",
			},
		},
		{
			name: "one node",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {nodes: [256Mi]}"},
			want: []string{
				"5:10: nodes: 1 of them: a VM with NUMA has 2 to 8 nodes",
				"hint: write system: {nodes: [256Mi, 256Mi]}",
			},
		},
		{
			name: "lists of nodes that are none, and nodes changed on the way",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {nodes: [256Mi, 256Mi]}", "memory.max: 256Mi",
				"memory.max: 256Mi, cpuset.mems: all", "after: small", "mempolicy: {bind: []}", "expect:",
				"during: [{set: {/lab: {cpuset.mems: 0}}}]\nexpect:"},
			want: []string{
				`7:42: cpuset.mems: "all" is not a list of nodes such as 0-1,3`,
				`hint: write 1, 0-1 or "0,2"`,
				"13:5: mempolicy: it names no nodes",
				"hint: write mempolicy: {bind: [1]}",
				"15:37: cpuset.mems: nodes are set before anything is started",
				"hint: write it in cgroups",
			},
		},
		{
			name: "nodes that a cgroup does not allow",
			edit: []string{"targets: [vm]", "targets: [vm]\nsystem: {nodes: [256Mi, 256Mi]}",
				"  /lab: {memory.max: 256Mi}", "  /top: {cpuset.mems: 0}\n  /top/x: {cpuset.mems: 1}\n" +
					"  /lab: {memory.max: 256Mi, cpuset.mems: 0}", "after: small", "mempolicy: {bind: [1]}"},
			want: []string{
				"8:25: cpuset.mems: the nodes 1 are not all among those of /top, 0",
				"15:17: bind: the cgroup /lab allows the nodes 0, and none of these",
			},
		},
		{
			name: "no huge pages",
			edit: []string{"{touch: 216Mi, rate: 32Mi/s}", "{hugetlb: 16Mi}", "constraint: memcg", "constraint: none"},
			want: []string{
				"13:5: do: big takes explicit huge pages, and none are reserved",
				"hint: write system: {sysctls: {vm.nr_hugepages: 8}}",
			},
		},
		{
			name: "a pool that is too small, and one that is too large",
			edit: []string{"{touch: 216Mi, rate: 32Mi/s}", "{hugetlb: 16Gi}", "targets: [vm]",
				"targets: [vm]\nneeds: {memory: 512Mi}\nsystem: {sysctls: {vm.nr_hugepages: 7}}\nduring: " +
					"[{after: small, sysctls: {vm.nr_hugepages: 300}}]"},
			want: []string{
				"6:37: vm.nr_hugepages: 300 huge pages are 600Mi, and about 425.8Mi of the machine's 512Mi can be had",
				"hint: write needs: {memory: 768Mi}",
				"16:5: do: big takes 8192 explicit huge pages, and 300 are reserved",
				"hint: write system: {sysctls: {vm.nr_hugepages: 8192}}",
			},
		},
		{
			name: "livelock",
			edit: []string{"small: {cgroup: /lab,", "small: {cgroup: /lab, oom_score_adj: -1000,", "adj: -600", "adj: -1000", "216Mi", "256Mi", "killed: [small]", "killed: []", `  constraint: memcg
`, "", `{oom: ">= 1"}`, "{oom: 0}"},
			want: []string{
				"11:20: oom_score_adj: /lab goes over its 256Mi with nobody in it to kill: all are at -1000, and " +
					"the kernel would try forever",
				"hint: let one process in /lab have more than -1000",
			},
		},
		{
			name: "a victim that is never chosen",
			edit: []string{"small: {cgroup: /lab,", "small: {cgroup: /lab, oom_score_adj: -1000,"},
			want: []string{
				`16:3: killed: "small" is at -1000 and never chosen`,
			},
		},
		{
			name: "alias",
			edit: []string{"targets: [vm]", "targets: &x [vm]", "refs", "refs", "needs", "needs", "  small:", `  small: *x
  tiny:`},
			want: []string{
				"4:10: anchors (&x) are not read here",
				"hint: write the value out where it is used",
				"8:10: aliases (*x) are not read here",
				"hint: write the value out",
			},
		},
		{
			name: "panic on this machine",
			edit: []string{"[vm]", "[local, vm]", `  killed: [small]
  memory.events: {/lab: {oom: ">= 1"}}`, "  panic: Out of memory", `  constraint: memcg
`, ""},
			want: []string{
				"4:1: targets: a scenario that expects a panic would take this machine down",
				"hint: write targets: [vm]",
			},
		},
		{
			name: "pods as they were written before",
			edit: []string{"expect:", `qos: {singleProcessOOMKill: true, pods: {web: {nodeCritical: true, containers: {main: {do: [hold]}}}}}
expect:`, "killed: [small]", "killed: [web/main]", "{/lab: {oom:", "{/kubepods.slice: {oom:"},
			want: []string{
				`14:1: "qos" is not read any more: pods run without a kubelet too`,
				"hint: " + qosHint,
			},
		},
		{
			name: "memory shared with a stranger",
			edit: []string{"    after: small", `    parent: small
    shares_memory_with: big`, "[{touch: 64Mi}, hold]", "[{fork: big}, hold]", "[{touch: 216Mi, rate: 32Mi/s}, hold]", "[hold]"},
			want: []string{
				`13:25: shares_memory_with: memory is shared with the parent, which is "small"`,
				"hint: write small",
			},
		},
		{
			name: "memory of a sharer's own",
			edit: []string{"    after: small", "    parent: small\n    shares_memory_with: small",
				"[{touch: 64Mi}, hold]", "[{fork: big}, hold]"},
			want: []string{
				"14:5: do: a process that shares its parent's memory only holds",
				"hint: write do: [hold]; its memory is its parent's, and is taken there",
			},
		},
		{
			name: "exit of a survivor",
			edit: []string{"killed: [small]", "killed: [small]\n  survives: [big]\n  exit: {big: 0}"},
			want: []string{
				`18:15: big: "big" is also in survives, and so still alive`,
				"hint: leave it out of one of them",
			},
		},
		{
			name: "copies of a child",
			edit: []string{"    after: small", `    parent: small
    copies: 2`, "[{touch: 64Mi}, hold]", "[{fork: big}, hold]"},
			want: []string{
				`13:13: copies: "small" has 1`,
				"hint: write copies: 1; each copy of small forks one",
			},
		},
		{
			name: "forked twice",
			edit: []string{"    after: small", "    parent: small", "[{touch: 64Mi}, hold]",
				"[{fork: big}, {fork: big}, hold]"},
			want: []string{
				`8:43: do: "big" is forked twice`,
				"hint: give a second child a name of its own",
			},
		},
		{
			name: "too many processes",
			edit: []string{"adj: -600", `adj: -600
    copies: 2000`},
			want: []string{
				"7:1: processes: more than 1024 processes, copies included",
			},
		},
		{
			name: "contradicted kill count",
			edit: []string{"killed: [small]", "killed: []", `  constraint: memcg
`, "", `{oom: ">= 1"}`, "{oom_kill: 1}"},
			want: []string{
				`16:36: oom_kill: "1" contradicts killed: []`,
			},
		},
		{
			name: "true or false",
			edit: []string{"expect:", `system: {swap: {size: 1Gi}}
during: [{swapoff: maybe}]
expect:`},
			want: []string{
				`15:20: swapoff: "maybe" is neither true nor false`,
				"hint: write true or false",
			},
		},
		{
			name: "empty claim",
			edit: []string{`{oom: ">= 1"}`, "{}"},
			want: []string{
				"17:19: /lab: claims nothing",
				"hint: write {oom_kill: 1}",
			},
		},
		{
			name: "vmstat line",
			edit: []string{"killed: [small]", `killed: [small]
  vmstat: {OOM: 1}`},
			want: []string{
				`17:17: OOM: "OOM" is not a line of /proc/vmstat`,
			},
		},
		{
			name: "number beyond a counter",
			edit: []string{`{oom: ">= 1"}`, "{oom: 9223372036854775807}"},
			want: []string{
				`17:31: oom: "9223372036854775807" is more than any counter counts`,
				`hint: write 1, ">= 1", "< 3" or "2..5", with the quotes`,
			},
		},
		{
			name: "a signal during",
			edit: []string{"expect:", `during: [{signal: {big: SIGBIG}}]
expect:`},
			want: []string{
				`14:25: big: "SIGBIG" is not a signal`,
				`hint: did you mean "SIGBUS"?`,
			},
		},
		{
			name: "a NUL byte",
			edit: []string{"summary: Small dies.", `summary: "a\0b"`},
			want: []string{
				`3:10: summary: "a\x00b" holds a NUL byte`,
			},
		},
		{
			name: "memory.max of nothing",
			edit: []string{"memory.max: 256Mi", "memory.max: 0"},
			want: []string{
				"6:22: memory.max: nothing can run in 0 bytes",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(strings.NewReplacer(tt.edit...).Replace(base)))
			var p *Problems
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var got []string
			for line := range strings.SplitSeq(err.Error(), "\n") {
				line = strings.TrimPrefix(line, "oomlab: ")
				got = append(got, strings.TrimPrefix(line, "x.yaml:"))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestBaseIsValid(t *testing.T) {
	if _, err := Parse("x.yaml", []byte(base)); err != nil {
		t.Error(err)
	}
}

// TestValidateNamesPaths: a scenario without a file has no lines to name.
func TestValidateNamesPaths(t *testing.T) {
	s, err := Parse("memcg/x.yaml", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatalf("a parsed scenario is not valid: %v", err)
	}
	s.Processes[1].Cgroup = "/lob"
	s.Processes[1].Do = append(s.Processes[1].Do, Step{Op: "free", Size: kernel.MiB})
	const want = `oomlab: memcg/x: processes.big.cgroup: no cgroup "/lob"
oomlab: hint: did you mean "/lab"?
oomlab: memcg/x: processes.big.do.1: nothing after hold is ever done
oomlab: hint: make it the last step`
	if err := s.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(base)
	for range 200 {
		b.WriteString("x" + strings.Repeat("y", b.Len()%97) + strings.Repeat("z", b.Len()%89) + ": 1\n")
	}
	_, err := Parse("x.yaml", []byte(b.String()))
	var p *Problems
	if !errors.As(err, &p) || len(p.List) != maxProblems+1 {
		t.Fatalf("got %v, want %d problems and how many more", err, maxProblems)
	}
	const want = "oomlab: x.yaml: 150 more problems are not shown"
	if got := p.List[maxProblems].String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseRefusesMoreThanAMebibyte(t *testing.T) {
	_, err := Parse("x.yaml", make([]byte, maxSize+1))
	const want = "oomlab: x.yaml: 1048577 bytes are more than a scenario has; at most 1048576 are read"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		got  string
		want string
	}{
		{"memmory.max", "memory.max"},
		{"memory_max", "memory.max"},
		{"mmeory.max", "memory.max"}, // neighbours swapped
		{"vn", "vm"},
		{"Big", "big"},
		{"tmp", ""},
		{strings.Repeat("x", 100), ""},
	} {
		if got := Nearest(tt.got, []string{"big", "vm", "memory.max", "memory.min"}); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.got, got, tt.want)
		}
	}
}
