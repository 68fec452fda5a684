package explain_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

// TestFreeMemoryThatWasOfNoUse: a machine that kills with memory to spare is
// explained by what was asked for and where memory was free.
func TestFreeMemoryThatWasOfNoUse(t *testing.T) {
	free := strings.NewReplacer("free:400 ", "free:20000 ", "inactive_anon:50100", "inactive_anon:30000",
		"Normal free:25600kB", "Normal free:1280000kB")
	lot := free.Replace(arm64)
	for _, tt := range []struct{ name, log, want string }{
		{"one piece", strings.Replace(lot, "order=0", "order=3", 1), "zone Normal had 1.2Gi, not in pieces of " +
			"512Ki: it was fragmented (the log has no list of the pieces"},
		{"no piece listed", strings.Replace(strings.Replace(lot, "order=0", "order=3", 1), "Free swap",
			"Node 0 Normal: 20000*64kB (UME) 0*128kB 0*256kB 0*512kB = 1280000kB\nFree swap", 1),
			"zone Normal had 1.2Gi, not in pieces of 512Ki: it was fragmented. "},
		{"a piece of the wrong type", strings.Replace(strings.Replace(strings.Replace(lot, "order=0", "order=3", 1),
			"0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP)", "0xcc0(GFP_KERNEL)", 1),
			"Free swap", "Node 0 Normal: 20000*64kB (UME) 0*128kB 0*256kB 9*512kB (CH) = 1280000kB\nFree swap", 1),
			"not in pieces of 512Ki: it was fragmented. "},
		{"pieces are listed", strings.Replace(strings.Replace(lot, "order=0", "order=3", 1), "Free swap",
			"Node 0 Normal: 0*64kB 0*128kB 0*256kB 2500*512kB (M) = 1280000kB\nFree swap", 1),
			"by the watermarks the request could have had some"},
		{"one zone is short, another is not", strings.Replace(lot, "Node 0 Normal free:1280000kB",
			"Node 0 DMA free:10kB min:20kB low:30kB high:40kB present:64kB managed:64kB\nNode 0 Normal free:1280000kB",
			1),
			"by the watermarks the request could have had some"},
		{"another node", strings.Replace(lot, "mems_allowed=0", "mems_allowed=1", 1),
			"1.2Gi lay on memory nodes that it may not use"},
		{"kept from it", strings.Replace(strings.Replace(lot, "Node 0 Normal free", "Node 0 DMA free", 1),
			"lowmem_reserve[]: 0 0", "lowmem_reserve[]: 0 30000 30000", 1),
			"keeps from requests for higher zones"},
		{"a page fault", strings.Replace(lot, "gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP)",
			"gfp_mask=0x0()", 1), "1.2Gi were free: gfp_mask 0 is a page fault that failed"},
		{"nothing tells", lot, "1.2Gi were free by then, and by the watermarks the request could have had some; " +
			"the log does not show why it did not."},
	} {
		if e := one(t, tt.log, explain.Options{}); !strings.Contains(e.Why, tt.want) {
			t.Errorf("%s: %q is not in\n%s", tt.name, tt.want, e.Why)
		}
	}
	const rest = "Memory cgroup out of memory: Killed process 200 (hog) total-vm:6kB, anon-rss:4kB, file-rss:0kB, " +
		"shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
	if e := one(t, rest, explain.Options{}); !strings.Contains(e.Why, "more than ten reports in five seconds are "+
		"swallowed") {
		t.Errorf("of a kill without its report: %s", e.Why)
	}
}
