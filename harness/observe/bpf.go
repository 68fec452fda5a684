package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/bpf"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// BPFOptions says how far to go.
type BPFOptions struct {
	Root    string // of the file system that holds /proc and /sys; empty: "/"
	MaxTier int    // do not try more than this tier; 0: all
	// Buffer is the size of the ring buffer in bytes, a power of two and at
	// least a page; 0: 4 MiB.
	Buffer uint32
	// Status tells of each victim and of who asked (evidence.VictimStatus), Signals of
	// each SIGKILL and SIGTERM that a process sends (evidence.Signalled). Stack has the
	// kernel's stack in them, which takes longer than the rest.
	Status, Signals, Stack bool
	// QuietScans leaves out evidence.OutOfMemory and OOMReturn.
	QuietScans bool
	// OnlyFentry attaches by fentry what kprobes could do too.
	OnlyFentry bool
}

// BPF watches the OOM killer's own functions. Its methods are safe for
// concurrent use.
//
// It keeps no wall clock: a virtual machine may be frozen and restored around
// it at any moment.
type BPF struct {
	root  string
	progs *bpf.Programs
	done  chan struct{} // closed when nothing is read any more

	deliver sync.Mutex // held while the sink is called; before mu
	fold    fold       // under deliver

	mu      sync.Mutex
	sink    Sink
	since   uint64     // CLOCK_MONOTONIC of Start; earlier events are discarded
	seen    uint64     // events taken from the ring buffer since Open
	told    bpf.Counts // losses that were told, or from before Start
	err     error      // why nothing is read any more
	changed chan struct{}
}

// OpenBPF attaches the eBPF programs of as many tiers as the kernel allows. It
// fails when there is none at all; the error then has every hook's reason. It
// takes seconds on an emulated machine, most of them to read the kernel's BTF.
func OpenBPF(ctx context.Context, opt BPFOptions) (*BPF, error) {
	if opt.Root == "" {
		opt.Root = "/"
	}
	progs, err := bpf.Open(ctx, bpf.Options(opt))
	if err != nil {
		return nil, fmt.Errorf("eBPF: %w", err)
	}
	b := &BPF{root: opt.Root, progs: progs, done: make(chan struct{}), changed: make(chan struct{})}
	go b.read()
	return b, nil
}

// Tier says how much of the kernel is watched, hook by hook.
func (b *BPF) Tier() evidence.Tier {
	hooks := b.progs.Hooks()
	if handler := b.progs.Handler(); handler != "" {
		hooks[kernel.OOMHandlerHook] = handler
	}
	return evidence.Tier{Tier: b.progs.Tier(), Hooks: hooks}
}

// Start delivers to sink every event that happens from now on. Their Seq
// counts from 1.
func (b *BPF) Start(sink Sink) error {
	b.deliver.Lock()
	defer b.deliver.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	before, err := b.progs.Counts()
	if err != nil {
		return fmt.Errorf("eBPF: %w", err)
	}
	b.sink, b.since, b.told = sink, uint64(now.Nano()), before
	b.fold = fold{sink: sink}
	return b.err
}

// Stop ends delivery: the sink is not called any more when it returns. The
// programs stay attached.
func (b *BPF) Stop() {
	b.deliver.Lock()
	defer b.deliver.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sink = nil
}

// Drain returns when every event that happened before the call has been
// delivered, and after that the number of those that were lost, if any.
func (b *BPF) Drain(ctx context.Context) error {
	before, err := b.progs.Counts()
	if err != nil {
		return fmt.Errorf("eBPF: %w", err)
	}
	// What wakes this up is an event that arrives. The ticker is for one that
	// is counted but not yet in the buffer, because its program was interrupted
	// in between, and for one that was lost, which wakes nobody.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		now, err := b.progs.Counts()
		if err != nil {
			return fmt.Errorf("eBPF: %w", err)
		}
		b.mu.Lock()
		seen, changed, readErr := b.seen, b.changed, b.err
		b.mu.Unlock()
		if readErr != nil {
			return readErr
		}
		if seen+now.Full >= before.Tried {
			b.tellLost(now)
			return nil
		}
		if err := b.progs.Flush(); err != nil {
			return fmt.Errorf("eBPF ring buffer: flush: %w", err)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("eBPF: waiting for event %d of %d (%d lost): %w", seen, before.Tried, now.Full,
				context.Cause(ctx))
		}
	}
}

// tellLost delivers how many of the events since Start were lost and not told.
func (b *BPF) tellLost(now bpf.Counts) {
	b.deliver.Lock()
	defer b.deliver.Unlock()
	b.mu.Lock()
	sink := b.sink
	n, skipped := uint64(0), uint64(0)
	if now.Lost() > b.told.Lost() { // else a later Drain was faster
		n, skipped = now.Lost()-b.told.Lost(), now.Skipped-b.told.Skipped
		b.told = now
	}
	b.mu.Unlock()
	if sink == nil {
		return
	}
	b.fold.release()
	if n > 0 {
		b.fold.seq += n
		sink(evidence.Event{AtNS: monotonic(), Source: evidence.BPF, Kind: evidence.Lost, N: n,
			Text: fmt.Sprintf("the ring buffer was full %d times, and the kernel skipped a program %d times", n-skipped,
				skipped)})
	}
}

// Close detaches the programs. Nothing of them stays in the kernel.
func (b *BPF) Close() error {
	b.Stop()
	err := b.progs.Close()
	<-b.done
	if err != nil {
		return fmt.Errorf("eBPF: %w", err)
	}
	return nil
}

// read takes events from the ring buffer until it is closed.
func (b *BPF) read() {
	defer close(b.done)
	for {
		r, err := b.progs.Next()
		if errors.Is(err, bpf.ErrFlushed) {
			continue
		}
		if errors.Is(err, os.ErrClosed) {
			err = errors.New("eBPF: closed")
		}
		b.take(r, err)
		if err != nil {
			return
		}
	}
}

// take delivers one record.
func (b *BPF) take(r bpf.Record, err error) {
	at := r.Event.AtNs
	if r.Status != nil {
		at = r.Status.AtNs
	}
	b.deliver.Lock()
	defer b.deliver.Unlock()
	b.mu.Lock()
	sink := b.sink
	switch {
	case err != nil:
		b.err = err
	case at < b.since:
		sink = nil
	}
	b.mu.Unlock()
	if sink != nil && err != nil {
		b.fold.release()
		b.fold.seq++
		sink(evidence.Event{AtNS: monotonic(), Source: evidence.BPF, Kind: evidence.Lost, N: 1, Text: err.Error()})
	} else if sink != nil && r.Status != nil {
		b.fold.add(statusEvent(r.Status))
	} else if sink != nil {
		b.fold.add(oomEvent(r.Event, b.progs.Constraint, b.tgid))
	}

	b.mu.Lock()
	if err == nil {
		b.seen++
	}
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// monotonic is CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns().
func monotonic() int64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return now.Nano()
}
