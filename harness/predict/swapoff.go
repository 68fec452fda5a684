package predict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// unuse follows try_to_unuse() in mm/swapfile.c: before swap is off, everything in it
// comes back into memory, page by page, and is charged again to the cgroup that it was
// swapped out of. Whoever holds most where it does not fit is killed, until the rest
// does. The swap space has been taken off the pages of the domain by then.
//
// The task that switches swap off is marked as the one to be killed first
// (set_current_oom_origin()). Here it is PID 1 of the guest, whom oom_evaluate_task()
// passes over before it looks for the mark.
func (w *world) unuse() []*world {
	var full []string
	certain := false
	for _, dir := range append(w.limited(), "") {
		room := w.room(dir)
		if slices.Contains(w.orphans, dir) {
			room.Lo = min(room.Lo, -1)
		}
		if room.Lo >= 0 || len(w.candidates(dir)) == 0 {
			continue // it fits, or swapoff gives up with ENOMEM
		}
		full, certain = append(full, dir), certain || room.Hi < 0
	}
	// a page is charged to the innermost cgroup first
	full = slices.DeleteFunc(full, func(dir string) bool {
		return dir != "" && slices.ContainsFunc(full, func(other string) bool {
			return other != dir && kernel.InCgroup(other, dir)
		})
	})
	// the likeliest first: what is most certainly full
	slices.SortStableFunc(full, func(a, b string) int { return int(w.room(a).Hi - w.room(b).Hi) })
	var out []*world
	for _, dir := range full {
		for _, next := range w.clone().oom(dir, asking(dir), false) {
			next.orphaned(dir)
			out = append(out, next)
		}
	}
	if certain {
		return out
	}
	w.unusing = false
	if len(full) > 0 && (w.room(full[0]).Mid() < 0 || slices.Contains(w.orphans, full[0])) {
		return append(out, w)
	}
	return append([]*world{w}, out...)
}

// asking is who asks for the pages: the task that switches swap off.
func asking(dir string) []string {
	if dir == "" {
		return nil // which is said of every kill of the machine's
	}
	return []string{Elsewhere}
}

// orphaned takes note of a victim whose pages were in swap. Those that have been read
// back and mapped by nobody yet stay charged when it is gone: without swap space reclaim
// does not look at them (can_reclaim_anon_pages()). Somebody else may be killed for them.
func (w *world) orphaned(dir string) {
	if w.panic != "" || len(w.steps) == 0 {
		return
	}
	last := w.steps[len(w.steps)-1]
	swappedOut := slices.ContainsFunc(last.Victims, func(name string) bool {
		p := w.find(name)
		return p != nil && slices.ContainsFunc(p.p.Profile.Steps, func(s profile.Step) bool {
			return s.Op == profile.SwapOut
		})
	})
	if (dir != "" || swappedOut) && !slices.Contains(w.orphans, dir) {
		w.orphans = append(slices.Clip(w.orphans), dir)
	}
}
