package observe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
)

// ring makes the events of a ring buffer. Each takes the time that it is given.
type ring struct {
	decision uint64
	events   []evidence.Event
}

func (r *ring) add(at int64, kind evidence.Kind) {
	r.events = append(r.events, evidence.Event{AtNS: at, Source: evidence.BPF, Kind: kind,
		OOM: &evidence.OOM{Decision: r.decision}})
}

// other adds the end of a process, which is of no decision.
func (r *ring) other(at int64) {
	d := r.decision
	r.decision = 0
	r.add(at, evidence.TaskExit)
	r.decision = d
}

// folded is what comes out, an event a word: its first and last number, its kind and time.
func (r *ring) folded(after uint64) string {
	var out []string
	f := fold{seq: after, sink: func(e evidence.Event) {
		first := e.OOM.Seq
		if e.OOM.FirstSeq != 0 {
			first = e.OOM.FirstSeq
		}
		word := fmt.Sprintf("%d-%d:%s@%d", first, e.OOM.Seq, e.Kind, e.AtNS)
		if e.N != 0 {
			word += fmt.Sprintf("x%d", e.N)
		}
		out = append(out, word)
	}}
	for _, e := range r.events {
		f.add(e)
	}
	f.release()
	return strings.Join(out, " ")
}

// TestFold: scans that were given up become a number, candidates that were kept back come
// where their time is, and of every record exactly one event that comes out speaks.
func TestFold(t *testing.T) {
	for _, test := range []struct {
		name string
		in   func(r *ring)
		want string
	}{
		{"a kill, its candidates sent late", func(r *ring) {
			r.decision = 7
			r.add(10, evidence.OutOfMemory)
			r.other(13)
			r.add(12, evidence.Badness)
			r.add(14, evidence.Badness)
			r.add(15, evidence.KillDecision)
			r.other(16)
			r.add(17, evidence.OOMReturn)
		}, "1-1:out_of_memory@10 2-2:oom_badness@12 3-3:sched_process_exit@13 4-4:oom_badness@14 " +
			"5-5:oom_kill_process@15 6-6:sched_process_exit@16 7-7:out_of_memory_return@17"},
		{"a row of scans", func(r *ring) {
			for r.decision = 1; r.decision <= 3; r.decision++ {
				r.add(int64(10*r.decision), evidence.OutOfMemory)
				r.add(int64(10*r.decision+5), evidence.GivenUp)
			}
		}, "1-6:scans_given_up@35x3"},
		{"candidates that found no room where they are kept", func(r *ring) {
			r.decision = 1
			r.add(10, evidence.OutOfMemory)
			r.add(11, evidence.Badness)
			r.add(12, evidence.Badness)
			r.add(13, evidence.GivenUp)
		}, "1-4:scans_given_up@13x1"},
		{"another's end in a row", func(r *ring) {
			for r.decision = 1; r.decision <= 3; r.decision++ {
				r.add(int64(10*r.decision), evidence.OutOfMemory)
				if r.decision == 2 {
					r.other(23)
				}
				r.add(int64(10*r.decision+5), evidence.GivenUp)
			}
		}, "1-2:scans_given_up@15x1 3-3:sched_process_exit@23 4-7:scans_given_up@35x2"},
		{"a scan that began before anything was delivered", func(r *ring) {
			r.decision = 1
			r.add(13, evidence.GivenUp)
			r.other(14)
		}, "1-1:sched_process_exit@14"},
		{"a scan whose end was lost", func(r *ring) {
			r.decision = 1
			r.add(10, evidence.OutOfMemory)
			r.decision = 2
			r.add(20, evidence.OutOfMemory)
			r.add(21, evidence.OOMReturn)
		}, "1-1:out_of_memory@10 2-2:out_of_memory@20 3-3:out_of_memory_return@21"},
		{"a scan under way at the end", func(r *ring) {
			r.decision = 1
			r.add(10, evidence.OutOfMemory)
			r.add(15, evidence.GivenUp)
			r.decision = 2
			r.add(20, evidence.OutOfMemory)
			r.other(21)
		}, "1-2:scans_given_up@15x1 3-3:out_of_memory@20 4-4:sched_process_exit@21"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r ring
			test.in(&r)
			got := r.folded(0)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if after := r.folded(100); !strings.HasPrefix(after, "101-") {
				t.Errorf("after 100 it goes on with %s", after)
			}
		})
	}
}
