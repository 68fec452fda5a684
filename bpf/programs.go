package bpf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// MaxTier is the tier that has every hook.
const MaxTier = 3

// ErrFlushed is returned by Next when everything that was there at Flush has
// been returned.
var ErrFlushed = ringbuf.ErrFlushed

// Options says what to attach.
type Options struct {
	Root    string // of the file system that holds /proc and /sys; empty: "/"
	MaxTier int    // do not try more than this; 0: MaxTier
	// Buffer is the size of the ring buffer in bytes, a power of two and at
	// least a page; 0: 4 MiB, room for 13000 events.
	Buffer uint32
	// Status sends a Status with each victim; Signals sends one with each SIGKILL and
	// SIGTERM that a process sends. Stack has the kernel's stack in them.
	Status, Signals, Stack bool
	// QuietScans leaves out that a decision begins and ends: there are thousands a
	// second while a victim is on its way out.
	QuietScans bool
	// OnlyFentry attaches tiers 2 and 3 by fentry where both would do. It is
	// for comparing the two.
	OnlyFentry bool
}

// Programs are attached to the kernel until they are closed. Nothing is pinned:
// they end with the process.
type Programs struct {
	offer  *offer
	tier   int
	hooks  map[string]string
	maps   map[string]*ebpf.Map
	closes []func() error
	progs  []*ebpf.Program
	tally  *ebpf.Variable
	reader *ringbuf.Reader

	scoring sync.Mutex
}

// hook is a place in the kernel and the programs that can watch it.
type hook struct {
	name     string // in Hooks
	tier     int
	optional bool // the tier is reached without it
	symbol   string
	group    string // of the tracepoint
	trace    string // program on the tracepoint
	raw      string // program on the raw tracepoint
	bare     string // program on the tracepoint that needs no BTF
	kprobe   string
	fentry   string
	ret      bool
	signals  bool // only with Options.Signals
}

var hooks = []hook{
	{name: "mark_victim", tier: 1, symbol: "mark_victim", group: "oom",
		raw: oomProgMarkVictim, bare: oomProgTraceMarkVictim},
	{name: "sched_process_exit", tier: 1, optional: true, symbol: "sched_process_exit", group: "sched",
		trace: oomProgSchedProcessExit, raw: oomProgRawSchedProcessExit},
	{name: "signal_generate", tier: 1, optional: true, symbol: "signal_generate", group: "signal",
		raw: oomProgSignalGenerate, signals: true},

	{name: "out_of_memory", tier: 2, symbol: "out_of_memory",
		kprobe: oomProgKprobeOutOfMemory, fentry: oomProgFentryOutOfMemory},
	{name: "out_of_memory return", tier: 2, symbol: "out_of_memory",
		kprobe: oomProgKretprobeOutOfMemory, fentry: oomProgFexitOutOfMemory, ret: true},
	{name: "oom_kill_process", tier: 2, symbol: "oom_kill_process",
		kprobe: oomProgKprobeOomKillProcess, fentry: oomProgFentryOomKillProcess},
	{name: "__oom_kill_process", tier: 2, symbol: "__oom_kill_process",
		kprobe: oomProgKprobeEachKill, fentry: oomProgFentryEachKill},
	{name: "mark_oom_victim", tier: 2, optional: true, symbol: "mark_oom_victim",
		kprobe: oomProgKprobeMarkOomVictim, fentry: oomProgFentryMarkOomVictim},

	{name: "oom_badness", tier: 3, symbol: "oom_badness",
		kprobe: oomProgKprobeOomBadness, fentry: oomProgFentryOomBadness},
	{name: "oom_badness return", tier: 3, symbol: "oom_badness",
		kprobe: oomProgKretprobeOomBadness, fentry: oomProgFexitOomBadness, ret: true},
	{name: "oom_evaluate_task", tier: 3, optional: true, symbol: "oom_evaluate_task",
		kprobe: oomProgKprobeOomEvaluateTask, fentry: oomProgFentryOomEvaluateTask},
}

// partHooks are needed besides those of oom_badness where gcc split it.
var partHooks = []hook{
	{kprobe: oomProgKprobeOomBadness},
	{kprobe: oomProgKretprobeOomBadness, ret: true},
}

// Open loads the programs and attaches as many as the kernel takes. It fails
// when not even mark_victim could be had; the error then has each hook's
// reason. Where eBPF maps count as locked memory (up to 5.10) it lifts
// RLIMIT_MEMLOCK of the process.
func Open(ctx context.Context, opt Options) (*Programs, error) {
	if opt.Root == "" {
		opt.Root = "/"
	}
	if opt.MaxTier == 0 {
		opt.MaxTier = MaxTier
	}
	cache := btf.NewCache()
	offer, err := readOffer(opt.Root, cache)
	if err != nil {
		return nil, err
	}
	if offer.memlock {
		// Not by the library: it decides in an init function, when PID 1 of a
		// machine has not mounted /proc yet.
		unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited)
		if err != nil && offer.btfErr == nil { // else it may not be needed
			return nil, fmt.Errorf("RLIMIT_MEMLOCK, which this kernel applies to eBPF: %w; "+
				"it needs CAP_SYS_RESOURCE", err)
		}
	}
	spec, err := loadOom()
	if err != nil {
		return nil, fmt.Errorf("reading the compiled programs: %w", err)
	}
	if err := offer.tell(spec, opt); err != nil {
		return nil, err
	}
	if opt.Buffer != 0 {
		spec.Maps[oomMapEvents].MaxEntries = opt.Buffer
	}

	p := &Programs{offer: offer, hooks: map[string]string{}}
	if err := p.open(ctx, spec, cache, opt); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// tell sets the constants of oom.bpf.c.
func (o *offer) tell(spec *ebpf.CollectionSpec, opt Options) error {
	perCPU := o.perCPU
	if o.exactErr != nil {
		perCPU = 0
	}
	for name, value := range map[string]any{
		"nr_cpus":              uint32(o.cpus),
		"per_cpu_offset":       perCPU,
		"mark_victim_has_task": o.markVictimTask,
		"pid_ns":               o.pidNS,
		"tell_status":          opt.Status,
		"tell_stack":           opt.Stack || o.handler != "",
		"quiet_scans":          opt.QuietScans,
	} {
		v, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("the compiled programs have no constant %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("constant %s: %w", name, err)
		}
	}
	return nil
}

func (p *Programs) open(ctx context.Context, spec *ebpf.CollectionSpec, cache *btf.Cache, opt Options) error {
	only := *spec
	only.Programs = nil
	coll, err := ebpf.NewCollectionWithOptions(&only, ebpf.CollectionOptions{Cache: cache})
	if errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("bpf(2): %w; it needs CONFIG_BPF_SYSCALL", unix.ENOSYS)
	}
	if err != nil {
		return fmt.Errorf("creating eBPF maps: %w; it needs root or CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE", err)
	}
	p.closes = append(p.closes, func() error { coll.Close(); return nil })
	p.maps = coll.Maps
	p.tally = coll.Variables["counts"]
	if p.tally == nil {
		return errors.New("the compiled programs have no variable counts")
	}

	load := func(name string) (*ebpf.Program, error) {
		one := *spec
		one.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
		coll, err := ebpf.NewCollectionWithOptions(&one, ebpf.CollectionOptions{MapReplacements: p.maps, Cache: cache})
		if err != nil {
			return nil, err
		}
		prog := coll.DetachProgram(name)
		coll.Close()
		return prog, nil
	}

	// The reader comes first, so that no event waits for it.
	p.reader, err = ringbuf.NewReader(p.maps[oomMapEvents])
	if err != nil {
		return fmt.Errorf("ring buffer: %w", err)
	}
	p.closes = append(p.closes, p.reader.Close)

	reached := opt.MaxTier
	var first error
	for _, h := range hooks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("attaching %s: %w", h.name, err)
		}
		if h.signals && !opt.Signals {
			continue
		}
		if h.tier > opt.MaxTier {
			p.hooks[h.name] = fmt.Sprintf("no: above tier %d, which was asked for", opt.MaxTier)
			continue
		}
		how, err := p.attach(h, load, opt)
		if err == nil {
			p.hooks[h.name] = how
			continue
		}
		p.hooks[h.name] = "no: " + err.Error()
		if h.tier == 1 && first == nil {
			first = err
		}
		if !h.optional && h.tier <= reached {
			reached = h.tier - 1
		}
	}
	p.tier = reached
	p.hooks["exact counters"] = "per-CPU sums"
	switch {
	case p.offer.btfErr != nil:
		p.hooks["exact counters"] = "no: " + p.offer.btfErr.Error()
	case p.offer.threadBatched:
		p.hooks["exact counters"] = "the same as the batched ones: atomics, threads keep back what is missing"
	case p.offer.exactErr != nil:
		p.hooks["exact counters"] = "no: " + p.offer.exactErr.Error()
	}
	if len(p.closes) == 2 {
		return fmt.Errorf("no eBPF program could be attached: %w", errors.Join(p.reasons()...))
	}
	return nil
}

// attach tries the ways to h and says which one did it.
func (p *Programs) attach(h hook, load func(string) (*ebpf.Program, error), opt Options) (string, error) {
	if p.offer.btfErr != nil {
		return p.attachBare(h, load, opt)
	}
	if h.raw != "" {
		return p.attachTracepoint(h, load)
	}
	if why := p.offer.missing(h.symbol); why != "" {
		return "", errors.New(why)
	}
	viaKprobe := errors.New("kprobe: not asked for")
	if !opt.OnlyFentry {
		how := "kprobe"
		viaKprobe = p.probe(h, h.symbol, load, opt)
		if part := p.offer.part(h.symbol); part != "" && viaKprobe == nil {
			for _, split := range partHooks {
				if split.kprobe == h.kprobe {
					viaKprobe = p.probe(split, part, load, opt)
					how += ", also on " + part
				}
			}
		}
		if viaKprobe == nil {
			return how, nil
		}
	}
	if part := p.offer.part(h.symbol); part != "" {
		return "", errors.Join(viaKprobe, fmt.Errorf("fentry: the function is split and %s is not in BTF", part))
	}
	err := p.hold(load, h.fentry, func(prog *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: prog})
	})
	if errors.Is(err, unix.EPERM) {
		// The library would guess at RLIMIT_MEMLOCK, which Open has lifted.
		err = unix.EPERM
	}
	if err != nil {
		return "", errors.Join(viaKprobe, fmt.Errorf("fentry: %w", err))
	}
	return "fentry", nil
}

// attachBare attaches what needs no BTF.
func (p *Programs) attachBare(h hook, load func(string) (*ebpf.Program, error), opt Options) (string, error) {
	if h.bare == "" {
		return "", p.offer.btfErr
	}
	err := victimFormat(opt.Root)
	if err == nil {
		err = p.tracepoint(h, h.bare, load)
	}
	if err != nil {
		return "", errors.Join(p.offer.btfErr, err)
	}
	return "tracepoint, which tells no more than the pid: " + p.offer.btfErr.Error(), nil
}

func (p *Programs) attachTracepoint(h hook, load func(string) (*ebpf.Program, error)) (string, error) {
	how := "raw tracepoint"
	if h.trace != "" {
		err := p.tracepoint(h, h.trace, load)
		if err == nil {
			return "tracepoint", nil
		}
		how += "; tracepoint: " + err.Error()
	}
	return how, p.hold(load, h.raw, func(prog *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.symbol, Program: prog})
	})
}

// tracepoint attaches a program to h's tracepoint, as perf does.
func (p *Programs) tracepoint(h hook, program string, load func(string) (*ebpf.Program, error)) error {
	return p.hold(load, program, func(prog *ebpf.Program) (link.Link, error) {
		return link.Tracepoint(h.group, h.symbol, prog, nil)
	})
}

// probe attaches h's kprobe program to symbol.
func (p *Programs) probe(h hook, symbol string, load func(string) (*ebpf.Program, error), opt Options) error {
	if reason := noKprobes(opt.Root); reason != nil {
		return reason
	}
	attach := link.Kprobe
	if h.ret {
		attach = link.Kretprobe
	}
	if err := p.hold(load, h.kprobe, func(prog *ebpf.Program) (link.Link, error) {
		return attach(symbol, prog, nil)
	}); err != nil {
		return fmt.Errorf("kprobe: %w", err)
	}
	return nil
}

// noKprobes says that the kernel was built without kprobes, which the error of
// attaching one does not.
func noKprobes(root string) error {
	for _, path := range []string{
		"sys/bus/event_source/devices/kprobe", "sys/kernel/tracing/kprobe_events",
		"sys/kernel/debug/tracing/kprobe_events",
	} {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil {
			return nil
		}
	}
	return errors.New("kprobe: the kernel has none (CONFIG_KPROBE_EVENTS)")
}

// hold loads a program, attaches it and keeps both until Close.
func (p *Programs) hold(load func(string) (*ebpf.Program, error), name string,
	attach func(*ebpf.Program) (link.Link, error)) error {
	prog, err := load(name)
	if err != nil {
		return err
	}
	l, err := attach(prog)
	if err != nil {
		prog.Close()
		return err
	}
	p.closes = append(p.closes, prog.Close, l.Close)
	p.progs = append(p.progs, prog)
	return nil
}

func (p *Programs) reasons() []error {
	var errs []error
	for _, h := range hooks {
		if why, failed := strings.CutPrefix(p.hooks[h.name], "no: "); failed {
			errs = append(errs, fmt.Errorf("%s: %s", h.name, why))
		}
	}
	return errs
}

// Tier is the highest tier whose hooks are all attached, 0 to MaxTier. Hooks
// of higher tiers may still be there.
func (p *Programs) Tier() int { return p.tier }

// Hooks says for each hook how it is attached, or "no: " and why not.
func (p *Programs) Hooks() map[string]string { return maps.Clone(p.hooks) }

// Handler names the callbacks of BPF programs that are attached as OOM handlers, as far
// as the symbols of the kernel can be read; empty: none.
func (p *Programs) Handler() string { return p.offer.handler }

// ThreadBatched reports whether the kernel keeps page counters as atomics with
// a cache in every thread (up to 6.1), rather than as percpu_counter.
func (p *Programs) ThreadBatched() bool { return p.offer.threadBatched }

// Constraint is the name of a value of enum oom_constraint.
func (p *Programs) Constraint(value int32) string {
	if name, ok := p.offer.constraints[value]; ok {
		return name
	}
	return fmt.Sprintf("constraint %d", value)
}

// Next waits for the next record. It returns ErrFlushed after Flush, and
// os.ErrClosed after Close. One goroutine at a time may call it.
func (p *Programs) Next() (Record, error) {
	record, err := p.reader.Read()
	if err != nil {
		return Record{}, err
	}
	return Decode(record.RawSample)
}

// Flush makes Next return what is there and then ErrFlushed.
func (p *Programs) Flush() error { return p.reader.Flush() }

// Counts is what the programs had to tell since Open.
type Counts struct {
	Tried uint64 // events that were to be sent
	Full  uint64 // of those, the ones that found the ring buffer full
	// Skipped is how often the kernel did not run a program because its CPU was
	// inside of one, or inside of bpf(2), already. What it would have told,
	// if anything, is not known. Before 5.12 the kernel does not count them.
	Skipped uint64
}

// Lost is how many events did not arrive, or may not have.
func (c Counts) Lost() uint64 { return c.Full + c.Skipped }

// Counts reads the counts.
func (p *Programs) Counts() (Counts, error) {
	var t oomTally
	if err := p.tally.Get(&t); err != nil {
		return Counts{}, fmt.Errorf("counts of the eBPF programs: %w", err)
	}
	c := Counts{Tried: t.Tried, Full: t.Lost}
	for _, prog := range p.progs {
		stats, err := prog.Stats()
		if err != nil {
			return Counts{}, fmt.Errorf("counts of %s: %w", prog, err)
		}
		c.Skipped += stats.RecursionMisses
	}
	return c, nil
}

// calibrationSlot is IN_CALIBRATION of oom.bpf.c.
const calibrationSlot = uint32(1)

// Score calls read, which must make the kernel compute the badness of one
// process in the calling thread, and returns that computation: the process, its
// counters and the kernel's points. It fails unless there was exactly one.
func (p *Programs) Score(read func() error) (Event, error) {
	p.scoring.Lock()
	defer p.scoring.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return Event{}, fmt.Errorf("/proc/self/ns/pid: %w", err)
	}
	me := oomCalibration{NsDev: ns.Dev, NsIno: ns.Ino, Tid: uint32(unix.Gettid())}

	var before, after oomBadness
	if err := p.maps[oomMapScores].Lookup(calibrationSlot, &before); err != nil {
		return Event{}, fmt.Errorf("scores: %w", err)
	}
	if err := p.maps[oomMapCalibrations].Put(uint32(0), &me); err != nil {
		return Event{}, fmt.Errorf("calibrations: %w", err)
	}
	readErr := read()
	if err := p.maps[oomMapCalibrations].Put(uint32(0), &oomCalibration{}); err != nil {
		return Event{}, fmt.Errorf("calibrations: %w", err)
	}
	if readErr != nil {
		return Event{}, readErr
	}
	if err := p.maps[oomMapScores].Lookup(calibrationSlot, &after); err != nil {
		return Event{}, fmt.Errorf("scores: %w", err)
	}
	if n := after.Calls - before.Calls; n != 1 {
		return Event{}, fmt.Errorf("oom_badness() was seen %d times, not once", n)
	}
	return after.Event, nil
}

// Close detaches and unloads everything.
func (p *Programs) Close() error {
	var errs []error
	for i := len(p.closes) - 1; i >= 0; i-- {
		errs = append(errs, p.closes[i]())
	}
	p.closes = nil
	return errors.Join(errs...)
}
