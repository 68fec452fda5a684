package predict

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Swap in memory (drivers/block/zram): a page that is swapped out comes back as a
// compressed one, which the kernel keeps in the machine's memory. A slot of the swap
// space saves what the page is smaller by; the size of the space counts for the domain
// all the same.

// share is a part of a page.
type share struct{ least, most float64 }

// saved is what swapping out a page of some content saves of it. Pages that do not
// compress below huge_class_size are kept whole; those with one word throughout are
// not kept at all (ZRAM_SAME, and since 6.12 the map of zero pages of the swap space's).
var saved = map[string]share{
	profile.Random: {0, 0},
	profile.Text:   {0.36, 0.55},
	profile.Zeros:  {1, 1},
}

// amounts are pages by what is in them.
type amounts map[string]float64

// swappable is what processes have, and what those who grow will have beside that, of
// memory that can be swapped out.
func (w *world) swappable() (has, wants amounts) {
	has, wants = amounts{}, amounts{}
	for i := range w.procs {
		p := &w.procs[i]
		has[profile.Random] += float64(p.file.Hi)
		if !p.alive() || p.sharer {
			continue
		}
		has[profile.Random] += float64(p.shm.Hi)
		left := float64(p.anon.Hi)
		for _, s := range p.p.Profile.Steps {
			if s.Op.Row().Memory != profile.AnonMemory {
				continue
			}
			want := float64(w.want(p, s).Hi)
			part := min(left, want)
			left -= part
			if s.Op == profile.Mlock {
				continue
			}
			content := s.Content
			if content == "" {
				content = profile.Random
			}
			has[content] += part
			if p.phase == running {
				wants[content] += want - part
			}
		}
	}
	return has, wants
}

// slots swaps pages out until the swap space is full, those first that save least, or
// most; it returns how many pages are saved.
func slots(space float64, has amounts, most bool) float64 {
	order := []string{profile.Random, profile.Text, profile.Zeros}
	if most {
		order = []string{profile.Zeros, profile.Text, profile.Random}
	}
	var sum float64
	for _, content := range order {
		part := min(space, has[content])
		space -= part
		if most {
			sum += part * saved[content].most
		} else {
			sum += part * saved[content].least
		}
	}
	return sum
}

// zram is by how much swap in memory raises what the machine can hold: as much as is
// saved once it is full. What is saved depends on what is there to be swapped out by
// then, which is more where more is saved.
func (w *world) zramSaves(room Range) Range {
	space := w.zram().Pages(w.m.PageSize)
	if space == 0 {
		return Range{}
	}
	has, wants := w.swappable()
	var used, ahead float64
	for _, n := range has {
		used += n
	}
	for _, n := range wants {
		ahead += n
	}
	// what processes have beside that
	others := max(0, float64(together(w.charges("")...).Mid())-used)
	full := func(room kernel.Pages, space float64, most bool) kernel.Pages {
		saves := 0.0
		for range 100 {
			grown := 0.0
			if ahead > 0 {
				grown = max(0, min(1, (float64(room)+saves-others-used)/ahead))
			}
			then := amounts{}
			for content := range saved {
				then[content] = has[content] + grown*wants[content]
			}
			more := slots(space, then, most)
			if more-saves < 1 {
				break
			}
			saves = more
		}
		return kernel.Pages(saves)
	}
	// A table of two words for each slot and the map of slots are memory as well, and
	// reclaim gives up before the space is full.
	return Range{
		full(room.Lo, max(0, float64(space-swapSlack)), false) - space/128,
		full(room.Hi, float64(space), true),
	}
}

// zram is how much of the swap space lies in memory.
func (w *world) zram() kernel.Bytes {
	if w.plan.Swap == nil || w.plan.Swap.Kind != "zram" || w.rules.mistake == zramOnDisk {
		return 0
	}
	return max(0, w.swapOn-w.m.SwapFree)
}
