package kernel

import (
	"io"
	"reflect"
	"strings"
	"testing"
)

func ptr[T any](v T) *T { return &v }

// fileCases are the small files of /proc and cgroupfs: what they hold, or the
// error that says why they are not read.
var fileCases = []struct {
	name  string
	parse func(io.Reader) (any, error)
	in    string
	want  any
	err   string
}{
	{
		name: "memory.events of 6.19", parse: erase(ParseMemoryEvents),
		in: "low 0\nhigh 3\nmax 41\noom 2\noom_kill 4\noom_group_kill 1\nsock_throttled 7\n",
		want: MemoryEvents{High: 3, Max: 41, OOM: 2, OOMKill: 4, OOMGroupKill: ptr(uint64(1)),
			SockThrottled: ptr(uint64(7)),
			Values: map[string]uint64{"low": 0, "high": 3, "max": 41, "oom": 2, "oom_kill": 4,
				"oom_group_kill": 1, "sock_throttled": 7}},
	},
	{
		name: "memory.events of 5.10", parse: erase(ParseMemoryEvents),
		in: "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n",
		want: MemoryEvents{Max: 9, OOM: 1, OOMKill: 1,
			Values: map[string]uint64{"low": 0, "high": 0, "max": 9, "oom": 1, "oom_kill": 1}},
	},
	{
		name: "memory.events, cut", parse: erase(ParseMemoryEvents), in: "low 0\nhigh 0\nmax 9\noom 1\n",
		err: "memory.events: no oom_kill; is this the right file?",
	},
	{
		name: "memory.events, not a number", parse: erase(ParseMemoryEvents), in: "low 0\nhigh max\n",
		err: `memory.events:2: "high max": high: "max" is not a number`,
	},
	{
		name: "memory.events, twice", parse: erase(ParseMemoryEvents), in: "low 0\nlow 1\n",
		err: `memory.events:2: "low 1": low comes twice`,
	},
	{
		name: "oom_control", parse: erase(ParseOOMControl), in: "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n",
		want: OOMControl{UnderOOM: true, OOMKill: ptr(uint64(3)), Values: map[string]uint64{"oom_kill_disable": 0,
			"under_oom": 1, "oom_kill": 3}},
	},
	{
		name: "oom_control before 4.13", parse: erase(ParseOOMControl), in: "oom_kill_disable 1\nunder_oom 0\n",
		want: OOMControl{OOMKillDisable: true, Values: map[string]uint64{"oom_kill_disable": 1, "under_oom": 0}},
	},
	{
		name: "oom_control, other file", parse: erase(ParseOOMControl), in: "max 1\n",
		err: "memory.oom_control: no oom_kill_disable; is this the right file?",
	},
	{
		name: "vmstat", parse: erase(ParseVmstat), in: "nr_free_pages 5\noom_kill 2\n",
		want: Vmstat{OOMKill: ptr(uint64(2)), Values: map[string]uint64{"nr_free_pages": 5, "oom_kill": 2}},
	},
	{name: "vmstat, empty", parse: erase(ParseVmstat), in: "\n", err: "vmstat: empty; is /proc mounted?"},
	{name: "vmstat, three fields", parse: erase(ParseVmstat), in: "a b c\n",
		err: `vmstat:1: "a b c": want a name and a number, have 3 fields`},
	{
		name: "status", parse: erase(ParseStatus),
		in: "Name:\ta b\\nc\\\\d:)\nUmask:\t0022\nState:\tS " +
			"(sleeping)\nTgid:\t12\nNgid:\t0\nPid:\t13\nPPid:\t1\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\n" +
			"VmSize:\t    2000 kB\nVmLck:\t       4 kB\nVmRSS:\t     700 kB\nRssAnon:\t     100 kB\nRssFile:\t     " +
			"400 kB\nRssShmem:\t     200 kB\n" +
			"VmPTE:\t      52 kB\nVmSwap:\t       8 kB\nHugetlbPages:\t    2048 kB\nThreads:\t3\nKthread:\t0\n",
		want: Status{Name: "a b\nc\\d:)", State: "S", Tgid: 12, Pid: 13, PPid: 1, UID: 1000, Threads: 3,
			VmSize: ptr(2000 * KiB), VmRSS: ptr(700 * KiB), RssAnon: ptr(100 * KiB), RssFile: ptr(400 * KiB),
			RssShmem: ptr(200 * KiB),
			VmPTE:    ptr(52 * KiB), VmSwap: ptr(8 * KiB), VmLck: ptr(4 * KiB), HugePgs: ptr(2048 * KiB),
			KernelThread: ptr(false)},
	},
	{
		name: "status of a zombie", parse: erase(ParseStatus),
		in:   "Name:\tx\nState:\tZ (zombie)\nTgid:\t2\nPid:\t2\nPPid:\t1\nUid:\t0\t0\t0\t0\nThreads:\t1\n",
		want: Status{Name: "x", State: "Z", Tgid: 2, Pid: 2, PPid: 1, Threads: 1},
	},
	{
		name: "status, no unit", parse: erase(ParseStatus), in: "VmRSS:\t12\n",
		err: `status:1: "VmRSS:\t12": "12" is not an amount such as 1234 kB`,
	},
	{name: "status, cut", parse: erase(ParseStatus), in: "Name:\tx\n", err: "status: no State line; is this " +
		"/proc/PID/status?"},
	{
		name: "stat", parse: erase(ParseStat),
		in: "107 (a) b (c\n) R 1 107 107 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 4 0 6543 63930368 10344 " +
			"18446744073709551615 1 1 0\n",
		want: Stat{PID: 107, Comm: "a) b (c\n", State: 'R', PPID: 1, Threads: 4, StartTime: 6543, VSize: 63930368,
			RSS: 10344},
	},
	{
		name: "stat, cut", parse: erase(ParseStat), in: "1 (x) R 1 2\n",
		err: `stat: "1 (x) R 1 2\n": ends at field 5, want 24 or more`,
	},
	{name: "stat, no name", parse: erase(ParseStat), in: "1 x R", err: `stat: "1 x R": no command name in parentheses`},
	{
		name: "stat, bad field", parse: erase(ParseStat),
		in:  "1 (x) R 1 1 1 0 -1 1 9 0 0 0 1 2 0 0 20 0 4 0 6543 1 x",
		err: `stat: "1 (x) R 1 1 1 0 -1 1 9 0 0 0 1 2 0 0 20 0 4 0 6543 1 x": field 24, "x", is not a number`,
	},
	{
		name: "meminfo", parse: erase(ParseMeminfo),
		in: "MemTotal:        1000 kB\nMemFree:          200 kB\nMemAvailable:     300 kB\nSwapTotal:         50 " +
			"kB\nSwapFree:          40 kB\nHugePages_Total:       2\n",
		want: Meminfo{MemTotal: 1000 * KiB, MemFree: 200 * KiB, MemAvailable: ptr(300 * KiB), SwapTotal: 50 * KiB,
			SwapFree: 40 * KiB,
			Sizes: map[string]Bytes{"MemTotal": 1000 * KiB, "MemFree": 200 * KiB, "MemAvailable": 300 * KiB,
				"SwapTotal": 50 * KiB, "SwapFree": 40 * KiB},
			Counts: map[string]uint64{"HugePages_Total": 2}},
	},
	{
		name: "meminfo, cut", parse: erase(ParseMeminfo), in: "MemTotal:        1000 kB\n",
		err: "meminfo: no MemFree line; is this /proc/meminfo?",
	},
	{
		name: "meminfo, words", parse: erase(ParseMeminfo), in: "MemTotal:        much\n",
		err: `meminfo:1: "MemTotal:        much": "much" is not an amount such as 1234 kB`,
	},
	{
		name: "zoneinfo", parse: erase(ParseZoneinfo),
		in: "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 7\n  pages free     100\n        " +
			"boost    0\n        min      10\n        low      12\n        high     14\n        spanned  4095\n    " +
			"    present  3998\n        managed  3840\n        cma      0\n        protection: (0, 1)\n      " +
			"nr_free_pages 100\n      nr_zone_active_anon 5\n  pagesets\n    cpu: 0\n              count: 1\n      " +
			"        high:  99\n              batch: 1\n    cpu: 1\n              count: 7\n        high     99\n" +
			"Node 0, zone   Normal\n  pages free     900\n        min      20\n        low      25\n        high   " +
			"  30\n        spanned  9000\n        present  9000\n        managed  8000\n  pagesets\n" +
			"Node 1, zone  Movable\n  pages free     0\n        min      32\n        low      32\n        high     " +
			"32\n        spanned  0\n        present  0\n        managed  0\n",
		want: Zoneinfo{Min: 62, Low: 69, High: 76, Managed: 11840, FreePCP: 8, Nodes: 1, Zones: []Zone{
			{Name: "DMA", Free: 100, Min: 10, Low: 12, High: 14, Spanned: 4095, Present: 3998, Managed: 3840,
				FreePCP: 8, ActiveAnon: ptr(Pages(5))},
			{Name: "Normal", Free: 900, Min: 20, Low: 25, High: 30, Spanned: 9000, Present: 9000, Managed: 8000},
			{Node: 1, Name: "Movable", Min: 32, Low: 32, High: 32},
		}},
	},
	{
		name: "zoneinfo, other file", parse: erase(ParseZoneinfo), in: "min 3\n",
		err: `zoneinfo:1: "min 3": comes before the first zone; is this /proc/zoneinfo?`,
	},
	{
		name: "zoneinfo, bad list", parse: erase(ParseZoneinfo), in: "Node 0, zone DMA\n pagesets\n count: x\n",
		err: `zoneinfo:3: " count: x": count: "x" is not a number of pages`,
	},
	{
		name: "zoneinfo, bad number", parse: erase(ParseZoneinfo), in: "Node 0, zone DMA\n min x\n",
		err: `zoneinfo:2: " min x": min: "x" is not a number of pages`,
	},
	{
		name: "pressure", parse: erase(ParsePressure),
		in: "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=99\n",
		want: Pressure{Some: PressureLine{Avg10: 1.5, Avg60: 0.25, TotalUSec: 12345},
			Full: &PressureLine{Avg10: 0.5, TotalUSec: 99}},
	},
	{
		name: "pressure, no some", parse: erase(ParsePressure), in: "full avg10=0.50 avg60=0.00 avg300=0.00 total=99\n",
		err: "pressure: no some line; is this a pressure file?",
	},
	{
		name: "pressure, not a percentage", parse: erase(ParsePressure), in: "some avg10=NaN avg60=0.00 " +
			"avg300=0.00 total=99\n",
		err: `pressure:1: "some avg10=NaN avg60=0.00 avg300=0.00 total=99": "avg10=NaN" is not avg10= with a percentage`,
	},
	{
		name: "loadavg", parse: erase(ParseLoadavg), in: "0.50 1.25 2.00 3/456 7890\n",
		want: Loadavg{Load1: 0.5, Load5: 1.25, Load15: 2, Running: 3, Tasks: 456, LastPID: 7890},
	},
	{name: "loadavg, empty", parse: erase(ParseLoadavg), in: "", err: "loadavg: empty; is /proc mounted?"},
	{
		name: "loadavg, no slash", parse: erase(ParseLoadavg), in: "0.50 1.25 2.00 3 7890\n",
		err: `loadavg:1: "0.50 1.25 2.00 3 7890": "3" is not running/tasks`,
	},
	{
		name: "cgroup", parse: erase(ParseCgroup),
		in: "12:memory:/a:b/c\n3:cpu,cpuacct:/\n1:name=systemd:/x (deleted)\n0::/user.slice\n",
		want: []CgroupEntry{{ID: 12, Controllers: []string{"memory"}, Path: "/a:b/c"},
			{ID: 3, Controllers: []string{"cpu", "cpuacct"}, Path: "/"},
			{ID: 1, Controllers: []string{"name=systemd"}, Path: "/x", Deleted: true}, {Path: "/user.slice"}},
	},
	{name: "cgroup, no path", parse: erase(ParseCgroup), in: "0::x\n",
		err: `cgroup:1: "0::x": path "x" does not begin with /`},
	{
		name: "mountinfo", parse: erase(ParseMountinfo),
		in: `30 23 0:26 /sub /sys/fs/cgroup\040x rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate,memory_localevents` + "\n",
		want: []Mount{{ID: 30, Parent: 23, Root: "/sub", Point: "/sys/fs/cgroup x", Options: []string{"rw", "nosuid"},
			Type:   "cgroup2",
			Source: "cgroup2", SuperOptions: []string{"rw", "nsdelegate", "memory_localevents"}}},
	},
	{
		name: "mountinfo, no dash", parse: erase(ParseMountinfo), in: "30 23 0:26 / / rw\n",
		err: `mountinfo:1: "30 23 0:26 / / rw": no " - " before the type`,
	},
}

func erase[T any](parse func(io.Reader) (T, error)) func(io.Reader) (any, error) {
	return func(r io.Reader) (any, error) {
		v, err := parse(r)
		return v, err
	}
}

func TestFiles(t *testing.T) {
	for _, c := range fileCases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.parse(strings.NewReader(c.in))
			if text := errorText(err); text != c.err {
				t.Fatalf("error %q, want %q", text, c.err)
			}
			if err == nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestMemoryCgroup(t *testing.T) {
	for in, want := range map[string]string{
		"12:memory:/a\n0::/b\n":      "/a", // hybrid: v1 has the controller
		"1:name=systemd:/c\n0::/b\n": "/b",
	} {
		all, err := ParseCgroup(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := MemoryCgroup(all); !ok || c.Path != want {
			t.Errorf("%q: %+v, %v, want %s", in, c, ok, want)
		}
	}
	if c, ok := MemoryCgroup(nil); ok {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestMemoryMounts(t *testing.T) {
	all, err := ParseMountinfo(strings.NewReader("31 23 0:27 /inner /mnt/inner rw - cgroup cgroup rw,memory\n" +
		"32 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n33 23 0:28 / /sys/fs/cgroup/cpu rw - " +
		"cgroup cgroup rw,cpu\n" +
		"34 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"))
	if err != nil {
		t.Fatal(err)
	}
	v1, v2 := MemoryMounts(all)
	if v1 == nil || v1.Point != "/sys/fs/cgroup/memory" || v2 == nil || v2.Point != "/sys/fs/cgroup/unified" {
		t.Errorf("v1 %+v, v2 %+v", v1, v2)
	}
	if v1, v2 := MemoryMounts(all[2:3]); v1 != nil || v2 != nil {
		t.Errorf("of a cpu hierarchy: v1 %+v, v2 %+v", v1, v2)
	}
}

func TestParseKmsgRecord(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Record
		err  string
	}{
		{in: "6,339,5140900,-;NET: Registered\n", want: Record{Priority: 6, Seq: 339, USec: 5140900,
			Text: "NET: Registered"}},
		{in: "30,340,5690716,-,caller=T1;udevd[80]: x\n SUBSYSTEM=acpi\n DEVICE=+acpi:1\n",
			want: Record{Priority: 6, Facility: 3, Seq: 340, USec: 5690716, Caller: "T1", Text: "udevd[80]: x"}},
		{in: `4,1,2,c;a\x0ab\x5c\xff\xzz;c`, want: Record{Priority: 4, Seq: 1, USec: 2, Cont: true,
			Text: "a\nb\\\xff\\xzz;c"}},
		{in: "4,1,2;old", want: Record{Priority: 4, Seq: 1, USec: 2, Text: "old"}},
		{in: "4,1,2,-,later=1,caller=C0;x", want: Record{Priority: 4, Seq: 1, USec: 2, Caller: "C0", Text: "x"}},
		{in: "4,1,2,-;", want: Record{Priority: 4, Seq: 1, USec: 2}},
		{in: "4,1,2,-", err: `kmsg: "4,1,2,-": no semicolon after the header; want prio,seq,usec,flag;text`},
		{in: "4,1;x", err: `kmsg: "4,1": 2 fields before the text; want prio,seq,usec,flag`},
		{in: "x,1,2,-;x", err: `kmsg: "x,1,2,-": priority "x" is not a number`},
		{in: "4,-1,2,-;x", err: `kmsg: "4,-1,2,-": sequence number "-1" is not a number`},
		{in: "4,1,-2,-;x", err: `kmsg: "4,1,-2,-": time "-2" is not a number of microseconds`},
	} {
		got, err := ParseKmsgRecord([]byte(c.in))
		if text := errorText(err); text != c.err || got != c.want {
			t.Errorf("%q: %+v, %q\nwant %+v, %q", c.in, got, text, c.want, c.err)
		}
	}
}

func TestParseCommitted(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 00:02 12 /oomlab-stressor
Size:               1024 kB
VmFlags: rd ex mr mw me
00600000-00640000 rw-p 00200000 00:02 12 /oomlab-stressor
Size:                256 kB
VmFlags: rd wr mr mw me ac
c000000000-c000400000 rw-p 00000000 00:00 0 [anon: Go: heap]
Size:               4096 kB
VmFlags: rd wr mr mw me ac sd
c000400000-c004000000 ---p 00000000 00:00 0 [anon: Go: heap reservation]
Size:              61440 kB
VmFlags: mr mw me nr sd
`
	got, err := ParseCommitted(strings.NewReader(smaps))
	if err != nil || got != 4352*KiB {
		t.Errorf("%v, %v; want 4352 KiB", got, err)
	}
	if _, err := ParseCommitted(strings.NewReader("Size: 4 kB\n")); err == nil ||
		err.Error() != "smaps: no VmFlags line" {
		t.Errorf("without flags: %v", err)
	}
}
