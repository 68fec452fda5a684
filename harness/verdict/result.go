package verdict

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Verdict is what is said of a run: one of four words, and they are not degrees of each other.
//
//	pass    every claim is shown by the evidence, prediction included
//	fail    the evidence contradicts a claim or the prediction
//	skip    this machine cannot run the scenario; nothing was started
//	broken  it ran, but the evidence cannot carry a judgement: events were
//	        lost, two sources disagree, a stressor never became ready
//
// Only pass and fail say anything about the kernel.
type Verdict string

// The four words.
const (
	Pass   Verdict = "pass"
	Fail   Verdict = "fail"
	Skip   Verdict = "skip"
	Broken Verdict = "broken"
)

// Worst is the word that stands for several: broken, fail, skip, pass.
func Worst(all ...Verdict) Verdict {
	worst := Pass
	rank := map[Verdict]int{Pass: 0, Skip: 1, Fail: 2, Broken: 3}
	for _, w := range all {
		if rank[w] > rank[worst] {
			worst = w
		}
	}
	return worst
}

// Result is one run, judged: the JSON of `oomlab run -o json` and result.json.
type Result struct {
	Scenario   string     `json:"scenario"`
	Summary    string     `json:"summary,omitempty"` // of the scenario
	Target     string     `json:"target"`
	Because    string     `json:"target_because,omitempty"` // why this target
	Kernel     KernelID   `json:"kernel"`
	Userland   string     `json:"userland,omitempty"` // the distribution that the VM booted
	Verdict    Verdict    `json:"verdict"`
	Reason     string     `json:"reason"`
	Console    string     `json:"console,omitempty"` // last lines of a machine that went down though it should not
	Seed       int64      `json:"seed"`
	Started    string     `json:"started"` // RFC 3339
	DurationMS int64      `json:"duration_ms"`
	Run        string     `json:"run,omitempty"`     // the run directory's name
	Command    []string   `json:"command,omitempty"` // that repeats the run
	Tier       int        `json:"tier"`              // of the eBPF programs
	Prediction Prediction `json:"prediction"`
	Kills      []Kill     `json:"kills"`
	// Scoreboard has one entry per kill decision that the kernel showed, and in
	// it every candidate in the kernel's order.
	Scoreboard [][]Row                  `json:"scoreboard"`
	Exits      map[string]scenario.Exit `json:"exits"`
	// Descendants are the processes that programs of the user's own have started.
	Descendants []Descendant `json:"descendants,omitempty"`
	// Fails are the processes that the kernel refused memory.
	Fails map[string]Failure `json:"fails,omitempty"`
	// Reads are what /proc said of processes when they were ready.
	Reads    map[string]evidence.ProcValues `json:"reads,omitempty"`
	Counters CounterSet                     `json:"counters"`
	Claims   []Claim                        `json:"claims"`
	// Disagreements are what two witnesses say differently, each with its name.
	Disagreements []Disagreement `json:"disagreements,omitempty"`
	Lost          LostCount      `json:"lost"`
	Panic         string         `json:"panic,omitempty"`
	// Kube is what the cluster said; nil where there was none.
	Kube    *Kube            `json:"kube,omitempty"`
	Timings map[string]int64 `json:"timings_ms"`
}

// KernelID names the kernel that ran.
type KernelID struct {
	Release  string       `json:"release"`
	Version  string       `json:"version"`
	PageSize kernel.Bytes `json:"page_size,omitempty"` // that amounts in pages are of
}

// Prediction is the part of a prediction that people read.
type Prediction struct {
	Killed     []string `json:"killed"`
	Constraint string   `json:"constraint,omitempty"`
	OOMMemcg   string   `json:"oom_memcg,omitempty"`
	// Trigger is the likeliest of Triggers; "*" is a task outside the scenario.
	Trigger  string   `json:"trigger,omitempty"`
	Triggers []string `json:"triggers,omitempty"`
	// Scores and Ranges are the candidates' points at the first kill: the
	// middle, and the bounds that the kernel's own score must lie within.
	Scores map[string]int64         `json:"scores,omitempty"`
	Ranges map[string]predict.Range `json:"ranges,omitempty"`
	// Fails are those that are refused memory on the likeliest course, MayFail those
	// that are on some.
	Fails   []string   `json:"fails,omitempty"`
	MayFail []string   `json:"may_fail,omitempty"`
	Unsure  string     `json:"unsure"`
	Orders  [][]string `json:"orders,omitempty"` // where unsure
	Panic   string     `json:"panic,omitempty"`
	// Open: more courses are possible than are listed. AtLeast and AtMost (0: unbounded)
	// bound the number of kills, and nobody outside of Possible is killed.
	Open     bool     `json:"open,omitempty"`
	AtLeast  int      `json:"at_least,omitempty"`
	AtMost   int      `json:"at_most,omitempty"`
	Possible []string `json:"possible,omitempty"`
}

func short(p predict.Prediction) Prediction {
	s := Prediction{Killed: p.Killed, Constraint: p.Constraint, OOMMemcg: p.OOMMemcg, Triggers: p.Trigger,
		Scores: p.Scores, Ranges: p.Ranges, Unsure: p.Unsure, Panic: p.Panic, MayFail: p.MayFail}
	if len(p.Fails) > 0 {
		s.Fails = sortedKeys(p.Fails)
	}
	if len(p.Trigger) > 0 {
		s.Trigger = p.Trigger[0]
	}
	if p.Open {
		s.Open, s.AtLeast, s.AtMost, s.Possible = true, p.AtLeast, p.AtMost, p.Possible
	}
	if p.Unsure != "" {
		s.Orders = p.Orders
	}
	return s
}

// Kill is one process that the OOM killer took, as all witnesses tell of it.
type Kill struct {
	Victim      Victim            `json:"victim"`
	Trigger     Trigger           `json:"trigger"`
	Constraint  string            `json:"constraint,omitempty"`
	OOMMemcg    string            `json:"oom_memcg,omitempty"`
	Points      *int64            `json:"points,omitempty"`          // the kernel's own score
	Replayed    *int64            `json:"replayed_points,omitempty"` // ours, from the numbers it read
	TotalPages  *kernel.Pages     `json:"total_pages,omitempty"`
	OOMScoreAdj int               `json:"oom_score_adj"`
	RSS         *RSS              `json:"rss,omitempty"`
	Group       string            `json:"group,omitempty"` // killed because of memory.oom.group of this cgroup
	Ranked      *Ranked           `json:"ranked,omitempty"`
	AtMS        int64             `json:"at_ms"` // since the run's begin
	ExitMS      *int64            `json:"exit_ms,omitempty"`
	Logged      int               `json:"logged"` // "Killed process" lines
	Sources     []evidence.Source `json:"sources"`
}

// Victim is who was killed. Process is empty when it is not the scenario's.
type Victim struct {
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid"`
	Comm    string `json:"comm"`
	Cgroup  string `json:"cgroup,omitempty"`
}

func (v Victim) String() string { return fmt.Sprintf("pid %d (%s)", v.PID, v.Comm) }

// Trigger is in whose context the OOM killer ran.
type Trigger struct {
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid"`
	Comm    string `json:"comm"`
}

// RSS is what the victim held when it was killed, in pages.
type RSS struct {
	Anon     kernel.Pages `json:"anon"`
	File     kernel.Pages `json:"file"`
	Shmem    kernel.Pages `json:"shmem"`
	Swap     kernel.Pages `json:"swap"`
	PgTables kernel.Pages `json:"pgtables"`
}

// Row is one candidate of a scoreboard. Points are nil for a task that
// oom_badness() refused.
type Row struct {
	Process  string `json:"process,omitempty"`
	PID      int    `json:"pid"`
	Comm     string `json:"comm"`
	Adj      int    `json:"oom_score_adj"`
	Points   *int64 `json:"points"`
	Replayed *int64 `json:"replayed_points"`
	Chosen   bool   `json:"chosen,omitempty"`
	// Instead: given the numbers that the kernel read, the model chooses this
	// candidate and not the kernel's.
	Instead bool `json:"instead,omitempty"`
	// unexplained: the kernel refused it, and the record does not say why.
	unexplained bool
}

// BeforeAfter is a counter, which only ever says something as a difference.
type BeforeAfter struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Delta is how much was counted in between.
func (b BeforeAfter) Delta() int64 { return b.After - b.Before }

// Claim is one checkable line: of `expect:`, of the prediction, or of those
// that hold for every run (no collateral, the model's arithmetic).
type Claim struct {
	Name     string            `json:"name"`
	Verdict  Verdict           `json:"verdict"`
	Expected string            `json:"expected"`
	Observed string            `json:"observed"`
	Sources  []evidence.Source `json:"sources"`
}

// LostCount is how many events an observer could not deliver.
type LostCount struct {
	EBPF uint64 `json:"ebpf"`
	Kmsg uint64 `json:"kmsg"`
}

// Disagreement is two witnesses that contradict each other, or one that says
// what cannot be. Any makes the verdict broken.
type Disagreement struct {
	Name   Kind   `json:"name"`
	Detail string `json:"detail"`
}

// Kind is the name of a kind of disagreement. Witnesses have those that they can
// find; docs/reading-a-verdict.md explains each.
type Kind string
