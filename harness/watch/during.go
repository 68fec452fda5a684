package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// DuringOptions say what is watched, and for how long.
type DuringOptions struct {
	// Command is run by the shell, and watched until it has ended; empty: nothing is run.
	Command string
	// Own: it matters who was started by the command.
	Own bool
	// For is how long at most. The command and all that it has started are ended then.
	For time.Duration
	// Settle is how long after the command kills are still of the experiment, within For.
	Settle time.Duration
	// Out is what the command prints to.
	Out *os.File
	// Say is told what goes on.
	Say func(string)
}

// ErrNested says that the pids of this process's namespace are not the kernel's, so that
// nobody can say whose child a victim was.
var ErrNested = errors.New("this process is in a PID namespace of its own, where it cannot be told what was started " +
	"by the command")

// During watches this machine while a command runs, by eBPF and, each for itself, by the
// kernel log and by /proc/vmstat. When ctx ends it returns what it has seen by then.
func During(ctx context.Context, o DuringOptions) (judge.Experiment, error) {
	e := judge.Experiment{Command: o.Command, Kills: []judge.Kill{}, Signals: []trace.Kill{}}
	adj, _ := probe.Root("/").OOMScoreAdj(0)
	bpf, bpfErr := Open(ctx, Options{MaxTier: 3, Signals: true, Protect: true})
	if bpfErr == nil && bpf.Tier() < 0 { // it is the kernel log alone, which has a watch of its own
		bpfErr = errors.Join(bpf.bpfErr, bpf.Close())
		bpf = nil
	}
	// The log begins after eBPF and ends before it, so that eBPF knows all that the log does.
	log, logErr := Open(ctx, Options{NoBPF: true})
	any := cmp.Or(bpf, log)
	if any == nil {
		return e, errors.Join(bpfErr, logErr)
	}
	if o.Own && any.nested {
		return e, errors.Join(ErrNested, closeAll(bpf, log))
	}
	f := openFamily(o.Command != "")
	both := []*follower{{w: bpf, family: f, say: o.Say}, {w: log, say: func(string) {}}}
	endBPF, endLog := both[0].start(ctx), both[1].start(ctx)

	begin := readOOMKills()
	began := time.Now()
	ended, took, err := f.run(ctx, o, adj)
	end := readOOMKills()
	e.Ended, e.Interrupted, e.Seconds = ended, ctx.Err() != nil, time.Since(began).Seconds()
	if ended != "" {
		e.Seconds = took.Seconds()
	}
	endLog()
	endBPF()
	f.close()

	told(&e, both, begin, end, bpfErr, logErr)
	e.SignalsCut = both[0].cut
	return e, errors.Join(err, both[0].err, both[1].err, closeAll(bpf, log))
}

func closeAll(all ...*Watch) error {
	var errs []error
	for _, w := range all {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	return errors.Join(errs...)
}

// told puts together what each witness tells of the time between two readings of the counter.
func told(e *judge.Experiment, both []*follower, begin, end oomKills, bpfErr, logErr error) {
	bpf, log := both[0], both[1]
	var outside []int // pids of kills that were before or after
	edge := 0         // kills while the counter was read: it may have them or not
	main := bpf
	if bpf.w == nil {
		main = log
	}
	for _, k := range main.kills {
		if main == bpf && (k.AtNS < begin.fromNS || k.AtNS > end.toNS) {
			outside = append(outside, k.Victim.PID)
			continue
		}
		if main == bpf && (k.AtNS <= begin.toNS || k.AtNS >= end.fromNS) {
			edge++
		}
		e.Kills = append(e.Kills, judge.Kill{Kill: k, Own: bpf.family.owns(k)})
	}
	for _, k := range bpf.signals {
		own := bpf.family.owns(k)
		if k.Daemon || own != nil && *own && !bpf.family.sent(k) {
			e.Signals = append(e.Signals, k)
		}
	}
	add := func(by *follower, name string, bad error) {
		if by.w == nil {
			e.Witnesses = append(e.Witnesses, judge.Witness{Name: name, Error: firstLine(bad)})
			return
		}
		w := judge.Witness{Name: name, PIDs: []int{}, Lost: by.w.Lost()}
		left := slices.Clone(outside)
		for _, k := range by.kills {
			if i := slices.Index(left, k.Victim.PID); i >= 0 {
				left = slices.Delete(left, i, i+1)
				continue
			}
			w.PIDs = append(w.PIDs, k.Victim.PID)
		}
		w.Kills = len(w.PIDs)
		e.Witnesses = append(e.Witnesses, w)
	}
	name := "eBPF"
	if bpf.w != nil {
		name = fmt.Sprintf("eBPF tier %d", bpf.w.Tier())
	}
	add(bpf, name, bpfErr)
	add(log, "kernel log", logErr)

	w := judge.Witness{Name: "oom_kill of /proc/vmstat"}
	if bad := errors.Join(begin.err, end.err); bad != nil {
		w.Error = firstLine(bad)
	} else {
		w.Kills, w.Uncertain = int(end.n-begin.n), edge
		// the first victim of a group is killed and counted twice (oom_kill_process()); the log has it twice, too
		if log.w != nil {
			w.Twice = log.w.Again()
		} else {
			w.Uncertain += len(e.Kills)
		}
		if bpf.w == nil { // the log's clock is not that of the readings
			w.Uncertain++
		}
	}
	e.Witnesses = append(e.Witnesses, w)
}

// follower collects what one witness tells.
type follower struct {
	w       *Watch // nil: it is not there
	family  *family
	say     func(string)
	kills   []trace.Kill
	signals []trace.Kill
	cut     int // signals that were not kept
	err     error
}

// maxSignals bounds what is kept of signals.
const maxSignals = 10000

// start follows until the function that it returns is called.
func (f *follower) start(ctx context.Context) (end func()) {
	if f.w == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { f.err = f.w.Run(ctx, f) })
	return func() {
		cancel()
		running.Wait()
	}
}

// Kill implements Sink.
func (f *follower) Kill(k trace.Kill) error {
	switch {
	case k.By == trace.ByKernel:
		f.kills = append(f.kills, k)
	case k.Trigger != nil && k.Trigger.PID == os.Getpid():
		// how the command is ended when its time is over
	case len(f.signals) == maxSignals:
		f.cut++
	default:
		f.signals = append(f.signals, k)
	}
	return nil
}

// Trouble implements Sink.
func (f *follower) Trouble(text string) { f.say(text) }

// oomKills is a reading of oom_kill of /proc/vmstat, which counts victims (since 4.13).
type oomKills struct {
	n            uint64
	fromNS, toNS int64 // CLOCK_MONOTONIC before and after it was read
	err          error
}

func readOOMKills() oomKills {
	r := oomKills{fromNS: monotonic()}
	data, err := os.ReadFile("/proc/vmstat")
	r.toNS, r.err = monotonic(), err
	if err != nil {
		return r
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
			r.n, r.err = strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			return r
		}
	}
	r.err = errors.New("/proc/vmstat has no oom_kill")
	return r
}
