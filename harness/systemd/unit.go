// Package systemd has systemd's rules for services: what it makes of a unit whose processes
// were killed, and the words that it has for that.
//
// The rules are those of systemd 257 (src/core/service.c), as they were measured.
package systemd

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The values of OOMPolicy=.
const (
	OOMStop     = "stop"     // the unit is stopped: the default of services
	OOMContinue = "continue" // it is only logged
	OOMKill     = "kill"     // the kernel kills all of the unit: memory.oom.group
)

// OOMPolicies are all of them.
var OOMPolicies = []string{OOMStop, OOMContinue, OOMKill}

// The values of Restart= after which a service that was killed is started again, and none
// that depends on more than its end.
const (
	RestartNo         = "no" // the default
	RestartOnFailure  = "on-failure"
	RestartOnAbnormal = "on-abnormal"
	RestartAlways     = "always"
)

// Restarts are all of them.
var Restarts = []string{RestartNo, RestartOnFailure, RestartOnAbnormal, RestartAlways}

// StartLimitBurst is DefaultStartLimitBurst=.
const StartLimitBurst = 5

// Defaults are what a unit's settings are where nobody sets them.
var Defaults = map[string]string{
	"OOMPolicy": OOMStop, "Restart": RestartNo, "OOMScoreAdjust": "0", "StartLimitBurst": strconv.Itoa(StartLimitBurst),
	"MemoryMax": "infinity", "MemoryHigh": "infinity", "MemorySwapMax": "infinity",
}

// The values of Result that follow from how processes end.
const (
	Success    = "success"
	ByOOMKill  = "oom-kill"
	ByExitCode = "exit-code"
	BySignal   = "signal"
	ByTimeout  = "timeout" // it was asked to end, did not, and was killed
)

// End is what has become of a unit's main process, and of those that it has started.
type End struct {
	OOMPolicy, Restart string

	Alive        bool // the main process
	Signal, Code int  // that it ended with, in its last life
	Killed       bool // one of the unit's processes was killed by the OOM killer in that life
	Lives        int  // of the main process
	Stopped      bool // systemctl has asked for its end
}

// Shows is what systemctl shows of a unit by then (service_notify_cgroup_oom_event() and
// service_sigchld_event()). ExecMainCode is a word.
func (e End) Shows() map[string]string {
	out := map[string]string{
		"Result": Success, "ExecMainCode": "0", "ExecMainStatus": "0",
		"ActiveState": "active", "SubState": "running", "NRestarts": strconv.Itoa(e.Lives - 1),
	}
	if e.Alive {
		return out
	}
	switch {
	case e.Signal != 0:
		out["ExecMainCode"], out["ExecMainStatus"] = "killed", strconv.Itoa(e.Signal)
		switch {
		case e.Stopped && !e.Killed && e.Signal == kernel.SignalNumber("SIGKILL"):
			out["Result"] = ByTimeout
		case !clean(e.Signal):
			out["Result"] = BySignal
		}
	default:
		out["ExecMainCode"], out["ExecMainStatus"] = "exited", strconv.Itoa(e.Code)
		if e.Code != 0 {
			out["Result"] = ByExitCode
		}
	}
	if e.Killed && e.OOMPolicy != OOMContinue {
		out["Result"] = ByOOMKill
	}
	if startsAgain(e.Restart, out["Result"]) { // which it was too often: that counts, too
		out["NRestarts"] = strconv.Itoa(e.Lives)
	}
	out["ActiveState"], out["SubState"] = "failed", "failed"
	if out["Result"] == Success {
		out["ActiveState"], out["SubState"] = "inactive", "dead"
	}
	return out
}

// startsAgain reports whether a unit is started again after an end with that result
// (service_shall_restart()).
func startsAgain(restart, result string) bool {
	switch restart {
	case RestartAlways:
		return true
	case RestartOnFailure:
		return result != Success
	case RestartOnAbnormal:
		return result != Success && result != ByExitCode
	}
	return false
}

// clean reports whether a signal is one that services are ended with (is_clean_exit() in
// src/shared/exit-status.c).
func clean(signal int) bool {
	for _, name := range []string{"SIGHUP", "SIGINT", "SIGTERM", "SIGPIPE"} {
		if kernel.SignalNumber(name) == signal {
			return true
		}
	}
	return false
}
