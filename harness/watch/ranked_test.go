package watch

import (
	"cmp"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/rank"
	"github.com/oomlab/oomlab/harness/trace"
)

// some collects kills until there are enough.
type some struct {
	kills []trace.Kill
	want  int
	said  []string
}

func (s *some) Kill(k trace.Kill) error {
	if s.kills = append(s.kills, k); len(s.kills) == s.want {
		return ErrStop
	}
	return nil
}

func (s *some) Trouble(text string) { s.said = append(s.said, text) }

// TestGuestRankedFirst fills a cgroup with processes of random sizes and adjustments,
// ranks it, and lets it run out: the kernel kills in the order of the ranking, and what
// trace tells of the first kill is what the ranking said.
func TestGuestRankedFirst(t *testing.T) {
	if os.Getpid() != 1 {
		t.Skip("needs a virtual machine: negative adjustments, and other tests would see the kills")
	}
	for round := range 3 {
		rng := rand.New(rand.NewPCG(uint64(round), 16))
		dir, path := roomyCgroup(t)
		held := holders(t, rng, dir)
		c, err := census.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		now, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := rank.Rank(now, rank.Options{Cgroup: path})
		if err != nil {
			t.Fatal(err)
		}
		rows := r.Domains[0].Rows
		if len(rows) != len(held) {
			t.Fatalf("%d candidates of %d", len(rows), len(held))
		}
		w, err := Open(t.Context(), Options{Detail: true})
		if err != nil {
			t.Fatal(err)
		}
		seen := &some{want: len(held)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx, seen) }()
		eater := forkMember(t, dir, 0, -1000)
		err = <-ended
		cancel()
		if err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(eater, unix.SIGKILL)
		reapAll(append(held, eater))
		if len(seen.kills) != len(held) {
			t.Fatalf("%d kills of %d: %q", len(seen.kills), len(held), seen.said)
		}
		slices.SortFunc(seen.kills, func(a, b trace.Kill) int { return cmp.Compare(a.AtNS, b.AtNS) })
		for i, k := range seen.kills {
			if k.Victim.PID != rows[i].PID {
				t.Errorf("round %d: kill %d was of %d; the ranking has %d there: %+v", round, i+1, k.Victim.PID, rows[i].PID,
					rows)
				break
			}
		}
		checkTold(t, seen.kills[0], rows[0], path, w.Tier())
	}
}

// checkTold compares what is told of a kill with the row of the ranking.
func checkTold(t *testing.T, k trace.Kill, r rank.Row, path string, tier int) {
	t.Helper()
	if k.Constraint != "memcg" || k.Limit.Cgroup != path || k.Victim.Cgroup != path || *k.Victim.Adj != r.Adj ||
		*k.Order != 0 || !strings.HasPrefix(k.GFPFlags, "GFP_") || k.ExitedNS == nil ||
		k.GoneNS == nil || *k.GoneNS <= 0 {
		t.Errorf("%+v, limit %+v", k, k.Limit)
	}
	if tier < 3 {
		return
	}
	// The kernel's counters of a process at rest may lag by a batch, not more.
	if off := *k.Points - r.Points; off < -300 || off > 300 {
		t.Errorf("the kernel's score is %d, the ranking's %d", *k.Points, r.Points)
	}
	if len(k.Scoreboard) < 5 || k.Scoreboard[0].PID != k.Victim.PID || *k.Scoreboard[0].Points != *k.Points {
		t.Errorf("scoreboard %+v", k.Scoreboard)
	}
	if !slices.Contains(k.Stack, "out_of_memory") {
		t.Errorf("stack %q", k.Stack)
	}
}

// roomyCgroup makes a memory cgroup of 64 MiB without swap.
func roomyCgroup(t *testing.T) (dir, path string) {
	t.Helper()
	dirs, _ := stormCgroups(t, 1)
	if err := os.WriteFile(filepath.Join(dirs[0], "memory.max"), []byte("67108864"), 0); err != nil {
		t.Fatal(err)
	}
	return dirs[0], "/" + filepath.Base(dirs[0])
}

// holders are five processes whose scores differ by more than counters may.
func holders(t *testing.T, rng *rand.Rand, dir string) []int {
	t.Helper()
	var pids []int
	sizes, adjs := rng.Perm(5), rng.Perm(5)
	for i := range 5 {
		// A step of adj weighs 1600 pages, more than all steps of size together.
		pages, adj := 300+300*sizes[i], 100*adjs[i]-200
		pids = append(pids, forkMember(t, dir, pages, adj))
	}
	return pids
}

// forkMember forks a process into the cgroup and waits until it holds pages; 0: it
// takes all there are, and is not waited for.
func forkMember(t *testing.T, dir string, pages, adj int) int {
	t.Helper()
	procs, err := unix.Open(filepath.Join(dir, "cgroup.procs"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(procs)
	zeros, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(zeros)
	var ready, start [2]int
	for _, p := range []*[2]int{&ready, &start} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	size := uintptr(pages * os.Getpagesize())
	pid := forkHolder(uintptr(procs), uintptr(zeros), uintptr(start[0]), uintptr(ready[1]), size)
	if pid <= 0 {
		t.Fatalf("fork: %d", pid)
	}
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(adj)), 0); err != nil {
		t.Fatal(err)
	}
	buf := []byte{0}
	if _, err := unix.Write(start[1], buf); err != nil {
		t.Fatal(err)
	}
	if pages > 0 {
		if _, err := unix.Read(ready[0], buf); err != nil {
			t.Fatal(err)
		}
	}
	for _, fd := range []int{ready[0], ready[1], start[0], start[1]} {
		unix.Close(fd)
	}
	return pid
}

func reapAll(pids []int) {
	for _, pid := range pids {
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
	}
}
