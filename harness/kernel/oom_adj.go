package kernel

// The files of /proc/PID that tell how the OOM killer ranks a process.
const (
	FileOOMScore    = "oom_score"
	FileOOMScoreAdj = "oom_score_adj"
	FileOOMAdj      = "oom_adj" // before 2.6.36 the only one, and kept since
)

// The bounds of oom_score_adj and oom_adj (include/uapi/linux/oom.h), and the highest
// oom_score: a process that holds all of memory at the highest adjustment has 2000
// (proc_oom_score() in fs/proc/base.c).
const (
	OOMScoreAdjMin = -1000
	OOMScoreAdjMax = 1000
	OOMAdjMin      = -17 // OOM_DISABLE
	OOMAdjMax      = 15
	OOMScoreMax    = 2000
)

// ScoreAdjOf is the oom_score_adj that writing to oom_adj sets, as oom_adj_write() in
// fs/proc/base.c has it: seventeenths of 1000, cut off, and the highest is the highest.
func ScoreAdjOf(oomAdj int) int {
	if oomAdj == OOMAdjMax {
		return OOMScoreAdjMax
	}
	return oomAdj * OOMScoreAdjMax / -OOMAdjMin
}

// OOMAdjOf is what oom_adj shows at an oom_score_adj, as oom_adj_read() has it. It is cut
// off once more, so that what was written may be shown as one less.
func OOMAdjOf(scoreAdj int) int {
	if scoreAdj == OOMScoreAdjMax {
		return OOMAdjMax
	}
	return min(scoreAdj*-OOMAdjMin/OOMScoreAdjMax, OOMAdjMax)
}
