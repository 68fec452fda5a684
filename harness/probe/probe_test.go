package probe

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The guests were booted with transparent_hugepage=madvise and have none all the
// same: below 512 MiB the kernel switches them off (mm/huge_memory.c,
// hugepage_init).
func TestMachine(t *testing.T) {
	for _, test := range []struct {
		fixture string
		made    string // the cgroup that was made
		want    kernel.Machine
		answers map[kernel.Ability]string
	}{
		{
			fixture: "linux-5.10-v1",
			made:    "/sys/fs/cgroup/memory/oomlab-x/lab",
			want: kernel.Machine{
				Release: "5.10.0-46-cloud-amd64", CPUs: 1, MemTotal: 494104576, THP: "never",
				Cgroup:  kernel.CgroupMount{Version: 1, Root: "/sys/fs/cgroup/memory", Self: "/", Swap: true},
				Badness: kernel.ReadsThreadBatched,
			},
			answers: map[kernel.Ability]string{
				kernel.AbilityOOMGroup:    "no: cgroup v1 has no memory.oom.group",
				kernel.AbilityMemoryHigh:  "no: cgroup v1 has no memory.high",
				kernel.AbilityNegativeAdj: "yes", kernel.AbilityMemcg: "yes",
			},
		},
		{
			fixture: "linux-6.12-v2",
			made:    "/sys/fs/cgroup/oomlab-x/lab",
			want: kernel.Machine{
				Release: "6.12.117+deb13-cloud-amd64", Arch: "x86_64", CPUs: 1, MemTotal: 482562048, THP: "never",
				Cgroup: kernel.CgroupMount{Version: 2, Root: "/sys/fs/cgroup", Self: "/", Swap: true, Group: true,
					Cpuset: true},
				Badness: kernel.ReadsCPUBatched,
			},
			answers: map[kernel.Ability]string{
				kernel.AbilityOOMGroup: "yes", kernel.AbilityMemoryHigh: "yes",
				kernel.AbilityFreeze: "yes: cgroup.freeze",
				kernel.AbilityRoot:   "yes", kernel.AbilityNegativeAdj: "yes", kernel.AbilityMemcg: "yes",
				kernel.AbilityHostOOM: "no: this machine is not to run out of memory as a whole",
				kernel.AbilitySwap:    "unsure: none is on; whether a swap file can be made depends on the file system",
			},
		},
		{
			fixture: "linux-6.12-v2", // no cgroup could be made: the root tells little
			want: kernel.Machine{
				Release: "6.12.117+deb13-cloud-amd64", Arch: "x86_64", CPUs: 1, MemTotal: 482562048, THP: "never",
				Cgroup:  kernel.CgroupMount{Version: 2, Root: "/sys/fs/cgroup", Self: "/", Cpuset: true},
				Badness: kernel.ReadsCPUBatched,
			},
			answers: map[kernel.Ability]string{
				kernel.AbilityMemcg: "no: it was refused",
				kernel.AbilityOOMGroup: "unsure: the root cgroup does not show whether its children have " +
					"memory.oom.group",
			},
		},
		{
			fixture: "linux-7.3-v2",
			made:    "/sys/fs/cgroup/oomlab-x/lab",
			want: kernel.Machine{
				Release: "7.3.4+deb13-cloud-amd64", Arch: "x86_64", CPUs: 1, MemTotal: 475832320, THP: "never",
				Cgroup: kernel.CgroupMount{Version: 2, Root: "/sys/fs/cgroup", Self: "/", Swap: true, Group: true,
					Cpuset: true},
				Badness: kernel.ReadsExact,
			},
			answers: map[kernel.Ability]string{kernel.AbilityOOMGroup: "yes"},
		},
		{
			fixture: "linux-6.18-v1",
			want: kernel.Machine{
				Release: "6.18.44-fc-v669", Arch: "x86_64", CPUs: 2, MemTotal: 25276502016, THP: "madvise",
				Cgroup: kernel.CgroupMount{Version: 1, Root: "/sys/fs/cgroup/memory",
					Self: "/user.slice/session-1.scope", Cpuset: true},
				Badness: kernel.ReadsCPUBatched,
			},
			answers: map[kernel.Ability]string{
				kernel.AbilityRoot: "yes", kernel.AbilityNegativeAdj: "no: lacks CAP_SYS_RESOURCE",
			},
		},
	} {
		name := test.fixture
		if test.made == "" {
			name += " without a cgroup"
		}
		t.Run(name, func(t *testing.T) {
			root := Root(filepath.Join("testdata", test.fixture))
			o := Options{}
			if test.made != "" {
				files := root.CgroupFiles(test.made)
				o.Cgroup = &files
			} else {
				o.CgroupErr = errors.New("it was refused")
			}
			m, err := Machine(t.Context(), root, o)
			if err != nil {
				t.Fatal(err)
			}
			got := kernel.Machine{
				Release: m.Release, Arch: m.Arch, CPUs: m.CPUs, MemTotal: m.MemTotal, THP: m.THP, Cgroup: m.Cgroup,
				Badness: m.Badness,
			}
			if test.want.Arch == "" { // before 6.1 /proc does not tell
				got.Arch = ""
			}
			if !same(got, test.want) {
				t.Errorf("machine\n%+v\nwant\n%+v", got, test.want)
			}
			if m.MemFree <= 0 || m.MemFree > m.MemTotal || m.MemAvailable <= 0 || m.WatermarkMin <= 0 || m.Nodes != 1 {
				t.Errorf("memory: %d free, %d available, watermark %d, %d nodes", m.MemFree, m.MemAvailable,
					m.WatermarkMin, m.Nodes)
			}
			if m.Sysctls["vm.panic_on_oom"] != "0" {
				t.Errorf("sysctls %v", m.Sysctls)
			}
			for ability, want := range test.answers {
				a := m.Abilities[ability]
				if got := strings.TrimSuffix(a.Is+": "+a.Why, ": "); got != want {
					t.Errorf("%s: %q, want %q", ability, got, want)
				}
			}
			for _, ability := range []kernel.Ability{kernel.AbilityTracepoints, kernel.AbilityKprobes} {
				if a := m.Abilities[ability]; a.Is != "unsure" {
					t.Errorf("%s: %+v, want unsure where eBPF was not tried", ability, a)
				}
			}
		})
	}
}

// same compares the fields that TestMachine fills in.
func same(a, b kernel.Machine) bool {
	return a.Release == b.Release && a.Arch == b.Arch && a.CPUs == b.CPUs && a.MemTotal == b.MemTotal &&
		a.THP == b.THP && a.Cgroup == b.Cgroup && a.Badness == b.Badness
}

func TestMachineWithoutProc(t *testing.T) {
	_, err := Machine(t.Context(), Root(t.TempDir()), Options{})
	for _, want := range []string{"osrelease", "cpu/online", "meminfo"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want every file that is missing, %s too", err, want)
		}
	}
}

// Global init and kernel threads are never chosen; the others come oldest first.
func TestOthers(t *testing.T) {
	root := Root("testdata/linux-6.12-v2")
	others, err := root.Others(t.Context(), kernel.Machine{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if len(others) != 1 || others[0].Comm != "sh" || others[0].RSS == 0 || others[0].PgTables == 0 {
		t.Errorf("others %+v, want the shell alone", others)
	}

	dir := t.TempDir()
	add := func(pid, start, adj string) {
		at := filepath.Join(dir, "proc", pid)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		fields := slices.Repeat([]string{"1"}, 50)
		fields[19] = start
		for name, text := range map[string]string{
			"stat": pid + " (x) S " + strings.Join(fields[1:], " "),
			"status": "Name:\tx\nState:\tS (sleeping)\nTgid:\t" + pid + "\nPid:\t" + pid +
				"\nPPid:\t1\nUid:\t0\t0\t0\t0\nThreads:\t1\nVmRSS:\t8 kB\n",
			"oom_score_adj": adj + "\n",
		} {
			if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("1", "1", "0")
	add("7", "300", "0")
	add("300", "100", "500")
	add("9", "100", "-1000")
	others, err = Root(dir).Others(t.Context(), kernel.Machine{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if len(others) != 2 || others[0].PID != 300 || others[0].Adj != 500 || others[1].PID != 7 {
		t.Errorf("others %+v, want 300 and then 7", others)
	}
}

func TestBelow(t *testing.T) {
	for _, test := range []struct{ root, path, want, err string }{
		{"/", "/user.slice", "/user.slice", ""},
		{"/docker/x", "/docker/x", "/", ""},
		{"/docker/x", "/docker/x/y", "/y", ""},
		{"/docker/x", "/docker/xy", "", "is not below /docker/x"},
		{"/docker/x", "/", "", "is not below /docker/x"},
	} {
		got, err := below(&kernel.Mount{Root: test.root, Point: "/cg"}, test.path)
		if got != test.want || (err == nil) != (test.err == "") || err != nil &&
			!strings.Contains(err.Error(), test.err) {
			t.Errorf("below(%s, %s): %q, %v; want %q, %q", test.root, test.path, got, err, test.want, test.err)
		}
	}
}

func TestBootParameter(t *testing.T) {
	root := Root("testdata/linux-5.10-v1")
	if v, ok := root.BootParameter("oomlab.channel"); v != "ttyS1" || !ok {
		t.Errorf("oomlab.channel: %q, %t", v, ok)
	}
	if v, ok := root.BootParameter("oomlab.swap"); ok {
		t.Errorf("oomlab.swap: %q, want none", v)
	}
}

func TestCountList(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-3,8": 5, "0,2-3,7-7": 4} {
		if got, err := countList(list); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", list, got, err, want)
		}
	}
	for _, list := range []string{"", "a", "3-1", "0-", "0,,1"} {
		if n, err := countList(list); err == nil || !strings.Contains(err.Error(), "is not a list of CPUs") {
			t.Errorf("%q: %d, %v; want an error", list, n, err)
		}
	}
}

func TestTier(t *testing.T) {
	hooks := map[string]string{"mark_victim": "raw tracepoint", "oom_badness": "no: kprobe: none\nfentry: none"}
	if a := tier(Options{Tier: 1, Hooks: hooks}, 1); a.Is != "yes" {
		t.Errorf("tracepoints: %+v", a)
	}
	a := tier(Options{Tier: 1, Hooks: hooks}, 3)
	if want := "tier 1; oom_badness: kprobe: none"; a.Is != "no" || a.Why != want {
		t.Errorf("kprobes: %+v, want no: %s", a, want)
	}
}

// TestASwapDiskThatNobodyDrives is no swap: a kernel without virtio has a boot
// parameter for the disk, and no disk.
func TestASwapDiskThatNobodyDrives(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n", "proc/cmdline": "quiet oomlab.swap=/dev/vda\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "proc"), 0o755),
			os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want := "there is no /dev/vda: the kernel has no virtio_pci or no virtio_blk"
	if got := Root(dir).swap(kernel.Machine{}); got.Is != "no" || got.Why != want {
		t.Errorf("without the disk: %+v, want no: %s", got, want)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dev"), 0o755),
		os.WriteFile(filepath.Join(dir, "dev/vda"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := Root(dir).swap(kernel.Machine{}); !got.Yes() {
		t.Errorf("with the disk: %+v", got)
	}
}
