package oomlog

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// section says which unlabelled lines a draft is waiting for.
type section uint8

const (
	sectionNone  section = iota
	sectionMem           // active_anon:1 inactive_anon:2
	sectionStats         // anon 1
	sectionSlab          // name 1KB 2KB
)

// draft is a report that lines are still added to.
type draft struct {
	Report
	caller string
	guess  string // see logLine.guess
	// body: lines before the kill are still expected.
	body bool
	// interleaved: lines of this draft were seen behind the head of a later one.
	interleaved bool
	section     section
	columns     []string
	setters     []func(*TaskRow, int64) // what the columns set
	pids        map[int]bool            // of the table; true: the first column, false: a tgid only

	head, cpu, cpuset, taskIn, tasks, table, cutTable, summary, cutRow bool

	summaryText string // of a summary that is not whole
	cutSummary  bool   // it ends in a path
	// announced is the index in Kills of a "Kill process N" whose "Killed
	// process" has not come yet, or -1.
	announced int
}

// same reports whether a line can belong to the draft at all.
func (d *draft) same(l logLine) bool {
	return (d.Host == "" || l.host == "" || d.Host == l.host) &&
		(d.caller == "" || l.caller == "" || d.caller == l.caller)
}

// knows reports whether the table has the process or thread.
func (d *draft) knows(pid int) bool {
	_, ok := d.pids[pid]
	return ok
}

// name gives the name of a process in the table.
func (d *draft) name(pid int) (string, bool) {
	for i := range d.Tasks {
		if d.Tasks[i].PID == pid {
			return d.Tasks[i].Name, true
		}
	}
	return "", false
}

func (d *draft) cap(what string) {
	if !slices.Contains(d.Capped, what) {
		d.Capped = append(d.Capped, what)
	}
}

func (d *draft) scope(global bool) {
	if d.Global == nil {
		d.Global = &global
	}
}

func (d *draft) memcg() *MemcgUsage {
	if d.Memcg == nil {
		d.Memcg = &MemcgUsage{}
	}
	return d.Memcg
}

func (d *draft) mem() *MemInfo {
	if d.Mem == nil {
		d.Mem = &MemInfo{}
	}
	return d.Mem
}

// headless reports whether all that is known is the machine's memory.
func (d *draft) headless() bool { return d.Mem != nil && !d.head && !d.summary && len(d.Tasks) == 0 }

func (d *draft) addRow(t TaskRow) {
	if len(d.Tasks) >= MaxTasks {
		d.cap("tasks")
		return
	}
	d.Tasks = append(d.Tasks, t)
	if d.pids == nil {
		d.pids = make(map[int]bool)
	}
	d.pids[t.PID] = true
	if t.TGID == t.PID {
		return
	}
	if _, ok := d.pids[t.TGID]; !ok {
		d.pids[t.TGID] = false
	}
}

func (d *draft) addKill(k KillLine) {
	if len(d.Kills) >= MaxKills {
		d.cap("kills")
		return
	}
	k.Duplicate = slices.ContainsFunc(d.Kills, func(o KillLine) bool {
		return o.PID == k.PID && !o.Announced && !o.AlreadyExiting
	}) && !k.AlreadyExiting
	d.Kills = append(d.Kills, k)
	if strings.Contains(k.Message, "oom_kill_allocating_task") {
		d.AllocatingTask = true
	}
	switch {
	case strings.HasPrefix(k.Message, "Memory cgroup"):
		d.scope(false)
	case k.Message != "":
		d.scope(true)
	}
}

// fits reports whether the message before a kill contradicts what the draft
// knows of its scope.
func (d *draft) fits(message string) bool {
	if d.Global == nil || message == "" {
		return true
	}
	return *d.Global != strings.HasPrefix(message, "Memory cgroup")
}

func (d *draft) setSummary(text string) {
	text = text[:min(len(text), 3*maxPath)]
	m := parseSummary(text, d.name)
	d.summary = true
	d.summaryText = text
	d.Constraint, d.NodeMask, d.OOMMemcg, d.TaskMemcg = m.constraint, m.nodemask, m.oomMemcg, m.taskMemcg
	d.cutSummary = !m.whole && m.comm == ""
	if m.cpuset != "" {
		d.Cpuset = m.cpuset
	}
	if m.mems != "" {
		d.MemsAllowed = m.mems
	}
	d.ContextComm, d.ContextPID, d.ContextUID = m.comm, m.pid, m.uid
	if m.whole {
		d.summaryText = ""
	}
	switch {
	case m.global:
		d.Global = nil
		d.scope(true)
	case m.oomMemcg != "" || m.constraint == "CONSTRAINT_MEMCG":
		d.Global = nil
		d.scope(false)
	}
}

// addStat takes one "name value" of a cgroup's statistics.
func (d *draft) addStat(name string, value uint64) {
	stats := d.Memcg.Stats
	values := stats[len(stats)-1].Values
	if _, twice := values[name]; !twice && len(values) >= MaxStatKeys {
		d.cap("memcg statistics")
		return
	}
	values[strings.Clone(name)] = value
}

// addStats begins a cgroup's statistics. Up to 5.2 they are in the same line:
// "Memory cgroup stats for /a: cache:0KB rss:980KB".
func (d *draft) addStats(s string) {
	rest := strings.TrimPrefix(strings.TrimPrefix(s, "Memory cgroup stats"), " for")
	rest = strings.TrimPrefix(rest, " ")
	path, inline := strings.TrimSuffix(rest, ":"), ""
	if i := strings.LastIndex(rest, ": cache:"); i >= 0 {
		path, inline = rest[:i], rest[i+2:]
	}
	m := d.memcg()
	if len(m.Stats) >= MaxStats {
		d.cap("memcg statistics")
		d.section = sectionNone
		return
	}
	m.Stats = append(m.Stats, MemcgStats{Path: clip(path, maxPath), Values: make(map[string]uint64)})
	d.section = sectionStats
	d.addInlineStats(inline)
}

// addInlineStats takes "cache:0KB rss:980KB"; mail programs break it.
func (d *draft) addInlineStats(s string) bool {
	fields := strings.Fields(s)
	for _, f := range fields {
		name, value, ok := strings.Cut(f, ":")
		n, unit, isNum := unsigned(value)
		if !ok || !isNum || unit != "KB" || n > 1<<53 || !isStatName(name) {
			return false
		}
		d.addStat(name, n<<10)
	}
	return len(fields) > 0
}

// weak takes a line that only its place explains, and reports whether it did.
func (d *draft) weak(s string) bool {
	taken := false
	for line := range strings.SplitSeq(unescapeNewlines(s), "\n") {
		line = strings.TrimSpace(line)
		switch d.section {
		case sectionMem:
			taken = d.weakPages(line) || taken
		case sectionStats:
			name, value, ok := strings.Cut(line, " ")
			n, rest, isNum := unsigned(value)
			if ok && isNum && rest == "" && isStatName(name) {
				d.addStat(name, n)
				taken = true
			} else {
				taken = d.addInlineStats(line) || taken
			}
		case sectionSlab:
			taken = d.weakSlab(line) || taken
		}
	}
	return taken
}

func (d *draft) weakPages(line string) bool {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return false
	}
	values := make(map[string]kernel.Pages, len(fields))
	for _, f := range fields {
		name, value, ok := strings.Cut(f, ":")
		if !ok || !isStatName(name) || !isNumber(value) {
			return false
		}
		n, _, _ := number(value)
		values[name] = kernel.Pages(n)
	}
	m := d.mem()
	if m.Pages == nil {
		m.Pages = make(map[string]kernel.Pages)
	}
	for name, n := range values {
		if _, twice := m.Pages[name]; twice {
			continue
		}
		if len(m.Pages) >= MaxStatKeys {
			d.cap("mem-info")
			break
		}
		m.Pages[strings.Clone(name)] = n
	}
	return true
}

func (d *draft) weakSlab(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return false
	}
	used, ok1 := strings.CutSuffix(fields[len(fields)-2], "KB")
	total, ok2 := strings.CutSuffix(fields[len(fields)-1], "KB")
	if !ok1 || !ok2 || !isNumber(used) || !isNumber(total) {
		return false
	}
	if len(d.Slab) >= MaxSlab {
		d.cap("slab")
		return true
	}
	s := SlabInfo{Name: clip(strings.Join(fields[:len(fields)-2], " "), maxName)}
	s.UsedKB, _, _ = unsigned(used)
	s.TotalKB, _, _ = unsigned(total)
	d.Slab = append(d.Slab, s)
	return true
}

// unescapeNewlines makes the newlines of rsyslog and of unread /dev/kmsg
// records newlines again.
func unescapeNewlines(s string) string {
	if !strings.ContainsAny(s, `#\`) {
		return s
	}
	return strings.NewReplacer("#012", "\n", `\x0a`, "\n", `\n`, "\n").Replace(s)
}

func isStatName(s string) bool {
	if s == "" || len(s) > 64 || digits(s) > 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '(' && c != ')' {
			return false
		}
	}
	return true
}

// kbFields reads "free:1kB min:2kB" and "shmem_thp: 0kB".
func kbFields(s string) map[string]uint64 {
	values := make(map[string]uint64)
	fields := strings.Fields(s)
	for i, f := range fields {
		name, value, ok := strings.Cut(f, ":")
		if ok && value == "" && i+1 < len(fields) {
			value = fields[i+1]
		}
		n, unit, isNum := unsigned(value)
		if ok && isNum && (unit == "kB" || unit == "KB") && isStatName(name) && len(values) < MaxStatKeys {
			values[strings.Clone(name)] = n
		}
	}
	return values
}

// splitNode takes "Node N " off.
func splitNode(s string) (node int, rest string) {
	after, ok := strings.CutPrefix(s, "Node ")
	if !ok {
		return 0, s
	}
	n, rest, _ := number(after)
	return int(n), strings.TrimPrefix(rest, " ")
}

func (d *draft) addNode(s string) {
	node, rest := splitNode(s)
	m := d.mem()
	if len(m.Nodes) >= MaxZones {
		d.cap("nodes")
		return
	}
	info := NodeInfo{Node: node, KB: kbFields(rest)}
	if _, v, ok := strings.Cut(s, "all_unreclaimable? "); ok {
		all := v == "yes"
		info.AllUnreclaimable = &all
	}
	m.Nodes = append(m.Nodes, info)
}

func (d *draft) hasZone(s string) bool {
	if d.Mem == nil {
		return false
	}
	node, rest := splitNode(s)
	name, _, _ := strings.Cut(rest, " ")
	return slices.ContainsFunc(d.Mem.Zones, func(z ZoneInfo) bool { return z.Node == node && z.Name == name })
}

func (d *draft) addZone(s string) {
	m := d.mem()
	if len(m.Zones) >= MaxZones {
		d.cap("zones")
		return
	}
	node, rest := splitNode(s)
	name, rest, _ := strings.Cut(rest, " ")
	z := ZoneInfo{Node: node, Name: clip(name, maxName), KB: kbFields(rest)}
	for key, to := range map[string]**uint64{
		"free": &z.Free, "boost": &z.Boost, "min": &z.Min, "low": &z.Low, "high": &z.High,
		"present": &z.Present, "managed": &z.Managed,
	} {
		if n, ok := z.KB[key]; ok {
			*to = &n
		}
	}
	m.Zones = append(m.Zones, z)
}

// addFree reads a zone's free blocks: "Node 0 DMA: 1*4kB (U) 0*8kB = 4kB".
func (d *draft) addFree(s string) {
	node, rest := splitNode(s)
	name, rest, _ := strings.Cut(rest, ":")
	z := d.zone(func(z ZoneInfo) bool { return z.Node == node && z.Name == name })
	if z == nil || z.Blocks != nil {
		return
	}
	rest, _, _ = strings.Cut(rest, "=")
	for _, f := range strings.Fields(rest) {
		if n := len(z.Blocks); n > 0 && strings.HasPrefix(f, "(") {
			z.Blocks[n-1].Types = clip(strings.Trim(f, "()"), maxName)
			continue
		}
		count, size, ok := strings.Cut(f, "*")
		n, junk, ok1 := unsigned(count)
		kb, unit, ok2 := unsigned(size)
		if !ok || !ok1 || !ok2 || junk != "" || unit != "kB" || kb == 0 || kb > 1<<30 || len(z.Blocks) >= MaxStatKeys {
			z.Blocks = nil
			return
		}
		z.Blocks = append(z.Blocks, FreeBlocks{Count: min(n, 1<<50), KB: kb})
	}
}

// addReserve reads what the zone of the line before keeps back.
func (d *draft) addReserve(s string) {
	z := d.zone(func(ZoneInfo) bool { return true })
	if z == nil || z.LowmemReserve != nil {
		return
	}
	_, rest, _ := strings.Cut(s, ":")
	for _, f := range strings.Fields(rest) {
		n, junk, ok := number(f)
		if !ok || junk != "" || n < 0 || len(z.LowmemReserve) >= 16 {
			z.LowmemReserve = nil
			return
		}
		z.LowmemReserve = append(z.LowmemReserve, kernel.Pages(n))
	}
}

// zone is the last zone that fits.
func (d *draft) zone(fits func(ZoneInfo) bool) *ZoneInfo {
	if d.Mem == nil {
		return nil
	}
	for i := range slices.Backward(d.Mem.Zones) {
		if fits(d.Mem.Zones[i]) {
			return &d.Mem.Zones[i]
		}
	}
	return nil
}

// callMarks are the functions of a call trace that say something of the report,
// and what they say of its scope.
var callMarks = map[string]scopeMark{
	// mm/memcontrol.c, mm/memcontrol-v1.c: a cgroup's charge
	"mem_cgroup_out_of_memory": scopeCgroup, "mem_cgroup_oom_synchronize": scopeCgroup,
	"mem_cgroup_oom": scopeCgroup, "mem_cgroup_handle_oom": scopeCgroup, "pagefault_out_of_memory": scopeNone,
	// mm/page_alloc.c: a page of the machine, a cpuset or a memory policy
	"__alloc_pages_slowpath": scopeMachine, "__alloc_pages_may_oom": scopeMachine,
	// drivers/tty/sysrq.c
	"moom_callback": scopeMachine,
	// mm/swapfile.c and mm/ksm.c: these set OOM_FLAG_ORIGIN
	"try_to_unuse": scopeNone, "__do_sys_swapoff": scopeNone, "sys_swapoff": scopeNone,
	"__x64_sys_swapoff": scopeNone, "__se_sys_swapoff": scopeNone,
	"unmerge_and_remove_all_rmap_items": scopeNone, "unmerge_ksm_pages": scopeNone,
}

type scopeMark uint8

const (
	scopeNone scopeMark = iota
	scopeCgroup
	scopeMachine
)

// addCall takes one line of the trigger's call trace.
func (d *draft) addCall(name string) {
	scope, ok := callMarks[name]
	if !ok || len(d.Calls) >= len(callMarks) {
		return
	}
	d.Calls = append(d.Calls, strings.Clone(name))
	if scope != scopeNone {
		d.scope(scope == scopeMachine)
	}
}

// addHuge sums the hugetlb pools up.
func (d *draft) addHuge(s string) {
	value := func(key string) (uint64, bool) {
		_, v, _ := strings.Cut(s, key)
		n, _, ok := unsigned(v)
		return n, ok && n < 1<<40
	}
	total, ok1 := value("hugepages_total=")
	size, ok2 := value("hugepages_size=")
	if !ok1 || !ok2 || total > 0 && size > (1<<62)/total {
		return
	}
	m := d.mem()
	kb := total * size
	if m.HugePagesKB != nil {
		kb += *m.HugePagesKB
	}
	m.HugePagesKB = &kb
}

func (d *draft) addPages(s string) {
	n, rest, ok := number(s)
	if !ok {
		return
	}
	p := kernel.Pages(n)
	m := d.mem()
	switch strings.TrimSpace(rest) {
	case "pages RAM":
		m.PagesRAM = &p
	case "pages reserved":
		m.PagesReserved = &p
	case "total pagecache pages":
		m.PageCachePages = &p
	case "pages in swap cache":
		m.SwapCachePages = &p
	case "pages HighMem", "pages HighMem/MovableOnly":
		m.HighMem = &p
	case "pages cma reserved":
		m.CMA = &p
	}
}

func (d *draft) addSwapTotal(s string) {
	_, v, _ := strings.Cut(s, "= ")
	n, unit, ok := unsigned(v)
	if !ok || strings.TrimSpace(unit) != "kB" {
		return
	}
	if strings.HasPrefix(s, "Free") {
		d.mem().FreeSwapKB = &n
	} else {
		d.mem().TotalSwapKB = &n
	}
}

// finish says what the report lacks. It is nil if the lines were not of an OOM
// report at all: show_mem() also speaks of failed allocations.
func (d *draft) finish() *Report {
	r := &d.Report
	if !d.head && !d.summary && len(r.Kills) == 0 && !r.NoKillable && r.PanicText == "" && len(r.Tasks) == 0 {
		return nil
	}
	if r.Global == nil && r.Mem != nil && r.Memcg == nil {
		d.scope(true)
	}
	cutPath := d.checkPaths()
	killed := r.Killed()
	ended := r.NoKillable || r.PanicText != "" ||
		slices.ContainsFunc(r.Kills, func(k KillLine) bool { return k.AlreadyExiting })
	miss := func(is bool, what string) {
		if is {
			r.Missing = append(r.Missing, what)
		}
	}
	miss(!d.head, MissingHead)
	miss(d.head && (r.Trigger.Adj == nil && r.Trigger.OOMAdj == nil || r.Trigger.Order == nil), MissingHeadEnd)
	miss(cutPath, MissingPath)
	miss(r.Global != nil && !*r.Global && (r.Memcg == nil || r.Memcg.Memory == nil), MissingUsage)
	miss(r.Global != nil && *r.Global && r.Mem == nil, MissingMemInfo)
	miss(len(r.Tasks) == 0 && !(d.table && r.NoKillable), MissingTable)
	miss((len(r.Tasks) > 0 || d.cutTable) && d.columns == nil, MissingTableHead)
	miss(d.cutRow, MissingRow)
	miss(len(r.Tasks) > 0 && len(killed) > 0 && !d.knows(killed[0].PID), MissingVictimRow)
	message := len(killed) > 0 && killed[0].Message != "" && killed[0].Score == nil
	miss(message && !d.summary, MissingSummary)
	miss(d.summaryText != "", MissingSumEnd)
	miss(len(killed) == 0 && !ended, MissingKill)
	miss(slices.ContainsFunc(killed, func(k KillLine) bool {
		return !k.SharesMemory && !k.bare && (k.FileRSSKB == nil || k.AnonRSSKB == nil || k.long && k.Adj == nil)
	}), MissingKillSizes)
	miss(d.interleaved, MissingOwner)
	miss(r.Lost != nil, MissingLost)
	miss(len(r.UnknownColumns) > 0, MissingColumns)
	r.Complete = len(r.Missing) == 0 && len(r.Capped) == 0
	r.KernelFormat = d.format()
	return r
}

// format names the layout by what changed in it: the table's columns, its
// heading, and the form of the kill line.
func (d *draft) format() string {
	has := func(column string) bool { return slices.Contains(d.columns, column) }
	var score, message, uid bool
	for _, k := range d.Kills {
		score = score || k.Score != nil || k.Announced
		message = message || k.Message != "" && k.Score == nil && !k.Announced && k.FileRSSKB != nil
		uid = uid || k.long
	}
	switch {
	case has("rss_anon"):
		return "6.8+"
	case has("nr_pmds"):
		return "4.0-4.14"
	case has("nr_ptes"):
		return "3.10-3.19"
	case has("pgtables_bytes") && score && d.tasks:
		return "4.19-5.0"
	case has("pgtables_bytes") && !d.tasks && !message && !uid:
		return "4.15-4.18"
	case has("pgtables_bytes") && uid:
		return "5.4-6.7"
	case uid:
		return "5.4+"
	case message:
		return "5.1-5.3"
	case has("pgtables_bytes"):
		return "4.19-6.7"
	case score:
		return "-5.0"
	case d.summary:
		return "5.0+"
	}
	return ""
}
