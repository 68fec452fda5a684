package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	jsonschemav6 "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
)

const (
	pod       = "/kubepods/burstable/pod6a6e5c0e-3b0b-4b56-9c0b-2e4a1c1d2f30"
	container = pod + "/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func task(pid int, comm string, anon kernel.Pages, adj int) evidence.Task {
	return evidence.Task{TaskID: evidence.TaskID{PID: pid, TGID: pid, Comm: comm}, StartNS: uint64(pid), UID: 1000,
		Adj: adj, CgroupID: 7, MM: &evidence.MM{Batched: evidence.Counts{Anon: anon, File: 10}, PgTables: 8 << 10,
			Exact: evidence.Counts{Anon: anon + 5, File: 11}, TotalVM: 3 * anon}}
}

func person(t evidence.Task, cgroup string) evidence.Person {
	t.Cgroup = cgroup
	return evidence.Person{Task: t, HWM: 1, Threads: 2, Parent: evidence.TaskID{PID: 1, TGID: 1, Comm: "init"},
		Args: []string{t.Comm, "--flag"}}
}

func bpf(at int64, kind evidence.Kind, decision uint64, t *evidence.Task, c *evidence.OOMControl) evidence.Event {
	e := evidence.Event{AtNS: at, Source: evidence.BPF, Kind: kind, OOM: &evidence.OOM{Decision: decision, Task: t,
		Control: c, Current: evidence.TaskID{PID: 31, TGID: 30, Comm: "trigger"}}}
	if t != nil {
		e.PID = t.TGID
	}
	return e
}

func badness(at int64, t evidence.Task, points int64) evidence.Event {
	e := bpf(at, evidence.Badness, 1, &t, nil)
	e.OOM.Points = &points
	return e
}

func status(at int64, victim, trigger evidence.Person, domain string) evidence.Event {
	return evidence.Event{AtNS: at, Source: evidence.BPF, Kind: evidence.VictimStatus, PID: victim.TGID,
		Killed: &evidence.Killed{Decision: 1, Signal: 9, Victim: victim, Trigger: trigger, Domain: domain,
			Stack: []uint64{1, 2}}}
}

func record(at int64, text string) evidence.Event {
	return evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Record,
		Log: &evidence.LogRecord{Text: text, USec: at / 1000}}
}

// tier3 is what the programs tell of one kill in a container.
func tier3() []evidence.Event {
	big, small := task(20, "app", 5000, 300), task(21, "helper", 100, 968)
	c := &evidence.OOMControl{Constraint: "memcg", MemcgID: 7, TotalPages: 8192, ChosenPoints: 8076, GFP: 0xcc0}
	return []evidence.Event{
		bpf(1e9, evidence.OutOfMemory, 1, nil, c),
		badness(1e9+1, big, 7412), badness(1e9+2, small, 8076), badness(1e9+3, task(1, "init", 5, 0), math.MinInt64),
		bpf(1e9+4, evidence.KillDecision, 1, &small, c), bpf(1e9+5, evidence.MarkVictim, 1, &small, c),
		status(1e9+6, person(small, container), person(task(20, "app", 5000, 300), container), pod),
	}
}

// log is what the kernel writes of a kill.
func log(at int64, pid int, comm string) []evidence.Event {
	var out []evidence.Event
	for i, text := range []string{
		"app invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=300",
		"CPU: 0 PID: 20 Comm: app Not tainted 6.12.0 #1",
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=" + pod + ",task_memcg=" +
			container + fmt.Sprintf(",task=%s,pid=%d,uid=1000", comm, pid),
		fmt.Sprintf("Memory cgroup out of memory: Killed process %d (%s) total-vm:1200kB, anon-rss:400kB, file-rss:40kB, "+
			"shmem-rss:0kB, UID:1000 pgtables:8kB oom_score_adj:968", pid, comm),
	} {
		out = append(out, record(at+int64(i), text))
	}
	return out
}

func feed(a *Assembler, events []evidence.Event) []Kill {
	var out []Kill
	for _, e := range events {
		out = append(out, a.Feed(e)...)
	}
	return out
}

func shown(t *testing.T, k Kill) string {
	t.Helper()
	k.Time = "2026-11-28T12:00:00.000000001Z"
	var b bytes.Buffer
	for _, verbose := range []bool{false, true} {
		if err := Text(&b, k, TextOptions{Verbose: verbose}); err != nil {
			t.Fatal(err)
		}
	}
	if err := JSON(&b, k); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// cases are what the witnesses can tell, with each tier.
func cases() map[string]struct {
	o      Options
	events []evidence.Event
} {
	all := Options{PageSize: 4096, BPF: true, Status: true, Log: true, Tier: 3}
	one := all
	one.Tier = 1
	small := task(21, "helper", 100, 968)
	bare := evidence.Task{TaskID: evidence.TaskID{PID: 21, TGID: 21}}
	onlyPID := append([]evidence.Event{bpf(1e9, evidence.MarkVictim, 0, &bare, nil)}, log(1e9+10, 21, "helper")...)
	marked := []evidence.Event{bpf(1e9, evidence.MarkVictim, 0, &small, nil),
		status(1e9+6, person(small, container), person(task(20, "app", 5000, 300), container), "")}
	machine := tier3()
	for i := range machine {
		if c := machine[i].OOM; c != nil && c.Control != nil {
			sysrq := *c.Control
			sysrq.Constraint, sysrq.Order, sysrq.MemcgID = "none", -1, 0
			machine[i].OOM.Control = &sysrq
		}
		if k := machine[i].Killed; k != nil {
			k.Domain = ""
		}
	}
	lowered := tier3()
	lowered[6] = status(1e9+6, person(small, container), person(task(40, "sh", 10, 0), "/init.scope"), pod)
	signal := status(1e9, person(small, container), person(task(99, "systemd-oomd", 50, 0),
		"/system.slice/systemd-oomd.service"), "")
	signal.Kind = evidence.Signalled
	return map[string]struct {
		o      Options
		events []evidence.Event
	}{
		"tier 3":          {all, tier3()},
		"tier 1 and log":  {one, append(marked, log(1e9+10, 21, "helper")...)},
		"log before mark": {one, append(log(1e9-10, 21, "helper"), marked...)},
		"no BTF":          {Options{PageSize: 4096, BPF: true, Log: true}, onlyPID},
		"rate limit":      {one, append(marked[:2:2], log(1e9+10, 21, "helper")[3])},
		"log only":        {Options{PageSize: 4096, Log: true}, log(1e9, 21, "helper")},
		"sysrq":           {all, machine},
		"lowered":         {all, lowered},
		"signal":          {all, []evidence.Event{signal}},
	}
}

// TestKills: the same kill, as far as each set of witnesses can tell it.
func TestKills(t *testing.T) {
	var out strings.Builder
	for _, name := range []string{"tier 3", "tier 1 and log", "log before mark", "no BTF", "log only",
		"rate limit", "sysrq", "lowered", "signal"} {
		c := cases()[name]
		kills := feed(New(c.o), c.events)
		if len(kills) != 1 {
			t.Errorf("%s: %d kills; want one, without waiting", name, len(kills))
			continue
		}
		fmt.Fprintf(&out, "-- %s\n%s", name, shown(t, kills[0]))
	}
	golden.File(t, "testdata/kills.txt", []byte(out.String()))
}

// TestDetailWaits: with details a kill waits for its end and its line, and not forever.
func TestDetailWaits(t *testing.T) {
	o := Options{PageSize: 4096, BPF: true, Status: true, Log: true, Tier: 3, WaitNS: 1e9}
	a := New(o)
	if got := feed(a, tier3()); len(got) != 0 || !a.Waiting() {
		t.Fatalf("%d kills before anything is known of the end", len(got))
	}
	small := task(21, "helper", 0, 968)
	if got := feed(a, append(log(1e9+100, 21, "helper"), record(1e9+200, "oom_reaper: reaped process 21 (helper), now "+
		"anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"))); len(got) != 0 {
		t.Fatalf("%d kills before the end", len(got))
	}
	got := a.Feed(bpf(1e9+5e6, evidence.TaskExit, 0, &small, nil))
	if len(got) != 1 || got[0].ExitedNS == nil || *got[0].ExitedNS != 5e6-5 || got[0].ReapedNS == nil ||
		*got[0].ReapedNS != 195 || got[0].GFPFlags != "GFP_KERNEL" {
		t.Fatalf("%+v", got)
	}
	feed(a, tier3()[:3])
	other := task(22, "other", 1, 0)
	a.Feed(bpf(2e9, evidence.MarkVictim, 2, &other, nil))
	if got := a.Due(3e9 - 1); len(got) != 0 {
		t.Fatalf("told before the wait was over: %+v", got)
	}
	if got := a.Due(3e9); len(got) != 1 || got[0].Victim.PID != 22 {
		t.Fatalf("not told when the wait was over: %+v", got)
	}
}

// TestGroup: every member is a kill of its own, a second mark of one is not.
func TestGroup(t *testing.T) {
	a := New(Options{PageSize: 4096, BPF: true, Status: true, Tier: 3})
	events := tier3()
	member, again := task(20, "app", 5000, 300), task(20, "app", 5000, 300)
	again.PID = 29
	control := events[5].OOM.Control
	events = append(events, bpf(1e9+8, evidence.MarkVictim, 1, &member, control),
		status(1e9+9, person(member, container), person(member, container), pod),
		bpf(1e9+10, evidence.MarkVictim, 1, &again, control), status(1e9+11, person(again, container),
			person(member, container), pod))
	kills := append(feed(a, events), a.Close()...)
	if len(kills) != 2 || kills[0].Group || !kills[1].Group || *kills[1].Points != 7412 {
		t.Errorf("%d kills: %+v", len(kills), kills)
	}
}

// TestManyWaiting: what never completes is told all the same, and bounded.
func TestManyWaiting(t *testing.T) {
	a := New(Options{PageSize: 4096, BPF: true, Status: true, Log: true, Tier: 1})
	told := 0
	for i := range 3 * maxWaiting {
		x := task(i+1, "x", 1, 0)
		told += len(a.Feed(bpf(int64(i), evidence.MarkVictim, 0, &x, nil)))
	}
	if len(a.waiting) > maxWaiting {
		t.Errorf("%d kills wait", len(a.waiting))
	}
	if told += len(a.Close()); told != 3*maxWaiting {
		t.Errorf("%d kills were told; want %d", told, 3*maxWaiting)
	}
}

// TestFilter: who is shown.
func TestFilter(t *testing.T) {
	k := feed(New(cases()["tier 3"].o), tier3())[0]
	k.Victim.Namespace, k.Victim.Pod = "default", "web-0"
	signal := feed(New(cases()["signal"].o), cases()["signal"].events)[0]
	plain := signal
	plain.Daemon = false
	for _, tt := range []struct {
		f    Filter
		k    Kill
		want bool
	}{
		{Filter{}, k, true},
		{Filter{Cgroup: pod}, k, true},
		{Filter{Cgroup: container}, k, true},
		{Filter{Cgroup: "/kubepods/burst"}, k, false},
		{Filter{PID: 21}, k, true}, {Filter{PID: 20}, k, true}, {Filter{PID: 22}, k, false},
		{Filter{Namespace: "default", Pod: "web-0"}, k, true}, {Filter{Namespace: "other", Pod: "web-0"}, k, false},
		{Filter{}, signal, true}, {Filter{}, plain, false}, {Filter{Signals: true}, plain, true},
	} {
		if got := tt.f.Takes(tt.k); got != tt.want {
			t.Errorf("%+v takes a kill of %d: %v; want %v", tt.f, tt.k.Victim.PID, got, tt.want)
		}
	}
}

// TestSchema: what is printed is valid by the schema, and a key that is misspelt or of
// another type is not.
func TestSchema(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/schema.json", text)
	doc, err := jsonschemav6.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschemav6.NewCompiler()
	if err := c.AddResource("kill.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("kill.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range cases() {
		var b bytes.Buffer
		if err := JSON(&b, feed(New(tt.o), tt.events)[0]); err != nil {
			t.Fatal(err)
		}
		var value map[string]any
		if err := json.Unmarshal(b.Bytes(), &value); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		value["at_ns"] = "soon"
		if schema.Validate(value) == nil {
			t.Errorf("%s: a time that is a text is valid", name)
		}
	}
}

// FuzzLog: whatever stands in a kernel log, kills are bounded and one line of JSON each.
func FuzzLog(f *testing.F) {
	for _, e := range log(1, 21, "a) (b") {
		f.Add(e.Log.Text, "oom_reaper: reaped process 21 (x)", true)
	}
	f.Add("Killed process 1 (", "x invoked oom-killer: gfp_mask=0x", false)
	f.Fuzz(func(t *testing.T, first, second string, withBPF bool) {
		o := Options{PageSize: 4096, Log: true, BPF: withBPF, Status: withBPF, Tier: 1}
		a := New(o)
		x := task(21, first, 1, 0)
		var kills []Kill
		for i, e := range []evidence.Event{record(1, first), record(2, second), bpf(3, evidence.MarkVictim, 0, &x, nil),
			record(4, second), record(5, first)} {
			if e.Kind != evidence.MarkVictim || withBPF {
				kills = append(kills, a.Feed(e)...)
			}
			if len(a.log.lines) > maxReport || len(a.log.known) > maxKnown || len(kills) > i+1 {
				t.Fatalf("%d lines, %d known, %d kills", len(a.log.lines), len(a.log.known), len(kills))
			}
		}
		for _, k := range append(kills, a.Close()...) {
			var b bytes.Buffer
			if err := JSON(&b, k); err != nil || bytes.Count(b.Bytes(), []byte("\n")) != 1 {
				t.Errorf("%q: %v", b.String(), err)
			}
			b.Reset()
			err := Text(&b, k, TextOptions{})
			if err != nil || bytes.Count(b.Bytes(), []byte("\n")) != 1 {
				t.Errorf("%q: %v", b.String(), err)
			}
		}
	})
}
