package rank

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// TestNeedsIsEnough: a ranking of random machines is the same whether all processes
// were read or only those that it needs, and that is fewer.
func TestNeedsIsEnough(t *testing.T) {
	spared := 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 16))
		s := random(rng)
		o := Options{Top: 1 + rng.IntN(6), Domains: 1 + rng.IntN(4)}
		if rng.IntN(4) == 0 {
			o.Cgroup = s.Cgroups[rng.IntN(len(s.Cgroups))].Path
		}
		if o.Everyone(s.Machine) {
			t.Fatalf("seed %d: %+v needs everyone", seed, o)
		}
		small := s
		small.Processes = nil
		var all []Brief
		for i := range s.Processes {
			p := &s.Processes[i]
			all = append(all, Brief{p.PID, p.Cgroup, machineScore(p, s.Machine, s.Machine.rules())})
		}
		needs, err := s.Needs(all, o)
		if _, rankErr := Rank(s, o); (err == nil) != (rankErr == nil) {
			t.Fatalf("seed %d: Needs says %v, Rank %v", seed, err, rankErr)
		}
		if err != nil {
			continue
		}
		for i, b := range all {
			if needs(b) {
				small.Processes = append(small.Processes, s.Processes[i])
			} else {
				small.Briefs = append(small.Briefs, b)
			}
		}
		spared += len(small.Briefs)
		if got, want := ranked(t, small, o), ranked(t, s, o); got != want {
			t.Fatalf("seed %d, %+v: with %d of %d processes\n%s\ninstead of\n%s", seed, o, len(small.Processes),
				len(s.Processes), got, want)
		}
	}
	if spared == 0 {
		t.Error("all processes were needed each time")
	}
}

func ranked(t *testing.T, s Snapshot, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := JSON(&b, ranking(t, s, o)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// random is a machine with one node, nested cgroups, and processes of which many are
// equal.
func random(rng *rand.Rand) Snapshot {
	s := Snapshot{Machine: sample().Machine}
	s.Machine.Nodes = map[int]kernel.Pages{0: 1 << 20}
	if rng.IntN(3) == 0 {
		s.Machine.Release = "5.10.262"
	}
	s.Cgroups = []Cgroup{{Path: "/"}}
	for i := range 1 + rng.IntN(8) {
		parent := s.Cgroups[rng.IntN(len(s.Cgroups))].Path
		if parent == "/" {
			parent = ""
		}
		c := Cgroup{Path: fmt.Sprintf("%s/c%d", parent, i), Group: rng.IntN(4) == 0}
		if rng.IntN(2) == 0 {
			c.Max, c.Usage = size(kernel.Bytes(rng.IntN(1<<30))), kernel.Bytes(rng.IntN(1<<29))
		}
		s.Cgroups = append(s.Cgroups, c)
	}
	for i := range 1 + rng.IntN(60) {
		in := s.Cgroups[rng.IntN(len(s.Cgroups))].Path
		p := Process{PID: 1 + i, Comm: "p", Start: uint64(rng.IntN(20)), Cgroup: in,
			RSS: kernel.Pages(rng.IntN(4) * rng.IntN(100000)), Init: i == 0, Mems: "0"}
		if rng.IntN(3) == 0 {
			p.Adj = predict.AdjMin + rng.IntN(2001)
		}
		if rng.IntN(8) == 0 {
			p.Adj = predict.AdjMin
		}
		s.Processes = append(s.Processes, p)
	}
	return s
}
