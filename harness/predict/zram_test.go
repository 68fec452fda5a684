package predict_test

import (
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/stressor/profile"
)

// TestSwapInMemory: what is swapped out to zram comes back as memory, by what is in it.
// The numbers are those of 6.12.118 with 512Mi, of which a hog without swap gets 84,000
// pages beside 17,000 of another process. The swap space counts for the domain in any
// case, less its header.
func TestSwapInMemory(t *testing.T) {
	m := guest()
	m.MemTotal, m.MemFree, m.MemAvailable, m.WatermarkMin = 482557952, 424718336, 387477504, 5871
	m.Badness = kernel.ReadsExact
	const slots = 256 << 20 / 4096
	for _, tt := range []struct {
		name      string
		kind      string
		idle, hog string
		seen      kernel.Pages
		width     kernel.Pages
	}{
		{name: "random", kind: "zram", seen: 83999, width: 10000},
		{name: "text", kind: "zram", idle: profile.Text, hog: profile.Text, seen: 109617, width: 23000},
		{name: "zeros", kind: "zram", idle: profile.Zeros, hog: profile.Zeros, seen: 148764, width: 10000},
		{name: "zeros beside random", kind: "zram", idle: profile.Zeros, seen: 100446, width: 27000},
		{name: "a disk", kind: "disk", seen: 148500, width: 10000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			idle, hog := hog("idle", "", 0, 64), hog("hog", "", 0, 1024, "idle")
			idle.Profile.Steps[0].Content, hog.Profile.Steps[0].Content = tt.idle, tt.hog
			got := predict.Outcome(plan.Plan{Swap: &plan.Swap{Kind: tt.kind, Size: 256 * kernel.MiB},
				Processes: []plan.Process{idle, hog}}, m, nil)
			r := got.Ranges["hog"]
			if len(got.Killed) != 1 || got.Killed[0] != "hog" || got.Unsure != "" {
				t.Errorf("killed %v, unsure %q", got.Killed, got.Unsure)
			}
			if r.Lo > tt.seen || r.Hi < tt.seen || r.Hi-r.Lo > tt.width {
				t.Errorf("hog has %d to %d points; seen were %d, and %d is wide enough", r.Lo, r.Hi, tt.seen, tt.width)
			}
			if want := kernel.Pages(m.MemTotal/4096) + slots - 1; got.TotalPages != want {
				t.Errorf("%d pages in all, want %d", got.TotalPages, want)
			}
		})
	}
}

// TestSwapInMemoryIsNotEndless: where everything compresses, swap space that is larger
// than the machine saves no more than there is to swap out.
func TestSwapInMemoryIsNotEndless(t *testing.T) {
	p := hog("hog", "", 0, 1000)
	p.Profile.Steps[0].Content = profile.Text
	for size, want := range map[kernel.Bytes]int{64 * kernel.MiB: 1, 4 * kernel.GiB: 1} {
		got := predict.Outcome(plan.Plan{Swap: &plan.Swap{Kind: "zram", Size: size}, Processes: []plan.Process{p}},
			guest(), nil)
		if len(got.Killed) != want {
			t.Errorf("%s: killed %v; 1000Mi that shrink by half do not fit", size, got.Killed)
		}
	}
	p.Profile.Steps[0].Content = profile.Zeros
	got := predict.Outcome(plan.Plan{Swap: &plan.Swap{Kind: "zram", Size: 4 * kernel.GiB},
		Processes: []plan.Process{p}}, guest(), nil)
	if len(got.Killed) != 0 {
		t.Errorf("zeros: killed %v", got.Killed)
	}
}
