package oomlog

import (
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// kind says what a line of the kernel log is to an OOM report.
type kind uint8

const (
	kindNone       kind = iota // nothing that can be told without its neighbours
	kindHead                   // X invoked oom-killer: ...
	kindCPU                    // CPU: 0 PID: 1 Comm: x Not tainted 6.12 #1
	kindCpuset                 // x cpuset=/ mems_allowed=0
	kindTaskIn                 // Task in /a killed as a result of limit of /b
	kindUsage                  // memory: usage 1kB, limit 1kB, failcnt 0
	kindStats                  // Memory cgroup stats for /a:
	kindMemInfo                // Mem-Info:
	kindNode                   // Node 0 active_anon:0kB ...
	kindZone                   // Node 0 DMA free:0kB ...
	kindHuge                   // Node 0 hugepages_total=0 ...
	kindSwapTotals             // Free swap  = 0kB
	kindPages                  // 1234 pages RAM
	kindSlab                   // Unreclaimable slab info:
	kindTasks                  // Tasks state (memory values in pages):
	kindTable                  // [  pid  ]   uid  tgid ...
	kindRow                    // [    107]     0   107 ...
	kindSummary                // oom-kill:constraint=...
	kindSummaryEnd             // ,task=x,pid=1,uid=0 of a summary that was split
	kindKill                   // Killed process 1 (x) ...
	kindChosen                 // Kill process 1 (x) score 1 or sacrifice child
	kindSharing                // Kill process 1 (x) sharing same memory
	kindExiting                // OOM victim 1 (x) is already exiting. Skip killing the task
	kindGroup                  // Tasks in /a are going to be killed due to memory.oom.group set
	kindReaper                 // oom_reaper: ...
	kindNoKillable             // Out of memory and no killable processes...
	kindPanic                  // Kernel panic - not syncing: ...
	kindSuppressed             // oom_kill_process: 6 callbacks suppressed
	kindSysrq                  // sysrq: Manual OOM execution
	kindOther                  // known, of no use, and the end of the line before it
)

const (
	maxComm  = 15      // TASK_COMM_LEN without the zero
	maxName  = 64      // of the log's names: a comm with every byte escaped fits
	maxPath  = 4 << 10 // PATH_MAX
	invoked  = " invoked oom-killer:"
	panicMsg = "Kernel panic - not syncing: "
)

// classify says what a line is whose beginning is known, that is, whose prefix
// has been taken off. Only what no other program prints by accident counts:
// the kernel's words at the kernel's place.
func classify(s string) kind {
	k := classifyWords(s)
	if k != kindNone && isHead(s) {
		return kindHead // a name that imitates another line
	}
	return k
}

func classifyWords(s string) kind {
	if s == "" {
		return kindNone
	}
	switch s[0] {
	case 'o':
		switch {
		case strings.HasPrefix(s, "oom-kill:constraint="):
			return kindSummary
		case strings.HasPrefix(s, "oom_reaper: reaped process "), strings.HasPrefix(s, "oom_reaper: unable to reap pid:"):
			return kindReaper
		case strings.HasPrefix(s, "oom_kill_process: ") && strings.HasSuffix(s, " callbacks suppressed"):
			return kindSuppressed
		}
	case 'O':
		if strings.HasPrefix(s, "Out of memory and no killable processes") {
			return kindNoKillable
		}
		if strings.HasPrefix(s, "Out of memory") {
			_, k := classifyKill(s)
			return k
		}
	case 'K':
		if strings.HasPrefix(s, panicMsg) {
			return kindPanic
		}
		_, k := classifyKill(s)
		return k
	case 'M':
		switch {
		case strings.HasPrefix(s, "Memory cgroup out of memory"):
			_, k := classifyKill(s)
			return k
		case strings.HasPrefix(s, "Memory cgroup stats"):
			return kindStats
		case strings.HasPrefix(s, "Mem-Info:"):
			return kindMemInfo
		case strings.HasPrefix(s, "Memory allocations:"), strings.HasPrefix(s, "Memory cgroup min protection "):
			return kindOther
		}
	case 'T':
		switch {
		case strings.HasPrefix(s, "Tasks state (memory values in pages)"):
			return kindTasks
		case strings.HasPrefix(s, "Tasks in /"):
			return kindGroup
		case strings.HasPrefix(s, "Task in /"):
			return kindTaskIn
		case strings.HasPrefix(s, "Total swap = "):
			return kindSwapTotals
		}
	case 'm', 'k':
		for _, p := range []string{"memory: usage ", "memory+swap: usage ", "kmem: usage "} {
			if strings.HasPrefix(s, p) {
				return kindUsage
			}
		}
	case 's', 'S':
		if strings.HasPrefix(s, "swap: usage ") {
			return kindUsage
		}
		if len(s) > 5 && strings.EqualFold(s[:5], "sysrq") && strings.Contains(s, "Manual OOM execution") {
			return kindSysrq
		}
		if strings.HasPrefix(s, "Swap cache stats:") {
			return kindOther
		}
	case '[':
		return classifyTable(s)
	case 'C':
		if strings.HasPrefix(s, "CPU: ") && strings.Contains(s, " PID: ") {
			return kindCPU
		}
		if strings.HasPrefix(s, "Call Trace:") {
			return kindOther
		}
	case 'P':
		if strings.HasPrefix(s, "Pid: ") && strings.Contains(s, ", comm: ") {
			return kindCPU
		}
	case 'H', 'W', 'l', '<', 'R', 'E':
		for _, p := range []string{"Hardware name: ", "Workqueue: ", "lowmem_reserve[]:", "<TASK>", "</TASK>", "RIP: ", "EIP: "} {
			if strings.HasPrefix(s, p) {
				return kindOther
			}
		}
	case 'N', 'D':
		if strings.HasPrefix(s, "Node ") || strings.HasPrefix(s, "DMA") || strings.HasPrefix(s, "Normal") || strings.HasPrefix(s, "Device") {
			return classifyZone(s)
		}
	case 'U':
		if strings.HasPrefix(s, "Unreclaimable slab info:") {
			return kindSlab
		}
	case 'F':
		if strings.HasPrefix(s, "Free swap  = ") {
			return kindSwapTotals
		}
	case ',':
		if strings.Contains(s, ",task=") || strings.HasPrefix(s, ",pid=") || strings.HasPrefix(s, ",uid=") ||
			strings.HasPrefix(s, ",task_memcg=") || strings.HasPrefix(s, ",oom_memcg=") || strings.HasPrefix(s, ",cpuset=") {
			return kindSummaryEnd
		}
	case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if _, rest, ok := strings.Cut(s, " "); ok && (strings.HasPrefix(rest, "pages ") || rest == "total pagecache pages") {
			return kindPages
		}
	}
	if strings.HasPrefix(s, "HighMem") || strings.HasPrefix(s, "Movable") {
		return classifyZone(s)
	}
	return kindNone
}

// isHead reports whether s begins a report. The trigger's name may hold
// anything, but it is short.
func isHead(s string) bool {
	i := strings.Index(s, invoked)
	if i < 0 {
		return strings.HasPrefix(s, invoked[1:])
	}
	return i <= maxComm || i <= maxName && len(kernel.UnescapeHex([]byte(s[:i]))) <= maxComm
}

// classifyKill tells the lines about victims apart, and gives the message
// before them.
func classifyKill(s string) (message string, k kind) {
	rest := s
	if s[0] != 'K' {
		var ok bool
		message, rest, ok = strings.Cut(s, ": ")
		if !ok || len(message) > 80 {
			return "", kindNone
		}
	}
	switch {
	case strings.HasPrefix(rest, "Killed process"):
		tail := strings.TrimPrefix(rest, "Killed process")
		if strings.TrimSpace(tail) == "" && message != "" {
			return message, kindKill
		}
		tail = strings.TrimLeft(tail, " ")
		if n := digits(tail); n > 0 && n < 11 && (n == len(tail) || tail[n] == ' ' || tail[n] == ',') {
			return message, kindKill
		}
	case strings.HasPrefix(rest, "Kill process"):
		tail := strings.TrimLeft(strings.TrimPrefix(rest, "Kill process"), " ")
		n := digits(tail)
		if n == 0 && tail == "" && message != "" {
			return message, kindChosen
		}
		if n == 0 || n > 10 {
			return "", kindNone
		}
		if strings.HasSuffix(tail, ") sharing same memory") {
			return message, kindSharing
		}
		if message != "" || strings.Contains(tail, ") score ") {
			return message, kindChosen
		}
	case strings.HasPrefix(rest, "OOM victim "):
		return message, kindExiting
	}
	return "", kindNone
}

func classifyTable(s string) kind {
	inside, rest, ok := strings.Cut(s[1:], "]")
	if !ok || len(inside) > 24 {
		return kindNone
	}
	inside = strings.TrimSpace(inside)
	if inside == "pid" {
		return kindTable
	}
	if n := digits(inside); n == 0 || n != len(inside) {
		return kindNone
	}
	// A row has more numbers behind it: uid, tgid, total_vm.
	fields := strings.Fields(rest[:min(len(rest), 64)])
	if len(fields) < 3 || !isNumber(fields[0]) || !isNumber(fields[1]) || !isNumber(fields[2]) {
		return kindNone
	}
	return kindRow
}

func classifyZone(s string) kind {
	rest := s
	if after, ok := strings.CutPrefix(s, "Node "); ok {
		n := digits(after)
		if n == 0 || n > 9 || n == len(after) || after[n] != ' ' {
			return kindNone
		}
		rest = after[n+1:]
	}
	word, _, _ := strings.Cut(rest, " ")
	switch {
	case strings.HasPrefix(rest, "hugepages_total="):
		return kindHuge
	case strings.HasPrefix(word, "active_anon:"):
		return kindNode
	case strings.HasSuffix(word, ":"): // the free lists: 2*4kB (U) ...
		return kindOther
	case strings.HasPrefix(rest[min(len(word), len(rest)):], " free:"):
		return kindZone
	case strings.HasPrefix(rest[min(len(word), len(rest)):], " per-cpu:"):
		return kindOther
	}
	return kindNone
}

// digits is how many decimal digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && len(s) < 21 && digits(s) == len(s)
}

// wraps reports whether a line of this kind is long enough that mail programs
// break it.
func (k kind) wraps() bool {
	switch k {
	case kindHead, kindCPU, kindTaskIn, kindUsage, kindStats, kindNode, kindZone, kindTable, kindRow, kindSummary,
		kindKill, kindChosen, kindExiting, kindGroup, kindReaper, kindHuge, kindPanic:
		return true
	}
	return false
}

// ends reports whether a line of this kind says how a report ended.
func (k kind) ends() bool {
	switch k {
	case kindKill, kindChosen, kindSharing, kindExiting, kindGroup, kindNoKillable, kindPanic:
		return true
	}
	return false
}

// complete reports whether a line of this kind has all its parts, so that the
// next line cannot be a piece of it.
func complete(k kind, s string) bool {
	switch k {
	case kindHead:
		_, rest, _ := strings.Cut(s, "invoked oom-killer:")
		h := parseHead(rest)
		return h.Adj != nil && h.Order != nil
	case kindCPU:
		_, _, release := parseCPU(s, "")
		return release != ""
	case kindTaskIn:
		return strings.Contains(squeeze(s), "limitof/")
	case kindUsage:
		_, ok := parseUsage(s)
		return ok
	case kindStats:
		return strings.HasSuffix(s, ":") || strings.HasSuffix(s, "KB")
	case kindNode, kindZone:
		return strings.HasSuffix(s, "all_unreclaimable? yes") || strings.HasSuffix(s, "all_unreclaimable? no")
	case kindHuge:
		return strings.Contains(s, "hugepages_size=") && strings.HasSuffix(s, "kB")
	case kindTable:
		return strings.HasSuffix(s, " name")
	case kindSummary:
		i := strings.LastIndex(s, ",uid=")
		return i >= 0 && isNumber(strings.TrimSpace(s[i+len(",uid="):]))
	case kindKill:
		tail := squeeze(killTail(s))
		i := strings.Index(tail, "oom_score_adj:")
		return i >= 0 && isNumber(tail[i+len("oom_score_adj:"):])
	case kindChosen:
		return strings.HasSuffix(s, " or sacrifice child")
	case kindExiting:
		return strings.HasSuffix(s, "the task")
	case kindGroup:
		return strings.HasSuffix(squeeze(s), "memory.oom.groupset")
	case kindReaper:
		return strings.Contains(s, "shmem-rss:") && strings.HasSuffix(s, "kB")
	case kindPanic:
		text := strings.TrimPrefix(s, panicMsg)
		return !strings.HasPrefix(text, "System is") && !strings.HasPrefix(text, "Out of") || endsPanic(s)
	}
	return true
}

// endsPanic reports whether s ends as the OOM killer's panics do.
func endsPanic(s string) bool {
	return strings.HasSuffix(s, "memory") || strings.HasSuffix(s, "is enabled") || strings.HasSuffix(s, "processes...")
}

// squeeze takes out all white space. Wrapping and cutting may put a line break
// anywhere, and the kernel's key:value lists need none to be read.
func squeeze(s string) string {
	if !strings.ContainsAny(s, " \t\n") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != ' ' && c != '\t' && c != '\n' {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// number reads the digits, with a sign, that s begins with.
func number(s string) (n int64, rest string, ok bool) {
	end := digits(strings.TrimPrefix(s, "-"))
	if strings.HasPrefix(s, "-") {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	return n, s[end:], err == nil
}

// integer is number for an int.
func integer(s string) (*int, bool) {
	n, _, ok := number(s)
	if !ok || n != int64(int(n)) {
		return nil, false
	}
	i := int(n)
	return &i, true
}

// unsigned reads the digits that s begins with.
func unsigned(s string) (n uint64, rest string, ok bool) {
	end := digits(s)
	n, err := strconv.ParseUint(s[:end], 10, 64)
	return n, s[end:], err == nil
}
