package kernel

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Meminfo is one reading of /proc/meminfo.
type Meminfo struct {
	MemTotal, MemFree   Bytes
	SwapTotal, SwapFree Bytes
	MemAvailable        *Bytes // nil before 3.14
	// CommitLimit and CommittedAS are what overcommit mode 2 compares.
	CommitLimit, CommittedAS *Bytes
	// Sizes is every amount that the file holds, by the kernel's names, in
	// bytes. Lines that are not amounts (HugePages_Total) are in Counts.
	Sizes  map[string]Bytes
	Counts map[string]uint64
}

// ParseMeminfo reads /proc/meminfo (fs/proc/meminfo.c, meminfo_proc_show).
func ParseMeminfo(r io.Reader) (Meminfo, error) {
	m := Meminfo{Sizes: make(map[string]Bytes), Counts: make(map[string]uint64)}
	err := eachLine("meminfo", r, func(line string) error {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("want a name, a colon and an amount")
		}
		value = strings.TrimSpace(value)
		if strings.HasSuffix(value, "kB") {
			b, err := kilobytes(value)
			if err != nil {
				return err
			}
			m.Sizes[key] = b
			return nil
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not an amount such as 1234 kB", value)
		}
		m.Counts[key] = n
		return nil
	})
	if err != nil {
		return Meminfo{}, err
	}
	for _, f := range []struct {
		name string
		to   *Bytes
	}{{"MemTotal", &m.MemTotal}, {"MemFree", &m.MemFree}, {"SwapTotal", &m.SwapTotal}, {"SwapFree", &m.SwapFree}} {
		b, ok := m.Sizes[f.name]
		if !ok {
			return Meminfo{}, fmt.Errorf("meminfo: no %s line; is this /proc/meminfo?", f.name)
		}
		*f.to = b
	}
	for _, f := range []struct {
		name string
		to   **Bytes
	}{{"MemAvailable", &m.MemAvailable}, {"CommitLimit", &m.CommitLimit}, {"Committed_AS", &m.CommittedAS}} {
		if b, ok := m.Sizes[f.name]; ok {
			*f.to = &b
		}
	}
	return m, nil
}
