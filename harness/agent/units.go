package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// Where the files of units are, and the sockets that their main processes call on.
const (
	unitDir   = "/run/systemd/system"
	unitCalls = "/run/oomlab-units"
)

// systemdDeadline bounds every question to systemd.
const systemdDeadline = stopWithin + 30*time.Second

// oomMessage is the MESSAGE_ID with which systemd says that one of a unit's processes was
// killed by the OOM killer (SD_MESSAGE_UNIT_OUT_OF_MEMORY in systemd's sd-messages.h).
const oomMessage = "fe6faa94e7774663a0da52717891d8ef"

// systemctl runs a program of systemd's and returns what it prints.
func systemctl(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err,
			strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// closeSlice ends the slice that a run's cgroups were in.
func (r *run) closeSlice() error {
	if !r.plan.Sliced() {
		return nil
	}
	_, err := systemctl("systemctl", "stop", r.plan.Base)
	return err
}

// unitsParent makes the cgroup of the slice that the slices of runs are in. The run's
// cgroups are then below it. systemd takes it as it finds it.
func unitsParent(root probe.Root, m kernel.CgroupMount) (kernel.CgroupMount, error) {
	top := root.Path(m.Root)
	m.Self = "/" + plan.UnitsParent
	dir := root.Path(m.Root, m.Self)
	if err := makeCgroup(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return m, err
	}
	return m, errors.Join(writeFile(filepath.Join(top, controlFile), "+memory"),
		writeFile(filepath.Join(dir, controlFile), "+memory"))
}

// openUnits makes the units known to systemd, which takes a moment. It starts none.
func (r *run) openUnits() error {
	if len(r.plan.Units) == 0 {
		return nil
	}
	for _, u := range r.plan.Units {
		if err := r.openUnit(u); err != nil {
			return fmt.Errorf("unit %s: %w", u.Service, err)
		}
	}
	_, err := systemctl("systemctl", "daemon-reload")
	return err
}

func (r *run) openUnit(u plan.Unit) error {
	state, err := systemctl("systemctl", "show", "-P", "LoadState", u.Service)
	if err != nil {
		return err
	}
	if state = strings.TrimSpace(state); state != "not-found" {
		return fmt.Errorf("the userland has a unit of that name, which is %s; give yours another one", state)
	}
	call := filepath.Join(unitCalls, u.Name)
	one := &overseen{plan: r.byName[u.Name].plan, what: "unit " + u.Service}
	one.met = func(int) error {
		r.paths.learn(r.tree.dir(u.Cgroup)) // which may be a new one
		return nil
	}
	one.ask = func() (func() bool, error) {
		state, err := r.unitState(u)
		return func() bool { return r.unitRests(u, state) }, err
	}
	if err := r.oversee(one, call); err != nil {
		return err
	}
	files := append([]plan.UnitFile{{
		Path: u.Service + ".d/00-oomlab.conf",
		// within the ten seconds of systemd's default an emulated machine starts it less often
		Text: fmt.Sprintf("[Unit]\nStartLimitIntervalSec=1h\n[Service]\nType=exec\nExecStart=%s unit %s\nSlice=%s\n"+
			"TimeoutStopSec=%d\n", r.agent.stressor, call, r.plan.Base, int(stopWithin/time.Second)),
	}}, u.Files...)
	for _, f := range files {
		name := filepath.Join(unitDir, f.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		// systemd takes an empty file for one that masks the unit
		if err := os.WriteFile(name, []byte("# of oomlab's run\n"+f.Text), 0o644); err != nil {
			return err
		}
	}
	// systemd removes the cgroup of a unit that has ended, and with it its counters. What
	// is a mount point is not removed. One whose unit is started again must not be there by
	// then: systemd would take kills that were counted before for new ones.
	if c, _ := r.plan.Cgroup(u.Cgroup); c.Transient {
		return nil
	}
	dir := r.tree.dir(u.Cgroup)
	return os.NewSyscallError("mount "+dir, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
}

// startUnit has systemd start a unit, which returns when its program was executed.
func (r *run) startUnit(p *process) error {
	u, _ := r.plan.Unit(p.plan.Name)
	r.changed(r.overseen[p.plan.Name])
	if _, err := systemctl("systemctl", "start", u.Service); err != nil {
		said, _ := systemctl("journalctl", "-q", "-n", "5", "-o", "cat", "-u", u.Service)
		return fmt.Errorf("unit %s was not started: %w; systemd says: %s", u.Service, err,
			strings.ReplaceAll(strings.TrimSpace(said), "\n", "; "))
	}
	return nil
}

// unitRests reports whether systemd has taken note of all that has happened to a unit: of
// every kill, of the end of its main process, and of what it does itself about them.
func (r *run) unitRests(u plan.Unit, s *evidence.UnitState) bool {
	p := r.byName[u.Name]
	switch s.Shows["ActiveState"] {
	case "active":
		if s.Shows["SubState"] != "running" || s.Shows["MainPID"] != fmt.Sprint(p.pid) || !p.alive() {
			return false
		}
	case "inactive", "failed":
		if p.state != ended {
			return false
		}
	default:
		return false
	}
	if c, _ := r.plan.Cgroup(u.Cgroup); c.Transient {
		return true // to start it again it has to know why it ended
	}
	return s.Noted > 0 || r.killsIn(u) == 0
}

// killsIn is how many processes of a unit's the kernel has counted as killed.
func (r *run) killsIn(u plan.Unit) uint64 {
	f, err := os.Open(filepath.Join(r.tree.dir(u.Cgroup), evidence.FileMemoryEvents))
	if err != nil {
		return 0
	}
	defer f.Close()
	e, err := kernel.ParseMemoryEvents(f)
	if err != nil {
		return 0
	}
	return e.Values[evidence.CounterOOMKill]
}

// unitState asks systemd what it says of a unit.
func (r *run) unitState(u plan.Unit) (*evidence.UnitState, error) {
	lines, err := systemctl("journalctl", "-q", "--no-pager", "-o", "cat", "-u", u.Service, "MESSAGE_ID="+oomMessage)
	if err != nil {
		return nil, err
	}
	shown, err := systemctl("systemctl", "show", u.Service, "-p", strings.Join(evidence.UnitProperties, ","))
	if err != nil {
		return nil, err
	}
	s := &evidence.UnitState{Service: u.Service, Shows: map[string]string{}, Noted: strings.Count(lines, "\n")}
	for line := range strings.Lines(shown) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			s.Shows[key] = value
		}
	}
	return s, nil
}

// sayUnits tells what systemd says of the units at the end.
func (r *run) sayUnits() {
	for _, u := range r.plan.Units {
		if r.overseen[u.Name] == nil {
			continue // the run failed before it was made
		}
		s, err := r.unitState(u)
		if err != nil {
			r.failure(fmt.Sprintf("unit %s: %v", u.Service, err))
			continue
		}
		r.emit(evidence.Event{Source: evidence.Systemd, Kind: evidence.UnitShown, Process: u.Name, Unit: s})
	}
}

// haltUnits tells systemd that the units are to end, and not to be started again.
func (r *run) haltUnits() {
	for _, u := range r.plan.Units {
		if r.overseen[u.Name] == nil {
			continue
		}
		systemctl("systemctl", "stop", "--no-block", u.Service) // closeUnits does it again, and reports
	}
}

// closeUnits removes the units, whose processes have ended.
func (r *run) closeUnits() error {
	if len(r.plan.Units) == 0 {
		return nil
	}
	var errs []error
	for _, u := range r.plan.Units {
		one := r.overseen[u.Name]
		if one == nil {
			continue // it was never made
		}
		errs = append(errs, one.calls.Close())
		_, err := systemctl("systemctl", "stop", u.Service)
		errs = append(errs, err)
		err = unix.Unmount(r.tree.dir(u.Cgroup), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // it is none, or not there
			errs = append(errs, os.NewSyscallError("umount", err))
		}
		systemctl("systemctl", "reset-failed", u.Service) // which it may not have
		errs = append(errs, os.RemoveAll(filepath.Join(unitDir, u.Service+".d")))
		if err := os.Remove(filepath.Join(unitDir, u.Service)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.RemoveAll(unitCalls))
	_, err := systemctl("systemctl", "daemon-reload")
	return errors.Join(append(errs, err)...)
}
