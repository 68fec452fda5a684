package predict

import "github.com/oomlab/oomlab/harness/kernel"

// mistake is a rule that is broken on purpose: a model that nobody could catch
// being wrong would prove nothing. Only a test of this package can make one.
type mistake uint8

const (
	noMistake         mistake = iota
	adjSign                   // oom_score_adj is subtracted
	divisionLast              // it is multiplied before it is divided
	noPageTables              // page tables are not counted
	tieRule                   // the first of equals is chosen
	groupNotInherited         // memory.oom.group of the victim's own cgroup alone counts
	fileGoes                  // a file in a tmpfs is gone with its writer
	fileScored                // it counts for its writer's score
	cacheStays                // page cache does not give way
	zramOnDisk                // what is swapped out to zram costs no memory
	poolForgotten             // the pool of huge pages is memory that others can get
	nodesForgotten            // everybody may use all nodes
	nothingRefused            // the kernel promises whatever it is asked for
)

// adjustment is what oom_score_adj adds: so many thousandths of the domain,
// which are whole pages, and so nothing in a domain of fewer than 1000 pages.
func (r *Rules) adjustment(adj int, total kernel.Pages) int64 {
	switch r.mistake {
	case adjSign:
		return -int64(adj) * (int64(total) / 1000)
	case divisionLast:
		return int64(adj) * int64(total) / 1000
	}
	return int64(adj) * (int64(total) / 1000)
}

// firstWins reports whether the first of equals is chosen.
func (r *Rules) firstWins() bool { return r.FirstOfEqual != (r.mistake == tieRule) }
