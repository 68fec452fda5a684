package oomlog

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// applyWeak takes a line that only the lines around it explain.
func (p *Parser) applyWeak(l logLine) {
	if name := calledFunction(l.text); name != "" {
		traced := func(d *draft) bool { return d.body && d.head && d.Mem == nil && d.Memcg == nil && !d.summary }
		if d := p.latest(l, traced); d != nil {
			d.addCall(name)
		}
	}
	for _, d := range slices.Backward(p.open) {
		if d.body && d.section != sectionNone && d.same(l) && d.weak(l.text) {
			p.quiet = 0
			return
		}
	}
	p.rest()
}

func (p *Parser) applySuppressed(l logLine) {
	_, v, _ := strings.Cut(l.text, ": ")
	if n, _, ok := unsigned(v); ok {
		p.suppressed = &n
	}
}

func (p *Parser) applyHead(l logLine) {
	comm, rest, ok := strings.Cut(l.text, invoked)
	if !ok {
		comm, rest = "", strings.TrimPrefix(l.text, invoked[1:])
	}
	d := p.begin(l)
	d.head = true
	d.Trigger = parseHead(rest)
	d.Trigger.Comm, d.guess = clip(comm, maxName), clip(l.guess, maxPath)
	d.Sysrq = p.sysrq || d.Trigger.Order != nil && *d.Trigger.Order == -1
	d.SuppressedCallbacks = p.suppressed
	p.sysrq, p.suppressed = false, nil
}

func (p *Parser) applyCPU(l logLine) {
	d := p.pick(l, func(d *draft) bool {
		_, comm, _ := parseCPU(l.text, d.Trigger.Comm)
		return d.head && !d.cpu && (comm == d.Trigger.Comm || d.guess != "" && strings.HasSuffix(d.guess, comm))
	})
	if d == nil {
		p.rest()
		return
	}
	d.cpu = true
	var comm string
	d.Trigger.PID, comm, d.KernelRelease = parseCPU(l.text, d.Trigger.Comm)
	if d.guess != "" {
		d.Trigger.Comm, d.guess = clip(comm, maxName), ""
	}
	p.mixed(d)
}

// unnumbered is what stands behind the number of a line, or empty: a name may have been
// taken for longer than it is.
func unnumbered(name string) string {
	n := digits(name)
	rest := strings.TrimLeft(name[n:], " ")
	if n == 0 || len(rest) == len(name)-n {
		return ""
	}
	return rest
}

func (p *Parser) applyCpuset(l logLine) {
	comm, rest, _ := strings.Cut(l.text, " cpuset=")
	d := p.pick(l, func(d *draft) bool {
		return d.head && !d.cpuset &&
			(comm == d.Trigger.Comm || len(comm) > kernel.CommLen && strings.HasSuffix(comm, d.Trigger.Comm) ||
				unnumbered(comm) != "" && unnumbered(comm) == unnumbered(d.Trigger.Comm))
	})
	if d == nil {
		return
	}
	d.cpuset = true
	d.Cpuset, d.MemsAllowed, _ = strings.Cut(strings.TrimRight(rest, `"`), " mems_allowed=")
	p.mixed(d)
}

// mixed notes that d got a line behind the head of a later report: up to 4.x
// nothing kept two cgroups from reporting at the same time.
func (p *Parser) mixed(d *draft) {
	i := slices.Index(p.open, d)
	for _, later := range p.open[i+1:] {
		if later.body && later.head && (d.Host == later.Host) && (d.caller == "" || later.caller == "") {
			d.interleaved, later.interleaved = true, true
		}
	}
}

func (p *Parser) applyTaskIn(l logLine) {
	task, limit, ok := strings.Cut(strings.TrimPrefix(l.text, "Task in "), limitOf)
	if !ok {
		return // cut: what is left of it does not tell the two paths apart
	}
	d := p.pickOrBegin(l, func(d *draft) bool { return !d.taskIn && !d.headless() })
	d.taskIn = true
	d.TaskMemcg = clip(task, maxPath)
	if limit == "host" { // OpenVZ's name for the machine
		d.scope(true)
		return
	}
	d.OOMMemcg = clip(limit, maxPath)
	d.scope(false)
}

func (p *Parser) applyUsage(l logLine) {
	name, rest, _ := strings.Cut(l.text, ": ")
	u, ok := parseUsage(rest)
	if !ok {
		return
	}
	counter := func(d *draft) **Usage {
		switch m := d.memcg(); name {
		case "memory":
			return &m.Memory
		case "swap":
			return &m.Swap
		case "memory+swap":
			return &m.MemorySwap
		default:
			return &m.Kmem
		}
	}
	d := p.pickOrBegin(l, func(d *draft) bool { return !d.headless() && (d.Memcg == nil || *counter(d) == nil) })
	*counter(d) = &u
	d.scope(false)
}

func (p *Parser) applyStats(l logLine) {
	d := p.pickOrBegin(l, func(d *draft) bool { return d.Mem == nil })
	d.addStats(l.text)
	d.scope(false)
}

func (p *Parser) applyMemInfo(l logLine) {
	d := p.pick(l, func(d *draft) bool {
		return d.Mem == nil && d.Memcg == nil && !d.summary && len(d.Tasks) == 0 && len(d.Kills) == 0
	})
	if d == nil {
		if p.elsewhere > 0 {
			p.rest()
			return
		}
		// The head may be lost. If nothing of an OOM report follows, finish drops it:
		// sysrq-m prints Mem-Info too.
		d = p.begin(l)
	}
	d.mem()
	d.section = sectionMem
}

func (p *Parser) applySlab(l logLine) {
	if d := p.pick(l, func(d *draft) bool { return d.Slab == nil }); d != nil {
		d.section = sectionSlab
	}
}

// applyMem is for the lines of the machine's memory below "Mem-Info:".
func applyMem(add func(d *draft, text string)) func(*Parser, logLine) {
	return func(p *Parser, l logLine) {
		d := p.pick(l, func(d *draft) bool {
			return (d.head || d.Mem != nil) && d.Memcg == nil && !d.summary &&
				(l.kind != kindZone || !d.hasZone(l.text))
		})
		if d == nil {
			p.rest()
			return
		}
		add(d, l.text)
	}
}

func (p *Parser) applyTasks(l logLine) {
	d := p.pickOrBegin(l, func(d *draft) bool { return !d.tasks && !d.table && !d.summary })
	d.tasks = true
}

func (p *Parser) applyTable(l logLine) {
	columns := parseTableHeader(l.text)
	d := p.pickOrBegin(l, func(d *draft) bool { return !d.table && len(d.Tasks) == 0 && !d.summary })
	if d.cutTable = columns == nil; d.cutTable {
		return
	}
	d.table, d.columns, d.setters = true, columns, setters(columns)
	for _, c := range columns {
		if columnSet[c] == nil {
			d.UnknownColumns = append(d.UnknownColumns, clip(c, maxName))
		}
	}
	d.TableFormat = strings.Join(append([]string{"pid"}, append(columns, "name")...), " ")
}

func (p *Parser) applyRow(l logLine) {
	inside, _, _ := strings.Cut(l.text[1:], "]")
	n, _, ok := number(strings.TrimSpace(inside))
	pid := int(n)
	if !ok || int64(pid) != n {
		return
	}
	seen := false
	can := func(d *draft) bool {
		has := d.pids[pid]
		seen = seen || has
		return !has && !d.summary && len(d.Kills) == 0
	}
	// Of two tables that are printed at once, each has its trigger.
	var d *draft
	if slices.ContainsFunc(p.open, func(d *draft) bool { return d.interleaved }) {
		d = p.pick(l, func(d *draft) bool {
			return can(d) && d.interleaved && d.Trigger.PID != nil && *d.Trigger.PID == pid
		})
	}
	if d == nil {
		d = p.pick(l, can)
	}
	if d == nil {
		if seen {
			return
		}
		d = p.begin(l)
	}
	row, ok := parseRow(l.text, d.setters)
	if !ok || d.cutTable { // which column is which is not known
		d.cutRow = true
		return
	}
	d.cutRow = d.cutRow || l.cut
	d.addRow(row)
}

func (p *Parser) applySummary(l logLine) {
	d := p.pickOrBegin(l, func(d *draft) bool { return !d.summary })
	d.setSummary(l.text)
}

func (p *Parser) applyNoKillable(l logLine) {
	d := p.pickOrBegin(l, func(d *draft) bool { return len(d.Kills) == 0 })
	d.NoKillable = true
	p.end(d)
}

// applyElsewhere is for what else prints the machine's memory: the Mem-Info
// behind it is not of an OOM report whose head is lost.
func (p *Parser) applyElsewhere(logLine) {
	p.rest()
	p.elsewhere = elsewhereLines
}

// applyLost takes what the log says of lines that are not in it.
func (p *Parser) applyLost(l logLine) {
	n, _, snip, _ := lostLines(l.text)
	for _, d := range slices.Backward(p.open) {
		if !d.body || !d.same(l) {
			continue
		}
		rows := (d.tasks || d.table || len(d.Tasks) > 0) && !d.summary && len(d.Kills) == 0
		if snip && !rows {
			break // whoever cut a trace out has cut nothing that counts
		}
		if d.Lost == nil {
			d.Lost = &Lost{}
		}
		d.Lost.Lines += n
		d.Lost.Rows = d.Lost.Rows || rows
		break
	}
}
