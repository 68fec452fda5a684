package kernel

import (
	"errors"
	"fmt"
	"io"
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
}

// ParseStatus reads /proc/PID/status.
func ParseStatus(r io.Reader) (Status, error) {
	var s Status
	ints := map[string]*int{"Tgid": &s.Tgid, "Pid": &s.Pid, "PPid": &s.PPid, "Threads": &s.Threads}
	sizes := map[string]**Bytes{
		"VmSize": &s.VmSize, "VmRSS": &s.VmRSS, "RssAnon": &s.RssAnon, "RssFile": &s.RssFile,
		"RssShmem": &s.RssShmem, "VmPTE": &s.VmPTE, "VmSwap": &s.VmSwap, "VmLck": &s.VmLck, "HugetlbPages": &s.HugePgs,
	}
	seen := make(map[string]bool)
	err := eachLine("status", r, func(line string) error {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("want a name, a colon and a value")
		}
		if seen[key] {
			return fmt.Errorf("%s comes twice", key)
		}
		seen[key] = true
		value, _ = strings.CutPrefix(value, "\t")
		var err error
		switch {
		case key == "Name":
			s.Name = unescapeName(value)
		case key == "State":
			s.State, _, _ = strings.Cut(value, " ")
			if len(s.State) != 1 {
				return fmt.Errorf("%q is not a state", value)
			}
		case key == "Uid":
			fields := strings.Fields(value)
			if len(fields) != 4 {
				return fmt.Errorf("want four user ids, have %d", len(fields))
			}
			uid, err := strconv.ParseUint(fields[0], 10, 32)
			if err != nil {
				return fmt.Errorf("%q is not a user id", fields[0])
			}
			s.UID = uint32(uid)
		case key == "Kthread":
			is := strings.TrimSpace(value) == "1"
			s.KernelThread = &is
		case ints[key] != nil:
			if *ints[key], err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return fmt.Errorf("%q is not a number", value)
			}
		case sizes[key] != nil:
			b, err := kilobytes(value)
			if err != nil {
				return err
			}
			*sizes[key] = &b
		}
		return nil
	})
	if err != nil {
		return Status{}, err
	}
	for _, key := range []string{"Name", "State", "Tgid", "Pid", "PPid", "Uid"} {
		if !seen[key] {
			return Status{}, fmt.Errorf("status: no %s line; is this /proc/PID/status?", key)
		}
	}
	return s, nil
}

// unescapeName takes back what proc_task_name() did to a command name: it
// writes newline as \n and backslash as \\, and leaves everything else alone.
func unescapeName(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s)
}
