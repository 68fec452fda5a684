package rank

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

func size(b kernel.Bytes) *kernel.Bytes { return &b }

const pod = "/kubepods/burstable/pod6a6e5c0e-3b0b-4b56-9c0b-2e4a1c1d2f30"

// sample is a machine with a pod, a service that is a group, and processes that a
// loop over /proc/*/oom_score ranks wrongly.
func sample() Snapshot {
	container := pod + "/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return Snapshot{
		AtNS: 3e9,
		Machine: Machine{Release: "6.12.107", PageSize: 4096, MemTotal: 4 << 30, MemAvailable: 1 << 30,
			SwapTotal: 1 << 30, SwapFree: 512 << 20, Swappiness: 60, CgroupVersion: 2, Reads: kernel.ReadsCPUBatched,
			Nodes: map[int]kernel.Pages{0: 1 << 19, 1: 1 << 19}},
		Cgroups: []Cgroup{{Path: "/"}, {Path: "/kubepods"},
			{Path: pod, Max: size(256 << 20), SwapMax: size(0), Usage: 200 << 20},
			{Path: container, Max: size(256 << 20), SwapMax: size(0), Usage: 200 << 20},
			{Path: "/system.slice/web.service", Max: size(64 << 20), Usage: 65 << 20, Group: true},
			{Path: "/tiny", Max: size(1 << 20), SwapMax: size(0)},
			{Path: "/free"}},
		Processes: []Process{
			{PID: 1, Comm: "systemd", Start: 1, Cgroup: "/init.scope", RSS: 3000, Init: true, Mems: "0-1"},
			{PID: 10, Comm: "sshd", Start: 2, Cgroup: "/system.slice/ssh.service", RSS: 500, Adj: -1000, Mems: "0-1"},
			{PID: 20, Comm: "app", Start: 3, Cgroup: container, RSS: 40000, PgTables: 120 << 12, Adj: 300, Mems: "0-1"},
			{PID: 21, Comm: "helper", Start: 4, Cgroup: container, RSS: 200, PgTables: 4 << 12, Adj: 968, Mems: "0-1"},
			{PID: 30, Comm: "web", Start: 5, Cgroup: "/system.slice/web.service", RSS: 8000, Mems: "0-1"},
			{PID: 31, Comm: "web", Start: 6, Cgroup: "/system.slice/web.service/w", RSS: 8000, Mems: "0-1"},
			{PID: 40, Comm: "db", Start: 7, Cgroup: "/free", RSS: 300000, Swap: 1000, PgTables: 900 << 12, Adj: -500,
				Mems: "1"},
			{PID: 50, Comm: "small", Start: 8, Cgroup: "/tiny", RSS: 100, Adj: 1000, Mems: "0-1"},
			{PID: 51, Comm: "large", Start: 9, Cgroup: "/tiny", RSS: 140, Mems: "0-1"},
		},
	}
}

func ranking(t *testing.T, s Snapshot, o Options) Ranking {
	t.Helper()
	r, err := Rank(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestText: the whole ranking, as it is printed.
func TestText(t *testing.T) {
	before := sample()
	before.AtNS, before.Machine.MemAvailable = 1e9, 1<<30+100<<20
	before.Cgroups[2].Usage = 190 << 20
	var out bytes.Buffer
	if err := ranking(t, sample(), Options{Top: 3, Before: &before}).Text(&out, 0); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{21, 40, 1} {
		one, err := Explain(sample(), pid, Options{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "\n-- --pid %d\n", pid)
		if err := one.Text(&out, 0); err != nil {
			t.Fatal(err)
		}
	}
	golden.File(t, "testdata/rank.txt", out.Bytes())
}

// TestDomains: who is a candidate where, who is first, and why.
func TestDomains(t *testing.T) {
	r := ranking(t, sample(), Options{})
	got := map[string]Domain{}
	for _, d := range r.Domains {
		got[d.Kind+d.Path+d.Nodes] = d
		for _, row := range d.Rows {
			if sum := int64(row.RSS+row.Swap+row.PgTables) + row.AdjPoints; sum != row.Points {
				t.Errorf("%s: pid %d: the parts add up to %d, not to %d", d.Path, row.PID, sum, row.Points)
			}
		}
	}
	if r.Domains[0].Kind != KindMachine || r.Domains[1].Path != "/system.slice/web.service" {
		t.Errorf("the machine comes first and then the fullest; got %q, %q", r.Domains[0].Kind, r.Domains[1].Path)
	}
	for _, tt := range []struct {
		domain            string
		first, candidates int
		exempt            int
	}{
		{"machine", 50, 7, 2},
		{"cgroup" + pod, 21, 2, 0},
		{"cgroup/system.slice/web.service", 31, 2, 0},
		{"cgroup/tiny", 51, 2, 0}, // 256 pages: oom_score_adj is divided away
		{"nodes1", 50, 7, 2},
	} {
		d, ok := got[tt.domain]
		if !ok {
			t.Errorf("%s: no such domain", tt.domain)
			continue
		}
		if d.Rows[0].PID != tt.first || d.Candidates != tt.candidates || d.Exempt != tt.exempt {
			t.Errorf("%s: first %d of %d, %d exempt; want %d of %d, %d", tt.domain, d.Rows[0].PID, d.Candidates,
				d.Exempt, tt.first, tt.candidates, tt.exempt)
		}
	}
	if d := got["cgroup/tiny"]; d.ByScore == nil || d.ByScore.PID != 50 || d.ByScore.Rank != 2 {
		t.Errorf("oom_score puts 50 first in /tiny, which is number 2; got %+v", d.ByScore)
	}
	if d := got["cgroup/system.slice/web.service"]; d.Group == nil || d.Group.Processes != 2 || d.Equal != 2 {
		t.Errorf("the service dies as a group of two equals; got %+v, %d equal", d.Group, d.Equal)
	}
	if d := got["nodes1"]; d.TotalPages != 1<<19+1<<18 {
		t.Errorf("node 1 and all swap are %d pages; got %d", 1<<19+1<<18, d.TotalPages)
	}
}

// TestFirstIsTheModelsChoice: the first row of any domain is the victim of
// predict.Choose.
func TestFirstIsTheModelsChoice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 16))
	for range 300 {
		release := []string{"5.2.1", "5.4.0", "5.10.0", "6.12.0"}[rng.IntN(4)]
		s := Snapshot{Machine: Machine{Release: release, PageSize: 4096,
			MemTotal: kernel.Bytes(1+rng.IntN(1<<20)) << 12, Swappiness: 60},
			Cgroups: []Cgroup{{Path: "/c", Max: size(kernel.Bytes(rng.IntN(1<<16)) << 12)}}}
		var tasks []predict.Task
		for i := range 1 + rng.IntN(12) {
			p := Process{PID: i + 2, Start: uint64(i), Cgroup: "/c", RSS: kernel.Pages(rng.IntN(50)),
				Adj: []int{0, 0, -1000, 500, -500, rng.IntN(2001) - 1000}[rng.IntN(6)]}
			s.Processes = append(s.Processes, p)
			tasks = append(tasks, p.task())
		}
		for _, d := range ranking(t, s, Options{}).Domains {
			index, points := predict.Choose(tasks, d.TotalPages, s.Machine.rules())
			switch {
			case index < 0 && len(d.Rows) > 0:
				t.Fatalf("%s: first is %+v, the model chooses nobody", release, d.Rows[0])
			case index >= 0 && (d.Rows[0].PID != s.Processes[index].PID || d.Rows[0].Points != points):
				t.Fatalf("%s: first is %+v, the model chooses %+v with %d", release, d.Rows[0], s.Processes[index], points)
			}
		}
	}
}

// TestChange: the oom_score_adj that is named changes the place, and none that is
// nearer does.
func TestChange(t *testing.T) {
	s := sample()
	named := 0
	for _, p := range s.Processes {
		one, err := Explain(s, p.PID, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range one.Places {
			first := func(adj int) bool {
				changed := sample()
				for i := range changed.Processes {
					if changed.Processes[i].PID == p.PID {
						changed.Processes[i].Adj = adj
					}
				}
				for _, d := range ranking(t, changed, Options{}).Domains {
					if d.Kind == place.Domain.Kind && d.Path == place.Domain.Path && d.Nodes == place.Domain.Nodes {
						return len(d.Rows) > 0 && d.Rows[0].PID == p.PID && d.Equal == 1
					}
				}
				return false
			}
			if place.Change.Adj == nil {
				continue
			}
			named++
			adj := *place.Change.Adj
			if first(adj) != place.Change.First {
				t.Errorf("pid %d, %s%s: oom_score_adj %d does not change it", p.PID, place.Domain.Kind, place.Domain.Path, adj)
			}
			toward := 1
			if adj > p.Adj {
				toward = -1
			}
			if adj+toward != p.Adj && first(adj+toward) == place.Change.First {
				t.Errorf("pid %d, %s: %d is nearer than %d and does it", p.PID, place.Domain.Path, adj+toward, adj)
			}
		}
	}
	if named < 8 {
		t.Errorf("only %d changes were named", named)
	}
}

// TestOldAdj: both ways of the old scale, as fs/proc/base.c has them.
func TestOldAdj(t *testing.T) {
	for adj, want := range map[int]int{-1000: -17, -999: -16, -500: -8, 0: 0, 58: 0, 59: 1, 500: 8, 941: 15, 999: 15,
		1000: 15} {
		if got := OldAdj(adj); got != want {
			t.Errorf("oom_score_adj %d shows as oom_adj %d, want %d", adj, got, want)
		}
	}
	for old, want := range map[int]int{-17: -1000, -16: -941, -1: -58, 0: 0, 1: 58, 14: 823, 15: 1000} {
		if got, ok := NewAdj(old); got != want || !ok {
			t.Errorf("oom_adj %d sets oom_score_adj %d, %v; want %d", old, got, ok, want)
		}
	}
	for _, old := range []int{-18, 16} {
		if _, ok := NewAdj(old); ok {
			t.Errorf("oom_adj %d is accepted", old)
		}
	}
}

// TestPointsOf: the range has exactly the points that give the score.
func TestPointsOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 16))
	for range 2000 {
		total := kernel.Pages(1 + rng.Int64N(1<<rng.IntN(31)))
		r := predict.Rules{FloorOne: rng.IntN(4) == 0}
		points := rng.Int64N(2*int64(total)+1) - int64(total)
		score := predict.OOMScore(points, total, r)
		s, ok := PointsOf(score, total, r)
		if !ok || points < s.From || points > s.To {
			t.Fatalf("%d points of %d give %d; the range of that is %+v, %v", points, total, score, s, ok)
		}
		for _, outside := range []int64{s.From - 1, s.To + 1} {
			if predict.OOMScore(outside, total, r) == score {
				t.Fatalf("%d points of %d give %d too, outside of %+v", outside, total, score, s)
			}
		}
	}
	if _, ok := PointsOf(100000, 1000, predict.Rules{}); ok {
		t.Error("no points give 100000")
	}
}

// TestNoSuchCgroup: what is not a domain is refused.
func TestNoSuchCgroup(t *testing.T) {
	for cgroup, want := range map[string]string{"/nowhere": "there is no memory cgroup", "/free": "has no limit"} {
		if _, err := Rank(sample(), Options{Cgroup: cgroup}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", cgroup, err, want)
		}
	}
	if _, err := Explain(sample(), 99, Options{}); err == nil || !strings.Contains(err.Error(), "no process 99") {
		t.Errorf("pid 99: %v", err)
	}
}

// FuzzParseList: a list of nodes is bounded, whatever a kernel writes.
func FuzzParseList(f *testing.F) {
	for _, seed := range []string{"0", "0-3,7", "5-1", "0-9999999999", "", "-1", "1-", "0,0,0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		set, ok := parseList(list)
		if !ok && set != nil || len(set) > kernel.MaxNodes {
			t.Errorf("%q: %d nodes, %v", list, len(set), ok)
		}
	})
}

func BenchmarkRank(b *testing.B) {
	s := Snapshot{Machine: sample().Machine}
	for i := range 500 {
		s.Cgroups = append(s.Cgroups, Cgroup{Path: fmt.Sprintf("/system.slice/unit%d.service", i), Max: size(1 << 30)})
	}
	for i := range 5000 {
		s.Processes = append(s.Processes, Process{PID: i + 2, Cgroup: s.Cgroups[i%500].Path, RSS: kernel.Pages(i),
			Mems: "0-1"})
	}
	for b.Loop() {
		if _, err := Rank(s, Options{Top: 5, Domains: 10}); err != nil {
			b.Fatal(err)
		}
	}
}
