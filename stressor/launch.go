package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// statusFD is a descriptor of a child that another stressor forks, beside those
// of package profile. It gets one byte when the child has said "started".
const statusFD = 5

// options is what a launcher tells the stressor that it becomes. They travel
// as arguments, so that ps shows them.
type options struct {
	comm     string
	deadline int64 // CLOCK_MONOTONIC in nanoseconds; 0: none yet
	ignore   []syscall.Signal
	forked   bool // by another stressor, with statusFD open
	outlives bool // its parent: the first process of a container does
}

func (o options) args() []string {
	args := []string{"oomlab-stressor", "run"}
	if o.comm != "" {
		args = append(args, "comm="+o.comm)
	}
	if o.deadline != 0 {
		args = append(args, "deadline="+strconv.FormatInt(o.deadline, 10))
	}
	for _, s := range o.ignore {
		args = append(args, "ignore="+strconv.Itoa(int(s)))
	}
	if o.forked {
		args = append(args, "forked")
	}
	if o.outlives {
		args = append(args, "outlives-parent")
	}
	return args
}

func parseOptions(args []string) (options, error) {
	var o options
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "comm":
			o.comm = value
		case "deadline":
			o.deadline, err = strconv.ParseInt(value, 10, 64)
		case "ignore":
			var n int
			n, err = strconv.Atoi(value)
			o.ignore = append(o.ignore, syscall.Signal(n))
		case "forked":
			o.forked = true
		case "outlives-parent":
			o.outlives = true
		default:
			err = errors.New("is not an option")
		}
		if err != nil {
			return o, fail(arg, err)
		}
	}
	return o, nil
}

// launch becomes the program that the first line of the control file asks for.
// It returns only when that failed.
func launch(args []string) int {
	parent := unix.Getppid()
	o, err := parseOptions(args)
	if err != nil {
		return complain("oomlab-stressor launch: "+err.Error(), profile.ExitUsage)
	}
	out := reporter{fd: profile.ReportFD, name: "launch"}
	line, err := readLine(profile.ControlFD)
	if err != nil {
		return out.fatal(profile.ExitOrphaned, fail("waiting for a launch on descriptor 3", err))
	}
	l, err := profile.ParseLaunch(string(line))
	if err == nil {
		err = l.Validate()
	}
	if err == nil {
		o.ignore, err = signals(l.Ignore)
	}
	if err != nil {
		return out.fatal(profile.ExitUsage, fail("launch", err))
	}
	if l.Comm != "" {
		out.name = l.Comm
	} else if len(l.Argv) > 0 {
		out.name = l.Argv[0]
	}
	o.comm = l.Comm
	o.deadline = now() + l.DeadlineMS*1e6
	if err := prepare(l, o); err != nil {
		return out.fatal(profile.ExitFailed, fail("launch", err))
	}
	// If the parent is gone already, the death signal was armed too late.
	if unix.Getppid() != parent || hungUp(profile.ControlFD) {
		return out.fatal(profile.ExitOrphaned, errors.New("launch: the parent died before its child was launched"))
	}
	if len(l.Argv) > 0 {
		err = execProgram(l)
	} else {
		err = execSelf(o.args())
	}
	return out.fatal(profile.ExitFailed, fail("launch", err))
}

// prepare does to this process what survives execve. Giving up the user comes
// after everything that needs privilege, and the death signal after that: the
// kernel clears it when credentials change (kernel/cred.c, commit_creds).
func prepare(l profile.Launch, o options) error {
	if l.CgroupProcs != "" {
		if err := writeFile(l.CgroupProcs, "0"); err != nil {
			return err
		}
	}
	if l.OOMScoreAdj != nil {
		if err := writeFile("/proc/self/oom_score_adj", strconv.Itoa(*l.OOMScoreAdj)); err != nil {
			return err
		}
	}
	if l.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, l.Nice); err != nil {
			return fail("nice "+strconv.Itoa(l.Nice), err)
		}
	}
	for _, s := range o.ignore {
		if err := ignore(s); err != nil {
			return err
		}
	}
	if len(l.Argv) == 0 {
		if err := errors.Join(disableTHP(true), allowTurns()); err != nil {
			return err
		}
	}
	if l.OneCPU {
		if err := bindToFirstCPU(); err != nil {
			return err
		}
	}
	if len(l.Bind) > 0 {
		if err := bindToNodes(l.Bind); err != nil {
			return err
		}
	}
	if l.UID != 0 {
		if err := becomeUser(l.UID); err != nil {
			return fail("becoming user "+strconv.Itoa(l.UID), err)
		}
	}
	return armDeathSignal(o)
}

// bindToNodes leaves the calling thread, what it executes and what that forks, the memory
// of some NUMA nodes.
func bindToNodes(nodes []int) error {
	const mpolBind = 2 // include/uapi/linux/mempolicy.h
	var mask [profile.MaxNodes / 64]uint64
	for _, n := range nodes {
		mask[n/64] |= 1 << (n % 64)
	}
	// get_nodes() in mm/mempolicy.c reads one bit less than it is told
	_, _, errno := unix.RawSyscall(unix.SYS_SET_MEMPOLICY, mpolBind, uintptr(unsafe.Pointer(&mask)),
		profile.MaxNodes+1)
	if errno != 0 {
		return fail("set_mempolicy", errno)
	}
	return nil
}

// armDeathSignal asks for SIGKILL when the thread that forked this process
// ends.
func armDeathSignal(o options) error {
	if o.outlives {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fail("prctl PR_SET_PDEATHSIG", err)
	}
	return nil
}

// disableTHP keeps transparent huge pages away from the whole process, Go's
// heap included. The setting survives execve.
func disableTHP(disable bool) error {
	var on uintptr
	if disable {
		on = 1
	}
	err := unix.Prctl(unix.PR_SET_THP_DISABLE, on, 0, 0, 0)
	if err != nil && err != unix.EINVAL { // EINVAL: a kernel without huge pages
		return fail("prctl PR_SET_THP_DISABLE", err)
	}
	return nil
}

// becomeUser changes this thread alone, which execve then makes the only one.
func becomeUser(uid int) error {
	for _, call := range []struct {
		trap uintptr
		id   uintptr
	}{{unix.SYS_SETGROUPS, 0}, {unix.SYS_SETGID, uintptr(uid)}, {unix.SYS_SETUID, uintptr(uid)}} {
		if _, _, errno := unix.RawSyscall(call.trap, call.id, 0, 0); errno != 0 {
			return errno
		}
	}
	return nil
}

// signals finds the numbers of signals such as SIGTERM.
func signals(names []string) ([]syscall.Signal, error) {
	var out []syscall.Signal
	for _, name := range names {
		s := unix.SignalNum(name)
		if s == 0 || s == unix.SIGKILL || s == unix.SIGSTOP {
			return nil, errors.New("ignore: " + strconv.Quote(name) +
				" is not a signal that can be ignored; write SIGTERM")
		}
		out = append(out, s)
	}
	return out, nil
}

// ignore sets a signal to SIG_IGN. Package os/signal would do it with a
// goroutine and a thread of its own.
func ignore(s syscall.Signal) error {
	const sigIgn = 1
	// struct sigaction of the kernel: handler, flags, restorer, mask. Where an
	// architecture has no restorer, the rest is zero all the same.
	action := [4]uint64{sigIgn}
	const maskBytes = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION,
		uintptr(s), uintptr(unsafe.Pointer(&action)), 0, maskBytes, 0, 0)
	if errno != 0 {
		return fail("ignoring signal "+strconv.Itoa(int(s)), errno)
	}
	return nil
}

// execProgram becomes a program of the user's own, which sees nothing of the
// agent's pipes.
func execProgram(l profile.Launch) error {
	unix.CloseOnExec(profile.ControlFD)
	unix.CloseOnExec(profile.ReportFD)
	env := os.Environ()
	var last error = unix.ENOENT
	for _, path := range candidates(l.Argv[0]) {
		err := unix.Exec(path, l.Argv, env)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.EACCES && last == unix.ENOENT {
			last = err
			continue // as execvp does
		}
		last = err
		break
	}
	return fail("executing "+strconv.Quote(l.Argv[0]), last)
}

// candidates are the files that a program's name can mean.
func candidates(name string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	var out []string
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		out = append(out, dir+"/"+name)
	}
	return out
}

// execSelf becomes a stressor again, with a runtime that looks the same on
// every machine: one Go processor however many CPUs there are, no look at the
// CPU limits of its cgroup (and no files open for that), no garbage collection,
// no preemption by signals.
func execSelf(args []string) error {
	env := append(make([]string, 0, len(runtimeEnv)+2), runtimeEnv...)
	for _, name := range []string{"OOMLAB_TMP", inPodEnv} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return fail("executing /proc/self/exe", unix.Exec("/proc/self/exe", args, env))
}

var runtimeEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1,containermaxprocs=0,updatemaxprocs=0"}

// sameEverywhere reports whether this process runs in that environment.
func sameEverywhere() bool {
	for _, e := range runtimeEnv {
		key, value, _ := strings.Cut(e, "=")
		if os.Getenv(key) != value {
			return false
		}
	}
	return true
}

// readLine reads one line and not a byte more: what follows is for the program
// after execve.
func readLine(fd int) ([]byte, error) {
	const limit = 1 << 20
	var line []byte
	var b [1]byte
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, b[:]) })
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			return nil, errEOF
		case b[0] == '\n':
			return line, nil
		case len(line) == limit:
			return nil, errors.New("the line is longer than 1Mi")
		}
		line = append(line, b[0])
	}
}

var errEOF = errors.New("end of file: the agent is gone")

// hungUp reports whether nobody can write to a pipe any more. What was written
// before may still be in it.
func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&(unix.POLLHUP|unix.POLLNVAL) != 0
}
