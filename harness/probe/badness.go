package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// ErrInconclusive is returned where readings that would tell two kernels apart
// are the same.
var ErrInconclusive = errors.New("batched and exact counters cannot be told apart here")

// ThreadBatched reports whether this kernel keeps a process's page counters in
// atomics with a cache in each thread, as up to 6.1: its type information then
// names the struct that holds them (include/linux/mm_types_task.h). ok is
// false when there is no type information.
func (r Root) ThreadBatched() (is, ok bool, err error) {
	f, err := os.Open(r.Path("/sys/kernel/btf/vmlinux"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	is, err = contains(f, []byte("\x00mm_rss_stat\x00"))
	return is, err == nil, err
}

// contains searches a stream in pieces that overlap.
func contains(f io.Reader, needle []byte) (bool, error) {
	buf := make([]byte, 256<<10)
	keep := 0
	for {
		n, err := io.ReadFull(f, buf[keep:])
		if bytes.Contains(buf[:keep+n], needle) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		keep = copy(buf, buf[len(buf)-len(needle)+1:])
	}
}

// Counters are the two readings of one process that oom_badness() might go by,
// as points without oom_score_adj.
type Counters struct {
	Batched, Exact kernel.Pages
}

// Counters reads both: /proc/PID/stat shows the batched value of the resident
// set, /proc/PID/status the exact one where a kernel has one (see package
// kernel, BadnessReads). Swap and page tables come from status either way.
func (r Root) Counters(pid int, pageSize kernel.Bytes) (Counters, error) {
	stat, err := r.Stat(pid)
	if err != nil {
		return Counters{}, err
	}
	status, err := r.Status(pid)
	if err != nil {
		return Counters{}, err
	}
	if status.VmRSS == nil || status.VmPTE == nil {
		return Counters{}, fmt.Errorf("process %d has no address space", pid)
	}
	rest := status.VmPTE.Pages(pageSize)
	if status.VmSwap != nil {
		rest += status.VmSwap.Pages(pageSize)
	}
	return Counters{Batched: stat.RSS + rest, Exact: status.VmRSS.Pages(pageSize) + rest}, nil
}

// score is /proc/PID/oom_score for a process with the points and the
// oom_score_adj on a machine with total pages of memory and swap. Kernels that
// batch by CPU, and those that do not batch at all, are newer than 5.9.
func score(points kernel.Pages, adj int, total kernel.Pages) int {
	rules := predict.Rules{}
	return predict.OOMScore(predict.Points(predict.Task{RSS: points, Adj: adj}, total, rules), total, rules)
}

// Telling finds an oom_score_adj from 0 to 1000 at which the two readings of a
// process give different scores; ok is false if there is none.
//
// A score counts in steps of 1/1500 of all memory, far too coarse to see one
// page. But total/1000 is cut off, so each point of oom_score_adj moves the
// place where a step falls by (total mod 1000)/1000 of a page: the scale is
// slid along the process until a step falls between its two readings.
func Telling(c Counters, total kernel.Pages) (adj int, ok bool) {
	if total <= 0 {
		return 0, false
	}
	for adj := range 1001 {
		if score(c.Batched, adj, total) != score(c.Exact, adj, total) {
			return adj, true
		}
	}
	return 0, false
}

// MeasureBadness asks the kernel which counters of a process oom_badness()
// reads, without any eBPF: /proc/PID/oom_score runs that function. The process
// is the caller's own and stands still; its oom_score_adj is raised on the way
// and left at 0. [ErrInconclusive] asks for a process of another size.
func (r Root) MeasureBadness(pid int, m kernel.Machine) (kernel.BadnessReads, error) {
	c, err := r.Counters(pid, m.PageSize)
	if err != nil {
		return "", err
	}
	total := (m.MemTotal + m.SwapTotal).Pages(m.PageSize)
	adj, ok := Telling(c, total)
	if !ok {
		return "", fmt.Errorf("process %d, %d or %d points: %w", pid, c.Batched, c.Exact, ErrInconclusive)
	}
	file := r.Path(proc(pid, "oom_score_adj"))
	if err := os.WriteFile(file, fmt.Append(nil, adj), 0); err != nil {
		return "", err
	}
	got, err := r.OOMScore(pid)
	if err := errors.Join(err, os.WriteFile(file, []byte("0"), 0)); err != nil {
		return "", err
	}
	return judge(got, score(c.Batched, adj, total), score(c.Exact, adj, total))
}

func judge(got, batched, exact int) (kernel.BadnessReads, error) {
	switch got {
	case batched:
		return kernel.ReadsCPUBatched, nil
	case exact:
		return kernel.ReadsExact, nil
	}
	return "", fmt.Errorf("oom_score is %d; the batched counters give %d and the exact ones %d: %w", got, batched,
		exact, ErrInconclusive)
}

// ConcludeBadness says which counters oom_badness() reads when it could not be
// measured: from the kernel's type information as far as that goes, and else
// from the release, the last resort. A distribution may have backported what
// this cannot see.
func (r Root) ConcludeBadness(release string) (kernel.BadnessReads, error) {
	v, err := kernel.ParseVersion(release)
	if err != nil {
		return "", err
	}
	thread, known, err := r.ThreadBatched()
	switch {
	case err != nil:
		return "", err
	case thread, !known && !v.AtLeast(6, 2):
		return kernel.ReadsThreadBatched, nil
	case v.AtLeast(7, 0):
		return kernel.ReadsExact, nil
	}
	return kernel.ReadsCPUBatched, nil
}
