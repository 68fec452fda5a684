package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The values are those of linux-6.18 with 24 GiB, read from /proc.
func TestScore(t *testing.T) {
	const total = 6171021
	for _, test := range []struct {
		points kernel.Pages
		adj    int
		want   int
	}{
		{0, 0, 666}, // (1000 + 0) * 2 / 3
		{6170, 0, 666},
		{6172, 0, 667},   // 6172*1000/6171021 = 1
		{0, 1000, 1332},  // 1000*6171*1000/6171021 = 999, for 6171 is cut off
		{total, 0, 1333}, // everything
	} {
		if got := score(test.points, test.adj, total); got != test.want {
			t.Errorf("score(%d, %d): %d, want %d", test.points, test.adj, got, test.want)
		}
	}
}

func TestTelling(t *testing.T) {
	for _, test := range []struct {
		name  string
		c     Counters
		total kernel.Pages
		ok    bool
	}{
		// A guest of 512 MiB: 120631 mod 1000 = 631, so the scale slides by
		// 631 pages, more than any step of 120.6.
		{"a small machine always tells", Counters{700, 720}, 120631, true},
		{"one page is enough", Counters{700, 701}, 120631, true},
		{"no difference, nothing to tell", Counters{700, 700}, 120631, false},
		// 24 GiB: a step is 6171 pages and the scale slides by 21.
		{"far from a step", Counters{3000, 3030}, 6171021, false},
		{"around a step", Counters{6165, 6190}, 6171021, true},
		{"a machine of nothing", Counters{1, 2}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			adj, ok := Telling(test.c, test.total)
			if ok != test.ok {
				t.Fatalf("Telling: %d, %t; want %t", adj, ok, test.ok)
			}
			if ok && score(test.c.Batched, adj, test.total) == score(test.c.Exact, adj, test.total) {
				t.Errorf("at oom_score_adj %d both score the same", adj)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	if got, err := judge(667, 667, 668); got != kernel.ReadsCPUBatched || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := judge(668, 667, 668); got != kernel.ReadsExact || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := judge(700, 667, 668); !errors.Is(err, ErrInconclusive) {
		t.Errorf("a score that neither gives: %v", err)
	}
}

// Type information goes before the release, which distributions make lie.
func TestConcludeBadness(t *testing.T) {
	for _, test := range []struct {
		name, release, btf string
		want               kernel.BadnessReads
	}{
		{"5.10", "5.10.0", "", kernel.ReadsThreadBatched},
		{"6.1", "6.1.0-56-cloud-amd64", "", kernel.ReadsThreadBatched},
		{"6.2", "6.2.0", "", kernel.ReadsCPUBatched},
		{"6.19", "6.19.14", "", kernel.ReadsCPUBatched},
		{"7.0", "7.0.0", "", kernel.ReadsExact},
		{"a 5.14 with the counters of 6.2", "5.14.0-611.el9", "\x00rss_stat\x00percpu_counter\x00",
			kernel.ReadsCPUBatched},
		{"type information of 6.1", "6.1.0", "\x00mm_rss_stat\x00", kernel.ReadsThreadBatched},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			if test.btf != "" {
				dir := filepath.Join(root, "sys/kernel/btf")
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "vmlinux"), []byte(test.btf), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Root(root).ConcludeBadness(test.release)
			if err != nil || got != test.want {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
	if _, err := Root(t.TempDir()).ConcludeBadness("unknown"); err == nil ||
		!strings.Contains(err.Error(), "is not a kernel release") {
		t.Errorf("%v", err)
	}
}

// The needle may lie across two pieces of what is read.
func TestContains(t *testing.T) {
	const piece = 256 << 10
	for _, at := range []int{0, piece - 3, piece - 1, piece, 2*piece - 8, 3 * piece} {
		text := strings.Repeat("x", at) + "needle" + strings.Repeat("y", 10)
		if ok, err := contains(strings.NewReader(text), []byte("needle")); !ok || err != nil {
			t.Errorf("at %d: %t, %v", at, ok, err)
		}
	}
	if ok, err := contains(strings.NewReader(strings.Repeat("needl", piece)), []byte("needle!")); ok || err != nil {
		t.Errorf("where there is none: %t, %v", ok, err)
	}
}
