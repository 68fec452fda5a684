package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/alone"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// record is a sink that keeps everything.
type record struct {
	mu     sync.Mutex
	events []evidence.Event
}

func (r *record) sink(e evidence.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// of is the events of one kind about one of pids; all pids if there is none.
func (r *record) of(kind evidence.Kind, pids ...int) []evidence.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []evidence.Event
	for _, e := range r.events {
		if e.Kind == kind && (len(pids) == 0 || slices.Contains(pids, e.PID)) {
			out = append(out, e)
		}
	}
	return out
}

func open(t *testing.T, opt BPFOptions) *BPF {
	t.Helper()
	alone.OnMachine(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	before := time.Now()
	b, err := OpenBPF(t.Context(), opt)
	if err != nil && os.Getenv("OOMLAB_TEST_TIER") == "" {
		t.Skipf("needs eBPF: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("tier %d in %v", b.Tier().Tier, time.Since(before).Round(time.Millisecond))
	hooks := b.Tier().Hooks
	for _, hook := range slices.Sorted(maps.Keys(hooks)) {
		if how := hooks[hook]; !strings.HasPrefix(how, "no: above") {
			t.Logf("  %s: %s", hook, how)
		}
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if want := os.Getenv("OOMLAB_TEST_TIER"); want != "" && opt.MaxTier == 0 && !opt.OnlyFentry &&
		strconv.Itoa(b.Tier().Tier) != want {
		t.Fatalf("tier %d; want %s", b.Tier().Tier, want)
	}
	return b
}

func drain(t *testing.T, w interface{ Drain(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// calibrate finds out what oom_badness() reads, with processes of different
// sizes until one decides it.
func calibrate(t *testing.T, b *BPF, dir string) kernel.BadnessReads {
	t.Helper()
	var err error
	for pages := 301; pages < 309; pages++ {
		h := start(t, dir, pages)
		h.ready(t)
		var reads kernel.BadnessReads
		reads, err = b.BadnessReads(t.Context(), h.pid)
		if err == nil {
			return reads
		}
		if !errors.Is(err, ErrInconclusive) {
			break
		}
	}
	t.Fatal(err)
	return ""
}

// TestGuestKill has the kernel choose between two processes and looks at
// everything there is to see of it.
func TestGuestKill(t *testing.T) {
	for name, opt := range map[string]BPFOptions{
		"all":    {},
		"fentry": {OnlyFentry: true},
		"tier 1": {MaxTier: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, opt)
			dir, version := memcg(t, 64<<20)
			tier := b.Tier().Tier
			reads := kernel.BadnessReads("")
			if tier == 3 {
				roomy, _ := memcg(t, 64<<20)
				reads = calibrate(t, b, roomy)
				t.Logf("oom_badness() reads %s", reads)
			}
			var seen record
			if err := b.Start(seen.sink); err != nil {
				t.Fatal(err)
			}
			small := start(t, dir, 2049)
			small.ready(t)
			big := start(t, dir, 0)
			big.killed(t)
			drain(t, b)
			b.Stop()

			checkSeq(t, seen.events)
			if n := len(seen.of(evidence.Lost)); n != 0 {
				t.Errorf("%d events say that some were lost", n)
			}
			checkVictim(t, &seen, big.pid, dir)
			if len(seen.of(evidence.MarkVictim, small.pid)) != 0 {
				t.Errorf("mark_victim of the process that lives")
			}
			if tier >= 2 {
				checkDecision(t, &seen, big.pid, dir, version)
			}
			if tier >= 3 {
				checkScores(t, &seen, reads, 64<<20/4096, small.pid, big.pid)
			}
		})
	}
}

// span is the events that e stands for: one, or those of the scans it counts.
func span(e evidence.Event) (first, last uint64) {
	if e.OOM.FirstSeq != 0 {
		return e.OOM.FirstSeq, e.OOM.Seq
	}
	return e.OOM.Seq, e.OOM.Seq
}

// checkSeq wants the events numbered without gaps and, as far as one thread
// makes them, in the order of time.
func checkSeq(t *testing.T, events []evidence.Event) {
	t.Helper()
	next, at := uint64(1), map[int]int64{}
	for i, e := range events {
		if e.OOM == nil {
			t.Fatalf("event %d (%s) has no OOM", i, e.Kind)
		}
		first, last := span(e)
		if first != next || last < first {
			t.Errorf("event %d of %d (%s, pid %d) has Seq %d to %d; want %d", i+1, len(events), e.Kind, e.PID, first,
				last, next)
		}
		next = last + 1
		// The score is stamped at oom_badness()'s entry and sent at its return.
		who := e.OOM.Current.PID
		if e.AtNS < at[who] && e.Kind != evidence.Badness {
			t.Errorf("event %d (%s) is %d ns older than the one before of thread %d", i+1, e.Kind, at[who]-e.AtNS, who)
		}
		at[who] = e.AtNS
	}
}

func checkVictim(t *testing.T, seen *record, pid int, dir string) {
	t.Helper()
	marks := seen.of(evidence.MarkVictim, pid)
	if len(marks) != 1 {
		t.Fatalf("%d mark_victim of pid %d; want 1; all: %+v", len(marks), pid, seen.of(evidence.MarkVictim))
	}
	if task := marks[0].OOM.Task; task.StartNS == 0 && marks[0].OOM.Current.PID != task.PID {
		t.Logf("mark_victim tells only the thread id %d here", task.PID)
	} else {
		if task.CgroupID != cgroupID(t, dir) {
			t.Errorf("victim in cgroup %d; want %d", task.CgroupID, cgroupID(t, dir))
		}
		if task.MM == nil || task.MM.Batched.Anon < 4096 {
			t.Errorf("victim holds %+v; it fills 64 MiB", task.MM)
		}
		if task.StartNS == 0 || task.Comm != "exe" {
			t.Errorf("victim is %+v; want a start time and the name exe", task.TaskID)
		}
	}
	exits := seen.of(evidence.TaskExit)
	if len(exits) != 1 || exits[0].PID != pid {
		t.Fatalf("ends of victims: %+v; want the one of pid %d", exits, pid)
	}
	if code := exits[0].OOM.ExitCode; code == nil || *code != 9 {
		t.Errorf("wait status %v; want 9", code)
	}
	if exits[0].AtNS <= marks[0].AtNS {
		t.Errorf("the victim ended %d ns before it was marked", marks[0].AtNS-exits[0].AtNS)
	}
}

func checkDecision(t *testing.T, seen *record, pid int, dir string, version int) {
	t.Helper()
	decisions := seen.of(evidence.KillDecision)
	if len(decisions) != 1 || decisions[0].PID != pid {
		t.Fatalf("decisions %+v; want one, to kill %d", decisions, pid)
	}
	d := decisions[0].OOM
	if d.Control.Constraint != "memcg" || d.Control.MemcgID != cgroupID(t, dir) || d.Control.TotalPages != 64<<20/4096 {
		t.Errorf("decision %+v; want memcg %d with 16384 pages", d.Control, cgroupID(t, dir))
	}
	if d.Message != "Memory cgroup out of memory" {
		t.Errorf("message %q", d.Message)
	}
	kills := seen.of(evidence.Kill)
	if len(kills) != 1 || kills[0].PID != pid || kills[0].OOM.Decision != d.Decision {
		t.Errorf("kills %+v; want one of %d in decision %d", kills, pid, d.Decision)
	}
	begins, ends := seen.of(evidence.OutOfMemory), seen.of(evidence.OOMReturn)
	if len(begins) == 0 || len(begins) != len(ends) {
		t.Fatalf("%d decisions began and %d ended", len(begins), len(ends))
	}
	if last := ends[len(ends)-1].OOM; last.Result == nil || !*last.Result {
		t.Errorf("the last decision returned %+v; want true", last)
	}
	for i := range begins {
		if begins[i].OOM.Decision == 0 || begins[i].OOM.Decision != ends[i].OOM.Decision {
			t.Errorf("decision %d ended as %d", begins[i].OOM.Decision, ends[i].OOM.Decision)
		}
	}
}

// checkScores wants the kernel's points for every candidate to be, to the page,
// what follows from the counters.
func checkScores(t *testing.T, seen *record, reads kernel.BadnessReads, total int64, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		scores := seen.of(evidence.Badness, pid)
		if len(scores) == 0 {
			t.Errorf("pid %d was not scored", pid)
		}
		for i, e := range scores {
			o := e.OOM
			if o.Message != "" {
				continue // not scored: on its way out
			}
			c := o.Task.MM.Exact
			if reads == kernel.ReadsCPUBatched {
				c = o.Task.MM.Batched
			}
			want := badness(c, *o.Task, *o.TotalPages, kernel.Bytes(os.Getpagesize()))
			if i == 0 {
				t.Logf("pid %d was scored %d times", pid, len(scores))
			}
			if i == len(scores)-1 {
				t.Logf("pid %d: the kernel says %d; batched %+v, exact %+v", pid, *o.Points, o.Task.MM.Batched,
					o.Task.MM.Exact)
			}
			if *o.Points != want {
				t.Errorf("pid %d: the kernel says %d points, its counters %d: %+v", pid, *o.Points, want, o.Task.MM)
			}
			if *o.TotalPages != total {
				t.Errorf("pid %d was scored with %d total pages; want %d", pid, *o.TotalPages, total)
			}
		}
	}
}

// TestGuestDeadLeader kills a process whose first thread has ended: the kernel
// then names and measures another one.
func TestGuestDeadLeader(t *testing.T) {
	b := open(t, BPFOptions{})
	dir, _ := memcg(t, 64<<20)
	var reads kernel.BadnessReads
	if b.Tier().Tier == 3 {
		roomy, _ := memcg(t, 64<<20)
		reads = calibrate(t, b, roomy)
	}
	var seen record
	if err := b.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	h := startAs(t, fmt.Sprintf("leaderless %s 0", dir))
	h.killed(t)
	drain(t, b)
	checkSeq(t, seen.events)
	marks := seen.of(evidence.MarkVictim)
	if len(marks) != 1 || marks[0].PID != h.pid || marks[0].OOM.Task.PID == h.pid {
		t.Fatalf("%+v; want one thread of %d other than the leader", marks, h.pid)
	}
	exits := seen.of(evidence.TaskExit)
	if len(exits) != 1 || exits[0].PID != h.pid || *exits[0].OOM.ExitCode != 9 {
		t.Errorf("%+v; want the end of %d with wait status 9", exits, h.pid)
	}
	if b.Tier().Tier >= 2 {
		if kills := seen.of(evidence.Kill); len(kills) != 1 || kills[0].OOM.Task.PID != marks[0].OOM.Task.PID ||
			kills[0].PID != h.pid {
			t.Errorf("kills %+v; want one of thread %d", kills, marks[0].OOM.Task.PID)
		}
	}
	if b.Tier().Tier == 3 {
		checkScores(t, &seen, reads, 64<<20/4096, h.pid)
	}
}

// TestGuestHostOOM lets a virtual machine run out of memory as a whole, and
// wants every process scored to the page.
func TestGuestHostOOM(t *testing.T) {
	if os.Getpid() != 1 {
		t.Skip("needs a virtual machine of its own")
	}
	b := open(t, BPFOptions{})
	k := openKmsg(t)
	roomy, _ := memcg(t, 64<<20)
	reads := calibrate(t, b, roomy)
	var seen, log record
	if err := b.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	if err := k.Start(log.sink); err != nil {
		t.Fatal(err)
	}
	free, _ := memcg(t, 4<<30)
	small := start(t, free, 2049)
	small.ready(t)
	big := start(t, free, 0)
	big.killed(t)
	drain(t, b)
	drain(t, k)
	checkSeq(t, seen.events)
	kills := seen.of(evidence.KillDecision)
	if len(kills) != 1 || kills[0].PID != big.pid || kills[0].OOM.Control.Constraint != "none" ||
		kills[0].OOM.Message != "Out of memory" {
		t.Fatalf("%+v; want one decision without constraint to kill %d", kills, big.pid)
	}
	total := int64(kills[0].OOM.Control.TotalPages)
	if total <= 0 || total > 512<<20/4096 {
		t.Errorf("%d total pages in a machine of 512 MiB", total)
	}
	checkScores(t, &seen, reads, total, small.pid, big.pid)
	if said(&log, fmt.Sprintf("Out of memory: Killed process %d (exe)", big.pid)) != 1 ||
		len(log.of(evidence.Lost)) != 0 {
		t.Errorf("the log: %q", log.texts())
	}
}

// TestGuestStorm lets processes fight for one limit, and wants each of them
// killed, marked and ended exactly once.
func TestGuestStorm(t *testing.T) {
	b := open(t, BPFOptions{})
	dir, _ := memcg(t, 64<<20)
	var seen record
	if err := b.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	var all []*held
	for range 8 {
		all = append(all, start(t, dir, 0))
	}
	for _, h := range all {
		h.killed(t)
	}
	drain(t, b)
	checkSeq(t, seen.events)
	for _, h := range all {
		if marks, ends := len(seen.of(evidence.MarkVictim, h.pid)),
			len(seen.of(evidence.TaskExit, h.pid)); marks != 1 || ends != 1 {
			t.Errorf("pid %d: marked %d times, ended %d times", h.pid, marks, ends)
		}
		if n := len(seen.of(evidence.Kill, h.pid)); n != 1 && b.Tier().Tier >= 2 {
			t.Errorf("pid %d: killed %d times", h.pid, n)
		}
	}
	if n, m := len(seen.of(evidence.MarkVictim)), len(seen.of(evidence.TaskExit)); n != len(all) || m != len(all) {
		t.Errorf("%d victims, %d ends; want %d", n, m, len(all))
	}
	waits := uint64(0)
	for _, e := range seen.of(evidence.GivenUp) {
		waits += e.N
	}
	t.Logf("%d decisions, and %d scans that ended at a victim that was dying already",
		len(seen.of(evidence.OutOfMemory)), waits)
}

// TestGuestGroupKill wants one event for each attempted kill of a group, the
// victim's second one included.
func TestGuestGroupKill(t *testing.T) {
	b := open(t, BPFOptions{})
	dir, version := memcg(t, 64<<20)
	if version != 2 {
		t.Skip("needs memory.oom.group, which is in cgroup v2")
	}
	if b.Tier().Tier < 2 {
		t.Skip("needs tier 2")
	}
	if err := os.WriteFile(dir+"/memory.oom.group", []byte("1"), 0); err != nil {
		t.Skipf("needs memory.oom.group: %v", err)
	}
	var seen record
	if err := b.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	one, two := start(t, dir, 101), start(t, dir, 102)
	one.ready(t)
	two.ready(t)
	big := start(t, dir, 0)
	for _, h := range []*held{one, two, big} {
		h.killed(t)
	}
	drain(t, b)

	checkSeq(t, seen.events)
	if n := len(seen.of(evidence.KillDecision)); n != 1 {
		t.Errorf("%d decisions; want 1", n)
	}
	if first := seen.of(evidence.Kill); len(first) == 0 || first[0].PID != big.pid {
		t.Errorf("first kill %+v; want of %d", first, big.pid)
	}
	for _, h := range []*held{one, two, big} {
		// The victim is met again as a member, and on several CPUs a member whose
		// leader dies during the walk is met again among the dying.
		if n := len(seen.of(evidence.Kill, h.pid)); n < 1 || n > 2 {
			t.Errorf("%d kills of pid %d", n, h.pid)
		}
		threads := map[int]bool{}
		for _, e := range seen.of(evidence.MarkVictim, h.pid) {
			if threads[e.OOM.Task.PID] {
				t.Errorf("two mark_victim of thread %d", e.OOM.Task.PID)
			}
			threads[e.OOM.Task.PID] = true
		}
		// A second kill finds another thread when the leader has let go of the
		// mm already.
		if n := len(threads); n < 1 || n > len(seen.of(evidence.Kill, h.pid)) {
			t.Errorf("mark_victim of %d threads of pid %d", n, h.pid)
		}
		if n := len(seen.of(evidence.TaskExit, h.pid)); n != 1 {
			t.Errorf("%d ends of pid %d; want 1", n, h.pid)
		}
	}
	t.Logf("%d kills, %d marks, %d ends", len(seen.of(evidence.Kill)), len(seen.of(evidence.MarkVictim)),
		len(seen.of(evidence.TaskExit)))
}

// TestGuestPIDNamespace watches from a pid namespace as from a node that is a
// container: processes of it are told with their pid in it too, those of a
// container below it as well, and those outside with none.
func TestGuestPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	dir, _ := memcg(t, 64<<20)
	outside := start(t, dir, 301)
	outside.ready(t)
	if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
		t.Fatal(err)
	}
	first := start(t, dir, 303)
	first.ready(t)
	startAs(t, "contains "+dir+" 305").ready(t) // in a namespace below

	root := t.TempDir()
	for link, to := range map[string]string{
		"sys": "/sys", "proc/kallsyms": "/proc/kallsyms", "proc/1": "/proc/" + strconv.Itoa(first.pid),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, BPFOptions{Root: root})
	seen := &record{}
	if err := b.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	big := start(t, dir, 0)
	inside := numbersInside(t)
	big.killed(t)
	drain(t, b)

	if n := inside[big.pid]; n == 0 || n == big.pid {
		t.Fatalf("pid %d is %d in its namespace; there is nothing to be seen", big.pid, n)
	}
	seenTasks := map[int]bool{}
	for _, e := range seen.events {
		for _, id := range []*evidence.TaskID{&e.OOM.Current, taskID(e.OOM.Task)} {
			if id == nil {
				continue
			}
			seenTasks[id.TGID] = true
			if want, known := inside[id.TGID]; known && id.NSTGID != want {
				t.Errorf("%s of %+v; by its status it is %d in the namespace", e.Kind, *id, want)
			}
		}
	}
	if !seenTasks[big.pid] || b.Tier().Tier == 3 && (!seenTasks[outside.pid] || !seenTasks[first.pid] ||
		len(seenTasks) < 4) {
		t.Errorf("tasks %v were seen; want %d, and at tier 3 all others", seenTasks, big.pid)
	}
}

func taskID(t *evidence.Task) *evidence.TaskID {
	if t == nil {
		return nil
	}
	return &t.TaskID
}

// numbersInside are the pids of all processes in the namespaces just below the initial
// one; 0: it is in none.
func numbersInside(t *testing.T) map[int]int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			numbers, ok := strings.CutPrefix(line, "NStgid:")
			if !ok {
				continue
			}
			fields := strings.Fields(numbers)
			pid, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			out[pid] = 0
			if len(fields) > 1 {
				if out[pid], err = strconv.Atoi(fields[1]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return out
}

// TestGuestLost fills a small ring buffer while nobody reads it, and wants
// every event to be either delivered or counted.
func TestGuestLost(t *testing.T) {
	b := open(t, BPFOptions{Buffer: uint32(os.Getpagesize())})
	dir, _ := memcg(t, 32<<20)
	var seen record
	blocked, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	if err := b.Start(func(e evidence.Event) {
		once.Do(func() { close(blocked); <-goOn })
		seen.sink(e)
	}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		start(t, dir, 0).killed(t)
	}
	<-blocked
	c, err := b.progs.Counts()
	if err != nil {
		t.Fatal(err)
	}
	tried, lost := c.Tried, c.Lost()
	close(goOn)
	drain(t, b)
	if lost == 0 {
		t.Fatalf("%d events found room in a page", tried)
	}
	told := seen.of(evidence.Lost)
	if len(told) != 1 || told[0].N != lost || told[0].Source != evidence.BPF {
		t.Errorf("%+v; want one event with %d lost", told, lost)
	}
	delivered := uint64(0)
	for _, e := range seen.events {
		if e.OOM != nil {
			first, last := span(e)
			delivered += last - first + 1
		}
	}
	if delivered+lost != tried {
		t.Errorf("%d delivered and %d lost; want %d in all", delivered, lost, tried)
	}
	drain(t, b)
	if n := len(seen.of(evidence.Lost)); n != 1 {
		t.Errorf("the loss was told %d times", n)
	}
}

// TestGuestStart wants nothing from before Start and nothing after Stop.
func TestGuestStart(t *testing.T) {
	b := open(t, BPFOptions{MaxTier: 1})
	dir, _ := memcg(t, 32<<20)
	start(t, dir, 0).killed(t)
	var first, second record
	if err := b.Start(first.sink); err != nil {
		t.Fatal(err)
	}
	middle := start(t, dir, 0)
	middle.killed(t)
	drain(t, b)
	b.Stop()
	start(t, dir, 0).killed(t)
	if err := b.Start(second.sink); err != nil {
		t.Fatal(err)
	}
	drain(t, b)
	if n := len(first.of(evidence.MarkVictim)); n != 1 || first.of(evidence.MarkVictim)[0].PID != middle.pid {
		t.Errorf("%d victims; want only %d", n, middle.pid)
	}
	if len(second.events) != 0 {
		t.Errorf("events from before Start: %+v", second.events)
	}
}

func TestBadnessReads(t *testing.T) {
	// 1000 pages of page tables and files, 37 of 101 anonymous ones known.
	task := evidence.Task{TaskID: evidence.TaskID{PID: 7, Comm: "small"}, Adj: -2, MM: &evidence.MM{
		Batched:  evidence.Counts{File: 600, Anon: 37, Swap: -5},
		Exact:    evidence.Counts{File: 600, Anon: 101},
		PgTables: 400 * 4096,
	}}
	unknown := task
	unknown.MM = &evidence.MM{Batched: task.MM.Batched, Exact: task.MM.Batched, PgTables: task.MM.PgTables,
		ExactUnknown: true}
	same := task
	same.MM = &evidence.MM{Batched: task.MM.Exact, Exact: task.MM.Exact, PgTables: task.MM.PgTables}
	for _, test := range []struct {
		name   string
		task   evidence.Task
		points int64
		want   kernel.BadnessReads
		err    string
		is     error
	}{
		// 600+37+400 - 2*(9999/1000): the batched -5 counts as 0.
		{name: "batched", task: task, points: 1019, want: kernel.ReadsCPUBatched},
		{name: "exact", task: task, points: 1083, want: kernel.ReadsExact},
		{name: "neither", task: task, points: 1020, err: "small (pid 7): the kernel says 1020 points; its batched " +
			"counters give 1019 and its exact ones 1083: it was running, or oom_badness() is another function here"},
		{name: "both", task: same, points: 1083, is: ErrInconclusive,
			err: "small (pid 7): both give 1083 points: " + ErrInconclusive.Error()},
		{name: "unknown", task: unknown, points: 1019, is: ErrInconclusive,
			err: "small (pid 7): what the CPUs keep back is not known: " + ErrInconclusive.Error()},
		{name: "never", task: task, points: -1 << 63,
			err: "small (pid 7) has no score: the OOM killer would never choose it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := badnessReads(test.task, test.points, 9999, 4096)
			if got != test.want {
				t.Errorf("reads %q; want %q", got, test.want)
			}
			if text := ""; err != nil && err.Error() != test.err || err == nil && test.err != text {
				t.Errorf("error %v; want %q", err, test.err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}
