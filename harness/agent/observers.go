package agent

import (
	"context"
	"errors"
	"fmt"

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
