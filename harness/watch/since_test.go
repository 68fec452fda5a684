package watch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/trace"
	"github.com/oomlab/oomlab/harness/verdict"
)

// killLine is how the log tells of a kill, at a second of its clock.
func killLine(seq uint64, second int64, pid int) evidence.Event {
	return evidence.Event{AtNS: second * 1e9, Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
		Seq: seq, USec: second * 1e6, Text: fmt.Sprintf("Memory cgroup out of memory: Killed process %d (hog) "+
			"total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0", pid)}}
}

func otherLine(seq uint64, second int64) evidence.Event {
	return textLine(seq, second, "eth0: link becomes ready")
}

func textLine(seq uint64, second int64, text string) evidence.Event {
	e := killLine(seq, second, 1)
	e.Log.Text = text
	return e
}

// TestPast: what the log and the counter tell of a time that is over is judged where they tell it
// for certain, and only there. The machine was started 1000 s ago; what is asked for began 100 s ago.
func TestPast(t *testing.T) {
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	gap := func(second int64) evidence.Event {
		return evidence.Event{AtNS: second * 1e9, Source: evidence.Kmsg, Kind: evidence.Lost, N: 3, Text: "gap"}
	}
	forged := killLine(3, 950, 9)
	forged.Log.Facility = 1
	group := []evidence.Event{otherLine(0, 0),
		textLine(1, 950, "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
		killLine(2, 950, 7),
		textLine(3, 950, "Tasks in /app are going to be killed due to memory.oom.group set"), killLine(4, 950, 7),
		killLine(5, 950, 8)}
	for _, c := range []struct {
		name    string
		events  []evidence.Event
		counted uint64 // kills since the machine was started
		change  func(*past)
		victims []int
		want    verdict.Verdict
		reason  string
	}{
		{name: "one, and one of before",
			events:  []evidence.Event{otherLine(0, 0), killLine(1, 500, 6), killLine(2, 950, 7)},
			counted: 2, victims: []int{7}, want: verdict.Pass, reason: "1 kill, all of them expected"},
		{name: "nobody",
			events: []evidence.Event{otherLine(0, 0), killLine(1, 500, 6)}, counted: 1, want: verdict.Fail},
		{name: "what a program wrote", events: []evidence.Event{otherLine(0, 0), forged}, want: verdict.Fail},
		{name: "a group, whose first counts twice",
			events: group, counted: 3, victims: []int{7, 8}, want: verdict.Pass},
		{name: "a group that the counter has once",
			events: group, counted: 2, victims: []int{7, 8}, want: verdict.Broken,
			reason: "oom_kill of /proc/vmstat tells of 1 kill"},
		{name: "the counter has one more", events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7)}, counted: 2,
			victims: []int{7}, want: verdict.Broken, reason: "oom_kill of /proc/vmstat tells of 2 kills"},
		{name: "the counter has one less",
			events:  []evidence.Event{otherLine(0, 0), killLine(1, 500, 6), killLine(2, 950, 7)},
			counted: 1, victims: []int{7}, want: verdict.Broken, reason: "oom_kill of /proc/vmstat tells of 0 kills"},
		{name: "one more while the log was read",
			events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7)}, counted: 2,
			change: func(p *past) { p.before.n = 1 }, victims: []int{7}, want: verdict.Pass},
		{name: "old records are gone, and kills with them",
			events:  []evidence.Event{otherLine(80, 800), killLine(81, 950, 7)},
			counted: 5, victims: []int{7}, want: verdict.Pass,
			reason: "1 kill, all of them expected; kernel log alone tells of that"},
		{name: "old records are gone, and no kill", events: []evidence.Event{otherLine(80, 800), killLine(81, 950, 7)},
			counted: 1, victims: []int{7}, want: verdict.Pass, reason: "1 kill, all of them expected"},
		{name: "the log begins too late",
			events: []evidence.Event{otherLine(80, 930), killLine(81, 950, 7)}, counted: 2,
			victims: []int{7}, want: verdict.Broken, reason: "the kernel log begins at 2026-12-01 09:58:50"},
		{name: "it does, and no kill was before", events: []evidence.Event{otherLine(80, 930), killLine(81, 950, 7)},
			counted: 1, victims: []int{7}, want: verdict.Pass, reason: "1 kill"},
		{name: "it does, and nothing counts", events: []evidence.Event{otherLine(80, 930), killLine(81, 950, 7)},
			change: func(p *past) { p.before.err = errors.New("no counter") }, victims: []int{7}, want: verdict.Broken},
		{name: "a gap",
			events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7), gap(960), otherLine(5, 960)}, counted: 2,
			victims: []int{7}, want: verdict.Broken, reason: "kernel log lost 3 events"},
		{name: "a gap without a kill", events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7), gap(960),
			otherLine(5, 960)}, counted: 1, victims: []int{7}, want: verdict.Pass, reason: "1 kill"},
		{name: "a gap before",
			events:  []evidence.Event{otherLine(0, 0), gap(300), otherLine(5, 300), killLine(6, 950, 7)},
			counted: 2, victims: []int{7}, want: verdict.Pass},
		{name: "a gap, and nothing counts", events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7), gap(960),
			otherLine(5, 960)},
			change: func(p *past) { p.after.err = errors.New("no counter") }, victims: []int{7},
			want: verdict.Broken},
		{name: "an empty log", counted: 1, want: verdict.Broken, reason: "the kernel log is empty"},
		{name: "started since", events: []evidence.Event{otherLine(0, 0), killLine(1, 950, 7)}, counted: 1,
			change:  func(p *past) { p.then = now.Add(-2000 * time.Second) },
			victims: []int{7}, want: verdict.Broken, reason: "this machine was started at 2026-12-01 09:43:20"},
		{name: "since it was started",
			events:  []evidence.Event{otherLine(0, 0), killLine(1, 500, 6), killLine(2, 950, 7)},
			counted: 2, change: func(p *past) { p.then = time.Time{} }, victims: []int{6, 7}, want: verdict.Pass},
		{name: "suspended, long after", events: []evidence.Event{otherLine(0, 0), killLine(1, 980, 7)}, counted: 1,
			change: func(p *past) { p.clocks.asleep = 50 * time.Second }, victims: []int{7}, want: verdict.Pass},
		{name: "suspended before it, or after",
			events: []evidence.Event{otherLine(0, 0), killLine(1, 930, 7)}, counted: 1,
			change: func(p *past) { p.clocks.asleep = 50 * time.Second }, victims: []int{7}, want: verdict.Broken,
			reason: "it cannot be told whether hog[7] was killed before 2026-12-01T09:58:20Z or since"},
		{name: "clocks that differ", events: []evidence.Event{otherLine(0, 0), killLine(1, 899, 7)}, counted: 1,
			change: func(p *past) { p.clocks.ahead = 2 * time.Second }, victims: []int{7}, want: verdict.Broken,
			reason: "it cannot be told whether hog[7]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := past{then: now.Add(-100 * time.Second), events: c.events,
				clocks: clocks{now: now, log: 1000 * time.Second}, before: oomKills{n: c.counted},
				after: oomKills{n: c.counted}, log: trace.Options{PageSize: 4096, Log: true}}
			if c.change != nil {
				c.change(&p)
			}
			e := p.tell()
			var victims []int
			for _, k := range e.Kills {
				victims = append(victims, k.Victim.PID)
			}
			j := judge.Judge(e, judge.Expectation{Least: 1, Most: -1})
			if !slices.Equal(victims, c.victims) || j.Verdict != c.want || !strings.HasPrefix(j.Reasons[0], c.reason) {
				t.Errorf("%d were killed, %s, %q; want %d, %s, %q", victims, j.Verdict, j.Reasons, c.victims, c.want,
					c.reason)
			}
			if e.Signals != nil || e.Witnesses[0].Error == "" || e.Witnesses[3].Error == "" {
				t.Errorf("it tells of what nobody watched: %+v", e)
			}
		})
	}
}
