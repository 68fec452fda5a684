package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Domain is what a random scenario is about.
type Domain string

// The domains.
const (
	Memcg  Domain = "memcg"  // one memory cgroup and its limit
	Nested Domain = "nested" // a tree of them
	System Domain = "system" // the whole machine
	QoS    Domain = "qos"    // pods, as a kubelet lays them out
	// The kinds of memory, and the machines that have more of something.
	Overcommit Domain = "overcommit" // who is refused memory, or killed for it
	Files      Domain = "files"      // page cache of files on a disk
	Tmpfs      Domain = "tmpfs"      // files in memory
	Zram       Domain = "zram"       // swap in memory
	HugePages  Domain = "hugepages"  // a pool of them
	Nodes      Domain = "nodes"      // two NUMA nodes
	CPUs       Domain = "cpus"       // two processors, where a second process may be killed as well
	All        Domain = "all"        // all of the others, mixed
)

// Domains are all domains, for flags and for tests.
var Domains = []Domain{Memcg, Nested, System, QoS, Overcommit, Files, Tmpfs, Zram, HugePages, Nodes, CPUs, All}

// mixed are the domains of All, as often as they come.
var mixed = []Domain{
	Memcg, Memcg, Memcg, Memcg, Memcg, Memcg, Nested, Nested, Nested, Nested, Nested, Nested, System, System, QoS, QoS,
	Overcommit, Files, Tmpfs, Zram, HugePages, Nodes, CPUs,
}

// Memory is what a machine needs for every scenario that is made here, and
// SwapDisk the size of the disk for those that swap.
const (
	Memory   = 512 * kernel.MiB
	SwapDisk = 64 * kernel.MiB
)

// within is long against what a scenario takes: it bounds what hangs.
const within = 30 * time.Second

// Generate makes the index-th scenario of a seed. It is valid (see
// scenario.Validate), and says of itself how to make it again.
func Generate(seed uint64, index int, domain Domain) scenario.Scenario {
	g := &generator{draw: newDraw(seed, index)}
	g.s = scenario.Scenario{
		Name:       fmt.Sprintf("chaos/%d-%d-%s", seed, index, domain),
		APIVersion: scenario.APIVersion, Kind: scenario.Kind,
		Summary: fmt.Sprintf("Random scenario %d of seed %d, domain %s.", index, seed, domain),
		Because: "The claim holds of whatever is drawn; the prediction is what is put to the test.\n",
		Targets: []scenario.Target{scenario.VM},
		Needs:   scenario.Needs{Memory: Memory},
		Expect:  scenario.Expect{Within: within},
	}
	if domain == All {
		domain = of(g.draw, mixed...)
	}
	map[Domain]func(){
		Memcg: g.memcg, Nested: g.nested, System: g.system, QoS: g.qos, Overcommit: g.overcommit, Files: g.files,
		Tmpfs: g.tmpfs, Zram: g.zram, HugePages: g.hugePages, Nodes: g.nodes, CPUs: g.processors,
	}[domain]()
	Claim(&g.s)
	return g.s
}

// Claim gives a scenario the one claim that holds whatever the model says: only
// its own processes are killed, and none more than once.
func Claim(s *scenario.Scenario) {
	var from []string
	for _, p := range s.Processes {
		if p.OOMScoreAdj != -1000 {
			from = append(from, p.Name)
		}
	}
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			from = append(from, p.Name+"/"+c.Name)
		}
	}
	n := int64(len(from))
	s.Expect.Killed = &scenario.Killed{From: from, Count: scenario.Num{Max: n, Text: fmt.Sprintf("0..%d", n)}}
}

// Promise makes the claim of a scenario what the model said, where it was sure:
// as long as the two disagree, the scenario fails.
func Promise(s *scenario.Scenario, p predict.Prediction) {
	if p.Unsure != "" || p.Open {
		return
	}
	claimed := *s
	claimed.Expect.Killed = &scenario.Killed{InOrder: p.Killed}
	for name, f := range p.Fails {
		if claimed.Expect.Fails == nil {
			claimed.Expect.Fails = map[string]string{}
		}
		claimed.Expect.Fails[name] = f.Errno
	}
	if claimed.Validate() == nil {
		s.Expect.Killed, s.Expect.Fails = claimed.Expect.Killed, claimed.Expect.Fails
	}
}

type generator struct {
	draw
	s scenario.Scenario
	// holders take what they are told to before anything goes wrong; held is
	// that amount for each.
	holders []string
	held    map[string]kernel.Bytes
	kids    int
	swaps   bool
	barrier string // whom holders wait for
	grown   string // where those are who grow; "": where the limit is
}

// about is what a stressor costs beside what it was told to take, roughly: the
// limits that are drawn here need not be exact.
const about = 640 * kernel.KiB

func knob(b kernel.Bytes) *kernel.Bytes { return &b }

// memcg is one cgroup: processes that hold something in it, and then too much.
func (g *generator) memcg() {
	const lab = "/lab"
	c := scenario.Cgroup{Path: lab, MemorySwapMax: knob(0)}
	g.swap(&c)
	g.hold(lab, g.between(1, 5))
	if g.chance(15) {
		c.MemoryOOMGroup = of(g.draw, new(0), new(1))
	}
	g.s.Cgroups = scenario.Cgroups{c}
	g.overflow(lab, 0)
}

// swap gives some scenarios swap space, and the cgroup a share of it.
func (g *generator) swap(c *scenario.Cgroup) {
	if !g.chance(5) {
		return
	}
	g.swaps = true
	g.s.System.Swap = &scenario.Swap{Size: SwapDisk, Kind: "disk"}
	c.MemorySwapMax = knob(kernel.Bytes(g.between(1, 6)) * kernel.MiB)
}

// hold makes n processes in a cgroup that take something and hold it: so much that
// who ranks higher is seldom a matter of the few pages that no model knows, and so
// little that it is done in a moment.
func (g *generator) hold(cgroup string, n int) {
	if g.held == nil {
		g.held = map[string]kernel.Bytes{}
	}
	for range n {
		name := "h" + strconv.Itoa(len(g.holders)+1)
		p := scenario.Process{Name: name, Cgroup: cgroup, OOMScoreAdj: g.adj()}
		if g.chance(5) && len(g.holders) > 0 { // somebody can always be killed
			p.OOMScoreAdj = -1000
		}
		p.Do = g.take(g.size(2, 16))
		g.held[name] = p.Do[0].Size // what it has at most
		if g.chance(12) {
			p.Threads = g.between(1, 6)
		}
		if g.chance(10) {
			p.Nice = g.between(-20, 19)
		}
		if g.chance(10) {
			p.UID = 1000
		}
		if g.chance(20) && len(g.holders) > 0 { // it and those after it wait for the last one
			g.barrier = g.holders[len(g.holders)-1]
		}
		if g.barrier != "" {
			p.After = scenario.Names{g.barrier}
		}
		g.holders = append(g.holders, name)
		child := g.child(&p)
		p.Do = append(p.Do, scenario.Step{Op: profile.Hold})
		g.s.Processes = append(g.s.Processes, p)
		if child != nil {
			g.s.Processes = append(g.s.Processes, *child)
		}
	}
}

// take is how a process comes to hold an amount.
func (g *generator) take(size kernel.Bytes) []scenario.Step {
	op := of(g.draw, profile.Touch, profile.Touch, profile.Touch, profile.Touch, profile.Touch, profile.Touch,
		profile.Touch, profile.Shmem)
	if g.chance(4) {
		op = profile.Mlock
	}
	if g.swaps && op == profile.Shmem && g.chance(80) {
		op = profile.Touch // what is swapped out of shared memory is nobody's score
	}
	step := scenario.Step{Op: op, Size: size}
	if g.chance(15) {
		step.Rate = kernel.Bytes(g.between(32, 256)) * kernel.MiB
	}
	steps := []scenario.Step{step}
	if g.chance(10) {
		back := g.size(0, 4)
		if back > 0 && back < size {
			steps[0].Size = size + back
			steps = append(steps, scenario.Step{Op: profile.Free, Size: back})
		}
	}
	return steps
}

// child lets some processes fork one, of its own memory or of theirs.
func (g *generator) child(p *scenario.Process) *scenario.Process {
	if !g.chance(15) || p.UID != 0 { // who gave up its privileges cannot place a child
		return nil
	}
	g.kids++
	c := &scenario.Process{Name: "k" + strconv.Itoa(g.kids), Cgroup: p.Cgroup, Parent: p.Name, OOMScoreAdj: g.adj()}
	fork := scenario.Step{Op: profile.Fork, Name: c.Name}
	p.Do = append(p.Do, fork)
	if g.chance(40) {
		c.SharesMemoryWith = p.Name
		c.OOMScoreAdj = p.OOMScoreAdj // the kernel keeps them equal
		c.Do = []scenario.Step{{Op: profile.Hold}}
		return c
	}
	steps := g.take(g.size(1, 6))
	g.held[c.Name] = steps[0].Size
	c.Do = append(steps, scenario.Step{Op: profile.Hold})
	g.holders = append(g.holders, c.Name)
	return c
}

// holds is what everybody below a cgroup holds together, roughly.
func (g *generator) holds(cgroup string) kernel.Bytes {
	var sum kernel.Bytes
	for _, p := range g.s.Processes {
		if p.Cgroup == cgroup || len(p.Cgroup) > len(cgroup) && p.Cgroup[:len(cgroup)+1] == cgroup+"/" {
			sum += about + g.held[p.Name] + kernel.Bytes(p.Threads)*64*kernel.KiB
		}
	}
	return sum
}

// spared is what no kill takes back below a cgroup.
func (g *generator) spared() kernel.Bytes {
	sum := kernel.Bytes(0)
	for _, p := range g.s.Processes {
		outlives := slices.ContainsFunc(p.Do, func(s scenario.Step) bool { return s.Op.Row().Outlives() })
		if p.OOMScoreAdj == -1000 || outlives {
			sum += about + g.held[p.Name]
		}
	}
	return sum
}

// overflow makes one of the cgroups hold too much: somebody grows in it, or its
// limit is lowered.
func (g *generator) overflow(path string, also kernel.Bytes) {
	i := slices.IndexFunc(g.s.Cgroups, func(c scenario.Cgroup) bool { return c.Path == path })
	c := &g.s.Cgroups[i]
	holds := g.holds(path)
	room := g.size(2, 10)
	squeezed := g.chance(45)
	if g.swaps { // the writer of a limit gives up on reclaim after 16 rounds, whatever there still is to swap out
		squeezed = g.chance(10)
	}
	if !squeezed || g.chance(25) {
		g.growers(path, holds, room)
	}
	c.MemoryMax = knob(roundUp(holds + room + also))
	g.meddle(squeezed)
	if squeezed {
		g.squeeze(path, *c.MemoryMax)
	}
}

// roundUp makes a limit whole tenths of MiB, as people write them.
func roundUp(b kernel.Bytes) kernel.Bytes {
	const step = 128 * kernel.KiB
	return (b + step - 1) / step * step
}

func wholePages(b kernel.Bytes) kernel.Bytes { return b / (4 * kernel.KiB) * (4 * kernel.KiB) }

// growers take more than there is room for.
func (g *generator) growers(path string, holds, room kernel.Bytes) {
	if g.grown != "" {
		path = g.grown
	}
	n := 1
	if g.chance(8) {
		n = 2
	}
	for i := range n {
		p := scenario.Process{Name: "g" + strconv.Itoa(i+1), Cgroup: path,
			OOMScoreAdj: g.adj(), After: slices.Clone(scenario.Names(g.holders))}
		if g.chance(30) {
			p.OOMScoreAdj = g.between(-999, -300) // lives long enough to have several killed
		}
		want := wholePages(room + kernel.Bytes(g.between(10, 100))*holds/100)
		p.Do = g.take(want)
		p.Do = append(p.Do, scenario.Step{Op: profile.Hold})
		if i > 0 && g.chance(92) { // which of two that grow at once is faster is for the scheduler to say
			p.After = append(p.After, "g1")
		}
		g.s.Processes = append(g.s.Processes, p)
		g.held[p.Name] = want
	}
}

// everybody is who must be settled before something is done to them.
func (g *generator) everybody() scenario.Names {
	var out scenario.Names
	for _, p := range g.s.Processes {
		out = append(out, p.Name)
	}
	return out
}

// meddle changes things before the limit is lowered, or after somebody grew.
func (g *generator) meddle(more bool) {
	names := g.everybody()
	// who grows may kill those who hold: only what is squeezed is touched
	grows := slices.ContainsFunc(g.s.Processes, func(p scenario.Process) bool { return p.Name[0] == 'g' })
	if grows || !more && !g.chance(20) {
		return
	}
	add := func(d scenario.During) {
		d.After = names
		g.s.During = append(g.s.During, d)
	}
	// a parent that stands still cannot say how its child has ended
	var adjustable, alone []string
	family := false
	for _, p := range g.s.Processes {
		if p.Do[len(p.Do)-1].Op != profile.Hold {
			continue // it is gone by then
		}
		if p.OOMScoreAdj != -1000 {
			adjustable = append(adjustable, p.Name)
		}
		if !slices.ContainsFunc(p.Do, func(st scenario.Step) bool { return st.Op == profile.Fork }) {
			alone = append(alone, p.Name)
		} else {
			family = true
		}
	}
	for range 2 {
		if g.chance(30) {
			add(scenario.During{OOMScoreAdj: map[string]int{of(g.draw, adjustable...): g.between(-999, 1000)}})
		}
	}
	if g.chance(20) && len(alone) > 0 {
		add(scenario.During{Signal: map[string]string{of(g.draw, alone...): "SIGSTOP"}})
	}
	if g.chance(12) && len(g.s.Cgroups) > 0 && !family {
		add(scenario.During{Freeze: of(g.draw, g.s.Cgroups...).Path})
	}
	if g.chance(8) && len(alone) > 1 {
		add(scenario.During{Signal: map[string]string{of(g.draw, alone...): "SIGKILL"}})
	}
}

// squeeze lowers a limit, in one step or in several.
func (g *generator) squeeze(path string, limit kernel.Bytes) {
	steps := g.between(1, 3)
	least := g.spared() + 2*about
	for range steps {
		limit = limit * kernel.Bytes(g.between(30, 90)) / 100
		if limit < least {
			return
		}
		limit = roundUp(limit)
		g.s.During = append(g.s.During, scenario.During{After: g.everybody(),
			Set: map[string]scenario.Cgroup{path: {MemoryMax: knob(limit)}}})
	}
}

// nested is a tree of cgroups, with limits here and there.
func (g *generator) nested() {
	paths := []string{"/top"}
	for range g.between(1, 4) {
		parent := of(g.draw, paths...)
		paths = append(paths, parent+"/"+string(rune('a'+len(paths)-1)))
	}
	for _, p := range paths {
		c := scenario.Cgroup{Path: p, MemorySwapMax: knob(0)}
		if g.chance(25) {
			c.MemoryOOMGroup = new(1)
		}
		g.s.Cgroups = append(g.s.Cgroups, c)
	}
	// only a cgroup without children may have processes (cgroup v2)
	leaves := slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return slices.ContainsFunc(paths, func(q string) bool { return strings.HasPrefix(q, p+"/") })
	})
	for range g.between(2, 5) {
		g.hold(of(g.draw, leaves...), 1)
	}
	// a limit that is hit, on the way from a process to the top
	hit := of(g.draw, g.s.Processes...).Cgroup
	for strings.Count(hit, "/") > 1 && g.chance(50) {
		hit = hit[:strings.LastIndex(hit, "/")]
	}
	g.grown = of(g.draw, slices.DeleteFunc(slices.Clone(leaves), func(p string) bool {
		return !kernel.InCgroup(p, hit)
	})...)
	g.overflow(hit, 0)
	// limits elsewhere, with room to spare
	for i := range g.s.Cgroups {
		c := &g.s.Cgroups[i]
		if c.MemoryMax == nil && g.chance(40) {
			c.MemoryMax = knob(roundUp(g.holds(c.Path)*13/10 + kernel.Bytes(g.between(4, 16))*kernel.MiB))
		}
	}
}

// system is the whole machine: memory that nobody's limit stops, or the key
// that calls the OOM killer.
func (g *generator) system() {
	if g.chance(60) {
		g.s.Cgroups = scenario.Cgroups{{Path: "/lab", MemorySwapMax: knob(0)}}
		if g.chance(25) {
			g.s.Cgroups[0].MemoryOOMGroup = new(1)
		}
	}
	place := func() string {
		if len(g.s.Cgroups) > 0 && g.chance(60) {
			return "/lab"
		}
		return ""
	}
	if g.chance(25) {
		g.fill(place)
		return
	}
	for range g.between(2, 5) {
		g.hold(place(), 1)
	}
	g.meddle(true)
	killable := 0
	for _, p := range g.s.Processes {
		if p.OOMScoreAdj != -1000 {
			killable++
		}
	}
	for range g.between(1, 3) {
		if killable--; killable < 0 {
			return
		}
		g.s.During = append(g.s.During, scenario.During{After: g.everybody(), Sysrq: "f"})
	}
}

// fill takes the machine's memory until somebody has to die.
func (g *generator) fill(place func() string) {
	for i := range g.between(1, 3) {
		name := "h" + strconv.Itoa(i+1)
		g.holders = append(g.holders, name)
		g.s.Processes = append(g.s.Processes, scenario.Process{
			Name: name, Cgroup: place(), OOMScoreAdj: g.between(0, 1000),
			Do: []scenario.Step{{Op: profile.Touch, Size: g.size(24, 96)}, {Op: profile.Hold}},
		})
	}
	g.s.Processes = append(g.s.Processes, scenario.Process{
		Name: "g1", Cgroup: place(), OOMScoreAdj: g.between(-900, 1000), After: slices.Clone(scenario.Names(g.holders)),
		Do: []scenario.Step{{Op: profile.Touch, Size: kernel.Bytes(g.between(420, 600)) * kernel.MiB},
			{Op: profile.Hold}},
	})
}

// qos is pods, whose containers hit their limits or whose node runs full.
func (g *generator) qos() {
	if g.chance(40) {
		single := true
		g.s.Node.SingleProcessOOMKill = &single
	}
	var all scenario.Names
	var held kernel.Bytes
	for i := range g.between(2, 4) {
		pod := scenario.Pod{Name: "pod" + strconv.Itoa(i+1), RestartPolicy: "Never"}
		if g.chance(8) {
			pod.PriorityClassName = "system-node-critical"
		}
		class := g.IntN(3)
		containers := g.between(1, 2)
		for j := range containers {
			c := scenario.Container{Name: "c" + strconv.Itoa(j+1)}
			size := g.size(1, 16)
			held += size + about
			c.Do = []scenario.Step{{Op: profile.Touch, Size: size}, {Op: profile.Hold}}
			limit := roundUp(size + kernel.Bytes(g.between(2, 8))*kernel.MiB)
			switch class {
			case 0: // Guaranteed
				c.Limits = scenario.Resources{Memory: limit, CPU: 100}
			case 1: // Burstable
				c.Requests.Memory = kernel.Bytes(g.between(1, 64)) * kernel.MiB
				if g.chance(40) {
					c.Limits.Memory = max(limit, c.Requests.Memory)
				}
			}
			if c.Limits.Memory > 0 && containers == 1 && g.chance(35) { // more than it may have
				c.Do[0].Size = c.Limits.Memory + g.size(1, 4)
			}
			pod.Containers = append(pod.Containers, c)
		}
		if len(all) > 0 {
			pod.After = slices.Clone(all)
		}
		all = append(all, pod.Name)
		g.s.Pods = append(g.s.Pods, pod)
	}
	if g.chance(60) {
		limit := held
		for range g.between(1, 3) {
			limit = roundUp(limit * kernel.Bytes(g.between(40, 85)) / 100)
			g.s.During = append(g.s.During, scenario.During{After: all,
				Set: map[string]scenario.Cgroup{kubelet.Root: {MemoryMax: knob(limit)}}})
		}
		return
	}
	for range g.between(1, 2) {
		g.s.During = append(g.s.During, scenario.During{After: all, Sysrq: "f"})
	}
}
