package watch

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cost is what the kernel counted of one program.
type cost struct {
	runs uint64
	took time.Duration
}

// TestGuestCost prints what a kill costs in run time of eBPF programs on each tier, by the
// kernel's own statistics, and how long it takes from a kill to its delivery where kills
// come one at a time. It judges no timing. It fails if a program other than that on exits
// ran while nothing was killed.
func TestGuestCost(t *testing.T) {
	if os.Getpid() != 1 && os.Getenv("OOMLAB_TEST_STORM") == "" {
		t.Skip("needs a virtual machine, or OOMLAB_TEST_STORM: others' kills would be counted")
	}
	defer countRuns(t).Close()
	dirs, _ := stormCgroups(t, 1)
	const kills = 40
	for tier := 1; tier <= 3; tier++ {
		before := costs(t, nil)
		w, err := Open(t.Context(), Options{MaxTier: tier})
		if err != nil {
			t.Skipf("kills cannot be seen here: %v", err)
		}
		if w.Tier() < tier {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			break
		}
		seen := &witnessed{pids: map[int]int{}, told: make(chan int, kills)}
		stop := start(t, w, seen)
		for name, c := range costs(t, before) {
			if c.runs > 0 && !strings.Contains(name, "sched_proce") {
				t.Errorf("%s ran %d times, and nothing was killed", name, c.runs)
			}
		}
		for range kills {
			pid := kill(t, dirs, 1)[0]
			select {
			case told := <-seen.told:
				if told != pid {
					t.Errorf("%d was killed, and %d told", pid, told)
				}
			case <-time.After(time.Minute):
				t.Fatalf("the kill of %d was not told", pid)
			}
		}
		print := costs(t, before)
		stop()
		slices.Sort(seen.late)
		fmt.Printf("cost: tier %d: delivered after %s (median), %s (99 %%); by program:\n", tier, at(seen.late, 50),
			at(seen.late, 99))
		for _, name := range slices.Sorted(maps.Keys(print)) {
			if c := print[name]; c.runs > 0 {
				fmt.Printf("cost:   %-16s %5.1f runs a kill, %6.2f us each, %7.2f us a kill\n", name,
					float64(c.runs)/kills, float64(c.took.Nanoseconds())/float64(c.runs)/1000,
					float64(c.took.Nanoseconds())/kills/1000)
			}
		}
	}
}

// countRuns has the kernel count runs of eBPF programs and their time until it is closed.
func countRuns(t *testing.T) io.Closer {
	t.Helper()
	statistics, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, os.ErrPermission) {
		t.Skipf("the kernel does not count: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return statistics
}

// costs are those of all programs in the kernel but the ones that were there before.
func costs(t *testing.T, before map[string]cost) map[string]cost {
	t.Helper()
	all := map[string]cost{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		stats, err := program.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if _, there := before[info.Name]; !there {
			all[info.Name] = cost{all[info.Name].runs + stats.RunCount, all[info.Name].took + stats.Runtime}
		}
		if err := program.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
