package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/verdict"
)

const runtimesHead = `# What runtimes say of an OOM kill

Made by ` + "`make runtimes`" + ` (` + "`oomlab report -o runtimes DIR`" + `) from runs; edits are lost.

Each cell is what was said of one container or one service, in a run whose verdict is pass: the
kernel's own account is in the row, and the words of the engine or of systemd are in the
cell. Of several that differ each is there. *not run*: no run has it.

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
		{"\n## Events\n\nThose of the engine's own, in the order in which it tells of them.\n\n",
			func(o verdict.Overseen) string { return o.Events }},
		{"\n## Misreports\n\nHow OOMKilled misses what became of the first process. The names are those of " +
			"[Kubernetes](kubernetes.md).\n\n", func(o verdict.Overseen) string { return o.Misreport }},
	} {
		b.WriteString(part.head)
		runtimesTable(&b, by, cells, part.of)
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
			if words = slices.Compact(words); len(words) == 0 {
				words = []string{"*not run*"}
			}
			line = append(line, strings.Join(words, "; or "))
		}
		row(b, line...)
	}
}
