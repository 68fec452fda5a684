package report

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// runView is one run as the template shows it.
type runView struct {
	Single                    bool
	Scenario, Summary, Reason string
	Verdict                   verdict.Verdict
	Facts, Environment        []pair
	Sides                     []sideView
	Disagreements             []pair
	Cluster                   *clusterView
	Chart                     *chart
	Kills                     []killView
	MoreKills                 string
	Boards                    []board
	Claims                    []claimView
	ClaimsTitle               string
	ClaimsOpen                bool
	Counters                  []counterView
	Console                   string
	Log                       string
	LogLines                  int
	Left                      string // what is not shown, and where it is
}

type pair struct {
	Name, Value string
	Code        bool
}

type sideView struct {
	Label, Expected, Predicted, Observed, Replayed string
	Bad                                            bool
}

type killView struct {
	N         int
	Who, What string
	Witnesses []witnessView
}

type witnessView struct {
	Name   string
	Says   []string
	Silent bool
}

type claimView struct {
	Name, Expected, Observed, Sources string
	Verdict                           verdict.Verdict
	Bad                               bool
}

type counterView struct {
	Name          string
	Before, After int64
}

func view(s Subject, d detail) runView {
	r := s.Result
	p := page{r: r, Options: Options{Verbose: d == full}}
	v := runView{Scenario: r.Scenario, Summary: r.Summary, Reason: r.Reason, Verdict: r.Verdict, Facts: facts(r)}
	if r.Verdict == verdict.Skip {
		return v
	}
	for _, side := range p.compared() {
		v.Sides = append(v.Sides, sideView{
			Label: side.label, Expected: orNothing(side.expected), Predicted: orNothing(side.predicted),
			Observed: orNothing(side.observed), Replayed: orNothing(side.replayed),
			Bad: slices.ContainsFunc(r.Claims, func(c verdict.Claim) bool {
				return red(c.Verdict) && slices.Contains(side.claims, c.Name)
			}),
		})
	}
	for _, g := range r.Disagreements {
		v.Disagreements = append(v.Disagreements, pair{Name: string(g.Name), Value: g.Detail})
	}
	v.Cluster = clusterOf(r)
	v.claims(r, d)
	if d == brief {
		v.Left = "Not shown here, to keep the page small: pictures, kills, counters, the log. oomlab report -o html " +
			cmp.Or(s.Dir, r.Run, "RUN") + " shows it all."
		return v
	}
	points := 240
	mostBoards, mostRows, mostKills := len(r.Scoreboard), 40, len(r.Kills)
	if d == middle {
		points, mostBoards, mostRows, mostKills = 48, 1, 6, 2
	}
	v.Chart = draw(s, points)
	for i, k := range r.Kills[:min(mostKills, len(r.Kills))] {
		v.Kills = append(v.Kills, killOf(s, i, k))
	}
	if n := len(r.Kills) - len(v.Kills); n > 0 {
		v.MoreKills = "And " + plaintext.Count(n, "more kill") + "."
	}
	v.Boards = boards(s, mostBoards, mostRows)
	v.counters(r)
	if d == middle {
		v.Left = "Not shown here, to keep the page small: the log and the environment. oomlab report -o html " +
			cmp.Or(s.Dir, r.Run, "RUN") + " shows it all."
		return v
	}
	v.Console = r.Console
	v.Log, v.LogLines = rawLog(s.Input.Events)
	v.Environment = environment(s.Input)
	return v
}

func facts(r verdict.Result) []pair {
	target := r.Target
	if r.Because != "" {
		target += ": " + r.Because
	}
	out := []pair{{Name: "Kernel", Value: r.Kernel.Release}, {Name: "Target", Value: target}}
	if r.Verdict != verdict.Skip {
		out = append(out, pair{Name: "eBPF", Value: fmt.Sprintf("tier %d of 3%s; %s",
			r.Tier, tierGives[min(max(r.Tier, 0), 3)], lost(r.Lost))},
			pair{Name: "Panic", Value: r.Panic}, pair{Name: "Unsure", Value: r.Prediction.Unsure})
	}
	out = append(out, pair{Name: "Started", Value: r.Started}, pair{Name: "Took", Value: seconds(r.DurationMS)},
		pair{Name: "Run", Value: path.Base(cmp.Or(r.Run, "-"))}, pair{Name: "Again", Value: shell(r.Command),
			Code: true})
	return tidy(out)
}

// tidy drops what has no value.
func tidy(all []pair) []pair {
	out := all[:0]
	for _, p := range all {
		if p.Value != "" && p.Value != nothing {
			out = append(out, p)
		}
	}
	return out
}

func (v *runView) claims(r verdict.Result, d detail) {
	held := 0
	for _, c := range r.Claims {
		if c.Verdict == verdict.Pass {
			held++
			if d != full {
				continue
			}
		}
		v.Claims = append(v.Claims, claimView{Name: c.Name, Expected: c.Expected, Observed: c.Observed,
			Sources: sources(c.Sources),
			Verdict: c.Verdict, Bad: red(c.Verdict)})
		v.ClaimsOpen = v.ClaimsOpen || red(c.Verdict)
	}
	v.ClaimsTitle = fmt.Sprintf("%d of %d shown", held, len(r.Claims))
}

func (v *runView) counters(r verdict.Result) {
	for _, file := range slices.Sorted(maps.Keys(r.Counters)) {
		for _, name := range slices.Sorted(maps.Keys(r.Counters[file])) {
			if c := r.Counters[file][name]; c.Delta() != 0 {
				v.Counters = append(v.Counters, counterView{file + " " + name, c.Before, c.After})
			}
		}
	}
}

// killOf puts the four witnesses of a kill side by side, each with its own words.
func killOf(s Subject, i int, k verdict.Kill) killView {
	v := killView{N: i + 1, Who: named(k.Victim.Process, k.Victim.Comm, k.Victim.PID)}
	v.What = fmt.Sprintf("pid %d in %s, oom_score_adj %d, at %s", k.Victim.PID, cgroup(k.Victim.Cgroup), k.OOMScoreAdj,
		seconds(k.AtMS))
	if k.RSS != nil {
		all := k.RSS.Anon + k.RSS.File + k.RSS.Shmem + k.RSS.Swap + k.RSS.PgTables
		v.What += ", with " + all.Bytes(s.Result.Kernel.PageSize).Human()
	}
	if k.Group != "" {
		v.What += ", with the group of " + k.Group
	}
	says := map[evidence.Source][]string{}
	if slices.Contains(k.Sources, evidence.BPF) {
		text := "killed; invoked by " + trigger(k.Trigger)
		if k.Points != nil {
			text += fmt.Sprintf("; %d points", *k.Points)
		}
		if k.TotalPages != nil {
			text += fmt.Sprintf(" of %d pages", *k.TotalPages)
		}
		says[evidence.BPF] = []string{text}
	}
	for _, line := range logLines(s.Input.Events) {
		if strings.Contains(line, fmt.Sprintf("Killed process %d (", k.Victim.PID)) {
			says[evidence.Kmsg] = append(says[evidence.Kmsg], line)
		}
	}
	if slices.Contains(k.Sources, evidence.Counters) {
		says[evidence.Counters] = risen(s.Result.Counters, k.Victim.Cgroup)
	}
	if slices.Contains(k.Sources, evidence.Wait) {
		text := "SIGKILL"
		if k.ExitMS != nil {
			text += fmt.Sprintf(" at %s", seconds(*k.ExitMS))
		}
		says[evidence.Wait] = []string{text}
	}
	for _, w := range []struct {
		source evidence.Source
		name   string
	}{{evidence.BPF, "eBPF"}, {evidence.Kmsg, "kernel log"}, {evidence.Counters, "counters"},
		{evidence.Wait, "wait status"}} {
		view := witnessView{Name: w.name, Says: says[w.source]}
		if len(view.Says) == 0 {
			view.Says, view.Silent = []string{"says nothing of it"}, true
		}
		v.Witnesses = append(v.Witnesses, view)
	}
	return v
}

// risen are the counters of kills that rose for a victim: the one of the whole
// machine, and of its cgroup or the nearest above that has one.
func risen(all map[string]map[string]verdict.BeforeAfter, cgroup string) []string {
	nearest := ""
	var out []string
	for _, file := range slices.Sorted(maps.Keys(all)) {
		c := all[file][evidence.CounterOOMKill]
		name, where, _ := strings.Cut(file, " ")
		switch {
		case c.Delta() == 0, name == evidence.FileMemoryEventsLocal:
		case where == "":
			out = append(out, fmt.Sprintf("%s oom_kill %d → %d", file, c.Before, c.After))
		case kernel.InCgroup(cgroup, where):
			nearest = fmt.Sprintf("%s oom_kill %d → %d", file, c.Before, c.After) // sorted, so the longest is last
		}
	}
	if nearest != "" {
		out = append(out, nearest)
	}
	return out
}

// logLines are the lines of the kernel log, or of the console of a machine that
// went down.
func logLines(events []evidence.Event) []string {
	source := evidence.Kmsg
	if slices.ContainsFunc(events, func(e evidence.Event) bool { return e.Kind == evidence.Down }) {
		source = evidence.Console
	}
	var out []string
	for _, e := range events {
		if e.Kind != evidence.Record || e.Log == nil || e.Source != source {
			continue
		}
		for line := range strings.Lines(e.Log.Text) {
			out = append(out, fmt.Sprintf("[%5d.%06d] %s", e.Log.USec/1e6, e.Log.USec%1e6,
				strings.TrimRight(line, "\n")))
		}
	}
	return out
}

func rawLog(events []evidence.Event) (text string, lines int) {
	all := logLines(events)
	return strings.Join(all, "\n"), len(all)
}

// environment is what the machine was.
func environment(in verdict.Input) []pair {
	m := in.Machine
	out := []pair{
		{Name: "Kernel", Value: m.Release + " " + m.Version}, {Name: "Architecture", Value: m.Arch},
		{Name: "Processors", Value: fmt.Sprint(m.CPUs)}, {Name: "Emulated", Value: yes(m.Emulated)},
		{Name: "Memory", Value: m.MemTotal.Human()}, {Name: "Swap", Value: m.SwapTotal.Human()},
		{Name: "Page size", Value: m.PageSize.String()},
		{Name: "Memory cgroups", Value: fmt.Sprintf("version %d", m.Cgroup.Version)},
		{Name: "oom_badness() reads", Value: string(m.Badness)}, {Name: "Transparent huge pages", Value: m.THP},
	}
	if m.Userland != "" {
		out = append(out, pair{Name: "Userland", Value: m.Userland})
	}
	for _, key := range slices.Sorted(maps.Keys(m.Sysctls)) {
		out = append(out, pair{Name: key, Value: m.Sysctls[key]})
	}
	for _, hook := range slices.Sorted(maps.Keys(in.Tier.Hooks)) {
		out = append(out, pair{Name: "eBPF " + hook, Value: in.Tier.Hooks[hook]})
	}
	for _, a := range slices.Sorted(maps.Keys(m.Abilities)) {
		answer := m.Abilities[a]
		out = append(out, pair{Name: "Ability " + string(a), Value: strings.TrimSpace(answer.Is + " " + answer.Why)})
	}
	if in.Meta.Seed != 0 {
		out = append(out, pair{Name: "Seed", Value: fmt.Sprint(in.Meta.Seed)})
	}
	return tidy(out)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// human is an amount that may be 0, for a table.
func human(b kernel.Bytes) string {
	if b == 0 {
		return "0"
	}
	return b.Human()
}
