package explain_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

// arm64 is what a machine of 4 GiB with pages of 64 KiB prints.
const arm64 = `stress invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP), order=0, oom_score_adj=0
CPU: 1 PID: 900 Comm: stress Not tainted 5.14.0-427.el9.aarch64+64k #1
Mem-Info:
active_anon:900 inactive_anon:50100 isolated_anon:0
 active_file:10 inactive_file:20 isolated_file:0
 unevictable:0 dirty:0 writeback:0
 slab_reclaimable:100 slab_unreclaimable:2000
 mapped:100 shmem:500 pagetables:60
 free:400 free_pcp:0 free_cma:0
Node 0 active_anon:57600kB inactive_anon:3206400kB active_file:640kB inactive_file:1280kB unevictable:0kB shmem:32000kB kernel_stack:8000kB all_unreclaimable? no
Node 0 Normal free:25600kB min:20000kB low:30000kB high:40000kB present:4194304kB managed:4063232kB free_cma:0kB
lowmem_reserve[]: 0 0
Free swap  = 0kB
Total swap = 0kB
65536 pages RAM
0 pages HighMem/MovableOnly
2048 pages reserved
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    700]     0   700     9000    20000  2621440        0             0 db
[    900]     0   900    20000    30000  5242880        0             0 stress
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=stress,pid=900,uid=0
Out of memory: Killed process 900 (stress) total-vm:1280000kB, anon-rss:1920000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:5120kB oom_score_adj:0
`

// TestThePageSizeIsRead where the report prints an amount in pages and in kB,
// and is said not to be known where it does not.
func TestThePageSizeIsRead(t *testing.T) {
	killLine := arm64[strings.Index(arm64, "Out of memory: Killed"):]
	memory := "active_anon:900 inactive_anon:50100 isolated_anon:0\n active_file:10"
	for _, tt := range []struct {
		name, log, from string
		size            kernel.Bytes
	}{
		{"the victim's size", arm64, "total_vm of the victim, in its row and in its kill line", 64 * kernel.KiB},
		{"the machine's memory", strings.ReplaceAll(arm64, killLine, ""), "active_anon, in pages and in kB",
			64 * kernel.KiB},
		{"the zones", strings.NewReplacer(killLine, "", memory, " active_file:10").Replace(arm64),
			"pages RAM, and the memory present in the zones", 64 * kernel.KiB},
		{"nothing", strings.NewReplacer(killLine, "", memory, " active_file:10", "65536 pages RAM", "").Replace(arm64),
			"not known; most machines have this", 4 * kernel.KiB},
		{"amounts that do not fit", strings.ReplaceAll(arm64, "total-vm:1280000kB", "total-vm:1280001kB"),
			"active_anon, in pages and in kB", 64 * kernel.KiB},
	} {
		e := one(t, tt.log, explain.Options{})
		if e.PageSize != tt.size || e.PageSizeFrom != tt.from {
			t.Errorf("%s: %s, %s; want %s, %s", tt.name, e.PageSize, e.PageSizeFrom, tt.size, tt.from)
		}
	}
	e := one(t, arm64, explain.Options{})
	if e.Ranking[0].PgTables != 80 || *e.Ranking[0].Points != 30080 || *e.TotalPages != 65536-2048 ||
		e.Agrees == nil || !*e.Agrees ||
		!strings.Contains(e.Why, "The machine (3.9Gi, no swap) ran out") {
		t.Errorf("%+v, %s", e.Ranking[0], e.Why)
	}
	if strings.Contains(e.Why, "were free") {
		t.Errorf("little was free, and the reason says: %s", e.Why)
	}
	told := one(t, arm64, explain.Options{PageSize: 16 * kernel.KiB})
	if told.PageSize != 16*kernel.KiB || told.PageSizeFrom != "told" {
		t.Errorf("told 16Ki, and %s is taken: %s", told.PageSize, told.PageSizeFrom)
	}
}
