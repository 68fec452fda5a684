package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
)

// siginfo is the part of siginfo_t that waitid fills in
// (include/uapi/asm-generic/siginfo.h), on 64-bit machines.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [128 - 28]byte
}

// si_code values of SIGCHLD.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// waitid is waitid(2). x/sys/unix wraps it without saying what siginfo holds.
// usage is the kernel's fifth argument and may be nil.
func waitid(idType, id int, info *siginfo, options int, usage *unix.Rusage) error {
	*info = siginfo{}
	return unix.Waitid(idType, id, (*unix.Siginfo)(unsafe.Pointer(info)), options, usage)
}

func (i *siginfo) exit() *evidence.ExitStatus {
	s := &evidence.ExitStatus{By: "agent"}
	switch i.code {
	case cldKilled, cldDumped:
		s.Signal = int(i.status)
	case cldExited:
		s.Code = int(i.status)
	}
	return s
}
