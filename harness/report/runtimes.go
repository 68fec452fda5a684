package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/verdict"
)

const runtimesHead = `# What runtimes say of an OOM kill

Made by ` + "`make runtimes`" + ` (` + "`oomlab report -o runtimes DIR`" + `) from runs; edits are lost.

Each cell is what was said of one container or one service, in a run whose verdict is pass: the
kernel's own account is in the row, and the words of the engine, of systemd, of the kubelet (the
pod's status) or of containerd (its events) are in the cell. Of several that differ each is there.
*not run*: no run has it. *none*: no run can have it, for the reason below the table.

`

// Runtimes writes what systemd and the engines said in runs, by what the kernel did, as
// Markdown: a table of their words, the order of the engines' events, what was misreported,
// and the runs. Runs that did not pass are left out.
func Runtimes(w io.Writer, runs []Subject) error {
	cells := map[verdict.Fate]map[string][]verdict.Overseen{}
	var by, from []string
	for _, s := range runs {
		if s.Result.Verdict != verdict.Pass {
			continue
		}
		all := verdict.Overseers(s.Input)
		for _, o := range all {
			if cells[o.Fate] == nil {
				cells[o.Fate] = map[string][]verdict.Overseen{}
			}
			cells[o.Fate][o.By] = append(cells[o.Fate][o.By], o)
			if !slices.Contains(by, o.By) {
				by = append(by, o.By)
			}
		}
		line := fmt.Sprintf("- `%s` on %s, cells: %d", s.Result.Scenario, s.Result.Kernel.Release, len(all))
		if len(all) > 0 {
			from = append(from, line)
		}
	}
	slices.Sort(by)
	slices.Sort(from)
	var b strings.Builder
	b.WriteString(runtimesHead)
	for _, part := range []struct {
		head string
		of   func(verdict.Overseen) string
	}{
		{"", func(o verdict.Overseen) string { return o.Says }},
		{"\n## Events\n\nThose of the engine's or of containerd's own, in the order in which it tells of them.\n\n",
			func(o verdict.Overseen) string { return o.Events }},
		{"\n## Misreports\n\nHow OOMKilled, or the reason, misses what became of the first process. The names are " +
			"those of [Kubernetes](kubernetes.md).\n\n", func(o verdict.Overseen) string { return o.Misreport }},
	} {
		b.WriteString(part.head)
		runtimesTable(&b, by, cells, part.of)
		if part.head == "" {
			reasons(&b, by)
			disputed(&b, cells)
		}
	}
	b.WriteString("\n## Runs\n\n" + strings.Join(from, "\n") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// runtimesTable is one table, of those who said anything that it is about.
func runtimesTable(b *strings.Builder, by []string, cells map[verdict.Fate]map[string][]verdict.Overseen,
	of func(verdict.Overseen) string) {
	by = slices.DeleteFunc(slices.Clone(by), func(name string) bool {
		return !slices.ContainsFunc(verdict.Fates, func(f verdict.Fate) bool {
			return slices.ContainsFunc(cells[f][name], func(o verdict.Overseen) bool { return of(o) != "" })
		})
	})
	row(b, append([]string{"the kernel"}, by...)...)
	row(b, slicesOf("---", len(by)+1)...)
	for _, f := range verdict.Fates {
		line := []string{string(f)}
		for _, name := range by {
			var words []string
			for _, o := range cells[f][name] {
				if word := of(o); word == "" {
					words = append(words, "-")
				} else {
					words = append(words, escape(word))
				}
			}
			slices.Sort(words)
			switch words = slices.Compact(words); {
			case len(words) > 0:
			case verdict.WhyNot(f, name) != "":
				words = []string{"*none*"}
			default:
				words = []string{"*not run*"}
			}
			line = append(line, strings.Join(words, "; or "))
		}
		row(b, line...)
	}
}

// reasons says why cells are none.
func reasons(b *strings.Builder, by []string) {
	var lines []string
	for _, f := range verdict.Fates {
		for _, name := range by {
			if why := verdict.WhyNot(f, name); why != "" {
				lines = append(lines, fmt.Sprintf("- %s, %s: %s", name, f, why))
			}
		}
	}
	if len(lines) > 0 {
		b.WriteString("\nWhy there is none:\n\n" + strings.Join(lines, "\n") + "\n")
	}
}

// A dispute is something that an overseer says and the kernel did not do, or leaves out.
type dispute struct {
	fate verdict.Fate
	by   string
	says string // what its words begin with
	text string
	// report is a public one of it; empty: none was found.
	report string
}

var disputes = []dispute{
	{verdict.FirstKilled, "podman + runc", "OOMKilled=false",
		"the kernel killed the first process for its memory; only 137 is left of that, which is any SIGKILL",
		"containers/podman#21749, containers/podman#25990"},
	{verdict.ChildAnd0, engine.Docker, "OOMKilled=true", "a container that has succeeded counts as OOM-killed",
		"aws/amazon-ecs-agent#2467"},
	{verdict.ChildAnd143, engine.Docker, "OOMKilled=true",
		"a first process that ended as if on SIGTERM counts as OOM-killed", "kubernetes#140716, of the kubelet"},
	{verdict.ChildAndOn, "podman + crun", "OOMKilled=false, running",
		"a kill is not told of before the container ends; docker tells of the same one at once", ""},
	{verdict.ChildAndOn, engine.Docker, "OOMKilled=true, running",
		"OOMKilled is true of a container that runs, and whose first process nobody has killed", ""},
	{verdict.Stopping, "podman + runc", "OOMKilled=false",
		"an OOM kill looks like the SIGKILL that ends a stop", "containers/podman#25990"},
	{verdict.ChildAnd0, string(evidence.Systemd), "Result=oom-kill",
		"a main process that has exited with 0 leaves a failed unit", "systemd#39187"},
	{verdict.ChildAndOn, string(evidence.Systemd), "Result=oom-kill, status 15",
		"the main process has status 15, which the kernel did not send", "systemd#43439"},
	{verdict.Twice, string(evidence.Systemd), "Result=exit-code",
		"two kills, and Result tells of none: they are in the journal alone", ""},
	{verdict.NoVictim, engine.Docker, "OOMKilled=false, running",
		"the kernel counts an OOM in memory.events and prints a report; docker has no event oom", ""},
	{verdict.NoVictim, string(evidence.Systemd), "Result=success",
		"the kernel counts an OOM in memory.events and prints a report; the journal of the unit has nothing", ""},
	{verdict.AllKilled, verdict.Containerd, "TaskOOM",
		"one OOM, several victims: containerd tells of it as often as it saw oom_kill rise", ""},
	{verdict.ChildAnd0, verdict.Kubelet, "OOMKilled, 0", "a container that has succeeded has the reason OOMKilled",
		"kubernetes#131530, kubernetes#104454"},
	{verdict.ChildAnd143, verdict.Kubelet, "OOMKilled, 143",
		"a first process that ended as if on SIGTERM has the reason OOMKilled", "kubernetes#140716"},
	{verdict.ChildAndOn, verdict.Kubelet, kubelet.Running, "the API says nothing of a kill", "kubernetes#100483"},
}

// disputed names those that the runs show.
func disputed(b *strings.Builder, cells map[verdict.Fate]map[string][]verdict.Overseen) {
	var lines []string
	for _, d := range disputes {
		if !slices.ContainsFunc(cells[d.fate][d.by], func(o verdict.Overseen) bool {
			return strings.HasPrefix(o.Says, d.says)
		}) {
			continue
		}
		report := d.report
		if report == "" {
			report = "new: no public report was found"
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s | %s |", d.by, d.fate, escape(d.says), d.text, report))
	}
	if len(lines) > 0 {
		b.WriteString("\n## Where they disagree with the kernel\n\n")
		row(b, "who", "the kernel", "says", "what is wrong with it", "report")
		row(b, slicesOf("---", 5)...)
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
}
