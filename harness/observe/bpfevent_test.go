package observe

import (
	"math"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/oomlab/oomlab/bpf"
	"github.com/oomlab/oomlab/harness/evidence"
)

// TestOOMEvent covers what the recordings do not have.
func TestOOMEvent(t *testing.T) {
	yes, no, points, total, status := true, false, int64(math.MinInt64), int64(999), 7<<8
	current := evidence.TaskID{PID: 12, TGID: 11, Comm: "trigger"}
	base := bpf.Event{AtNs: 5, Decision: 3, CurrentPid: 12, CurrentTgid: 11}
	copy(base.CurrentComm[:], []int8{'t', 'r', 'i', 'g', 'g', 'e', 'r'})
	with := func(change func(*bpf.Event)) bpf.Event {
		e := base
		change(&e)
		return e
	}
	for _, test := range []struct {
		name string
		in   bpf.Event
		kind evidence.Kind
		pid  int
		want evidence.OOM
	}{
		{
			name: "only the thread id is known",
			in:   with(func(e *bpf.Event) { e.Kind, e.Flags, e.Task.Pid = bpf.MarkVictim, bpf.HasTask, 40 }),
			kind: evidence.MarkVictim, pid: 39,
			want: evidence.OOM{Task: &evidence.Task{TaskID: evidence.TaskID{PID: 40, TGID: 39}}},
		},
		{
			name: "the scan met a victim that is still dying",
			in: with(func(e *bpf.Event) {
				e.Kind, e.Flags, e.Task.Tgid = bpf.OOMEvaluateTask, bpf.HasTask|bpf.HasIdentity, 40
			}),
			kind: evidence.Badness, pid: 40,
			want: evidence.OOM{Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 40}},
				Message: "is an OOM victim already"},
		},
		{
			name: "swapoff is chosen first",
			in: with(func(e *bpf.Event) {
				e.Kind, e.Flags, e.Task.Tgid = bpf.OOMEvaluateTask, bpf.HasTask|bpf.HasIdentity|bpf.IsOrigin, 40
			}),
			kind: evidence.Badness, pid: 40,
			want: evidence.OOM{Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 40}}, Message: "oom_task_origin"},
		},
		{
			name: "a task that is never killed has a score, a counter below zero, and no sum",
			in: with(func(e *bpf.Event) {
				e.Kind, e.Flags = bpf.OOMBadness, bpf.HasTask|bpf.HasIdentity|bpf.HasMM|bpf.HasPoints
				e.Points, e.Value, e.Task.Tgid, e.Task.Adj = math.MinInt64, 999, 40, -1000
				e.Task.Batched[bpf.SwapEnts], e.Task.OomSkip, e.Task.MmGone = -3, 1, 1
			}),
			kind: evidence.Badness, pid: 40,
			want: evidence.OOM{Points: &points, TotalPages: &total,
				Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 40}, Adj: -1000,
					MM: &evidence.MM{Batched: evidence.Counts{Swap: -3}, OOMSkip: true, Gone: true,
						ExactUnknown: true}}},
		},
		{
			name: "nothing could be killed",
			in:   with(func(e *bpf.Event) { e.Kind = bpf.OutOfMemoryRet }),
			kind: evidence.OOMReturn,
			want: evidence.OOM{Result: &no},
		},
		{
			name: "a scan that ended at a victim",
			in:   with(func(e *bpf.Event) { e.Kind, e.Value = bpf.GivenUp, 1 }),
			kind: evidence.GivenUp,
			want: evidence.OOM{Result: &yes},
		},
		{
			name: "progress was made, for sysrq-f",
			in: with(func(e *bpf.Event) {
				e.Kind, e.Value, e.Flags, e.Order, e.Constraint = bpf.OutOfMemoryRet, 1, bpf.HasControl, -1, 2
			}),
			kind: evidence.OOMReturn,
			want: evidence.OOM{Result: &yes, Control: &evidence.OOMControl{Order: -1, Constraint: "constraint 2"}},
		},
		{
			name: "a victim that ended of itself",
			in: with(func(e *bpf.Event) {
				e.Kind, e.Value, e.Flags, e.Task.Tgid = bpf.SchedProcessExit, 7<<8, bpf.HasTask|bpf.HasIdentity, 40
			}),
			kind: evidence.TaskExit, pid: 40,
			want: evidence.OOM{ExitCode: &status, Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 40}}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Decision, test.want.Current = 3, current
			want := evidence.Event{AtNS: 5, Source: evidence.BPF, Kind: test.kind, PID: test.pid, OOM: &test.want}
			got := oomEvent(test.in,
				func(c int32) string { return "constraint " + strconv.Itoa(int(c)) },
				func(pid int) int { return pid - 1 })
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.OOM, want, want.OOM)
			}
		})
	}
}

func TestTGID(t *testing.T) {
	b := &BPF{root: t.TempDir()}
	if err := os.MkdirAll(b.root+"/proc/40", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.root+"/proc/40/status", []byte("Name:\tx\nTgid:\t39\nPid:\t40\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.tgid(40); got != 39 {
		t.Errorf("thread 40 is of process %d; want 39", got)
	}
	if got := b.tgid(41); got != 41 {
		t.Errorf("thread 41, which is gone, is of process %d; want 41", got)
	}
}
