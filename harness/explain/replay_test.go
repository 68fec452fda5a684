package explain

import (
	"math/rand/v2"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// TestWinsIsWhatTheModelChooses holds the sizes of a domain for which a row is
// said to be chosen against the model, for small tables and every size.
func TestWinsIsWhatTheModelChooses(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, rules := range []predict.Rules{
		{PageSize: 4096}, {PageSize: 4096, FloorOne: true}, {PageSize: 4096, FloorOne: true, FirstOfEqual: true},
	} {
		for range 3000 {
			p := replay{rules: rules, chosen: -1}
			for range 1 + rng.IntN(5) {
				adj := []int{-1000, -999, -500, -3, -1, 0, 0, 0, 1, 2, 500, 1000}[rng.IntN(12)]
				never := ""
				if adj == -1000 {
					never = exempt
				}
				p.tasks = append(p.tasks, predict.Task{RSS: kernel.Pages(rng.IntN(60)), Adj: adj})
				p.never = append(p.never, never)
			}
			for v := range p.tasks {
				got, ok := p.wins(v, Range{})
				for total := kernel.Pages(0); total < 90_000; total += 500 {
					points, _ := p.points(v, total)
					if rules.FloorOne && points < 2 {
						continue
					}
					in := ok && total >= got.Min && (got.Max == nil || total <= *got.Max)
					if chosen := p.choose(total) == v; chosen != in {
						t.Fatalf("rules %+v, tasks %+v: row %d in %d pages: chosen %v, said %v (%+v)", rules, p.tasks,
							v, total, chosen, in, got)
					}
				}
			}
		}
	}
}

// TestWinsStaysInTheRange: what is known of the domain is a bound.
func TestWinsStaysInTheRange(t *testing.T) {
	// b overtakes a at 20 for each oom_score_adj
	p := replay{rules: predict.Rules{PageSize: 4096}, tasks: []predict.Task{{RSS: 100}, {RSS: 80, Adj: 1}},
		never: []string{"", ""}}
	top := kernel.Pages(30_500)
	for _, tt := range []struct {
		row  int
		in   Range
		min  kernel.Pages
		max  kernel.Pages // -1: none
		none bool
	}{
		{0, Range{}, 0, 19_999, false},
		{1, Range{}, 20_000, -1, false},
		{0, Range{Min: 5_500, Max: &top}, 5_500, 19_999, false},
		{1, Range{Min: 5_500, Max: &top}, 20_000, 30_500, false},
		{0, Range{Min: 20_000}, 0, 0, true},
	} {
		got, ok := p.wins(tt.row, tt.in)
		if ok == tt.none {
			t.Errorf("row %d in %+v: %v", tt.row, tt.in, ok)
			continue
		}
		if tt.none {
			continue
		}
		hi := kernel.Pages(-1)
		if got.Max != nil {
			hi = *got.Max
		}
		if got.Min != tt.min || hi != tt.max {
			t.Errorf("row %d: %d to %d, want %d to %d", tt.row, got.Min, hi, tt.min, tt.max)
		}
	}
}

func kb(n uint64) *uint64 { return &n }

// TestTotal has a row for each way in which a report shows, or does not show,
// how large the domain is.
func TestTotal(t *testing.T) {
	yes, no := true, false
	const unlimited = 9007199254740988
	pages := func(n kernel.Pages) *kernel.Pages { return &n }
	cgroup := func(m oomlog.MemcgUsage) oomlog.Report { return oomlog.Report{Global: &no, Memcg: &m} }
	limit := &oomlog.Usage{LimitKB: 4096}
	zones := []oomlog.ZoneInfo{{Node: 0, Name: "Normal", Present: kb(4000)},
		{Node: 1, Name: "Normal", Present: kb(8000)}, {Node: 3, Name: "Normal", Present: kb(400)}}
	machine := func(m oomlog.MemInfo, constraint, nodes string) oomlog.Report {
		return oomlog.Report{Global: &yes, Mem: &m, Constraint: constraint, NodeMask: nodes, MemsAllowed: nodes}
	}
	for _, tt := range []struct {
		name string
		r    oomlog.Report
		want kernel.Pages // -1: not known
		min  kernel.Pages
		max  kernel.Pages // -1: none
	}{
		{"v2, no swap allowed", cgroup(oomlog.MemcgUsage{Memory: limit, Swap: &oomlog.Usage{}}), 1024, 1024, 1024},
		{"v2, some swap allowed", cgroup(oomlog.MemcgUsage{Memory: limit, Swap: &oomlog.Usage{LimitKB: 400}}), -1,
			1024, 1124},
		{"v2, all swap allowed", cgroup(oomlog.MemcgUsage{Memory: limit, Swap: &oomlog.Usage{LimitKB: unlimited}}), -1,
			1024, -1},
		{"v1, as much with swap as without",
			cgroup(oomlog.MemcgUsage{Memory: limit, MemorySwap: &oomlog.Usage{LimitKB: 4096}}), 1024, 1024, 1024},
		{"v1, more with swap", cgroup(oomlog.MemcgUsage{Memory: limit, MemorySwap: &oomlog.Usage{LimitKB: 8192}}), -1,
			1024, 2048},
		{"no line of swap", cgroup(oomlog.MemcgUsage{Memory: limit}), -1, 1024, -1},
		{"no limit printed", cgroup(oomlog.MemcgUsage{}), -1, 0, -1},
		{"a limit of nothing is one page", cgroup(oomlog.MemcgUsage{Memory: &oomlog.Usage{}, Swap: &oomlog.Usage{}}),
			1, 1, 1},
		{"scope not known", oomlog.Report{}, -1, 0, -1},
		{"machine", machine(oomlog.MemInfo{PagesRAM: pages(5000), PagesReserved: pages(500), TotalSwapKB: kb(4000)},
			"CONSTRAINT_NONE", ""), 5500, 5500, 5500},
		{"machine without CONFIG_SWAP", machine(oomlog.MemInfo{PagesRAM: pages(5000), PagesReserved: pages(500)}, "",
			""), 4500, 4500, 4500},
		{"machine, the swap line lost", machine(oomlog.MemInfo{PagesRAM: pages(5000), PagesReserved: pages(500),
			FreeSwapKB: kb(0)}, "", ""), -1, 4500, -1},
		{"machine, the reserved line lost", machine(oomlog.MemInfo{PagesRAM: pages(5000), TotalSwapKB: kb(4000)}, "",
			""), -1, 1000, 6000},
		{"machine, nothing", machine(oomlog.MemInfo{}, "", ""), -1, 0, -1},
		{"cpuset counts present pages", machine(oomlog.MemInfo{Zones: zones, TotalSwapKB: kb(40)}, "CONSTRAINT_CPUSET",
			"0,2-3"), 1110, 1110, 1110},
		{"memory policy", machine(oomlog.MemInfo{Zones: zones, TotalSwapKB: kb(0)}, "CONSTRAINT_MEMORY_POLICY", "1"),
			2000, 2000, 2000},
		{"no nodes", machine(oomlog.MemInfo{Zones: zones, TotalSwapKB: kb(0)}, "CONSTRAINT_MEMORY_POLICY", "(null)"),
			-1, 0, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := totalOf(tt.r, 4096)
			exact, hi := kernel.Pages(-1), kernel.Pages(-1)
			if got.pages != nil {
				exact = *got.pages
			}
			if got.rng.Max != nil {
				hi = *got.rng.Max
			}
			if exact != tt.want || got.rng.Min != tt.min || hi != tt.max {
				t.Errorf("%d (%d to %d), want %d (%d to %d): %s", exact, got.rng.Min, hi, tt.want, tt.min, tt.max,
					got.from)
			}
			if got.from == "" {
				t.Error("says not how it knows")
			}
		})
	}
}

// TestRootByVersion: what is taken off for CAP_SYS_ADMIN depends on the kernel.
func TestRootByVersion(t *testing.T) {
	for _, tt := range []struct {
		minor int // of 3.x, and of 4.x from 100 on
		want  int64
	}{{10, 50000 - 30*1048}, {13, 50000 - 30*1048}, {14, 48500}, {116, 48500}, {117, 50000}} {
		v := kernel.Version{Major: 3 + tt.minor/100, Minor: tt.minor % 100}
		if got := predict.Points(predict.Task{RSS: 50000, Root: true}, 1<<20,
			predict.RulesFor(v, 4096)); got != tt.want {
			t.Errorf("%v: %d points, want %d", v, got, tt.want)
		}
	}
}
