package explain_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

// TestFreeMemoryThatWasOfNoUse: a machine that kills with memory to spare is
// explained by what was asked for and where memory was free.
func TestFreeMemoryThatWasOfNoUse(t *testing.T) {
	free := strings.NewReplacer("free:400 ", "free:20000 ", "inactive_anon:50100", "inactive_anon:30000", "Normal free:25600kB", "Normal free:1280000kB")
	lot := free.Replace(arm64)
	for _, tt := range []struct{ name, log, want string }{
		{"one piece", strings.Replace(lot, "order=0", "order=3", 1), "asked for 512Ki in one piece. 1.2Gi were free, but not in pieces of 512Ki: memory was fragmented."},
		{"another zone", strings.Replace(lot, "Node 0 Normal free:1280000kB", "Node 0 DMA free:10kB min:20kB low:30kB high:40kB present:64kB managed:64kB\nNode 0 Normal free:1280000kB", 1),
			"1.2Gi were free, but zone DMA of node 0 had less than its min watermark"},
		{"a page fault", strings.Replace(lot, "gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP)", "gfp_mask=0x0()", 1), "1.2Gi were free: gfp_mask 0 is a page fault that failed"},
		{"nothing tells", lot, "1.2Gi were free by then; the log does not show why they were of no use."},
	} {
		if e := one(t, tt.log, explain.Options{}); !strings.Contains(e.Why, tt.want) {
			t.Errorf("%s: %q is not in\n%s", tt.name, tt.want, e.Why)
		}
	}
	const rest = "Memory cgroup out of memory: Killed process 200 (hog) total-vm:6kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
	if e := one(t, rest, explain.Options{}); !strings.Contains(e.Why, "more than ten reports in five seconds are swallowed") {
		t.Errorf("of a kill without its report: %s", e.Why)
	}
}
