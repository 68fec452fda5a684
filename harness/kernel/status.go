package kernel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Status is what OOM work needs of /proc/PID/status.
//
// The amounts of memory are nil for a task without an address space: a kernel
// thread, a zombie, a process that has given up its memory while it exits.
// Which counters the kernel reads for them, exact or batched, depends on the
// version; see [BadnessReads].
//
// See fs/proc/array.c, proc_pid_status(), and fs/proc/task_mmu.c, task_mem().
type Status struct {
	// Name is the command name with the escapes \n and \\ taken back.
	Name           string
	State          string // one letter: R, S, D, Z, T, t, X, I
	Tgid, Pid      int
	PPid           int
	UID            uint32 // the real one
	Threads        int
	VmSize, VmRSS  *Bytes
	RssAnon        *Bytes // nil before 4.5
	RssFile        *Bytes // nil before 4.5
	RssShmem       *Bytes // nil before 4.5
	VmPTE          *Bytes // page tables
	VmSwap         *Bytes
	VmLck, HugePgs *Bytes // mlocked; hugetlb pages, which no score counts
	// KernelThread: the Kthread line, nil before 6.8.
	KernelThread *bool
	// Mems is Mems_allowed_list, the NUMA nodes that its cpuset allows; empty
	// without cpusets.
	Mems string
}

// statusKeys are the lines that ParseStatus looks at, the necessary ones first.
var statusKeys = []string{"Name", "State", "Tgid", "Pid", "PPid", "Uid",
	"Threads", "VmSize", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmPTE", "VmSwap", "VmLck", "HugetlbPages",
	"Kthread", "Mems_allowed_list"}

const statusNecessary = 6

// count is the field for a line that is a plain number; nil: the line is none.
func (s *Status) count(key string) *int {
	switch key {
	case "Tgid":
		return &s.Tgid
	case "Pid":
		return &s.Pid
	case "PPid":
		return &s.PPid
	case "Threads":
		return &s.Threads
	}
	return nil
}

// size is the field for a line that is an amount of memory; nil: the line is none.
func (s *Status) size(key string) **Bytes {
	switch key {
	case "VmSize":
		return &s.VmSize
	case "VmRSS":
		return &s.VmRSS
	case "RssAnon":
		return &s.RssAnon
	case "RssFile":
		return &s.RssFile
	case "RssShmem":
		return &s.RssShmem
	case "VmPTE":
		return &s.VmPTE
	case "VmSwap":
		return &s.VmSwap
	case "VmLck":
		return &s.VmLck
	case "HugetlbPages":
		return &s.HugePgs
	}
	return nil
}

// ParseStatus reads /proc/PID/status.
func ParseStatus(r io.Reader) (Status, error) {
	var s Status
	var seen uint32 // a bit for each of statusKeys
	err := eachLine("status", r, func(line string) error {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("want a name, a colon and a value")
		}
		which := slices.Index(statusKeys, key)
		if which < 0 {
			return nil // most lines are
		}
		if seen&(1<<which) != 0 {
			return fmt.Errorf("%s comes twice", key)
		}
		seen |= 1 << which
		value, _ = strings.CutPrefix(value, "\t")
		return s.set(key, value)
	})
	if err != nil {
		return Status{}, err
	}
	for i, key := range statusKeys[:statusNecessary] {
		if seen&(1<<i) == 0 {
			return Status{}, fmt.Errorf("status: no %s line; is this /proc/PID/status?", key)
		}
	}
	return s, nil
}

// set takes one line.
func (s *Status) set(key, value string) error {
	switch key {
	case "Name":
		s.Name = unescapeName(value)
		return nil
	case "State":
		s.State, _, _ = strings.Cut(value, " ")
		if len(s.State) != 1 {
			return fmt.Errorf("%q is not a state", value)
		}
		return nil
	case "Uid":
		fields := strings.Fields(value)
		if len(fields) != 4 {
			return fmt.Errorf("want four user ids, have %d", len(fields))
		}
		uid, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a user id", fields[0])
		}
		s.UID = uint32(uid)
		return nil
	case "Kthread":
		is := strings.TrimSpace(value) == "1"
		s.KernelThread = &is
		return nil
	case "Mems_allowed_list":
		s.Mems = strings.TrimSpace(value)
		return nil
	}
	if to := s.count(key); to != nil {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return fmt.Errorf("%q is not a number", value)
		}
		*to = n
		return nil
	}
	b, err := kilobytes(value)
	if err != nil {
		return err
	}
	*s.size(key) = &b
	return nil
}

// unescapeName takes back what proc_task_name() did to a command name: it
// writes newline as \n and backslash as \\, and leaves everything else alone.
func unescapeName(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s)
}
