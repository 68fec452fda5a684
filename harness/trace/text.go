package trace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

func itoa(n int) string { return strconv.Itoa(n) }

// JSON writes a kill on one line, in one write.
func JSON(w io.Writer, k Kill) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(k); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Schema is the JSON Schema (draft 2020-12) of what [JSON] writes.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: true}
	s := r.Reflect(Kill{})
	s.Title = "a kill, one line of oomlab trace -o json"
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// TextOptions say how a kill is written.
type TextOptions struct {
	Verbose bool
}

// someRows of a scoreboard are shown.
const someRows = 10

// Text writes a kill in one line, in the words of bcc's oomkill as far as they go, and
// what else there is below it if that is wanted; in one write.
func Text(w io.Writer, k Kill, o TextOptions) error {
	lines := []string{k.line()}
	if o.Verbose {
		lines = append(lines, k.details()...)
	}
	return plaintext.Write(w, lines, nil)
}

// line is the kill in one line.
func (k Kill) line() string {
	at := k.Time
	if t, err := time.Parse(time.RFC3339Nano, k.Time); err == nil {
		at = t.Format("15:04:05.000")
	}
	if k.Node != "" {
		at = k.Node + " " + at
	}
	var b strings.Builder
	if k.By == ByProcess {
		fmt.Fprintf(&b, "%s %s by %s", at, k.Signal, named(k.Trigger))
		if k.Daemon {
			b.WriteString(", an OOM daemon,")
		}
		fmt.Fprintf(&b, " to %s", named(&k.Victim))
		if at := where(k.Trigger); at != "" {
			fmt.Fprintf(&b, " | sender in %s", at)
		}
	} else {
		fmt.Fprintf(&b, "%s Triggered by %s, OOM kill of %s", at, named(k.Trigger), named(&k.Victim))
		if k.Victim.RSS != nil {
			fmt.Fprintf(&b, ", %d pages", k.Victim.RSS.Pages(k.PageSize))
		}
		if len(k.Load) == 3 {
			fmt.Fprintf(&b, ", loadavg: %.2f %.2f %.2f", k.Load[0], k.Load[1], k.Load[2])
		}
		b.WriteString(" | " + k.Limited())
	}
	if k.Points != nil {
		fmt.Fprintf(&b, "; score %d", *k.Points)
	}
	if k.Victim.Adj != nil {
		fmt.Fprintf(&b, "; adj %d", *k.Victim.Adj)
	}
	b.WriteString(k.Victim.memory())
	if at := where(&k.Victim); at != "" {
		fmt.Fprintf(&b, "; victim in %s", at)
	}
	if k.Group {
		b.WriteString("; killed with its group")
	}
	return b.String()
}

// named is a process with its number.
func named(p *Process) string {
	if p == nil {
		return "somebody"
	}
	if p.PID == 0 && p.Comm != "" {
		return fmt.Sprintf("%q", p.Comm)
	}
	return fmt.Sprintf("PID %d (%q)", p.PID, p.Comm)
}

// Limited says what ran out, and who asked if it was no allocation.
func (k Kill) Limited() string {
	text := "limit not told"
	if l := k.Limit; l != nil {
		switch l.Kind {
		case "machine":
			text = "the machine ran out"
		case "cpuset", "mempolicy":
			text = "NUMA nodes of the " + l.Kind + " ran out"
		default:
			text = "limit of a " + l.Kind + " that is not named"
			if l.Cgroup != "" {
				text = "limit of " + l.Kind + " " + l.Cgroup
			}
		}
		if l.Pages > 0 {
			text += " (" + l.Pages.Bytes(k.PageSize).Human() + ")"
		}
	}
	switch k.Asked {
	case AskedSysrq:
		text = "asked for by sysrq-f"
	case AskedKswapd:
		text += ", asked for by kswapd (lru_gen/min_ttl_ms)"
	case AskedHandler:
		text += ", chosen by a BPF OOM handler"
	case AskedLowered:
		text += ", which the trigger had lowered"
	}
	return text
}

// memory is how the resident set is made up.
func (p Process) memory() string {
	if p.RSS == nil {
		return ""
	}
	text := "; rss " + p.RSS.Human()
	var parts []string
	for _, part := range []struct {
		name string
		size *kernel.Bytes
	}{{"anon", p.Anon}, {"file", p.File}, {"shmem", p.Shmem}} {
		if part.size != nil {
			parts = append(parts, part.name+" "+part.size.Human())
		}
	}
	if parts != nil {
		text += " = " + strings.Join(parts, " + ")
	}
	if p.Swap != nil {
		text += ", swap " + p.Swap.Human()
	}
	if p.PgTables != nil {
		text += ", page tables " + p.PgTables.Human()
	}
	return text
}

// where is the cgroup, and who it belongs to.
func where(p *Process) string {
	if p == nil || p.Cgroup == "" {
		return ""
	}
	text := p.Cgroup
	if p.CgroupCut {
		text = "…" + text
	}
	var who []string
	if p.Pod != "" {
		who = append(who, "pod "+p.Namespace+"/"+p.Pod)
	}
	if p.Kubernetes != nil && p.Kubernetes.QoS != "" {
		who = append(who, p.Kubernetes.QoS)
	}
	if p.Owner != nil {
		who = append(who, p.Owner.String())
	}
	if who != nil {
		text += " (" + strings.Join(who, ", ") + ")"
	}
	return text
}

// details are the lines below the kill.
func (k Kill) details() []string {
	var out []string
	add := func(label, format string, args ...any) {
		out = append(out, fmt.Sprintf("    %-11s %s", label, fmt.Sprintf(format, args...)))
	}
	for _, p := range []struct {
		label string
		of    *Process
	}{{"victim", &k.Victim}, {"trigger", k.Trigger}} {
		if p.of != nil {
			add(p.label, "%s", p.of.about())
		}
	}
	if k.GFP != nil && k.Order != nil && *k.Order >= 0 {
		add("allocation", "order %d, gfp_mask %#x %s", *k.Order, *k.GFP, cmp.Or(k.GFPFlags, "(not in words here)"))
	}
	for i, line := range k.zones() {
		label := ""
		if i == 0 {
			label = "zones"
		}
		add(label, "%s", line)
	}
	if k.ExitedNS != nil {
		add("exited", "%s after the kill", time.Duration(*k.ExitedNS))
	}
	if k.ReapedNS != nil {
		add("reaped", "%s after the kill, by the kernel log", time.Duration(*k.ReapedNS))
	}
	if k.GoneNS != nil {
		add("gone", "and its memory back, at most %s after the kill", time.Duration(*k.GoneNS))
	}
	if k.Snapshot != "" {
		add("snapshot", "%s", k.Snapshot)
	}
	if len(k.Stack) > 0 {
		add("stack", "%s", strings.Join(k.Stack, " < "))
	}
	return append(out, k.candidates()...)
}

// candidates are the scoreboard.
func (k Kill) candidates() []string {
	if len(k.Scoreboard) == 0 {
		return nil
	}
	g := plaintext.Grid{Right: []bool{true, false, true, true, true, true, true, false}}
	g.Add("PID", "NAME", "POINTS", "= RSS", "+ SWAP", "+ TABLES", "ADJ", "")
	for i, c := range k.Scoreboard {
		if i == someRows {
			break
		}
		points := "-"
		if c.Points != nil {
			points = strconv.FormatInt(*c.Points, 10)
		}
		g.Add(itoa(c.PID), c.Comm, points, strconv.FormatInt(int64(c.RSS), 10), strconv.FormatInt(int64(c.Swap), 10),
			strconv.FormatInt(int64(c.PgTables.Pages(k.PageSize)), 10), itoa(c.Adj), c.Note)
	}
	out := g.Lines("    ")
	if more := len(k.Scoreboard) - someRows; more > 0 {
		out = append(out, fmt.Sprintf("    … and %d more", more))
	}
	return out
}

// about is the rest of what is known of a process.
func (p *Process) about() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if p.UID != nil {
		add("uid %d", *p.UID)
	}
	if p.Threads > 0 {
		add("%s", plaintext.Count(p.Threads, "thread"))
	}
	if p.ParentPID != 0 {
		add("child of PID %d (%q)", p.ParentPID, p.ParentComm)
	}
	if p.HWM != nil {
		add("at most %s resident", p.HWM.Human())
	}
	if p.TotalVM != nil {
		add("%s virtual", p.TotalVM.Human())
	}
	if p.Args != nil {
		text := strings.Join(p.Args, " ")
		if p.ArgsCut {
			text += "…"
		}
		if p.ArgsRead {
			text += " (read a moment later)"
		}
		add("%s", text)
	}
	return cmp.Or(strings.Join(parts, ", "), named(p))
}

// Filter says which kills are wanted. The zero value is all.
type Filter struct {
	Cgroup         string // the victim is in it, or it ran out
	PID            int    // of the victim or the trigger
	Namespace, Pod string
	Signals        bool // signals of any process, not only of daemons
}

// Takes reports whether a kill passes.
func (f Filter) Takes(k Kill) bool {
	if k.By == ByProcess && !f.Signals && !k.Daemon {
		return false
	}
	if f.PID != 0 && k.Victim.PID != f.PID && (k.Trigger == nil || k.Trigger.PID != f.PID) {
		return false
	}
	if f.Pod != "" && (k.Victim.Pod != f.Pod || k.Victim.Namespace != f.Namespace) {
		return false
	}
	if f.Cgroup != "" {
		ran := k.Limit != nil && k.Limit.Cgroup != "" && kernel.InCgroup(k.Limit.Cgroup, f.Cgroup)
		return ran || k.Victim.Cgroup != "" && kernel.InCgroup(k.Victim.Cgroup, f.Cgroup)
	}
	return true
}
