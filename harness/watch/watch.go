package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// Options say what to watch.
type Options struct {
	Root    string // of the file system that holds /proc, /sys and /dev; empty: "/"
	MaxTier int    // of the eBPF programs; 0: all
	NoBPF   bool   // the kernel log only
	// Burst is how many kills at once must not be lost; 0: [trace.DefaultBurst].
	Burst int
	// Signals are told of, too.
	Signals bool
	// Detail waits for what there is to tell of a kill, up to [DetailWait].
	Detail bool
	// Protect keeps this process from being killed or waiting for memory itself, as
	// far as it may.
	Protect bool
}

// DetailWait is how long a kill waits for its victim's end and its lines in the log.
const DetailWait = time.Second

// goneSoon is how long a kill waits, when all else is told, for its victim to be gone:
// the kernel tells of the exit before that. goneWait is how long anybody looks.
const (
	goneSoon = 50 * time.Millisecond
	goneWait = DetailWait + goneSoon
)

// buffer leaves room for scores: each candidate of a decision that chose somebody has one.
// Those of a group kill are few, for it is one decision; ten to each kill fit.
func (o Options) buffer() uint32 {
	if o.MaxTier == 1 || o.MaxTier == 2 {
		return trace.Buffer(o.Burst)
	}
	return trace.Buffer(min(2*o.Burst, trace.MaxBurst))
}

// Watch follows kills. Its witnesses are attached until Close.
type Watch struct {
	o       Options
	root    probe.Root
	bpf     *observe.BPF
	bpfErr  error
	kmsg    *observe.Kmsg
	kmsgErr error
	notes   []string
	gfp     []flag
	symbols *symbols
	zones   zoneReadings
	gone    departures
	nested  bool // in a PID namespace of its own, whose pids are not those of the kernel

	assembly trace.Options

	mu      sync.Mutex
	put     *trace.Assembler
	ready   []trace.Kill
	dropped uint64 // kills that nobody took in time
	lost    uint64 // events, by the witnesses' own count
	said    []string
	wake    chan struct{}
}

// maxReady bounds the kills that wait to be taken.
const maxReady = 1 << 16

// ErrBlind is returned when there is no witness at all.
var ErrBlind = errors.New("kills cannot be seen here")

// Open attaches what can be attached. It fails only if that is nothing.
func Open(ctx context.Context, o Options) (*Watch, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Burst == 0 {
		o.Burst = trace.DefaultBurst
	}
	w := &Watch{o: o, root: probe.Root(o.Root), wake: make(chan struct{}, 1)}
	if o.Protect {
		w.protect()
	}
	if o.NoBPF {
		w.bpfErr = errors.New("not asked for")
	} else {
		w.bpf, w.bpfErr = observe.OpenBPF(ctx, observe.BPFOptions{Root: o.Root, MaxTier: o.MaxTier,
			Buffer: o.buffer(), Status: true, Signals: o.Signals, Stack: o.Detail, QuietScans: true})
	}
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), w.Close())
	}
	// The programs of tier 2 tell all that a line needs.
	if w.bpf == nil || o.Detail || w.Tier() < 2 {
		w.kmsg, w.kmsgErr = observe.OpenKmsg(w.root.Path("/dev/kmsg"))
	}
	if w.bpf == nil && w.kmsg == nil {
		return nil, errors.Join(ErrBlind, w.bpfErr, w.kmsgErr)
	}
	release, err := w.root.Text("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	reads, err := w.root.ConcludeBadness(release)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.gfp, w.nested = readGFP(w.root), slices.Contains(w.root.Namespaces(), kernel.PIDNamespace)
	if w.bpf != nil && (o.Detail || w.handler() != "") {
		w.symbols = readSymbols(w.root)
	}
	opt := trace.Options{PageSize: kernel.Bytes(os.Getpagesize()), Reads: reads, BPF: w.bpf != nil,
		Status: w.bpf != nil, Log: w.kmsg != nil}
	if w.bpf != nil {
		opt.Tier = w.bpf.Tier().Tier
	}
	if o.Detail {
		opt.WaitNS = DetailWait.Nanoseconds()
	}
	w.assembly = opt
	w.put = trace.New(opt)
	if o.Protect {
		w.settle()
	}
	return w, nil
}

// Tier is how far the eBPF programs got; -1: there are none, and only the kernel log is
// read.
func (w *Watch) Tier() int {
	if w.bpf == nil {
		return -1
	}
	return w.bpf.Tier().Tier
}

// handler names the callbacks of BPF programs that are attached as OOM handlers.
func (w *Watch) handler() string {
	if w.bpf == nil {
		return ""
	}
	return w.bpf.Tier().Hooks[kernel.OOMHandlerHook]
}

// Header says what is watched and what is missing, a line each.
func (w *Watch) Header() []string {
	var out []string
	switch tier := w.Tier(); {
	case tier < 0:
		out = append(out, "watching the kernel log only: "+firstLine(w.bpfErr))
	case tier == 0:
		out = append(out, "watching by eBPF, less than tier 1")
	default:
		out = append(out, fmt.Sprintf("watching by eBPF, tier %d of 3: %s", tier, tierWords[tier]))
	}
	if w.bpf != nil {
		reasons := map[string][]string{}
		hooks := w.bpf.Tier().Hooks
		for _, hook := range slices.Sorted(maps.Keys(hooks)) {
			if why, failed := strings.CutPrefix(hooks[hook], "no: "); failed && !strings.HasPrefix(why, "above tier") {
				why, _, _ = strings.Cut(why, "\n")
				reasons[why] = append(reasons[why], hook)
			}
		}
		for _, why := range slices.Sorted(maps.Keys(reasons)) {
			out = append(out, "  without "+strings.Join(reasons[why], ", ")+": "+why)
		}
	}
	if handler := w.handler(); handler != "" {
		out = append(out, "  BPF programs are attached as OOM handlers and choose before the kernel does: "+handler)
	}
	if w.kmsgErr != nil {
		out = append(out, "  without the kernel log: "+firstLine(w.kmsgErr))
	}
	for _, n := range w.notes {
		out = append(out, "  "+n)
	}
	return out
}

// tierWords are what each tier tells.
var tierWords = []string{"", "victims; what ran out is read from the kernel log", "victims, decisions and limits",
	"victims, decisions, limits and scores"}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// protect lowers oom_score_adj.
func (w *Watch) protect() {
	if err := os.WriteFile(w.root.Path("/proc/self/oom_score_adj"), []byte("-1000"), 0); err != nil {
		w.notes = append(w.notes, "this process can be killed itself: oom_score_adj -1000 needs CAP_SYS_RESOURCE")
	}
}

// take is the witnesses' sink.
func (w *Watch) take(e evidence.Event) {
	if w.o.Detail && e.Kind == evidence.MarkVictim {
		w.zones.read(w.root, e.AtNS)
		if !w.nested {
			w.gone.await(e.PID, e.AtNS, goneWait)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == evidence.Lost {
		w.lost += e.N
		w.said = append(w.said, fmt.Sprintf("lost %d events of the %s: %s", e.N, e.Source, e.Text))
	} else {
		w.add(w.put.Feed(e))
	}
	w.nudge()
}

// add expects mu to be held.
func (w *Watch) add(kills []trace.Kill) {
	for _, k := range kills {
		if len(w.ready) >= maxReady {
			w.dropped++
			continue
		}
		w.ready = append(w.ready, k)
	}
}

func (w *Watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// ErrStop is returned by a sink that wants no more.
var ErrStop = errors.New("no more")

// Sink is told of each kill, and of what went wrong, in lines.
type Sink interface {
	Kill(trace.Kill) error
	Trouble(string)
}

// Run delivers kills until ctx ends or the sink returns an error; that of ErrStop is
// nil. It then delivers what has happened until then.
func (w *Watch) Run(ctx context.Context, sink Sink) error {
	if w.bpf != nil {
		if err := w.bpf.Start(w.take); err != nil {
			return err
		}
		defer w.bpf.Stop()
	}
	if w.kmsg != nil {
		if err := w.kmsg.Start(w.take); err != nil {
			return err
		}
		defer w.kmsg.Stop()
	}
	defer w.askForLosses()()
	soon := time.NewTicker(20 * time.Millisecond)
	defer soon.Stop()
	for {
		select {
		case <-w.wake:
		case <-soon.C:
		case <-ctx.Done():
			w.drain(sink)
			return ended(w.deliver(sink, true))
		}
		if err := w.deliver(sink, false); err != nil {
			return ended(err)
		}
	}
}

func ended(err error) error {
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// askForLosses lets the eBPF programs tell what they lost, once a second, until the
// function that it returns is called. In a storm that takes long, and nobody waits.
func (w *Watch) askForLosses() func() {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	if w.bpf != nil {
		asking.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					// Only the end of ctx is an error here that the reader does not tell.
					_ = w.bpf.Drain(ctx)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() {
		cancel()
		asking.Wait()
	}
}

// drainTime is how long the rest may take, once it is over.
const drainTime = 30 * time.Second

// drain lets the witnesses tell what they lost, and deliver the rest.
func (w *Watch) drain(sink Sink) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var errs []error
	if w.bpf != nil {
		errs = append(errs, w.bpf.Drain(ctx))
	}
	if w.kmsg != nil {
		errs = append(errs, w.kmsg.Drain(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		sink.Trouble(err.Error())
	}
}

// deliver passes on what is complete.
func (w *Watch) deliver(sink Sink, all bool) error {
	w.mu.Lock()
	if all {
		w.add(w.put.Close())
	} else if w.put.Waiting() {
		w.add(w.put.Due(monotonic()))
	}
	kills, said, dropped := w.ready, w.said, w.dropped
	w.ready, w.said, w.dropped = nil, nil, 0
	w.lost += dropped
	w.mu.Unlock()
	for _, text := range said {
		sink.Trouble(text)
	}
	if dropped > 0 {
		sink.Trouble(fmt.Sprintf("lost %d kills: what was printed was not read in time", dropped))
	}
	for _, k := range kills {
		w.complete(&k)
		if err := sink.Kill(k); err != nil {
			return err
		}
	}
	return nil
}

// Lost is how many events and kills were lost so far.
func (w *Watch) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Again is how often the log told of a victim a second time, see [trace.Assembler.Again].
func (w *Watch) Again() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put.Again()
}

// Close detaches everything.
func (w *Watch) Close() error {
	var errs []error
	if w.bpf != nil {
		errs = append(errs, w.bpf.Close())
	}
	if w.kmsg != nil {
		errs = append(errs, w.kmsg.Close())
	}
	return errors.Join(errs...)
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() int64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return now.Nano()
}
