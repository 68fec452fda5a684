package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

const (
	// maxLine bounds a line from the guest. A reading of a big cgroup tree has
	// some ten thousand bytes.
	maxLine = 8 << 20
	// defaultDeadline is for a plan that has none.
	defaultDeadline = time.Minute
	// slack is what a guest gets on top of its plan's deadline to tell how it
	// ended: an emulated machine that thrashes is slow.
	slack = 20 * time.Second
	// busy is how many times its deadline a guest may take that goes on telling.
	busy = 4
	// defaultBeginWait is how long a guest may take to begin with a plan.
	defaultBeginWait = 30 * time.Second
	// nudgeEvery is how often a guest is nudged that has not begun.
	nudgeEvery = 2 * time.Second
	// endWait is how long QEMU may take to end once the guest has closed its
	// serial port.
	endWait = 5 * time.Second
	// consoleTail is how many lines of the console an error shows.
	consoleTail = 25
)

// lines reads lines from the guest until its port is closed or stop is called.
func lines(r io.Reader) (out <-chan []byte, stop func()) {
	c := make(chan []byte)
	quit := make(chan struct{})
	go func() {
		defer close(c)
		sc := bufio.NewScanner(r)
		sc.Buffer(make([]byte, 64<<10), maxLine)
		sc.Split(wire.ScanLines)
		for sc.Scan() {
			// A port may deliver a stray zero or carriage return when it is opened.
			line := bytes.Trim(sc.Bytes(), "\x00\r\n ")
			if len(line) == 0 {
				continue
			}
			select {
			case c <- bytes.Clone(line):
			case <-quit:
				return
			}
		}
	}()
	return c, sync.OnceFunc(func() { close(quit) })
}

// make boots a guest, waits for its Hello, and writes the snapshot into dir.
func (v *VM) make(ctx context.Context, dir, key, accel string) (err error) {
	c := v.config(accel)
	c.Console = filepath.Join(v.runDir, "boot-console.txt")
	if err := v.furnish(&c, dir); err != nil {
		return err
	}
	if c.Swap != "" {
		defer os.Remove(c.Swap)
	}
	var link *os.File
	if c.Link != "" {
		near, far, err := Cable()
		if err != nil {
			return err
		}
		defer near.Close()
		defer far.Close() // nobody is there yet
		link = near
	}
	begin := time.Now()
	p, err := launch(ctx, argv(c), nil, link) // no state
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	v.consoles["boot-console.txt"] = c.Console

	wait := bootWait[accel]
	if v.o.BootWait > 0 {
		wait = v.o.BootWait
	}
	hello, err := v.awaitHello(ctx, p, c.Console, wait)
	if err != nil {
		return err
	}
	booted := time.Now()
	if err := save(ctx, p, filepath.Join(dir, "state")); err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	m := meta{
		Key: key, Release: v.o.Kernel.Release, QEMU: v.version, Accel: accel, Hello: hello,
		BootMS: booted.Sub(begin).Milliseconds(), SaveMS: time.Since(booted).Milliseconds(),
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	v.o.Log(fmt.Sprintf("%s said hello after %d ms; saved in %d ms", m.Release, m.BootMS, m.SaveMS))
	return cache.Write(filepath.Join(dir, metaFile), data)
}

// room is an error unless a guest with a disk fits where it is kept: its boot takes
// minutes, and a QEMU whose memory cannot be written ends with a bus error.
func (v *VM) room(c *config, dir string) error {
	if v.o.Disk == "" {
		return nil // an empty disk takes next to nothing
	}
	disk, err := os.Stat(v.o.Disk)
	if err == nil {
		_, err = cache.Room(dir, "a guest of "+c.Memory.Human()+" with its disk",
			kernel.Bytes(host.Allocated(disk))+c.Memory)
	}
	return err
}

// furnish puts the files of the machine c into dir, and names them in c.
func (v *VM) furnish(c *config, dir string) (err error) {
	if err := v.room(c, dir); err != nil {
		return err
	}
	c.Kernel, c.Initrd = filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if err := copyFile(c.Kernel, v.o.Kernel.Image); err != nil {
		return err
	}
	if sum, err := hashFile(c.Kernel); err != nil || sum != v.kernelSum {
		return errors.Join(fmt.Errorf("%s changed while it was copied", v.o.Kernel.Image), err)
	}
	if err := os.WriteFile(c.Initrd, v.initrd, 0o600); err != nil {
		return err
	}
	for i := range v.nodes() {
		size := c.Memory
		if len(c.Nodes) > 0 {
			size = c.Nodes[i]
		}
		c.RAM = append(c.RAM, filepath.Join(dir, ramOf(i)))
		ram, err := cache.Create(c.RAM[i]) // QEMU would make one that everybody can read
		if err != nil {
			return err
		}
		if err := errors.Join(ram.Truncate(int64(size)), ram.Close()); err != nil {
			return err
		}
	}
	switch {
	case v.o.FilesDisk > 0:
		c.Disk = filepath.Join(dir, diskFile)
		if err := makeFiles(c.Disk, v.o.FilesDisk); err != nil {
			return err
		}
	case c.Disk != "":
		c.Disk = filepath.Join(dir, diskFile)
		if err := copyFile(c.Disk, v.o.Disk); err != nil {
			return err
		}
		if sum, err := cache.SumFile(c.Disk); err != nil || sum.Sum != v.o.DiskSum {
			return errors.Join(fmt.Errorf("%s is damaged: checksum mismatch; rebuild it", v.o.Disk), err)
		}
	}
	if c.GuestPort != 0 {
		if c.HostPort, err = freePort(); err != nil {
			return err
		}
	}
	if c.Swap != "" {
		c.Swap = filepath.Join(dir, "swap.img")
		return v.makeSwap(c.Swap)
	}
	return nil
}

// awaitHello reads the first line that a booting agent says.
func (v *VM) awaitHello(ctx context.Context, p *process, console string, wait time.Duration) (json.RawMessage, error) {
	said, stop := lines(p.channel)
	defer stop()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var tick <-chan time.Time
	progress := &news{console: console, lines: v.o.News}
	if v.o.News != nil {
		ticker := time.NewTicker(newsEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	begun := time.Now()
	var looked, ran time.Duration // since then, and of QEMU's processor time, at the last look
	for {
		select {
		case line, ok := <-said:
			if !ok {
				return nil, v.down(ctx, p, console, nil)
			}
			var hello wire.Hello
			if err := json.Unmarshal(line, &hello); err != nil {
				return nil, fmt.Errorf("the agent's first line %.200q is no hello: %w", line, err)
			}
			if hello.Protocol != wire.Protocol {
				return nil, fmt.Errorf("the agent speaks protocol %d, and %d is wanted; build oomlab and its agent "+
					"from one source", hello.Protocol, wire.Protocol)
			}
			if why := unmeasured(hello); why != "" {
				return nil, &target.Down{How: "hang", Message: why, Console: lastLines(readConsole(console),
					consoleTail)}
			}
			return json.RawMessage(line), nil
		case e := <-p.monitor.Events():
			if e.Name == stopEvent {
				return nil, stopped(console)
			}
		case <-tick:
			for _, line := range progress.next() {
				v.o.Log(line)
			}
		case <-timer.C:
			elapsed, had := time.Since(begun), host.ProcessorTime(p.cmd.Process.Pid)
			if more := bootsOn(wait, elapsed, had, elapsed-looked, had-ran); more > 0 {
				looked, ran = elapsed, had
				timer.Reset(more)
				continue
			}
			text := readConsole(console)
			return nil, &target.Down{How: "hang",
				Message: fmt.Sprintf("no hello from the agent within %v of the start, in which QEMU ran for %v",
					elapsed.Round(time.Second), had.Round(time.Second)) + mute(text),
				Console: lastLines(text, consoleTail)}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lookEvery is how often it is looked at whether a guest boots on that has had its time.
const lookEvery = 5 * time.Second

// bootsOn is how much longer a guest may boot of which nothing was heard for wait; 0: it hangs.
// On a machine that has much else to do the processor time counts that QEMU has had, ran in
// all, up to busy times as much on the clock; but of the last time, since, a tenth at least,
// or the guest has nothing to do.
func bootsOn(wait, elapsed, ran, since, ranSince time.Duration) time.Duration {
	if ran >= wait || elapsed >= busy*wait || ranSince < since/10 {
		return 0
	}
	return min(lookEvery, busy*wait-elapsed)
}

// unmeasured says why a Hello is not one to keep: the guest came up, but was so
// slow that what a stressor costs could not be measured. Every plan that is
// carried out in copies of such a guest would lack it. Empty: it is complete.
func unmeasured(h wire.Hello) string {
	if a := h.Machine.Abilities[kernel.AbilityMemcg]; a.Is == "unsure" {
		return "the guest is too slow to be measured, try again when the host has less to do: " + a.Why
	}
	return ""
}

// errIdle is a guest that has not begun with its plan: nothing has been done, and
// another copy can have the plan.
var errIdle = errors.New("the agent does not begin")

// converse sends a request and passes on what the agent answers; said are the
// lines that it says.
func (v *VM) converse(ctx context.Context, p *process, said <-chan []byte, req wire.Request,
	sink func(evidence.Event)) error {
	console := filepath.Join(v.runDir, "console.txt")
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	wait := patience(req)
	timer := time.NewTimer(wait + v.slack)
	defer timer.Stop()
	started, last := time.Now(), time.Now()

	// The guest reads while it is busy with something else, or not at all once
	// it is down; so writing must not keep us from listening.
	sent := make(chan error, 1)
	go func() {
		_, err := p.channel.Write(append(line, '\n'))
		sent <- err
	}()
	// A plan begins with an event; a watch has nothing to tell until something
	// happens.
	begin, nudge := time.NewTimer(v.beginWait), time.NewTicker(nudgeEvery)
	defer begin.Stop()
	defer nudge.Stop()
	if req.Watch != nil {
		begin.Stop()
		nudge.Stop()
	}
	nudges := 0
	count := 0
	for {
		select {
		case err := <-sent:
			if err != nil && ctx.Err() == nil {
				// Reading finds the end of the port too, and why it ended.
				v.o.Log(fmt.Sprintf("sending the plan: %v", err))
			}
			sent = nil
		case line, ok := <-said:
			if !ok {
				return v.down(ctx, p, console, sink)
			}
			last = time.Now()
			begin.Stop()
			nudge.Stop()
			if nudges > 0 && count == 0 {
				v.o.Log("a guest with " + v.o.Kernel.Release + " stood still, and began when it was nudged")
			}
			n, done, err := heard(line, req.ID, count, sink)
			if err != nil || done {
				return err
			}
			count += n
		case e := <-p.monitor.Events():
			if e.Name == stopEvent {
				return stopped(console)
			}
		case <-nudge.C:
			// An empty line, which the agent skips: the interrupt wakes a processor
			// that has lost its timer. Not into the middle of the plan.
			if sent == nil {
				nudges++
				_, _ = p.channel.Write([]byte{'\n'}) // reading finds a closed port too
			}
		case <-begin.C:
			if panicMessage(readConsole(console)) == "" {
				return errIdle
			}
		case <-timer.C:
			if more := grace(wait+v.slack, v.slack, time.Since(started), time.Since(last)); more > 0 {
				timer.Reset(more)
				continue
			}
			return v.hung(console, fmt.Sprintf("after %v the agent had sent %d events and not the end",
				time.Since(started).Round(time.Millisecond), count), sink)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// grace is how much longer a guest may take whose deadline is over, after it was
// asked so long ago and said something so long ago. On a busy machine the seconds
// of a guest are longer than ours: as long as it says something within slack, it
// may take a few times its deadline.
func grace(deadline, slack, asked, quiet time.Duration) time.Duration {
	return max(0, min(slack-quiet, busy*deadline-asked))
}

// hung is the end of a guest that says nothing any more: it panicked, or hangs.
func (v *VM) hung(console, message string, sink func(evidence.Event)) error {
	text := readConsole(console)
	if message := panicMessage(text); message != "" {
		return v.panicked(text, message, sink)
	}
	return &target.Down{How: "hang", Console: lastLines(text, consoleTail), Message: message}
}

// patience is how long a request may take.
func patience(req wire.Request) time.Duration {
	ms := req.Plan.DeadlineMS
	if req.Watch != nil {
		ms = req.Watch.DeadlineMS
	}
	if ms <= 0 {
		return defaultDeadline
	}
	return time.Duration(ms) * time.Millisecond
}

// heard takes a line of the agent that answers request id. It hands its events on
// and counts them; done is the end of the answer, of which count events came before.
func heard(line []byte, id int, count int, sink func(evidence.Event)) (n int, done bool, err error) {
	var m wire.Message
	if err := json.Unmarshal(line, &m); err != nil {
		return 0, false, fmt.Errorf("vm: the agent said %.200q, which is no message: %w", line, err)
	}
	switch {
	case m.ID != id:
		return 0, false, fmt.Errorf("vm: the agent answers request %d, and %d was asked", m.ID, id)
	case m.Lacks != "":
		return 0, false, &target.Missing{What: m.Lacks, Hint: m.Hint}
	case m.Error != "":
		return 0, false, fmt.Errorf("vm: agent: %s", m.Error)
	case m.Done && m.Sum != count:
		return 0, false, fmt.Errorf("vm: the agent sent %d events and %d arrived: the serial line lost some", m.Sum,
			count)
	}
	for _, e := range m.Events {
		sink(e)
	}
	return len(m.Events), m.Done, nil
}

// stopEvent is QEMU's word for a guest that stands still though nobody asked for
// it: KVM met something that it cannot do, or the host's disk is full.
const stopEvent = "STOP"

func stopped(console string) error {
	return &target.Down{How: "hang", Message: "QEMU stopped the guest because of an error of its own",
		Console: lastLines(readConsole(console), consoleTail)}
}

// down says how a guest ended whose serial port is closed.
func (v *VM) down(ctx context.Context, p *process, console string, sink func(evidence.Event)) error {
	if !p.ended(endWait) {
		return &target.Down{How: "hang", Message: fmt.Sprintf("the guest closed its port, and QEMU did not end "+
			"within %v", endWait)}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // that is why it was killed
	}
	text := readConsole(console)
	if message := panicMessage(text); message != "" {
		return v.panicked(text, message, sink)
	}
	d := &target.Down{How: "exited", Message: "the guest switched itself off" + mute(text),
		Console: lastLines(text, consoleTail)}
	if state := p.cmd.ProcessState; state != nil && state.ExitCode() != 0 {
		d.How, d.Message = "killed", "QEMU: "+state.String()
		if complaint := p.complaint(); complaint != nil {
			d.Message += ": " + complaint.Error()
		}
	}
	return d
}

// mute says of a console without a word what that may mean.
func mute(console string) string {
	if strings.TrimSpace(console) != "" {
		return ""
	}
	return "; nothing was written to its console: the image may be damaged, or the kernel be without " +
		"SERIAL_8250_CONSOLE"
}

// panicked reports a panic. All that the kernel said to the console becomes
// evidence: the agent, who would have read it from /dev/kmsg, did not live to.
func (v *VM) panicked(console, message string, sink func(evidence.Event)) error {
	if sink != nil {
		for _, e := range consoleRecords(console) {
			sink(e)
		}
	}
	return &target.Down{How: "panic", Message: message, Console: lastLines(console, consoleTail)}
}

// readConsole is the console as far as it was written; nothing when there is none.
func readConsole(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(data)
}
