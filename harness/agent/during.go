package agent

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// An action is one entry of the plan's During.
type action struct {
	plan  plan.During
	state actionState
	due   time.Time
}

type actionState int

const (
	actionWaiting actionState = iota // for the processes it comes after
	actionDelayed                    // for its time
	actionRunning
	actionDone
)

// startActions starts what is due. Actions are done one after the other, in the
// order in which they came due, those that may block by a worker; the plan's
// order decides between those that come due together.
func (r *run) startActions() {
	now := time.Now()
	for _, a := range r.actions {
		if a.state == actionWaiting && r.reached(a.plan.After) {
			a.state, a.due = actionDelayed, now.Add(time.Duration(a.plan.DelayMS)*time.Millisecond)
			if wait := a.due.Sub(now); wait > 0 {
				time.AfterFunc(wait, func() { r.post(func() {}) }) // comes back here
			}
		}
		if a.state != actionDelayed || a.due.After(now) || r.victimExiting(now) {
			continue
		}
		a.state = actionRunning
		if a.plan.OOMScoreAdj != nil || a.plan.Signal != nil {
			// The pids belong to the loop.
			r.work <- func() { r.inLoop(func() { r.did(a, r.touchProcesses(a.plan)) }) }
			continue
		}
		r.work <- func() {
			err := r.perform(a.plan)
			r.post(func() { r.did(a, err) })
		}
	}
}

// exitWithin is how long actions wait for a victim to be gone. It is longer
// than the kernel waits before it reaps one (mm/oom_kill.c, OOM_REAPER_DELAY);
// one that is held up longer may need an action to leave, such as thaw.
const exitWithin = 3 * time.Second

// victimExiting reports whether a victim is on its way out, so that an action would
// come between a kill and what it has freed. The loop comes back here when the
// victim is gone, or with its ticker.
func (r *run) victimExiting(now time.Time) bool {
	for _, p := range r.procs {
		if since, ok := r.exiting[p.pid]; ok && p.alive() && now.Sub(since) < exitWithin {
			return true
		}
	}
	return false
}

// pressWithin is how long sysrq-f may take to call the OOM killer, which a
// worker of the kernel's does.
const pressWithin = 5 * time.Second

// press writes a key to /proc/sysrq-trigger and, if that is f and eBPF sees
// invocations of the OOM killer, returns when the one it asked for is over.
func (r *run) press(key string) error {
	before := r.pressed.Load()
	if err := writeFile(r.agent.root.Path("/proc/sysrq-trigger"), key); err != nil {
		return err
	}
	if key != "f" || r.agent.observers.tier().Tier < 2 {
		return nil
	}
	deadline := time.NewTimer(pressWithin)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for r.pressed.Load() == before {
		r.drain()
		select {
		case <-again.C:
		case <-r.closed:
			return nil
		case <-deadline.C:
			return fmt.Errorf("awaited the OOM killer that sysrq-f calls for %s", pressWithin)
		}
	}
	return nil
}

// inLoop has the loop call a function and returns when it did, or when the run
// is over.
func (r *run) inLoop(f func()) {
	done := make(chan struct{})
	r.post(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
	case <-r.closed:
	}
}

func (r *run) did(a *action, err error) {
	a.state = actionDone
	text := a.plan.String()
	if err != nil {
		r.failure(text + ": " + err.Error())
	} else {
		r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Did, Text: text})
	}
	r.happened()
}

// perform does the actions that may block: a limit that is lowered waits for
// reclaim and kills, swapoff for every page to come back.
func (r *run) perform(d plan.During) error {
	for _, c := range d.Writes {
		for _, w := range c.Writes {
			dir, err := r.dirOf(c.Path)
			if err != nil {
				return err
			}
			if err := writeFile(filepath.Join(dir, w.File), w.Value); err != nil {
				return err
			}
		}
	}
	if d.Freeze != "" {
		if err := r.tree.freeze(d.Freeze, true); err != nil {
			return err
		}
	}
	if d.Thaw != "" {
		if err := r.tree.freeze(d.Thaw, false); err != nil {
			return err
		}
	}
	if err := setSysctls(r.agent.root, d.Sysctls); err != nil {
		return err
	}
	if d.Sysrq != "" {
		if err := r.press(d.Sysrq); err != nil {
			return err
		}
	}
	if d.Swapoff {
		return r.swapoff()
	}
	for _, name := range d.Stop {
		if err := r.stopOverseen(name); err != nil {
			return err
		}
	}
	return nil
}

// dirOf is the directory of a cgroup of the plan's: that of a container has another name,
// which is known when the container has begun.
func (r *run) dirOf(path string) (string, error) {
	c, _ := r.plan.Cgroup(path)
	if c.Container == "" {
		return r.tree.dir(path), nil
	}
	if dir, ok := r.inside.Load(c.Container); ok {
		return dir.(string), nil
	}
	return "", fmt.Errorf("container %s has no cgroup yet", c.Container)
}

// stopWithin is how long an overseer waits between SIGTERM and SIGKILL.
const stopWithin = time.Minute

// stopOverseen has the overseer of a process stop it, and returns when it has ended.
func (r *run) stopOverseen(name string) error {
	var err error
	r.inLoop(func() {
		if p := r.byName[name]; p == nil || !p.alive() {
			err = fmt.Errorf("process %s is not running", name)
			return
		}
		r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Stopping, Process: name})
	})
	if err != nil {
		return err
	}
	if u, ok := r.plan.Unit(name); ok {
		_, err := systemctl("systemctl", "stop", u.Service)
		return err
	}
	c, _ := r.plan.Container(name)
	_, err = askEngine(nil, c.Engine, "stop", "--time", strconv.Itoa(int(stopWithin/time.Second)), name)
	return err
}

// swapoff switches all swap off; the plan's own and, on a machine of its own,
// whatever there is.
func (r *run) swapoff() error {
	text, err := r.agent.root.Text("/proc/swaps")
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	var errs []error
	for _, line := range lines[1:] { // the first is the heading
		if path, _, ok := strings.Cut(line, " "); ok {
			err := swapoff(path)
			if errors.Is(err, unix.ENOMEM) {
				// The kernel did what it could: a cgroup that pages were charged to had
				// nobody left to be killed for them.
				continue
			}
			errs = append(errs, err)
		}
	}
	if len(lines) < 2 {
		return errors.New("no swap is on")
	}
	return errors.Join(errs...)
}

func (r *run) touchProcesses(d plan.During) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(d.OOMScoreAdj)) {
		p := r.byName[name]
		if p == nil || !p.alive() {
			errs = append(errs, fmt.Errorf("process %s is not running", name))
			continue
		}
		file := r.agent.root.Path("/proc", strconv.Itoa(p.pid), "oom_score_adj")
		errs = append(errs, writeFile(file, strconv.Itoa(d.OOMScoreAdj[name])))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Signal)) {
		p := r.byName[name]
		if p == nil || !p.alive() || p.pidfd < 0 {
			errs = append(errs, fmt.Errorf("process %s is not running", name))
			continue
		}
		if err := unix.PidfdSendSignal(p.pidfd, unix.Signal(d.Signal[name]), nil, 0); err != nil {
			errs = append(errs,
				fmt.Errorf("%s to %s (pid %d): %w", kernel.SignalName(d.Signal[name]), name, p.pid, err))
			continue
		}
		if unix.Signal(d.Signal[name]) == unix.SIGKILL {
			r.expectExit(p.pid, false)
		}
	}
	return errors.Join(errs...)
}

// freezeDeadline bounds the wait for a cgroup to be frozen; a task in an
// uninterruptible sleep can hold it up.
const freezeDeadline = 10 * time.Second

// freeze freezes or thaws a cgroup and waits until it is.
func (t *tree) freeze(path string, frozen bool) error {
	if t.version == 1 {
		state := map[bool]string{true: "FROZEN", false: "THAWED"}[frozen]
		return setFreezerState(filepath.Join(t.freezer, path, "freezer.state"), state)
	}
	value := map[bool]string{true: "1", false: "0"}[frozen]
	events := filepath.Join(t.dir(path), "cgroup.events")
	f, err := os.Open(events)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeFile(filepath.Join(t.dir(path), "cgroup.freeze"), value); err != nil {
		return err
	}
	deadline := time.Now().Add(freezeDeadline)
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(int(f.Fd()), buf, 0)
		if err != nil {
			return fmt.Errorf("read %s: %w", events, err)
		}
		if slices.Contains(strings.Split(string(buf[:n]), "\n"), "frozen "+value) {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%s: awaited frozen %s for %s, have %q", events, value, freezeDeadline, buf[:n])
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll %s: %w", events, err)
		}
	}
}

// setFreezerState writes the state of a cgroup v1 freezer until it is reached:
// FREEZING becomes FROZEN when it is looked at, and nothing tells when (Documentation/
// admin-guide/cgroup-v1/freezer-subsystem.rst).
func setFreezerState(file, state string) error {
	deadline := time.NewTimer(freezeDeadline)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if err := writeFile(file, state); err != nil {
			return err
		}
		now, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(now)) == state {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return fmt.Errorf("%s: awaited %s for %s, have %q", file, state, freezeDeadline,
				strings.TrimSpace(string(now)))
		}
	}
}
