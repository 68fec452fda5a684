package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
)

// observers are the two that live as long as the agent: loading eBPF programs
// takes seconds on an emulated machine, so it is done once. They deliver while a
// run goes on.
type observers struct {
	bpf     *observe.BPF // nil: none, and bpfErr says why
	bpfErr  error
	kmsg    *observe.Kmsg
	kmsgErr error
}

func openObservers(ctx context.Context, o Options) *observers {
	obs := &observers{}
	if o.NoBPF {
		obs.bpfErr = errors.New("switched off")
	} else {
		obs.bpf, obs.bpfErr = observe.OpenBPF(ctx, observe.BPFOptions{})
	}
	obs.kmsg, obs.kmsgErr = observe.OpenKmsg(o.Root.Path("/dev/kmsg"))
	return obs
}

// start delivers what happens from now on to sink, until stop.
func (o *observers) start(sink observe.Sink) error {
	var errs []error
	if o.bpf != nil {
		errs = append(errs, o.bpf.Start(sink))
	}
	if o.kmsg != nil {
		errs = append(errs, o.kmsg.Start(sink))
	}
	return errors.Join(errs...)
}

func (o *observers) stop() {
	if o.bpf != nil {
		o.bpf.Stop()
	}
	if o.kmsg != nil {
		o.kmsg.Stop()
	}
}

// drain returns when everything that happened before the call was delivered.
func (o *observers) drain(ctx context.Context) error {
	var errs []error
	if o.bpf != nil {
		if err := o.bpf.Drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("eBPF: %w", err))
		}
	}
	if o.kmsg != nil {
		if err := o.kmsg.Drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("kernel log: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (o *observers) close() error {
	var errs []error
	if o.bpf != nil {
		errs = append(errs, o.bpf.Close())
	}
	if o.kmsg != nil {
		errs = append(errs, o.kmsg.Close())
	}
	return errors.Join(errs...)
}

func (o *observers) tier() evidence.Tier {
	if o.bpf != nil {
		return o.bpf.Tier()
	}
	return evidence.Tier{Hooks: map[string]string{"eBPF": o.bpfErr.Error()}}
}

// sysrqOrder is the order of an allocation that nobody makes: sysrq-f's
// (mm/oom_kill.c, is_sysrq_oom).
const sysrqOrder = -1

// observed adds what the agent knows to an event and passes it on.
func (r *run) observed(ev evidence.Event) {
	if ev.OOM != nil {
		r.paths.fill(ev.OOM)
		if t := ev.OOM.Task; t != nil && ev.PID == 0 {
			ev.PID = t.TGID
		}
		if ev.Process == "" {
			r.mu.Lock()
			ev.Process = r.names[ev.PID]
			r.mu.Unlock()
		}
	}
	if ev.Kind == evidence.OOMReturn && ev.OOM != nil && ev.OOM.Control != nil && ev.OOM.Control.Order == sysrqOrder {
		r.pressed.Add(1)
	}
	consequence, doomed := follows(ev)
	if consequence {
		r.happened()
	}
	r.emit(ev)
	if doomed != 0 {
		r.post(func() { r.doom(doomed) })
	}
}

// follows says whether an event may have consequences that the run waits for,
// and which process the kernel says it killed.
func follows(ev evidence.Event) (consequence bool, doomed int) {
	switch ev.Kind {
	case evidence.Kill, evidence.MarkVictim:
		return true, ev.PID
	case evidence.OutOfMemory, evidence.OOMReturn, evidence.Badness, evidence.KillDecision, evidence.TaskExit:
		return true, 0
	case evidence.Record:
		if ev.Log == nil {
			return false, 0
		}
		return oomText(ev.Log.Text), killedPID(ev.Log.Text)
	}
	return false, 0
}

// oomText reports whether a line of the kernel log is part of an OOM report.
// It may say yes once too often: then a run lasts a moment longer.
func oomText(text string) bool {
	for _, needle := range []string{"oom", "Killed process", "Out of memory", "out of memory"} {
		if strings.Contains(text, needle) {
			return true
		}
	}
	return false
}

// killedPID is N of "... Killed process N (comm) ...", or 0.
func killedPID(text string) int {
	_, rest, ok := strings.Cut(text, "Killed process ")
	if !ok {
		return 0
	}
	var pid int
	if _, err := fmt.Sscanf(rest, "%d (", &pid); err != nil {
		return 0
	}
	return pid
}

// badnessReads asks the kernel itself, which needs the third tier.
func (o *observers) badnessReads(ctx context.Context, pids []int) (kernel.BadnessReads, error) {
	if o.bpf == nil {
		return "", o.bpfErr
	}
	var errs []error
	for _, pid := range pids {
		reads, err := o.bpf.BadnessReads(ctx, pid)
		if err == nil {
			return reads, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
