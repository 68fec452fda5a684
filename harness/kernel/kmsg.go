package kernel

import (
	"bytes"
	"fmt"
	"strconv"
)

// Record is one record of the kernel log, as one read(2) of /dev/kmsg gives it.
type Record struct {
	Priority int // syslog level, 0 (emergency) to 7 (debug)
	Facility int // 0: the kernel; anything else was written by user space
	Seq      uint64
	USec     int64 // the log's own clock, µs since boot
	// Cont: this record continues the one before it of the same caller, and
	// the kernel could not join them (pr_cont with something printed between).
	Cont bool
	// Caller is T and a thread id, or C and a CPU; empty without
	// CONFIG_PRINTK_CALLER.
	Caller string
	// Text is unescaped: any bytes, several lines where the kernel printed
	// several at once.
	Text string
}

// ParseKmsgRecord reads one record of /dev/kmsg:
//
//	prio,seq,usec,flag[,caller=T123];text
//	 KEY=value
//
// The dictionary lines behind the text are left out, fields that later kernels
// put before the semicolon are skipped, and \xNN escapes are taken back. The
// format is that of kernel/printk/printk.c, info_print_ext_header() and
// msg_add_ext_text(); Documentation/ABI/testing/dev-kmsg promises it.
func ParseKmsgRecord(b []byte) (Record, error) {
	head, text, ok := bytes.Cut(b, []byte{';'})
	if !ok || len(head) > 256 {
		return Record{}, fmt.Errorf("kmsg: %.80q: no semicolon after the header; want prio,seq,usec,flag;text", b)
	}
	fields := bytes.Split(head, []byte{','})
	if len(fields) < 3 {
		return Record{}, fmt.Errorf("kmsg: %q: %d fields before the text; want prio,seq,usec,flag", head, len(fields))
	}
	prio, err := strconv.ParseUint(string(fields[0]), 10, 31)
	if err != nil {
		return Record{}, fmt.Errorf("kmsg: %q: priority %q is not a number", head, fields[0])
	}
	r := Record{Priority: int(prio & 7), Facility: int(prio >> 3)}
	if r.Seq, err = strconv.ParseUint(string(fields[1]), 10, 64); err != nil {
		return Record{}, fmt.Errorf("kmsg: %q: sequence number %q is not a number", head, fields[1])
	}
	if r.USec, err = strconv.ParseInt(string(fields[2]), 10, 64); err != nil || r.USec < 0 {
		return Record{}, fmt.Errorf("kmsg: %q: time %q is not a number of microseconds", head, fields[2])
	}
	for i, f := range fields[3:] {
		if i == 0 {
			// "c" opened a line before 4.9 and continues one since; "+"
			// continued one. The text decides which it is.
			r.Cont = bytes.ContainsAny(f, "c+")
		}
		if caller, ok := bytes.CutPrefix(f, []byte("caller=")); ok {
			r.Caller = string(caller)
		}
	}
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	r.Text = string(UnescapeHex(text))
	return r, nil
}

// UnescapeHex takes back the \xNN escapes; a backslash that is not one stays.
func UnescapeHex(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			if n, err := strconv.ParseUint(string(b[i+2:i+4]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}
