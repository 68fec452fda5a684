package report

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Text shows one run to a person: the verdict first, then what was expected,
// predicted, observed and replayed side by side, and what that rests on.
func Text(w io.Writer, r verdict.Result, o Options) error {
	p := page{Options: o, r: r}
	p.head()
	if r.Verdict != verdict.Skip {
		p.sides()
		p.disagreements()
		p.console()
		p.cluster()
		p.kills()
		p.scoreboards()
		p.claims()
		p.ends()
	}
	p.foot()
	return plaintext.Write(w, p.out, o.paint)
}

// page is a text under way.
type page struct {
	Options
	r   verdict.Result
	out []string
}

// labelWidth is that of the labels at the left.
const labelWidth = 10

func (p *page) line(format string, args ...any) { p.out = append(p.out, fmt.Sprintf(format, args...)) }

func (p *page) field(label, text string) {
	if text != "" {
		p.out = append(p.out, plaintext.Hang(label, text, labelWidth, p.width())...)
	}
}

// section begins a block with an empty line and a title.
func (p *page) section(format string, args ...any) {
	p.line("")
	p.line(format, args...)
}

func (p *page) head() {
	took := seconds(p.r.DurationMS)
	gap := max(2, p.width()-wordWidth-plaintext.Width(p.r.Scenario)-plaintext.Width(took))
	p.line("%s%s%s%s", word(p.r.Verdict), p.r.Scenario, strings.Repeat(" ", gap), took)
	if p.r.Summary != "" {
		p.out = append(p.out, plaintext.Hang("", p.r.Summary, wordWidth, p.width())...)
	}
	p.field("reason", p.r.Reason)
	target := p.r.Target
	if p.r.Because != "" {
		target += ": " + p.r.Because
	}
	p.field("target", target)
	p.field("kernel", p.r.Kernel.Release)
	if p.Verbose {
		p.field("", p.r.Kernel.Version)
	}
	if p.r.Userland != "" {
		p.field("userland", p.r.Userland)
	}
	if p.r.Verdict == verdict.Skip {
		return
	}
	if p.r.Kube != nil {
		p.field("node", nodeText(p.r.Kube.Node))
	}
	p.field("ebpf", fmt.Sprintf("tier %d of 3%s; %s", p.r.Tier, tierGives[min(max(p.r.Tier, 0), 3)], lost(p.r.Lost)))
	p.field("panic", p.r.Panic)
	p.field("unsure", p.r.Prediction.Unsure)
}

// tierGives says what the eBPF programs could see.
var tierGives = [4]string{" (nothing)", " (victims)", " (victims, decisions)", " (victims, decisions, scores)"}

func lost(l verdict.LostCount) string {
	if l.EBPF == 0 && l.Kmsg == 0 {
		return "no events lost"
	}
	return fmt.Sprintf("LOST %d events of eBPF, %d of the kernel log", l.EBPF, l.Kmsg)
}

func (p *page) disagreements() {
	if len(p.r.Disagreements) == 0 {
		return
	}
	p.section("witnesses disagree")
	for _, d := range p.r.Disagreements {
		p.out = append(p.out, plaintext.Hang("  "+string(d.Name), d.Detail, 25, p.width())...)
	}
}

func (p *page) console() {
	if p.r.Console == "" {
		return
	}
	p.section("last lines of the machine's console")
	lines := strings.Split(p.r.Console, "\n")
	for _, line := range lines[len(lines)-p.shown(len(lines), mostConsole):] {
		p.out = append(p.out, plaintext.Hang("", line, 2, p.width())...)
	}
}

// mostConsole is how many lines of a console are shown when not everything is.
const mostConsole = 10

// shown is how many of n entries are shown when not everything is.
func (p *page) shown(n, most int) int {
	if p.Verbose {
		return n
	}
	return min(n, most)
}

func (p *page) more(n, shown int, what string) {
	if shown < n {
		p.line("  ... and %s (-v shows all)", plaintext.Count(n-shown, "more "+what))
	}
}

func (p *page) kills() {
	if len(p.r.Kills) == 0 {
		return
	}
	const most = 3
	p.section("kills")
	shown := p.shown(len(p.r.Kills), most)
	for i, k := range p.r.Kills[:shown] {
		p.kill(i+1, k)
	}
	p.more(len(p.r.Kills), shown, "kill")
}

func (p *page) kill(n int, k verdict.Kill) {
	const indent = 5
	name := named(k.Victim.Process, k.Victim.Comm, k.Victim.PID)
	head := fmt.Sprintf("%s, pid %d", name, k.Victim.PID)
	if k.Victim.Comm != "" && k.Victim.Process != k.Victim.Comm {
		head += " (" + k.Victim.Comm + ")"
	}
	head += " in " + cgroup(k.Victim.Cgroup)
	pages := ""
	if m := k.RSS; m != nil {
		all := m.Anon + m.File + m.Shmem + m.Swap + m.PgTables
		head += ", " + all.Bytes(p.r.Kernel.PageSize).Human()
		pages = fmt.Sprintf("%d pages = %d anon + %d file + %d shmem + %d swap + %d page tables",
			all, m.Anon, m.File, m.Shmem, m.Swap, m.PgTables)
	}
	head += fmt.Sprintf(", oom_score_adj %d, at %.3f s", k.OOMScoreAdj, float64(k.AtMS)/1000)
	p.out = append(p.out, plaintext.Hang(fmt.Sprintf("  %d", n), head, indent, p.width())...)
	if pages != "" {
		p.out = append(p.out, plaintext.Hang("", pages, indent, p.width())...)
	}
	there, missing := witnesses(k.Sources, p.r.Kube != nil)
	seen := "witnesses " + sources(there)
	if len(missing) > 0 {
		seen += "; not " + sources(missing)
	}
	seen += "; invoked by " + trigger(k.Trigger)
	if k.Group != "" {
		seen += "; died with the group of " + k.Group
	}
	if k.Logged > 1 {
		seen += fmt.Sprintf("; logged %d times", k.Logged)
	}
	if k.ExitMS != nil && p.Verbose {
		seen += fmt.Sprintf("; its end was seen %d ms later", *k.ExitMS-k.AtMS)
	}
	p.out = append(p.out, plaintext.Hang("", seen, indent, p.width())...)
}

// named is a process as the scenario calls it; a stranger is its comm and pid.
func named(process, comm string, pid int) string {
	if process != "" {
		return process
	}
	return fmt.Sprintf("%s[%d]", comm, pid)
}

func trigger(t verdict.Trigger) string {
	if t.Process == "" && t.Comm == "" && t.PID == 0 {
		return "nobody known"
	}
	return named(t.Process, t.Comm, t.PID)
}

func sources(all []evidence.Source) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// witnesses are those of the four, and of a cluster's six, that saw a kill, and
// those that did not. The kubelet's log has a word on OOMs of the node only.
func witnesses(seen []evidence.Source, cluster bool) (there, missing []evidence.Source) {
	all := []evidence.Source{evidence.BPF, evidence.Kmsg, evidence.Counters, evidence.Wait}
	for _, s := range []evidence.Source{evidence.Systemd, evidence.Engine} { // of a unit's process, of a container's
		if slices.Contains(seen, s) {
			all = append(all, s)
		}
	}
	if cluster {
		all = append(all, evidence.Runtime, evidence.API)
		if slices.Contains(seen, evidence.Kubelet) {
			all = append(all, evidence.Kubelet)
		}
	}
	for _, s := range all {
		if slices.Contains(seen, s) {
			there = append(there, s)
		} else {
			missing = append(missing, s)
		}
	}
	return there, missing
}

// cgroup is where a process lived: a path below the run's own cgroup, or
// behind a second slash one from the hierarchy's root.
func cgroup(path string) string {
	outside, ok := strings.CutPrefix(path, "//")
	switch {
	case path == "":
		return "no cgroup of the run"
	case !ok:
		return path
	case outside == "":
		return "the root cgroup"
	}
	return "cgroup /" + outside + " outside the run"
}

// claims shows those that do not hold in full, and the names of the rest.
func (p *page) claims() {
	if len(p.r.Claims) == 0 {
		return
	}
	count := map[verdict.Verdict]int{}
	for _, c := range p.r.Claims {
		count[c.Verdict]++
	}
	title := fmt.Sprintf("claims: %d of %d shown", count[verdict.Pass], len(p.r.Claims))
	if n := count[verdict.Skip]; n > 0 {
		title += fmt.Sprintf(", %d cannot be told here", n)
	}
	p.section("%s", title)
	const indent = 8
	var fine []string
	for _, c := range p.r.Claims {
		if c.Verdict == verdict.Pass && !p.Verbose {
			fine = append(fine, c.Name)
			continue
		}
		text := fmt.Sprintf("%s: expected %s; observed %s", c.Name, c.Expected, c.Observed)
		if len(c.Sources) > 0 {
			text += " (" + sources(c.Sources) + ")"
		}
		p.out = append(p.out, plaintext.Hang("  "+claimWord(c.Verdict), text, indent, p.width())...)
	}
	if len(fine) > 0 {
		p.out = append(p.out, plaintext.Hang("  ok", strings.Join(fine, ", "), indent, p.width())...)
	}
}

// claimWord is how a claim's verdict is written: small where all is well.
func claimWord(w verdict.Verdict) string {
	switch w {
	case verdict.Pass:
		return "ok"
	case verdict.Skip:
		return "-"
	}
	return strings.ToUpper(string(w))
}

// ends are how the processes ended and what was counted.
func (p *page) ends() {
	p.line("")
	var exits []string
	for _, name := range slices.Sorted(maps.Keys(p.r.Exits)) {
		exits = append(exits, name+" "+exit(p.r.Exits[name]))
	}
	p.field("exits", strings.Join(exits, ", "))
	var fails []string
	for _, name := range slices.Sorted(maps.Keys(p.r.Fails)) {
		f := p.r.Fails[name]
		fails = append(fails, fmt.Sprintf("%s %s", name, &f))
	}
	p.field("fails", strings.Join(fails, ", "))
	p.counters()
	var laps []string
	for _, name := range p.lapNames() {
		laps = append(laps, name+" "+seconds(p.r.Timings[name]))
	}
	p.field("time", strings.Join(laps, ", "))
}

// counters shows those that changed; when not everything is shown, those of
// OOM, without the ones of a cgroup alone.
func (p *page) counters() {
	const most = 4
	var lines []string
	for _, file := range slices.Sorted(maps.Keys(p.r.Counters)) {
		if !p.Verbose && strings.HasPrefix(file, evidence.FileMemoryEventsLocal) {
			continue
		}
		var changes []string
		for _, name := range slices.Sorted(maps.Keys(p.r.Counters[file])) {
			c := p.r.Counters[file][name]
			if c.Delta() != 0 && (p.Verbose || strings.HasPrefix(name, "oom")) {
				changes = append(changes, fmt.Sprintf("%s %d -> %d", name, c.Before, c.After))
			}
		}
		if len(changes) > 0 {
			lines = append(lines, file+": "+strings.Join(changes, ", "))
		}
	}
	label := "counters"
	shown := p.shown(len(lines), most)
	for _, line := range lines[:shown] {
		p.field(label, line)
		label = ""
	}
	p.more(len(lines), shown, "counter")
}

// lapNames are the timings in the order in which they happen.
func (p *page) lapNames() []string {
	order := []string{"machine", "plan", "ready", "oom", "run", "total"}
	place := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order) - 2 // before the total
	}
	names := slices.Sorted(maps.Keys(p.r.Timings))
	slices.SortStableFunc(names, func(a, b string) int { return place(a) - place(b) })
	return names
}

func exit(e scenario.Exit) string {
	if e.Signal != "" {
		return e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

func (p *page) foot() {
	if p.Verbose && p.r.Started != "" {
		p.field("started", p.r.Started)
	}
	if p.r.Run != "" {
		p.field("run", path.Join(p.RunsDir, p.r.Run))
	}
	p.field("again", shell(p.r.Command))
}

// shell writes a command so that a shell reads it as it was.
func shell(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" ||
			strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,+@%-") != "" {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
