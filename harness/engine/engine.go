// Package engine has the rules of container engines: what docker and podman say of a
// container whose processes were killed, and the words that they have for that.
//
// The rules are those of podman 5.4 with crun 1.21 and runc 1.1, and of Docker 26.1, as
// they were measured. What they say and the kernel did not do is a [Misreport].
package engine

import (
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The engines.
const (
	Podman = "podman"
	Docker = "docker"
)

// Engines are all of them; the first one is the default.
var Engines = []string{Podman, Docker}

// The OCI runtimes, which make the cgroup and the first process.
const (
	Crun = "crun"
	Runc = "runc"
)

// Runtimes are those that an engine can be told to use; the first one is the default.
var Runtimes = map[string][]string{Podman: {Crun, Runc}, Docker: {Runc}}

// ConfiguresCgroups reports whether an engine has a flag for files of a container's cgroup:
// podman's --cgroup-conf.
func ConfiguresCgroups(name string) bool { return name == Podman }

// Packages are those of a userland that an engine is in, with its runtimes.
var Packages = map[string][]string{
	Podman: {"catatonit", "crun", "netavark", "podman", "runc"},
	Docker: {"docker-cli", "docker.io"},
}

// The values of --restart that end by themselves. A number follows the second one.
const (
	RestartNo        = "no"
	RestartOnFailure = "on-failure"
)

// Restarts is how often a container is started again at most by a --restart; false: it is
// none of those that end.
func Restarts(policy string) (int, bool) {
	if policy == "" || policy == RestartNo {
		return 0, true
	}
	number, ok := strings.CutPrefix(policy, RestartOnFailure+":")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || n > 100 || strconv.Itoa(n) != number {
		return 0, false
	}
	return n, true
}

// The values of State.Status that a run ends with.
const (
	Running = "running"
	Exited  = "exited"
)

// killedBase is what an exit code has more than the signal that ended a process.
const killedBase = 128

// Code is the exit code that an engine makes of a wait status.
func Code(signal, code int) int {
	if signal != 0 {
		return killedBase + signal
	}
	return code
}

// End is what has become of a container's first process, and of the others.
type End struct {
	Engine, Runtime string

	Alive        bool // the first process
	Signal, Code int  // that it ended with, in its last life
	Killed       bool // a process of the container's was killed by the OOM killer in that life
	Lives        int  // of the first process
}

// Unsure reports whether OOMKilled depends on who is faster. It is conmon that reads
// memory.events for podman, and with runc systemd removes the container's cgroup as soon as
// it is empty. crun has the processes in a cgroup of its own below that.
func (e End) Unsure() bool { return e.Engine == Podman && e.Runtime == Runc && e.Killed }

// Shows is what inspect shows by then, where that is sure. Of the first process's end
// ExitCode tells, and OOMKilled of any process of the container's.
func (e End) Shows() map[string]string {
	out := map[string]string{
		ExitCode: "0", Status: Running, RestartCount: strconv.Itoa(e.Lives - 1),
		OOMKilled: strconv.FormatBool(e.Killed),
	}
	if !e.Alive {
		out[Status], out[ExitCode] = Exited, strconv.Itoa(Code(e.Signal, e.Code))
	}
	switch {
	case e.Alive && e.Engine == Podman: // it looks at the end
		out[OOMKilled] = "false"
	case e.Unsure():
		delete(out, OOMKilled)
	}
	return out
}

// MayMisreport are the misreports that follow from how an engine sees kills, where the
// first process is all that there is.
func (e End) MayMisreport() []Misreport {
	if e.Unsure() {
		return []Misreport{KilledButFalse}
	}
	return nil
}

// StartsAgain reports whether an engine starts a container again that has ended with an exit
// code, and was started so many times by then.
func StartsAgain(policy string, code, starts int) bool {
	n, _ := Restarts(policy)
	return code != 0 && starts <= n
}

// The properties that inspect shows, by the last part of their path.
const (
	Status       = "Status"
	OOMKilled    = "OOMKilled"
	ExitCode     = "ExitCode"
	RestartCount = "RestartCount"
	Pid          = "Pid"
	Memory       = "Memory"
	MemorySwap   = "MemorySwap"
	OomScoreAdj  = "OomScoreAdj"
	Restart      = "RestartPolicy"
	Runtime      = "Runtime"
	Events       = "Events" // not a property of inspect's: what the engine's events are, in their order
)

// Properties are those that are recorded: of the container's end, and of its settings.
var Properties = []string{
	Status, OOMKilled, ExitCode, RestartCount, Pid, Memory, MemorySwap, OomScoreAdj, Restart, Runtime,
}

// Misreport is a way in which what an engine says of a container is not what the kernel
// did. docs/runtimes.md has the runs that show each.
type Misreport string

// The misreports. Those that Kubernetes has, too, are called so there.
const (
	// A process of the container was OOM-killed, and its first process ended by itself: with
	// success, with a failure of its own, or on SIGTERM.
	OOMKilledExit0   Misreport = "oomkilled-but-exit-0"
	OOMKilledExitOwn Misreport = "oomkilled-but-own-exit"
	OOMKilledExit143 Misreport = "oomkilled-but-143"
	// The first process was OOM-killed, and OOMKilled is false.
	KilledButFalse Misreport = "oom-kill-but-false"
	// Another process was OOM-killed, and OOMKilled is false.
	KillUnseen Misreport = "oom-kill-unseen"
	// OOMKilled, and nobody in the container was OOM-killed in its last life.
	OOMKilledForNothing Misreport = "oomkilled-without-kill"
	// The first process was killed by somebody else, and an OOM kill before it makes OOMKilled.
	OOMKilledEarlier Misreport = "oomkilled-from-earlier-kill"
)

// Misreports are all of them.
var Misreports = []string{
	string(OOMKilledExit0), string(OOMKilledExitOwn), string(OOMKilledExit143), string(KilledButFalse),
	string(KillUnseen), string(OOMKilledForNothing), string(OOMKilledEarlier),
}

// Kills is what the kernel did to a container.
type Kills struct {
	First        bool // its first process was OOM-killed
	Others       bool // other processes of it were
	Alive        bool // the first process is
	Signal, Code int  // that it ended with
}

// Misreported says how OOMKilled misses what the kernel did; empty: it does not.
func Misreported(oomKilled bool, k Kills) Misreport {
	killed := k.First || k.Others
	switch {
	case !oomKilled && k.First:
		return KilledButFalse
	case !oomKilled && k.Others:
		return KillUnseen
	case !oomKilled || k.First || k.Alive:
		return ""
	case !killed:
		return OOMKilledForNothing
	case k.Signal == kernel.SignalNumber("SIGKILL"):
		return OOMKilledEarlier
	case Code(k.Signal, k.Code) == killedBase+kernel.SignalNumber("SIGTERM"):
		return OOMKilledExit143
	case k.Signal == 0 && k.Code == 0:
		return OOMKilledExit0
	}
	return OOMKilledExitOwn
}
