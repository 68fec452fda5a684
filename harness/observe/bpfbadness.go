package observe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

var (
	// errNeedsTier3 is returned where the kernel's own score cannot be seen.
	errNeedsTier3 = errors.New("needs eBPF tier 3 (oom_badness)")
	// ErrInconclusive is returned when the batched and the exact counters of a
	// process agree, or when the exact ones cannot be read. A process that has
	// just touched an odd number of pages usually decides it.
	ErrInconclusive = errors.New("batched and exact counters cannot be told apart")

	errNeither = errors.New("it was running, or oom_badness() is another function here")
)

// How often BadnessReads looks again at a process that is not quiet yet.
const (
	badnessTries = 100
	badnessPause = 10 * time.Millisecond
)

// BadnessReads finds out which reading of the page counters oom_badness() goes
// by. Reading /proc/PID/oom_score runs that very function; its return value is
// compared with the score that follows from either reading, until two looks in
// a row give the same answer. pid must come to rest within a second, and needs
// counters whose readings differ; otherwise the error is ErrInconclusive.
//
// Where the counters are atomics there is only one reading, and the answer
// follows from their layout.
func (b *BPF) BadnessReads(ctx context.Context, pid int) (kernel.BadnessReads, error) {
	if b.progs.ThreadBatched() {
		return kernel.ReadsThreadBatched, nil
	}
	if b.progs.Tier() < 3 {
		return "", fmt.Errorf("which counters oom_badness() reads: %w", errNeedsTier3)
	}
	path := filepath.Join(b.root, "proc", strconv.Itoa(pid), "oom_score")
	pause := time.NewTicker(badnessPause)
	defer pause.Stop()
	var last kernel.BadnessReads
	var lastErr error
	for range badnessTries {
		reads, err := b.badnessOnce(path)
		switch {
		case errors.Is(err, errNeither):
			last, lastErr = "", err
		case err != nil:
			return "", fmt.Errorf("which counters oom_badness() reads: %s: %w", path, err)
		case reads == last:
			return reads, nil
		default:
			last, lastErr = reads, fmt.Errorf("two looks in a row never agreed: %w", errNeither)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return "", fmt.Errorf("which counters oom_badness() reads: %s: waiting for two looks to agree: %w", path,
				errors.Join(context.Cause(ctx), lastErr))
		}
	}
	return "", fmt.Errorf("which counters oom_badness() reads: %s: %d looks: %w", path, badnessTries, lastErr)
}

func (b *BPF) badnessOnce(path string) (kernel.BadnessReads, error) {
	e, err := b.progs.Score(func() error {
		_, err := os.ReadFile(path)
		return err
	})
	if err != nil {
		return "", err
	}
	oom := oomEvent(e, b.progs.Constraint, b.tgid).OOM
	return badnessReads(*oom.Task, *oom.Points, *oom.TotalPages, kernel.Bytes(os.Getpagesize()))
}

func badnessReads(t evidence.Task, points, totalPages int64, pageSize kernel.Bytes) (kernel.BadnessReads, error) {
	if points == math.MinInt64 || t.MM == nil {
		return "", fmt.Errorf("%s (pid %d) has no score: the OOM killer would never choose it", t.Comm, t.PID)
	}
	batched := badness(t.MM.Batched, t, totalPages, pageSize)
	exact := badness(t.MM.Exact, t, totalPages, pageSize)
	switch {
	case t.MM.ExactUnknown:
		return "", fmt.Errorf("%s (pid %d): what the CPUs keep back is not known: %w", t.Comm, t.PID, ErrInconclusive)
	case points != batched && points != exact:
		return "", fmt.Errorf("%s (pid %d): the kernel says %d points; "+
			"its batched counters give %d and its exact ones %d: %w",
			t.Comm, t.PID, points, batched, exact, errNeither)
	case batched == exact:
		return "", fmt.Errorf("%s (pid %d): both give %d points: %w", t.Comm, t.PID, points, ErrInconclusive)
	case points == batched:
		return kernel.ReadsCPUBatched, nil
	}
	return kernel.ReadsExact, nil
}

// badness is oom_badness(), mm/oom_kill.c, with the counters c. A counter below
// zero counts as zero: get_mm_counter() and percpu_counter_sum_positive().
func badness(c evidence.Counts, t evidence.Task, totalPages int64, pageSize kernel.Bytes) int64 {
	points := int64(t.MM.PgTables / pageSize)
	for _, pages := range []kernel.Pages{c.File, c.Anon, c.Swap, c.Shmem} {
		points += int64(max(pages, 0))
	}
	return points + int64(t.Adj)*(totalPages/1000)
}
