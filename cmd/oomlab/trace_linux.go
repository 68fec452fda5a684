//go:build !notlinux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/export"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/trace"
	"github.com/oomlab/oomlab/harness/watch"
)

// trace prints kills until it is told to end.
func (a *app) trace(ctx context.Context, f traceFlags) error {
	a.ends.Store(true)
	signal.Ignore(unix.SIGPIPE) // a reader that is gone is an error of write(2)
	adj, _ := probe.Root("/").OOMScoreAdj(0)
	p := &killPrinter{a: a, f: f, ctx: ctx, adj: adj}
	var w *watch.Watch
	var err error
	if f.snapshot != "" {
		if p.snapshots, err = watch.OpenSnapshots("/", f.snapshot); err != nil {
			return err
		}
	}
	if f.listen != "" {
		if err := p.listen(&w); err != nil {
			return err
		}
	}
	tier, _ := strconv.Atoi(f.tier.value)
	if !f.verbose && f.output.value == "text" {
		tier = min(tier, 2) // a line has no scoreboard
	}
	w, err = watch.Open(ctx, watch.Options{MaxTier: tier, NoBPF: f.tier.value == "log", Burst: f.burst,
		Signals: f.tier.value != "log", Detail: f.verbose, Protect: true})
	if ctx.Err() != nil {
		return nil // it was to end before it had begun
	}
	if err != nil {
		return a.blind(err)
	}
	if err := w.Rehearse(func(k trace.Kill) error { return p.write(io.Discard, k) }); err != nil {
		return errors.Join(err, w.Close())
	}
	unexport := p.export()
	for _, line := range w.Header() {
		a.say(program + line)
	}
	a.lacking()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	err = errors.Join(w.Run(ctx, p), unexport(), w.Close())
	if errors.Is(err, unix.EPIPE) {
		err = nil // who reads has had enough
	}
	text := plaintext.Count(p.shown, "kill")
	if p.hidden > 0 {
		text += fmt.Sprintf(", and %d that the flags leave out", p.hidden)
	}
	if lost := w.Lost(); lost > 0 {
		text += fmt.Sprintf("; %d events were lost, so there may have been more", lost)
	}
	a.say(program + text)
	return err
}

// blind says why nothing can be seen, and how to get what is missing.
func (a *app) blind(err error) error {
	if !errors.Is(err, watch.ErrBlind) {
		return err
	}
	return errors.Join(target.ErrUnsupported, err, a.lacking())
}

// listen opens the address of the metrics. w is set when they are asked for.
func (p *killPrinter) listen(w **watch.Watch) error {
	c, err := census.Open("/")
	if err != nil {
		return err
	}
	tier, lost := func() int { return (*w).Tier() }, func() uint64 { return (*w).Lost() }
	p.exporter, err = export.New(p.f.listen, tier, lost, c)
	if err != nil {
		return &mistake{fmt.Sprintf("--listen %s: %v", p.f.listen, err), "for example --listen :9464"}
	}
	return nil
}

// export serves metrics, if they are wanted, until the function that it returns is
// called.
func (p *killPrinter) export() func() error {
	if p.exporter == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.exporter.Serve(ctx) }()
	p.a.say(program + "metrics at http://" + p.exporter.Addr() + "/metrics")
	return func() error {
		cancel()
		return <-ended
	}
}

// lacking says which capabilities are missing and how to grant them.
func (a *app) lacking() error {
	self, err := os.Executable()
	if err != nil {
		self = "oomlab"
	}
	lacks, hints := watch.Missing("/", self)
	for _, l := range lacks {
		a.say(program + "missing " + l)
	}
	for _, h := range hints {
		a.say(hinting + h)
	}
	return nil
}

// killPrinter is told of kills.
type killPrinter struct {
	a             *app
	f             traceFlags
	ctx           context.Context
	snapshots     *watch.Snapshots
	exporter      *export.Exporter
	adj           int // of this process before it protected itself
	shown, hidden int
}

func (p *killPrinter) Trouble(text string) { p.a.say(program + text) }

func (p *killPrinter) Kill(k trace.Kill) error {
	if !p.f.filter.Takes(k) {
		if k.By == trace.ByKernel {
			p.hidden++
		}
		return nil
	}
	if p.snapshots != nil {
		dir, err := p.snapshots.Take(p.ctx, k)
		if err != nil {
			p.Trouble("snapshot: " + err.Error())
		}
		k.Snapshot = dir
	}
	if err := p.print(k); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	p.shown++
	if p.exporter != nil {
		p.exporter.Kill(k)
	}
	if p.f.exec != "" {
		if err := p.run(k); err != nil {
			p.Trouble("--exec: " + err.Error())
		}
	}
	if p.f.count > 0 && p.shown >= p.f.count {
		return watch.ErrStop
	}
	return nil
}

// print writes a kill. On a disk that is full it takes back what fitted of it.
func (p *killPrinter) print(k trace.Kill) error {
	out := raw(p.a.out)
	file, regular := out.(*os.File)
	var size int64
	if regular {
		info, err := file.Stat()
		regular = err == nil && info.Mode().IsRegular()
		if regular {
			size = info.Size()
		}
	}
	err := p.write(p.a.out, k)
	if err != nil && regular {
		err = errors.Join(err, file.Truncate(size))
	}
	return err
}

func (p *killPrinter) write(out io.Writer, k trace.Kill) error {
	if p.f.output.value == "json" {
		return trace.JSON(out, k)
	}
	return trace.Text(raw(out), k, trace.TextOptions{Verbose: p.f.verbose})
}

// execTime is how long a command of --exec may take.
const execTime = 30 * time.Second

// run runs the command of --exec. It does not inherit the protection of this process.
func (p *killPrinter) run(k trace.Kill) error {
	ctx, cancel := context.WithTimeout(p.ctx, execTime)
	defer cancel()
	cmd := watch.Shell(ctx, p.adj, p.f.exec)
	cmd.Env = append(os.Environ(), "OOM_VICTIM_PID="+strconv.Itoa(k.Victim.PID), "OOM_VICTIM_COMM="+k.Victim.Comm,
		"OOM_VICTIM_CGROUP="+k.Victim.Cgroup, "OOM_BY="+k.By)
	var in strings.Builder
	if err := trace.JSON(&in, k); err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Stdout, cmd.Stderr = p.a.err, p.a.err
	cmd.WaitDelay = time.Second
	return cmd.Run()
}
