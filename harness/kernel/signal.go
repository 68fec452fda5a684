package kernel

import (
	"strconv"
	"strings"
)

// signals are the numbers of the generic ABI (x86, arm, riscv, s390), which is
// include/uapi/asm-generic/signal.h. MIPS, SPARC and Alpha differ and are not
// supported targets.
var signals = map[string]int{
	"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGBUS": 7, "SIGFPE": 8,
	"SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15,
	"SIGCHLD": 17, "SIGCONT": 18, "SIGSTOP": 19, "SIGTSTP": 20, "SIGTTIN": 21, "SIGTTOU": 22,
}

// SignalNumber is the number of a signal by its full name, or 0 if there is
// no such signal.
func SignalNumber(name string) int { return signals[strings.ToUpper(name)] }

// SignalName is the full name of a signal, or "signal N".
func SignalName(n int) string {
	for name, number := range signals {
		if number == n {
			return name
		}
	}
	return "signal " + strconv.Itoa(n)
}
