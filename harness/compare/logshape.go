package compare

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// log says how the first report of the kernel log is written: its lines with
// every number and name taken out.
func (o *observer) log() {
	var p oomlog.Parser
	var reports []oomlog.Report
	var lines []string
	for _, rec := range records(o.in.Events) {
		reports = append(reports, p.Feed(kernel.Record{Priority: rec.Priority, Seq: rec.Seq, USec: rec.USec,
			Cont: rec.Cont, Text: rec.Text})...)
		for line := range strings.Lines(rec.Text) {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	reports = append(reports, p.Close()...)
	if i := slices.IndexFunc(reports, func(r oomlog.Report) bool { return r.Complete }); i >= 0 {
		o.report(reports[i])
	}
	o.lines(lines)
}

// report says what the parsed report has room for.
func (o *observer) report(r oomlog.Report) {
	if r.TableFormat != "" {
		o.say(LogTable, "", join(strings.Fields(r.TableFormat)))
	}
	if r.Memcg != nil && len(r.Memcg.Stats) > 0 {
		o.say(LogStats, "", join(slices.Sorted(maps.Keys(r.Memcg.Stats[0].Values))))
	}
	if r.Mem != nil {
		var names []string
		for name := range r.Mem.Pages {
			names = append(names, name)
		}
		for _, n := range r.Mem.Nodes {
			for name := range n.KB {
				names = append(names, "node."+name)
			}
		}
		for _, z := range r.Mem.Zones {
			for name := range z.KB {
				names = append(names, "zone."+name)
			}
		}
		slices.Sort(names)
		o.say(LogMemory, "", join(slices.Compact(names)))
	}
}

var (
	hex      = regexp.MustCompile(`0x[0-9a-f]+`)
	digits   = regexp.MustCompile(`-?[0-9]+`)
	register = regexp.MustCompile(`^(R[A-Z0-9]{2}|RSP|RIP|Code|FS|CR2|PKRU|Hardware name): ?`)
	// what a line holds that belongs to the run and not to the kernel
	names = []struct {
		find *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`^.* invoked oom-killer:`), "NAME invoked oom-killer:"},
		{regexp.MustCompile(`Comm: .* (Not tainted|Tainted:)`), "Comm: NAME $1"},
		{regexp.MustCompile(`(Not tainted|Tainted: [A-Z ]+?) [0-9]+\.[0-9]\S* #\S+`), "$1 RELEASE"},
		{regexp.MustCompile(` +Debian \S+.*$`), ""},
		{regexp.MustCompile(`task=.*,pid=`), "task=NAME,pid="},
		{regexp.MustCompile(`(oom_memcg|task_memcg|cpuset)=[^,]*`), "$1=PATH"},
		{regexp.MustCompile(`\(.*\) total-vm:`), "(NAME) total-vm:"},
		{regexp.MustCompile(`stats for .*:$`), "stats for PATH:"},
		{regexp.MustCompile(`^Tasks in .* are going`), "Tasks in PATH are going"},
	}
)

// template is a line without what differs from run to run.
func template(line string) string {
	for _, n := range names {
		line = n.find.ReplaceAllString(line, n.with)
	}
	line = hex.ReplaceAllString(line, "N")
	return strings.TrimSpace(digits.ReplaceAllString(line, "N"))
}

// lines says how the lines are written that the parser reads over, from the
// first report's head to its first kill.
func (o *observer) lines(all []string) {
	begin := slices.IndexFunc(all, func(l string) bool { return strings.Contains(l, " invoked oom-killer: ") })
	if begin < 0 {
		return
	}
	o.say(LogHead, "", template(all[begin]))
	var other []string
	for _, line := range all[begin+1:] {
		switch {
		case strings.Contains(line, "Killed process "):
			o.say(LogKilled, "", template(line))
			slices.Sort(other)
			o.say(LogLines, "", cmp.Or(join(slices.Compact(other)), "none"))
			return
		case strings.HasPrefix(line, "CPU: "):
			o.say(LogCPU, "", template(line))
		case strings.HasPrefix(line, "oom-kill:"):
			o.say(LogSummary, "", template(line))
		case inBlock(line):
		default:
			other = append(other, template(line))
		}
	}
}

// inBlock reports whether a line belongs to a block that is judged by its
// names (tables, statistics) or that says nothing of the kernel (a stack).
func inBlock(line string) bool {
	switch {
	case line == "", line[0] == ' ', line[0] == '[', register.MatchString(line), strings.HasPrefix(line, "Node "),
		strings.HasPrefix(line, "lowmem_reserve"), strings.HasPrefix(line, "active_anon:"):
		return true
	}
	name, rest, _ := strings.Cut(line, " ")
	number := strings.Trim(rest, "0123456789") == "" && rest != ""
	return number && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == "" // anon 99753984
}
