package kernel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line of /proc/PID/mountinfo.
type Mount struct {
	ID, Parent   int
	Root         string // the directory of the file system that is mounted
	Point        string // where it is mounted
	Options      []string
	Type         string // cgroup, cgroup2, tmpfs, ...
	Source       string
	SuperOptions []string
}

// Has reports whether the file system was mounted with the option, such as
// memory (the v1 controller) or memory_localevents.
func (m Mount) Has(option string) bool {
	return slices.Contains(m.SuperOptions, option) || slices.Contains(m.Options, option)
}

// ParseMountinfo reads /proc/PID/mountinfo (fs/proc_namespace.c,
// show_mountinfo). Spaces, tabs, newlines and backslashes in paths, which the
// kernel writes as octal escapes, are taken back.
func ParseMountinfo(r io.Reader) ([]Mount, error) {
	var all []Mount
	err := eachLine("mountinfo", r, func(line string) error {
		before, after, ok := strings.Cut(line, " - ")
		if !ok {
			return errors.New(`no " - " before the type`)
		}
		head, tail := strings.Fields(before), strings.Split(after, " ")
		if len(head) < 6 || len(tail) < 3 {
			return fmt.Errorf("want six fields and three behind the dash, have %d and %d", len(head), len(tail))
		}
		m := Mount{
			Root: unescapeOctal(head[3]), Point: unescapeOctal(head[4]), Options: strings.Split(head[5], ","),
			Type: tail[0], Source: unescapeOctal(tail[1]), SuperOptions: strings.Split(tail[2], ","),
		}
		var err error
		if m.ID, err = strconv.Atoi(head[0]); err != nil {
			return fmt.Errorf("%q is not a mount's number", head[0])
		}
		if m.Parent, err = strconv.Atoi(head[1]); err != nil {
			return fmt.Errorf("%q is not a mount's number", head[1])
		}
		all = append(all, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// MemoryMounts finds the hierarchy of the v1 memory controller and the cgroup
// v2 hierarchy; nil where there is none. Of several mounts of one hierarchy the
// first that shows its root is taken.
func MemoryMounts(all []Mount) (v1, v2 *Mount) {
	for i := range all {
		m := &all[i]
		switch {
		case m.Type == "cgroup" && m.Has("memory") && (v1 == nil || v1.Root != "/" && m.Root == "/"):
			v1 = m
		case m.Type == "cgroup2" && (v2 == nil || v2.Root != "/" && m.Root == "/"):
			v2 = m
		}
	}
	return v1, v2
}

// unescapeOctal takes back the \ooo escapes of mangle_path().
func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
