package watch

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// Since is what this machine still tells of the time since then, when nobody watched: what the
// kernel log holds, and how many kills /proc/vmstat has counted since the machine was started.
// A zero time is when it was.
func Since(then time.Time) (judge.Experiment, error) {
	const path = "/dev/kmsg"
	root := probe.Root("/")
	before := readOOMKills()
	events, err := observe.ReadKmsg(root.Path(path))
	if err != nil {
		return judge.Experiment{}, errors.Join(ErrBlind, err)
	}
	c, err := readClocks(root.Path(path))
	if err != nil {
		return judge.Experiment{}, errors.Join(ErrBlind, err)
	}
	p := past{then: then, events: events, clocks: c, before: before, after: readOOMKills(),
		log: trace.Options{PageSize: kernel.Bytes(os.Getpagesize()), Log: true}}
	e := p.tell()
	for i := range e.Kills {
		if v := &e.Kills[i].Victim; v.Kubernetes != nil && v.Kubernetes.PodUID != "" {
			v.Namespace, v.Pod = podOf(root, v.Kubernetes.PodUID)
		}
	}
	return e, nil
}

// clocks are what the time of a record of the kernel log is computed with.
type clocks struct {
	now time.Time
	// log is the kernel log's clock now. It stands still while the machine is suspended.
	log time.Duration
	// asleep is how long the machine was suspended since it was started.
	asleep time.Duration
	// ahead is by how much the log's clock has gone away from that of the machine since then,
	// which is how far off a time that is computed by it can be.
	ahead time.Duration
}

// awake is how much asleep is without any suspension: the two clocks are read one after the other.
const awake = time.Millisecond

func readClocks(path string) (clocks, error) {
	ahead, err := observe.LogAhead(path)
	if err != nil {
		return clocks{}, err
	}
	var boot unix.Timespec
	mono := monotonic()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return clocks{}, fmt.Errorf("CLOCK_BOOTTIME: %w", err)
	}
	c := clocks{now: time.Now(), log: time.Duration(mono) + ahead, ahead: ahead}
	if d := time.Duration(boot.Nano() - mono); d > awake {
		c.asleep = d
	}
	return c, nil
}

// started is when the machine was.
func (c clocks) started() time.Time { return c.now.Add(c.ahead - c.log - c.asleep) }

// between is the earliest and the latest that a record can be of.
func (c clocks) between(at time.Duration) (from, to time.Time) {
	t := c.now.Add(at - c.log)
	const slack = 10 * time.Millisecond // for reading the clocks
	return t.Add(-c.asleep - c.ahead.Abs() - slack), t.Add(c.ahead.Abs() + slack)
}

// past is what there is to read after the fact.
type past struct {
	then          time.Time // zero: since the machine was started
	events        []evidence.Event
	clocks        clocks
	before, after oomKills // the counter, read around the log
	log           trace.Options
}

// held is what the log holds of the time before, and since.
type held struct {
	old, oldTwice int // kills before
	twice         int // kills since that it has a second time
	lost          uint64
	gaps          bool // at any time
	begins        bool // the log begins with the machine
	first         time.Time
}

// tell puts together what the log and the counter tell of the time since then.
func (p past) tell() judge.Experiment {
	then := p.then
	if then.IsZero() {
		then = p.clocks.started()
	}
	e := judge.Experiment{Since: then.Format(time.RFC3339), Seconds: p.clocks.now.Sub(then).Seconds(),
		Kills: []judge.Kill{}}
	if gone := p.clocks.started().Sub(then); gone > time.Second {
		e.Unknown = append(e.Unknown, fmt.Sprintf("this machine was started at %s, after the time that is asked for; "+
			"of what was before nothing is left here", p.clocks.started().Format(time.DateTime)))
	}
	h := p.read(&e)
	log := judge.Witness{Name: "kernel log", PIDs: []int{}, Kills: len(e.Kills), Lost: h.lost}
	for _, k := range e.Kills {
		log.PIDs = append(log.PIDs, k.Victim.PID)
	}
	counter, complete := p.counted(&e, h)
	covers := h.begins || !p.then.IsZero() && !h.first.IsZero() && h.first.Before(p.then)
	switch {
	case complete:
		log.Lost = 0 // no kill was among them
	case !covers && h.first.IsZero():
		e.Unknown = append(e.Unknown, "the kernel log is empty")
	case !covers:
		e.Unknown = append(e.Unknown, fmt.Sprintf("the kernel log begins at %s; what was before has been overwritten",
			h.first.Format(time.DateTime)))
	}
	e.Witnesses = []judge.Witness{
		{Name: "eBPF", Error: "it tells only of what happens while it is attached"}, log, counter,
		{Name: "wait status", Error: "only the parent of a process is told, when it ends"},
	}
	return e
}

// read takes the kills out of the log.
func (p past) read(e *judge.Experiment) held {
	var h held
	put := trace.New(p.log)
	for _, ev := range p.events {
		from, to := p.clocks.between(time.Duration(ev.AtNS))
		since := p.then.IsZero() || !to.Before(p.then)
		if h.first.IsZero() && ev.Kind == evidence.Record {
			h.first, h.begins = to, ev.Log.Seq == 0
		}
		if ev.Kind == evidence.Lost {
			h.gaps = true
			if since { // or a part of it
				h.lost += ev.N
			}
			continue
		}
		again := put.Again()
		kills := put.Feed(ev)
		again = put.Again() - again
		if !since {
			h.old, h.oldTwice = h.old+len(kills), h.oldTwice+again
			continue
		}
		h.twice += again
		for _, k := range kills {
			k.Time = p.clocks.now.Add(time.Duration(k.AtNS) - p.clocks.log).Format(time.RFC3339Nano)
			e.Kills = append(e.Kills, judge.Kill{Kill: k})
			if from.Before(p.then) {
				e.Unknown = append(e.Unknown, fmt.Sprintf("it cannot be told whether %s[%d] was killed before %s or "+
					"since: times in the kernel log are good to %s here", k.Victim.Comm, k.Victim.PID, e.Since,
					to.Sub(from).Round(time.Millisecond)))
			}
		}
	}
	return h
}

// counted is the counter as a witness. complete: it counts as many kills since the machine was
// started as the log holds, so that no other has happened.
func (p past) counted(e *judge.Experiment, h held) (w judge.Witness, complete bool) {
	w.Name = "oom_kill of /proc/vmstat"
	if err := errors.Join(p.before.err, p.after.err); err != nil {
		w.Error = firstLine(err)
		return w, false
	}
	inLog := h.old + h.oldTwice + len(e.Kills) + h.twice
	n := int(p.after.n)
	w.Kills, w.Twice, w.Uncertain = n-h.old-h.oldTwice, h.twice, int(p.after.n-p.before.n)
	more := n - inLog
	switch {
	case more == 0:
		return w, true
	case more > w.Uncertain && !(h.begins && !h.gaps):
		// the log does not have all that the counter counts, and says so itself
		w.Kills, w.Twice, w.Uncertain = n, 0, 0
		w.Error = fmt.Sprintf("it counts %s since the machine was started, and the log has lost %d of them",
			plaintext.Count(n, "kill"), more)
	}
	return w, false
}
