package scenario

import "testing"

// TestReadsProblems: all that is wrong with claims about /proc, at once.
func TestReadsProblems(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{
			name: "processes",
			in: `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Small dies.
processes:
  small: {oom_adj: 16, do: [{touch: 64Mi}, hold]}
  both: {oom_adj: 3, oom_score_adj: 100, do: [{touch: 64Mi}, hold]}
  kid: {oom_adj: 3, parent: mom, do: [hold]}
  mom: {do: [{fork: kid}, {exit: 0}]}
  ok: {do: [{touch: 1Mi}, hold]}
expect:
  killed: []
  reads:
    smal: {oom_score: 700}
    small: {oom_scor: 700, oom_score_adj: ">= -1000", oom_adj: 17}
    mom: {oom_score: 3}
    both: {}
    ok: {oom_score: lots}
`,
			want: `oomlab: x.yaml:5:20: oom_adj: 16 is not an oom_adj
oomlab: hint: it goes from -17 to 15; oom_score_adj goes from -1000 to 1000
oomlab: x.yaml:6:19: oom_adj: sets the same as oom_score_adj
oomlab: hint: leave one of them out
oomlab: x.yaml:7:18: oom_adj: is not written by what another process forks
oomlab: hint: write oom_score_adj: 176, which is the same
oomlab: x.yaml:13:5: smal: no process "smal"
oomlab: hint: did you mean "small"?
oomlab: x.yaml:14:23: oom_scor: no claim is about /proc/PID/oom_scor
oomlab: hint: did you mean "oom_score"?
oomlab: x.yaml:14:43: oom_score_adj: ">= -1000" holds for every oom_score_adj: it cannot fail
oomlab: hint: write a number
oomlab: x.yaml:14:64: oom_adj: "17" holds for no oom_adj
oomlab: hint: it goes from -17 to 15
oomlab: x.yaml:15:5: mom: "mom" is never ready, and so never read
oomlab: hint: end its steps with hold, or leave its exit out
oomlab: x.yaml:16:5: both: claims nothing
oomlab: hint: write {oom_score: 670}
oomlab: x.yaml:17:21: oom_score: "lots" is not a comparison
oomlab: hint: write 1, ">= 1", "< 3" or "2..5", with the quotes`,
		},
		{
			name: "pods",
			in: `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Small dies.
targets: [vm]
pods: {a: {restartPolicy: Never, containers: {main: {do: [hold]}}}}
expect:
  killed: []
  reads: {a/main: {oom_score: 700}}
`,
			want: `oomlab: x.yaml:8:11: a/main: is of processes, and the scenario has pods
oomlab: hint: leave it out; on a cluster oom_score_adj: {POD/CONTAINER: 1000} says what the kubelet has set`,
		},
	} {
		if _, err := Parse("x.yaml", []byte(tt.in)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got\n%v\nwant\n%s", tt.name, err, tt.want)
		}
	}
}
