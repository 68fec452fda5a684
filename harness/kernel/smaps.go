package kernel

import (
	"errors"
	"io"
	"slices"
	"strings"
)

// ParseCommitted reads /proc/PID/smaps (fs/proc/task_mmu.c, show_smap): the sizes of all
// mappings that are accounted, which VmFlags calls ac (VM_ACCOUNT).
func ParseCommitted(r io.Reader) (Bytes, error) {
	var sum, size Bytes
	flags := false
	err := eachLine("smaps", r, func(line string) error {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Size":
			var err error
			size, err = kilobytes(strings.TrimSpace(value))
			return err
		case "VmFlags":
			flags = true
			if slices.Contains(strings.Fields(value), "ac") {
				sum += size
			}
		}
		return nil
	})
	if err == nil && !flags {
		err = errors.New("smaps: no VmFlags line")
	}
	return sum, err
}
