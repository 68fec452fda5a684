// Command oomlab-stressor is a process that holds exactly the memory it was
// told to hold, and little else.
//
// It is a binary of its own because oom_badness() (mm/oom_kill.c) counts the
// resident pages of files too: whatever it links is part of the experiment. It
// therefore links neither fmt nor encoding/json (700 KiB resident between them), runs on one Go processor
// and never collects garbage, so that a stressor costs the same on every
// machine: about 2 MiB, of which two thirds are the binary itself.
//
// The agent starts it as `oomlab-stressor launch` and speaks the lines of
// package profile on file descriptors 3 and 4. See usage for use by hand.
package main

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// usage lists the steps that a person may type.
func usage() string {
	var list strings.Builder
	for _, row := range profile.Steps {
		if row.Amount == profile.Name {
			continue // only the agent can watch a family
		}
		word := "  " + string(row.Op)
		if row.Amount != profile.None {
			word += "=<" + string(row.Amount) + ">"
		}
		for len(word) < 20 {
			word += " "
		}
		more := ""
		for _, k := range row.Qualifiers {
			more += ", " + string(k)
		}
		if more != "" {
			more = " (" + more[2:] + ")"
		}
		list.WriteString(word + row.Help + more + "\n")
	}
	return `usage: oomlab-stressor [deadline=<duration>] [threads=<number>] STEP...
       oomlab-stressor [stress-ng] --vm N --vm-bytes SIZE [--vm-keep] [--timeout TIME]
       oomlab-stressor stress --vm N --vm-bytes SIZE [--vm-hang 0] [--timeout TIME]
       oomlab-stressor bigmem SIZE
       oomlab-stressor launch | run | unit SOCKET | pod LAUNCH PROFILE | version

Takes memory step by step and says on standard error what it holds. It holds
until it is told to end.

` + list.String() + `
What stands in parentheses may follow the amount: touch=64Mi,rate=32Mi/s.
A size is a Kubernetes quantity (64Mi, 1.5Gi, 200M), a rate one a second (32Mi/s),
a duration as in Go (500ms, 1h). Files without a path are temporary and lie in
$OOMLAB_TMP or /tmp; file=0,path=<path> reads all of a file, write replaces one.
The command lines of stress-ng, stress and bigmem do what these programs do, and may have
--dry-run, --progress and -o json: workers take the memory, those of stress-ng share it,
are at oom_score_adj 1000 and are started again when they are killed; a worker of stress
that is killed ends the run with status 1. K, M and G are powers of two there.
launch and run read such words from oomlab's agent on file descriptor 3, a line
of settings and a line of steps; unit receives the descriptors through a socket; pod has the two as arguments, and reports on
standard output.

exit status: 64 usage, 71 a step failed, 72 the agent is gone, 75 the deadline passed`
}

// The main goroutine keeps the main thread: its name and its death signal are
// the process's, and its page faults are what invokes the OOM killer.
func init() { runtime.LockOSThread() }

func main() { os.Exit(command()) }

func command() int {
	args := os.Args[1:]
	if len(args) == 0 {
		return complain(usage(), profile.ExitUsage)
	}
	switch args[0] {
	case "launch":
		return launch(args[1:])
	case "unit":
		return launchUnit(args[1:])
	case "run":
		return run(args[1:])
	case "pod":
		return pod(args[1:])
	case "version", "--version":
		return say("oomlab-stressor " + version)
	case "help", "-h", "--help":
		return say(usage())
	}
	if f, rest, ok := formOf(os.Args[0], args); ok {
		return inForm(f, rest)
	}
	return byHand(args)
}

// version is set by the linker: -X main.version=...
var version = "devel"

func say(line string) int {
	if err := writeAll(unix.Stdout, []byte(line+"\n")); err != nil {
		return profile.ExitFailed
	}
	return 0
}

// complain says a line on standard error and passes the exit status on.
func complain(line string, code int) int {
	if err := writeAll(unix.Stderr, []byte(line+"\n")); err != nil {
		return code // nobody listens; the status still tells
	}
	return code
}

// readFile does not use os.ReadFile, which starts the runtime's poller: an epoll
// instance, and with it kernel memory that is charged to the cgroup.
func readFile(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var out []byte
	var chunk [1024]byte
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, chunk[:]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		out = append(out, chunk[:n]...)
	}
}

func writeFile(path, value string) error {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err == nil {
		err = writeAll(fd, []byte(value))
		unix.Close(fd)
	}
	if err != nil {
		return fail("writing "+value+" to "+path, err)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// fail puts what was done before an error. fmt.Errorf would cost resident pages.
func fail(doing string, err error) error { return &failure{doing, err} }

type failure struct {
	doing string
	err   error
}

func (f *failure) Error() string { return f.doing + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// now is CLOCK_MONOTONIC in nanoseconds.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // the clock is always there
	}
	return ts.Nano()
}

// sleepUntil returns when CLOCK_MONOTONIC has reached t. It is for steps whose
// purpose is to take time; nothing waits for another process with it.
func sleepUntil(t int64) {
	ts := unix.NsecToTimespec(t)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
