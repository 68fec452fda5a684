package probe

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Root is a directory that looks like the root of a machine: "/" on the
// machine itself, a recording in a test.
type Root string

// Path is the place of an absolute path below the root.
func (r Root) Path(elem ...string) string {
	return filepath.Join(append([]string{string(r)}, elem...)...)
}

// Text reads a file of one value, without the newline at its end.
func (r Root) Text(path string) (string, error) {
	b, err := os.ReadFile(r.Path(path))
	return strings.TrimSuffix(string(b), "\n"), err
}

// Has reports whether a file exists.
func (r Root) Has(path string) bool {
	_, err := os.Stat(r.Path(path))
	return err == nil
}

// read opens a file and parses it; an error names the file.
func read[T any](r Root, path string, parse func(io.Reader) (T, error)) (T, error) {
	b, err := os.ReadFile(r.Path(path))
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := parse(bytes.NewReader(b))
	if err != nil {
		return v, fmt.Errorf("%s: %w", r.Path(path), err)
	}
	return v, nil
}

func proc(pid int, file string) string {
	if pid == 0 {
		return "/proc/self/" + file
	}
	return "/proc/" + strconv.Itoa(pid) + "/" + file
}

// Status reads /proc/PID/status; pid 0 is the caller.
func (r Root) Status(pid int) (kernel.Status, error) {
	return read(r, proc(pid, "status"), kernel.ParseStatus)
}

// Stat reads /proc/PID/stat; pid 0 is the caller.
func (r Root) Stat(pid int) (kernel.Stat, error) {
	return read(r, proc(pid, "stat"), kernel.ParseStat)
}

// Committed is how much of a process's address space counts for overcommit.
func (r Root) Committed(pid int) (kernel.Bytes, error) {
	return read(r, proc(pid, "smaps"), kernel.ParseCommitted)
}

// Cgroup reads /proc/PID/cgroup; pid 0 is the caller.
func (r Root) Cgroup(pid int) ([]kernel.CgroupEntry, error) {
	return read(r, proc(pid, "cgroup"), kernel.ParseCgroup)
}

// mountinfo reads /proc/self/mountinfo.
func (r Root) mountinfo() ([]kernel.Mount, error) {
	return read(r, proc(0, "mountinfo"), kernel.ParseMountinfo)
}

// Meminfo reads /proc/meminfo.
func (r Root) Meminfo() (kernel.Meminfo, error) {
	return read(r, "/proc/meminfo", kernel.ParseMeminfo)
}

// Zoneinfo reads /proc/zoneinfo.
func (r Root) Zoneinfo() (kernel.Zoneinfo, error) {
	return read(r, "/proc/zoneinfo", kernel.ParseZoneinfo)
}

// Sysctl reads a value below /proc/sys by its dotted key.
func (r Root) Sysctl(key string) (string, error) {
	return r.Text(SysctlPath(key))
}

// SysctlPath is the file of a sysctl's dotted key.
func SysctlPath(key string) string {
	return "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
}

// OOMScoreAdj reads /proc/PID/oom_score_adj.
func (r Root) OOMScoreAdj(pid int) (int, error) {
	return r.integer(proc(pid, kernel.FileOOMScoreAdj))
}

// OOMScore reads /proc/PID/oom_score, for which the kernel runs oom_badness()
// with the whole machine as the domain (fs/proc/base.c, proc_oom_score).
func (r Root) OOMScore(pid int) (int, error) {
	return r.integer(proc(pid, kernel.FileOOMScore))
}

// OOMAdj reads /proc/PID/oom_adj.
func (r Root) OOMAdj(pid int) (int, error) {
	return r.integer(proc(pid, kernel.FileOOMAdj))
}

func (r Root) integer(path string) (int, error) {
	text, err := r.Text(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", r.Path(path), text)
	}
	return n, nil
}

// commandLine splits the kernel's command line into its words.
func (r Root) commandLine() ([]string, error) {
	text, err := r.Text("/proc/cmdline")
	return strings.Fields(text), err
}

// BootParameter is the value of the last NAME=VALUE on the kernel's command
// line, and whether there is one.
func (r Root) BootParameter(name string) (value string, ok bool) {
	words, _ := r.commandLine() // no command line: no parameter
	for _, w := range words {
		if v, found := strings.CutPrefix(w, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}
