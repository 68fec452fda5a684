package main

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// run does what the profile on the control file says.
func run(args []string) int {
	out := &reporter{fd: profile.ReportFD, name: "run"}
	if !sameEverywhere() {
		// A person or a script called it directly.
		return out.fatal(profile.ExitFailed, execSelf(append([]string{"oomlab-stressor", "run"}, args...)))
	}
	o, err := parseOptions(args)
	if err != nil {
		return complain("oomlab-stressor run: "+err.Error(), profile.ExitUsage)
	}
	if o.comm != "" {
		out.name = o.comm
	}
	// What must hold even if no profile ever comes. The death signal is armed
	// again because execve may have cleared it.
	if err := errors.Join(armDeathSignal(o), ignoreAll(o.ignore), killAt(o.deadline)); err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	line, err := readLine(profile.ControlFD)
	if err != nil {
		return out.fatal(profile.ExitOrphaned, fail("waiting for a profile on descriptor 3", err))
	}
	p, err := profile.ParseProfile(string(line))
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return out.fatal(profile.ExitUsage, fail("profile", err))
	}
	if p.DeadlineMS > 0 {
		if at := now() + p.DeadlineMS*1e6; o.deadline == 0 || at < o.deadline {
			o.deadline = at
		}
	}
	if o.deadline == 0 {
		return out.fatal(profile.ExitUsage,
			errors.New("profile: deadline: nothing runs without a deadline, and the launch set none"))
	}
	out.name = p.Name
	return work(p, o, out)
}

func ignoreAll(signals []unix.Signal) error {
	for _, s := range signals {
		if err := ignore(s); err != nil {
			return err
		}
	}
	return nil
}

// work carries out a valid profile and returns the exit status, if anything
// but the watcher ends the process.
func work(p profile.Profile, o options, out *reporter) int {
	if o.comm == "" {
		o.comm = p.Name[:min(len(p.Name), profile.CommLen)]
	}
	if err := errors.Join(setComm(o.comm), allowHugePages(p), killAt(o.deadline)); err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	watch, err := newWatcher(o.deadline, out)
	if err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	kids := &family{profile: p, options: o, out: out, watch: watch, born: map[string]*child{}}
	w := worker{fill: newPattern(), kids: kids}
	go watch.run()
	if err := begin(o, out); err != nil {
		return out.fatal(profile.ExitOrphaned, err)
	}
	startThreads(p.Threads)
	if err := allGoFirst(); err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	for i, s := range p.Steps {
		watch.step.Store(int64(i))
		if s.Op == profile.Exit {
			return s.Code
		}
		if s.Op == profile.Hold {
			break
		}
		if err := w.do(s); err != nil {
			return w.failed(out, i, fail(stepName(i, s.Op), err))
		}
		if out.say(profile.Report{Event: profile.Stepped, Step: i, Held: w.mem.held()}) != nil {
			return profile.ExitOrphaned
		}
	}
	if err := allGoFirst(); err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	if code := w.ready(out); code != 0 {
		return code
	}
	select {} // the watcher ends the process
}

// failed reports the step that failed, and whether the kernel refused it memory. The exit
// status is the same in any case.
func (w *worker) failed(out *reporter, step int, err error) int {
	r := profile.Report{Event: profile.Error, Step: step, Held: w.mem.held(), Error: err.Error()}
	if errors.Is(err, errRefused) {
		r.Errno = profile.ENOMEM
	}
	if out.say(r) != nil {
		return complain("oomlab-stressor: "+err.Error(), profile.ExitFailed)
	}
	return profile.ExitFailed
}

func stepName(i int, op profile.Op) string {
	return "step " + strconv.Itoa(i+1) + " (" + string(op) + ")"
}

// begin says that the process is there: to the agent, and to the stressor that
// forked it.
func begin(o options, out *reporter) error {
	if err := out.say(profile.Report{Event: profile.Started}); err != nil {
		return fail("saying that the process started", err)
	}
	if !o.forked {
		return nil
	}
	// A parent that is gone by now no longer waits. Whether its child goes on
	// is for the death signal and the watcher to say.
	if err := writeAll(statusFD, []byte{1}); err != nil && err != unix.EPIPE {
		return fail("telling the parent that its child started", err)
	}
	return unix.Close(statusFD)
}

// ready says what is held and how much of it is there. It returns the exit
// status if that is not the same and should be.
func (w *worker) ready(out *reporter) int {
	if err := countAll(); err != nil {
		return out.fatal(profile.ExitFailed, err)
	}
	res, err := w.mem.measure()
	if err != nil {
		return out.fatal(profile.ExitFailed, fail("measuring what is held", err))
	}
	held := w.mem.held()
	if res.resident != held {
		must, err := w.mem.mustStay()
		if err == nil && must {
			err = errors.New("told to hold " + profile.Quantity(held) + ", but " +
				profile.Quantity(res.resident) + " is resident")
		}
		if err != nil {
			return out.fatal(profile.ExitFailed, err)
		}
	}
	r := profile.Report{Event: profile.Ready, Held: held, Resident: res.resident, Overhead: res.overhead}
	if out.say(r) != nil {
		return profile.ExitOrphaned
	}
	return 0
}

// setComm names the main thread, whose name the kernel's reports show.
func setComm(name string) error {
	var comm [profile.CommLen + 1]byte
	copy(comm[:profile.CommLen], name)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&comm)), 0, 0, 0); err != nil {
		return fail("prctl PR_SET_NAME", err)
	}
	return nil
}

// allowHugePages lifts what the launcher set, if the profile has a use for
// huge pages: the setting wins over MADV_HUGEPAGE. Go's heap is then advised
// against them by itself, or it would become huge where
// /sys/kernel/mm/transparent_hugepage/enabled says always.
func allowHugePages(p profile.Profile) error {
	if !wantsHugePages(p) {
		return disableTHP(true)
	}
	const path = "/proc/self/maps"
	maps, err := readFile(path)
	if err != nil {
		return fail("reading "+path, err)
	}
	for line := range strings.Lines(string(maps)) {
		m, err := parseMapping(line)
		if err != nil {
			return fail(path, err)
		}
		if !m.anonymous {
			continue
		}
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_NOHUGEPAGE)
		if errno != 0 && errno != unix.EINVAL {
			return fail("madvise MADV_NOHUGEPAGE of "+strings.TrimSpace(line), errno)
		}
	}
	return disableTHP(false)
}

func wantsHugePages(p profile.Profile) bool {
	return slices.ContainsFunc(p.Steps, func(s profile.Step) bool { return s.Op == profile.HugePages })
}

// mapping is one line of /proc/self/maps. Anonymous ones have no file and no
// name such as [vdso], but may have the heap's or a stack's.
type mapping struct {
	start, end uintptr
	anonymous  bool
}

func parseMapping(line string) (mapping, error) {
	var m mapping
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return m, errors.New(strconv.Quote(line) + " has fewer than five fields")
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return m, err
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil {
		return m, err
	}
	// Go names its mappings, such as [anon: Go: heap], where the kernel can.
	name := strings.Join(fields[5:], " ")
	m = mapping{start: uintptr(start), end: uintptr(end)}
	m.anonymous = name == "" || name == "[heap]" ||
		strings.HasPrefix(name, "[stack") || strings.HasPrefix(name, "[anon:")
	return m, nil
}

// startThreads makes n more threads that wait forever, and returns when all
// of them exist.
func startThreads(n int) {
	up := make(chan bool)
	for range n {
		go func() {
			runtime.LockOSThread()
			up <- true
			select {}
		}()
	}
	for range n {
		<-up
	}
}

// killGrace is how long a process that should have ended by itself at the
// deadline, and could not, still lives.
const killGrace = 2e9

// killAt has the kernel kill this process after the deadline, whatever Go's
// scheduler does. Zero is no deadline.
func killAt(deadline int64) error {
	if deadline == 0 {
		return nil
	}
	// struct sigevent: sigev_value, sigev_signo, sigev_notify (0: SIGEV_SIGNAL).
	event := struct {
		value         uint64
		signo, notify int32
		_             [48]byte
	}{signo: int32(unix.SIGKILL)}
	var id int32
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return fail("timer_create", errno)
	}
	spec := struct{ interval, value unix.Timespec }{value: unix.NsecToTimespec(deadline + killGrace)}
	_, _, errno = unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(id), unix.TIMER_ABSTIME,
		uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fail("timer_settime", errno)
	}
	return nil
}
