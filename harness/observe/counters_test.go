package observe

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
)

// tree writes files below a new directory that stands for a machine.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	vmstatText = "nr_free_pages 1\noom_kill 3\npswpin 0\npswpout 7\n"
	eventsText = "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n"
	localText  = "low 0\nhigh 0\nmax 4\noom 2\noom_kill 0\noom_group_kill 0\n"
)

func TestCounters(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		files   map[string]string
		want    map[string]map[string]int64 // by cgroup and file
	}{
		{
			name: "cgroup v2", version: 2,
			files: map[string]string{
				"proc/vmstat": vmstatText, "cg/memory.events": eventsText, "cg/memory.events.local": localText,
				"cg/lab/memory.events": eventsText, "cg/lab/memory.events.local": localText,
			},
			want: map[string]map[string]int64{
				" vmstat": {"oom_kill": 3, "pswpin": 0, "pswpout": 7},
				"/ memory.events": {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 1,
					"oom_group_kill": 0},
				"/ memory.events.local": {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 0,
					"oom_group_kill": 0},
				"/lab memory.events": {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 1,
					"oom_group_kill": 0},
				"/lab memory.events.local": {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 0,
					"oom_group_kill": 0},
			},
		},
		{
			name: "cgroup v2 without local events", version: 2,
			files: map[string]string{"proc/vmstat": vmstatText, "cg/memory.events": eventsText,
				"cg/lab/memory.events": eventsText},
			want: map[string]map[string]int64{
				" vmstat":            {"oom_kill": 3, "pswpin": 0, "pswpout": 7},
				"/ memory.events":    {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 1, "oom_group_kill": 0},
				"/lab memory.events": {"low": 0, "high": 0, "max": 4, "oom": 2, "oom_kill": 1, "oom_group_kill": 0},
			},
		},
		{
			name: "cgroup v1", version: 1,
			files: map[string]string{
				"proc/vmstat":           vmstatText,
				"cg/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "cg/memory.failcnt": "12\n",
				"cg/lab/memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n",
				"cg/lab/memory.failcnt":     "0\n",
			},
			want: map[string]map[string]int64{
				" vmstat":                 {"oom_kill": 3, "pswpin": 0, "pswpout": 7},
				"/ memory.oom_control":    {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 1},
				"/ memory.failcnt":        {"failcnt": 12},
				"/lab memory.oom_control": {"oom_kill_disable": 0, "under_oom": 1, "oom_kill": 2},
				"/lab memory.failcnt":     {"failcnt": 0},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := tree(t, test.files)
			c, err := OpenCounters(CountersOptions{Root: root, Version: test.version, Base: filepath.Join(root, "cg"),
				Cgroups: []string{"/lab"}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got := map[string]map[string]int64{}
			err = c.Read("before", func(e evidence.Event) {
				if e.Source != evidence.Counters || e.Kind != evidence.Reading || e.AtNS == 0 ||
					e.Counter.When != "before" {
					t.Errorf("event %+v", e)
				}
				got[e.Counter.Cgroup+" "+e.Counter.File] = e.Counter.Values
			})
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range test.want {
				if !maps.Equal(got[key], want) {
					t.Errorf("%s: %v, want %v", key, got[key], want)
				}
				delete(got, key)
			}
			if len(got) > 0 {
				t.Errorf("read besides: %v", got)
			}
		})
	}
}

// A second reading sees what has changed, longer files too.
func TestCountersReadAgain(t *testing.T) {
	root := tree(t, map[string]string{"proc/vmstat": "oom_kill 1\n", "cg/memory.events": eventsText})
	c, err := OpenCounters(CountersOptions{Root: root, Version: 2, Base: filepath.Join(root, "cg")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	long := strings.Repeat("nr_filler_that_makes_the_file_long 1\n", 1) // no key comes twice
	for i := range 300 {
		long += "nr_filler_" + strings.Repeat("x", i) + " 1\n"
	}
	if err := os.WriteFile(filepath.Join(root, "proc/vmstat"), []byte(long+"oom_kill 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var kills int64
	err = c.Read("after", func(e evidence.Event) {
		if e.Counter.File == "vmstat" {
			kills = e.Counter.Values["oom_kill"]
		}
	})
	if err != nil || kills != 2 {
		t.Errorf("%d kills, %v; want 2", kills, err)
	}
}

func TestCountersErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
		read  bool // the error comes when it is read
	}{
		{"no proc", map[string]string{"cg/memory.events": eventsText}, "is /proc mounted?", false},
		{"no such cgroup", map[string]string{"proc/vmstat": vmstatText},
			"cg holds neither memory.events nor memory.events.local", false},
		{"garbage", map[string]string{"proc/vmstat": vmstatText, "cg/memory.events": "what?\n"}, "cg/memory.events: ",
			true},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := tree(t, test.files)
			c, err := OpenCounters(CountersOptions{Root: root, Version: 2, Base: filepath.Join(root, "cg")})
			if test.read {
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				others := 0
				err = c.Read("before", func(evidence.Event) { others++ })
				if others != 1 {
					t.Errorf("%d other files were read, want vmstat", others)
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

func TestSampler(t *testing.T) {
	root := tree(t, map[string]string{
		"proc/meminfo": "MemTotal: 100 kB\nMemFree: 40 kB\nSwapTotal: 20 kB\nSwapFree: 10 kB\n",
		"proc/loadavg": "1.50 0.10 0.05 1/80 4242\n",
		"proc/pressure/memory": "some avg10=2.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.25 avg60=0.00 " +
			"avg300=0.00 total=1\n",
		"cg/lab/memory.current": "8192\n",
		"proc/7/status": "Name:\tx\nState:\tS " +
			"(sleeping)\nTgid:\t7\nPid:\t7\nPPid:\t1\nUid:\t0\t0\t0\t0\nVmRSS:\t8 kB\nVmSwap:\t4 kB\nThreads:\t1\n",
	})
	s, err := OpenSampler(SamplerOptions{
		Root: root, Version: 2, Base: filepath.Join(root, "cg"), Cgroups: []string{"/lab"}, Period: time.Millisecond,
		Processes: func() map[string]int { return map[string]int{"x": 7, "gone": 8} },
	})
	if err != nil {
		t.Fatal(err)
	}
	samples := make(chan evidence.Event, 1)
	s.Start(func(e evidence.Event) {
		select {
		case samples <- e:
		default:
		}
	})
	var e evidence.Event
	select {
	case e = <-samples:
	case <-time.After(10 * time.Second):
		t.Fatal("no sample within 10 s of a period of 1 ms")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	d := e.Sample
	if e.Source != evidence.Sampler || e.Kind != evidence.Sample || d == nil {
		t.Fatalf("event %+v", e)
	}
	if d.Cgroups["/lab"] != 8192 || d.MemFree != 40<<10 || d.SwapFree != 10<<10 || d.Load1 != 1.5 {
		t.Errorf("sample %+v", d)
	}
	if len(d.Processes) != 1 || d.Processes["x"] != (evidence.ProcessUsage{RSS: 8 << 10, Swap: 4 << 10}) {
		t.Errorf("processes %+v", d.Processes)
	}
	if d.PSISome == nil || *d.PSISome != 2.5 || d.PSIFull == nil || *d.PSIFull != 1.25 {
		t.Errorf("pressure %v, %v", d.PSISome, d.PSIFull)
	}
}

func TestSamplerRefuses(t *testing.T) {
	if _, err := OpenSampler(SamplerOptions{}); err == nil || !strings.Contains(err.Error(), "a period of 0s") {
		t.Errorf("no period: %v", err)
	}
	root := tree(t, map[string]string{"proc/meminfo": "", "proc/loadavg": ""})
	_, err := OpenSampler(SamplerOptions{Root: root, Version: 1, Base: root, Cgroups: []string{"/lab"},
		Period: time.Second})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "lab/memory.usage_in_bytes") {
		t.Errorf("a cgroup that is not there: %v", err)
	}
}
