package rank

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// Options say what of a ranking is wanted.
type Options struct {
	Cgroup  string // only the domain of this cgroup; empty: all
	Top     int    // rows of each domain; 0: all
	Domains int    // domains beside the machine; 0: all
	// Before is an earlier snapshot that growth is measured from; nil: not measured.
	Before *Snapshot
}

// scored is a candidate in one domain.
type scored struct {
	p      *Process
	points int64
}

// Rank makes the ranking of a snapshot.
func Rank(s Snapshot, o Options) (Ranking, error) {
	r := Ranking{Machine: s.Machine, Processes: len(s.Processes) + len(s.Briefs), Unread: s.Unread,
		Notes: append([]string{}, s.Notes...)}
	all, err := domains(s, o.Cgroup)
	if err != nil {
		return Ranking{}, err
	}
	rules := s.Machine.rules()
	groups, owners := map[string]bool{}, owners{}
	for _, c := range s.Cgroups {
		if c.Group {
			groups[c.Path] = true
		}
	}
	for _, d := range all {
		if o.Before != nil {
			d.grow(s, *o.Before)
		}
	}
	byFill(all)
	r.Domains = []Domain{}
	for i, d := range all {
		if o.Domains > 0 && o.Cgroup == "" && i > o.Domains {
			r.Left = len(all) - i
			break
		}
		d.settle(s.Machine, rules, groups, o.Top)
		if d.Kind == KindMachine {
			d.count(s.Briefs)
		}
		d.Owner = owners.of(d.Path)
		for i := range d.Rows {
			d.Rows[i].Owner = owners.of(d.Rows[i].Cgroup)
		}
		if d.ByScore != nil {
			d.ByScore.Owner = owners.of(d.ByScore.Cgroup)
		}
		r.Domains = append(r.Domains, *d)
	}
	return r, nil
}

// owners are those of cgroups that were asked for: to read a path takes longer than to
// score a process.
type owners map[string]*explain.Owner

func (o owners) of(path string) *explain.Owner {
	owner, known := o[path]
	if !known {
		owner = explain.OwnerOf(path)
		o[path] = owner
	}
	return owner
}

// rules is how this kernel scores.
func (m Machine) rules() predict.Rules {
	return predict.RulesOf(kernel.Machine{Release: m.Release, PageSize: m.PageSize})
}

// total is what /proc/PID/oom_score and an OOM of the whole machine go by:
// totalram_pages() + total_swap_pages.
func (m Machine) total() kernel.Pages {
	return kernel.Pages(m.MemTotal/m.PageSize) + kernel.Pages(m.SwapTotal/m.PageSize)
}

// task is the process as the score looks at it.
func (p *Process) task() predict.Task {
	return predict.Task{RSS: p.RSS, Swap: p.Swap, PgTables: p.PgTables, Adj: p.Adj, Skip: p.Init}
}

// domains finds the OOM domains and their candidates.
func domains(s Snapshot, only string) ([]*Domain, error) {
	rules := s.Machine.rules()
	var all []*Domain
	byPath := map[string]*Domain{}
	var nodes []*Domain
	known := false
	for _, c := range s.Cgroups {
		known = known || c.Path == only
		if c.Max != nil && (only == "" || c.Path == only) {
			d := cgroupDomain(c, s.Machine)
			byPath[c.Path] = d
			all = append(all, d)
		}
	}
	var machine *Domain
	switch {
	case only == "":
		machine = machineDomain(s.Machine)
		all = append(all, machine)
		nodes = nodeDomains(s)
		all = append(all, nodes...)
	case !known:
		return nil, fmt.Errorf("there is no memory cgroup %s", only)
	case byPath[only] == nil:
		return nil, fmt.Errorf("the memory cgroup %s has no limit, so it is no OOM domain of its own", only)
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		if machine != nil {
			machine.consider(p, rules)
		}
		for _, d := range nodes {
			if intersect(p.Mems, d.Nodes) {
				d.consider(p, rules)
			}
		}
		for dir := p.Cgroup; ; dir = path.Dir(dir) {
			if d := byPath[dir]; d != nil {
				d.consider(p, rules)
			}
			if dir == "/" || dir == "." || dir == "" {
				break
			}
		}
	}
	return all, nil
}

func machineDomain(m Machine) *Domain {
	left := m.MemAvailable + m.SwapFree
	d := &Domain{Kind: KindMachine, TotalPages: m.total(), Limit: m.MemTotal + m.SwapTotal,
		Usage: m.MemTotal + m.SwapTotal - left, Left: &left, Notes: []string{}}
	switch {
	case m.PanicOnOOM != 0:
		d.Notes = append(d.Notes,
			fmt.Sprintf("vm.panic_on_oom=%d: the machine panics, and nobody is chosen", m.PanicOnOOM))
	case m.KillAllocating != 0:
		d.Notes = append(d.Notes,
			"vm.oom_kill_allocating_task=1: the process that asks for memory dies, whatever its place here")
	}
	return d
}

func cgroupDomain(c Cgroup, m Machine) *Domain {
	swappiness := m.Swappiness
	if c.Swappiness != nil {
		swappiness = *c.Swappiness
	}
	left := max(0, *c.Max-c.Usage)
	d := &Domain{Kind: KindCgroup, Path: c.Path, Limit: *c.Max, Usage: c.Usage, Left: &left,
		TotalPages: predict.TotalPages(c.Max, c.SwapMax, m.SwapTotal, swappiness, m.PageSize),
		Notes:      []string{}}
	if c.KillDisabled {
		d.Notes = append(d.Notes, "oom_kill_disable: tasks that ask for more sleep, and nobody is killed")
	}
	if m.PanicOnOOM == 2 {
		d.Notes = append(d.Notes, "vm.panic_on_oom=2: the machine panics, and nobody is chosen")
	}
	if d.TotalPages < 1000 {
		d.Notes = append(d.Notes, "fewer than 1000 pages: oom_score_adj counts for nothing, except -1000")
	}
	return d
}

// nodeDomains has a domain for each set of nodes, smaller than all, that some
// process is confined to by its cpuset: constrained_alloc(), mm/oom_kill.c.
func nodeDomains(s Snapshot) []*Domain {
	out := map[string]*Domain{}
	for i := range s.Processes {
		mems := s.Processes[i].Mems
		if mems == "" || out[mems] != nil {
			continue
		}
		set, ok := parseList(mems)
		if !ok {
			continue
		}
		present, missing := kernel.Pages(s.Machine.SwapTotal/s.Machine.PageSize), false
		var size kernel.Pages
		for node, pages := range s.Machine.Nodes {
			if set[node] {
				size += pages
			} else {
				missing = true
			}
		}
		if !missing || size == 0 {
			continue
		}
		out[mems] = &Domain{Kind: KindNodes, Nodes: mems, TotalPages: present + size,
			Limit: (present + size).Bytes(s.Machine.PageSize), Notes: []string{
				"of allocations by processes that are confined to these nodes"}}
	}
	var all []*Domain
	for _, key := range slices.Sorted(maps.Keys(out)) {
		all = append(all, out[key])
	}
	return all
}

// consider puts a process among the candidates.
func (d *Domain) consider(p *Process, r predict.Rules) {
	points := predict.Points(p.task(), d.TotalPages, r)
	if points == predict.Never {
		d.Exempt++
		return
	}
	d.order = append(d.order, scored{p, points})
}

// settle sorts the candidates and fills in what the domain shows.
func (d *Domain) settle(m Machine, r predict.Rules, groups map[string]bool, top int) {
	d.Candidates = len(d.order)
	d.Rows = []Row{}
	if len(d.order) == 0 {
		d.Notes = append(d.Notes, "no process in it can be chosen")
		return
	}
	slices.SortFunc(d.order, func(a, b scored) int {
		// Of equal ones the kernel takes the one that it visits last. For the machine
		// that is the youngest; in a cgroup the order is not visible.
		byAge := cmp.Or(cmp.Compare(b.p.Start, a.p.Start), cmp.Compare(b.p.PID, a.p.PID))
		if r.FirstOfEqual {
			byAge = -byAge
		}
		return cmp.Or(cmp.Compare(b.points, a.points), byAge)
	})
	for d.Equal < len(d.order) && d.order[d.Equal].points == d.order[0].points {
		d.Equal++
	}
	n := len(d.order)
	if top > 0 {
		n = min(n, top)
	}
	for i, c := range d.order[:n] {
		d.Rows = append(d.Rows, row(i+1, c, d.TotalPages, m, r))
	}
	d.Group = d.group(groups)
	if d.Kind == KindMachine {
		return
	}
	best, score := 0, -1
	for i, c := range d.order {
		if s := machineScore(c.p, m, r); s > score {
			best, score = i, s
		}
	}
	if first := machineScore(d.order[0].p, m, r); score > first {
		by := row(best+1, d.order[best], d.TotalPages, m, r)
		d.ByScore = &by
	}
}

// machineScore is /proc/PID/oom_score of a process.
func machineScore(p *Process, m Machine, r predict.Rules) int {
	return predict.OOMScore(predict.Points(p.task(), m.total(), r), m.total(), r)
}

func row(rank int, c scored, total kernel.Pages, m Machine, r predict.Rules) Row {
	t := c.p.task()
	tables := kernel.Pages(t.PgTables / m.PageSize)
	return Row{Rank: rank, PID: c.p.PID, Comm: c.p.Comm, Cgroup: c.p.Cgroup, Points: c.points, RSS: t.RSS,
		Swap: t.Swap, PgTables: tables, AdjPoints: c.points - predict.Holds(t, r),
		Adj: t.Adj, OldAdj: OldAdj(t.Adj), OOMScore: machineScore(c.p, m, r), Anon: c.p.Anon, File: c.p.File,
		Shmem: c.p.Shmem}
}

// group follows mem_cgroup_get_oom_group(), mm/memcontrol.c: the outermost cgroup
// with memory.oom.group between the victim's own and the domain.
func (d *Domain) group(groups map[string]bool) *Group {
	if len(groups) == 0 {
		return nil
	}
	found := ""
	top := d.Path
	for dir := d.order[0].p.Cgroup; dir != "" && dir != "." && dir != "/"; dir = path.Dir(dir) {
		if groups[dir] {
			found = dir
		}
		if dir == top {
			break
		}
	}
	if found == "" {
		return nil
	}
	g := &Group{Cgroup: found}
	for _, c := range d.order {
		if kernel.InCgroup(c.p.Cgroup, found) {
			g.Processes++
		}
	}
	return g
}

// grow compares the domain with what it was in an earlier snapshot.
func (d *Domain) grow(now, before Snapshot) {
	seconds := float64(now.AtNS-before.AtNS) / 1e9
	if seconds <= 0 || d.Left == nil {
		return
	}
	was, known := before.Machine.MemAvailable+before.Machine.SwapFree, true
	if d.Kind == KindCgroup {
		i := slices.IndexFunc(before.Cgroups, func(c Cgroup) bool { return c.Path == d.Path && c.Max != nil })
		if known = i >= 0; known {
			was = d.Limit - before.Cgroups[i].Usage
		}
	}
	if !known {
		return
	}
	room := *d.Left
	if d.Kind == KindCgroup {
		room = d.Limit - d.Usage // below zero when it is above the limit
	}
	growth := float64(was-room) / seconds
	d.Growth, d.GrowthSeconds = &growth, seconds
	if growth > 0 {
		in := float64(*d.Left) / growth
		d.FullIn = &in
	}
}

// byFill orders domains: the machine, then those nearest to their limit.
func byFill(all []*Domain) {
	slices.SortStableFunc(all, func(a, b *Domain) int {
		return cmp.Or(cmp.Compare(a.rankOfKind(), b.rankOfKind()), cmp.Compare(a.fill(), b.fill()))
	})
}

// count adds processes that are in no row.
func (d *Domain) count(briefs []Brief) {
	d.Candidates += len(briefs)
	for _, b := range briefs {
		if d.Group != nil && kernel.InCgroup(b.Cgroup, d.Group.Cgroup) {
			d.Group.Processes++
		}
	}
}

func (d *Domain) rankOfKind() int {
	return slices.Index([]string{KindMachine, KindCgroup, KindNodes}, d.Kind)
}

// fill orders domains by how near they are to their limit.
func (d *Domain) fill() float64 {
	if d.Left == nil {
		return math.Inf(1)
	}
	return float64(*d.Left) / float64(max(d.Limit, 1))
}

// intersect reports whether two lists of nodes have one in common.
func intersect(a, b string) bool {
	if a == b || a == "" {
		return true
	}
	x, ok1 := parseList(a)
	y, ok2 := parseList(b)
	if !ok1 || !ok2 {
		return true
	}
	for n := range x {
		if y[n] {
			return true
		}
	}
	return false
}

// parseList reads a list such as "0-1,3".
func parseList(list string) (map[int]bool, bool) {
	nodes, err := kernel.ParseNodes(list)
	if err != nil {
		return nil, false
	}
	set := map[int]bool{}
	for _, n := range nodes {
		set[n] = true
	}
	return set, true
}
