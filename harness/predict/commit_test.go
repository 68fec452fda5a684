package predict_test

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/stressor/profile"
)

// promising is a guest of 512Mi as measured on 6.12.118.
func promising() kernel.Machine {
	m := guest()
	m.MemTotal, m.MemFree, m.MemAvailable, m.WatermarkMin = 482557952, 424718336, 387477504, 5871
	m.Badness, m.CommittedAS = kernel.ReadsExact, 127094784
	m.Stressor = kernel.Footprint{Anon: 147, File: 2, Shmem: 444, PgTable: 19, Threads: 5, Charged: 196,
		Committed: 10142, Virtual: 306772}
	m.Sysctls = map[string]string{"vm.overcommit_memory": "0", "vm.overcommit_ratio": "50",
		"vm.overcommit_kbytes": "0", "vm.user_reserve_kbytes": "13928", "vm.admin_reserve_kbytes": "8192"}
	return m
}

// steps is a process that does these and holds.
func steps(name string, after []string, all ...profile.Step) plan.Process {
	return plan.Process{Name: name, Of: name, After: after,
		Profile: profile.Profile{Name: name, Steps: append(all, profile.Step{Op: profile.Hold})}}
}

func mapped(mib int) profile.Step { return profile.Step{Op: profile.Map, Bytes: int64(mib) << 20} }

func TestRefused(t *testing.T) {
	bystander := hog("bystander", "", 0, 64)
	greedy := hog("hog", "", 0, 2048, "bystander")
	as := func(uid int, p plan.Process) plan.Process { p.Launch.UID = uid; return p }
	ending := hog("first", "", 0, 96)
	ending.Profile.Steps[1] = profile.Step{Op: profile.Exit}
	leak := steps("leak", []string{"bystander"}, profile.Step{Op: profile.Leak, Rate: 64 << 20})
	for _, tt := range []struct {
		name      string
		sysctls   map[string]string
		swap      kernel.Bytes
		processes []plan.Process
		fails     map[string]int64 // what they hold by then, in Mi
		killed    []string
	}{
		{
			// 117812 pages * 80 % - 3482 reserved - 31029 - (10142+16384) - 10142 = 23070: one
			// piece of 16384 pages fits and two do not
			name:      "a limit of 80 %",
			sysctls:   map[string]string{"vm.overcommit_memory": "2", "vm.overcommit_ratio": "80"},
			processes: []plan.Process{bystander, greedy}, fails: map[string]int64{"hog": 64},
		}, {
			name: "without end", sysctls: map[string]string{"vm.overcommit_memory": "2", "vm.overcommit_ratio": "80"},
			processes: []plan.Process{bystander, leak}, fails: map[string]int64{"leak": 64},
		}, {
			name: "swap is promised as well", swap: 256 * kernel.MiB,
			sysctls:   map[string]string{"vm.overcommit_memory": "2", "vm.overcommit_ratio": "80"},
			processes: []plan.Process{bystander, greedy}, fails: map[string]int64{"hog": 320},
		}, {
			name: "a pool of huge pages is not promised", sysctls: map[string]string{"vm.overcommit_memory": "2",
				"vm.overcommit_ratio": "80", "vm.nr_hugepages": "32"},
			processes: []plan.Process{bystander, greedy}, fails: map[string]int64{"hog": 0},
		}, {
			// the machine's own ratio of 50 does not count then
			name: "an amount for a limit", sysctls: map[string]string{"vm.overcommit_memory": "2",
				"vm.overcommit_kbytes": "377000"},
			processes: []plan.Process{bystander, greedy}, fails: map[string]int64{"hog": 64},
		}, {
			// 96256 - 3482 - 31029 - 26526 - 10142 = 25077 pages would do for 88Mi; without
			// CAP_SYS_ADMIN 16Mi of it are root's
			name: "root", sysctls: map[string]string{"vm.overcommit_memory": "2", "vm.overcommit_kbytes": "385024",
				"vm.admin_reserve_kbytes": "65536"},
			processes: []plan.Process{bystander, hog("app", "", 0, 64, "bystander")},
		}, {
			name: "who is not root", sysctls: map[string]string{"vm.overcommit_memory": "2",
				"vm.overcommit_kbytes": "385024", "vm.admin_reserve_kbytes": "65536"},
			processes: []plan.Process{bystander, as(1000, hog("app", "", 0, 64, "bystander"))},
			fails:     map[string]int64{"app": 0},
		}, {
			name: "what nobody touches counts", sysctls: map[string]string{"vm.overcommit_memory": "2",
				"vm.overcommit_kbytes": "393216"},
			processes: []plan.Process{steps("miser", nil, mapped(128)), hog("app", "", 0, 64, "miser")},
			fails:     map[string]int64{"app": 0},
		}, {
			name:      "who ends gives it back",
			sysctls:   map[string]string{"vm.overcommit_memory": "2", "vm.overcommit_ratio": "80"},
			processes: []plan.Process{ending, hog("second", "", 0, 96, "first")},
		}, {
			name: "everything is promised", sysctls: map[string]string{"vm.overcommit_memory": "1"},
			processes: []plan.Process{bystander, steps("hog", []string{"bystander"}, mapped(1<<20),
				profile.Step{Op: profile.Touch, Bytes: 2 << 30})},
			killed: []string{"hog"},
		}, {
			name: "one mapping larger than the machine",
			processes: []plan.Process{steps("at-once", nil, mapped(461)),
				steps("in-parts", []string{"at-once"}, mapped(460), mapped(460))},
			fails: map[string]int64{"at-once": 0},
		}, {
			name: "one mapping larger than RAM, and not than swap too", swap: 256 * kernel.MiB,
			processes: []plan.Process{steps("at-once", nil, mapped(700))},
		}, {
			name: "the limit is more than there is", sysctls: map[string]string{"vm.overcommit_memory": "2",
				"vm.overcommit_ratio": "300"},
			processes: []plan.Process{bystander, greedy}, killed: []string{"hog"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan.Plan{Processes: tt.processes}
			for _, key := range slices.Sorted(maps.Keys(tt.sysctls)) {
				p.Sysctls = append(p.Sysctls, plan.Sysctl{Key: key, Value: tt.sysctls[key]})
			}
			if tt.swap > 0 {
				p.Swap = &plan.Swap{Kind: "disk", Size: tt.swap}
			}
			got := predict.Outcome(p, promising(), nil)
			if got.Unsure != "" || !slices.Equal(got.Killed, tt.killed) || len(got.Fails) != len(tt.fails) ||
				len(got.MayFail)+len(got.Doomed) > 0 {
				t.Fatalf("killed %v, fails %v, may fail %v, unsure %q; want %v killed and %v to fail", got.Killed,
					got.Fails, got.MayFail, got.Unsure, tt.killed, tt.fails)
			}
			for name, mib := range tt.fails {
				want := predict.Refused{Errno: profile.ENOMEM, Held: predict.Range{Lo: kernel.Pages(mib * 256),
					Hi: kernel.Pages(mib * 256)}}
				end := predict.Ends{Code: 71, Errno: profile.ENOMEM, Sure: true}
				if got.Fails[name] != want || got.Ends[name] != end {
					t.Errorf("%s: %+v, ends %+v; want %+v", name, got.Fails[name], got.Ends[name], want)
				}
			}
		})
	}
}

// TestRefusedToTheMegabyte: a process that took 1Mi at a time was refused after 91Mi on
// 6.12.118. The numbers of other kernels are as close to the upper bound.
func TestRefusedToTheMegabyte(t *testing.T) {
	all := []profile.Step{{Op: profile.Touch, Bytes: 64 << 20}}
	for range 61 {
		all = append(all, profile.Step{Op: profile.Touch, Bytes: 1 << 20})
	}
	got := predict.Outcome(plan.Plan{Processes: []plan.Process{hog("bystander", "", 0, 64),
		steps("hog", []string{"bystander"}, all...)}, Sysctls: []plan.Sysctl{{Key: "vm.overcommit_memory", Value: "2"},
		{Key: "vm.overcommit_ratio", Value: "80"}}}, promising(), nil)
	const seen, wide = 23296, 8192
	if r := got.Fails["hog"].Held; r.Lo > seen || r.Hi < seen || r.Hi-r.Lo > wide || got.Unsure != "" {
		t.Errorf("held %+v, unsure %q; seen were %d, and %d is wide enough", r, got.Unsure, seen, wide)
	}
}

// TestRefusedOrKilled: the higher the limit, the more a process has before it is refused,
// until it is killed before. In between it may be either, and is one of them.
func TestRefusedOrKilled(t *testing.T) {
	held, killed, doomed := kernel.Pages(-1), false, 0
	for ratio := 70; ratio <= 220; ratio += 2 {
		got := predict.Outcome(plan.Plan{Processes: []plan.Process{hog("bystander", "", 0, 64),
			hog("hog", "", 0, 2048, "bystander")}, Sysctls: []plan.Sysctl{{Key: "vm.overcommit_memory", Value: "2"},
			{Key: "vm.overcommit_ratio", Value: strconv.Itoa(ratio)}}}, promising(), nil)
		f, fails := got.Fails["hog"]
		switch dies := slices.Contains(got.Killed, "hog"); {
		case slices.Equal(got.Doomed, []string{"hog"}) && slices.Equal(got.MayFail, got.Doomed) && got.Unsure != "":
			doomed++
		case len(got.MayFail)+len(got.Doomed) > 0 || fails == dies:
			t.Errorf("%d %%: killed %v, fails %v, may fail %v, doomed %v", ratio, got.Killed, got.Fails, got.MayFail,
				got.Doomed)
		case fails && (killed || f.Held.Hi < held):
			t.Errorf("%d %%: refused with %+v held, and before with %d, or killed: %t", ratio, f.Held, held, killed)
		case fails:
			held = f.Held.Hi
		default:
			killed = true
		}
	}
	if held < 16384 || !killed || doomed == 0 {
		t.Errorf("held %d at most, killed %t, %d times either: the limits do not cover all cases", held, killed, doomed)
	}
}

// TestRefusedWhoIsLater: of two that map memory at the same time one is refused, and that
// gives back what the other one needs.
func TestRefusedWhoIsLater(t *testing.T) {
	got := predict.Outcome(plan.Plan{Processes: []plan.Process{hog("a", "", 0, 90), hog("b", "", 0, 90)},
		Sysctls: []plan.Sysctl{{Key: "vm.overcommit_memory", Value: "2"}, {Key: "vm.overcommit_ratio", Value: "80"}}},
		promising(), nil)
	if len(got.Killed) != 0 || got.Unsure == "" || !slices.Equal(got.MayFail, []string{"a", "b"}) {
		t.Errorf("killed %v, may fail %v, unsure %q", got.Killed, got.MayFail, got.Unsure)
	}
}

// TestListsOfTheProcessors: what they keep is free and not in MemFree. The numbers are those
// of 6.18.15 with 512Mi, whose hog had 78644 points: more than MemFree has.
func TestListsOfTheProcessors(t *testing.T) {
	m := guest()
	m.MemTotal, m.MemFree, m.MemAvailable, m.WatermarkMin = 480677888, 383655936, 346492928, 5848
	m.Badness = kernel.ReadsExact
	idle, hog := hog("idle", "", 0, 64), hog("hog", "", 0, 1024, "idle")
	points := func(lists kernel.Pages) predict.Range {
		m.FreePCP = lists
		got := predict.Outcome(plan.Plan{Processes: []plan.Process{idle, hog}}, m, nil)
		if !slices.Equal(got.Killed, []string{"hog"}) || got.Unsure != "" {
			t.Errorf("with %d pages on lists: killed %v, unsure %q", lists, got.Killed, got.Unsure)
		}
		return got.Ranges["hog"]
	}
	without, with := points(0), points(8094)
	const tables = 8094/512 + 2
	if with.Lo > without.Lo || with.Lo < without.Lo-tables || with.Hi < without.Hi+8094 ||
		with.Hi > without.Hi+8094+tables {
		t.Errorf("%v points with 8094 pages on lists, %v without", with, without)
	}
}
