package kernel

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CommLen is how many bytes the kernel keeps of a command name: TASK_COMM_LEN
// without the final NUL.
const CommLen = 15

// Stat is what OOM work needs of /proc/PID/stat.
//
// See fs/proc/array.c, do_task_stat(), and proc_pid_stat(5) for the fields'
// numbers.
type Stat struct {
	PID       int
	Comm      string // field 2, any bytes, parentheses and newlines included
	State     byte   // field 3
	PPID      int    // field 4
	Threads   int    // field 20
	StartTime uint64 // field 22, clock ticks since boot; with PID it names a process for good
	VSize     Bytes  // field 23
	// RSS is field 24, get_mm_rss(): up to 6.19 the same batched value that
	// oom_badness() reads.
	RSS Pages
}

// ParseStat reads /proc/PID/stat. The command name ends at the last
// parenthesis, whatever it holds.
func ParseStat(r io.Reader) (Stat, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<16))
	if err != nil {
		return Stat{}, fmt.Errorf("stat: %w", err)
	}
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || shut < open {
		return Stat{}, fmt.Errorf("stat: %q: no command name in parentheses", b)
	}
	s := Stat{Comm: string(b[open+1 : shut])}
	if s.PID, err = strconv.Atoi(strings.TrimSpace(string(b[:open]))); err != nil {
		return Stat{}, fmt.Errorf("stat: %q: field 1 is not a process id", b)
	}
	fields := strings.Fields(string(b[shut+1:]))
	const first = 3 // the number of the first field after the name
	if len(fields) < 24-first+1 {
		return Stat{}, fmt.Errorf("stat: %q: ends at field %d, want 24 or more", b, len(fields)+first-1)
	}
	if len(fields[0]) != 1 {
		return Stat{}, fmt.Errorf("stat: %q: field 3, %q, is not a state", b, fields[0])
	}
	s.State = fields[0][0]
	number := func(n int) int64 {
		v, perr := strconv.ParseInt(fields[n-first], 10, 64)
		if perr != nil && err == nil {
			err = fmt.Errorf("stat: %q: field %d, %q, is not a number", b, n, fields[n-first])
		}
		return v
	}
	s.PPID, s.Threads = int(number(4)), int(number(20))
	s.StartTime, s.RSS = uint64(number(22)), Pages(number(24))
	vsize, verr := strconv.ParseUint(fields[23-first], 10, 63)
	if verr != nil && err == nil {
		err = fmt.Errorf("stat: %q: field 23, %q, is not a size", b, fields[23-first])
	}
	s.VSize = Bytes(vsize)
	if err != nil {
		return Stat{}, err
	}
	return s, nil
}
