package oomlog

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

const (
	maxName  = 64      // of the log's names: a comm with every byte escaped fits
	maxPath  = 4 << 10 // PATH_MAX
	invoked  = " invoked oom-killer:"
	limitOf  = " killed as a result of limit of "
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
	for _, o := range openings[s[0]] {
		if strings.HasPrefix(s, o.words) {
			if k := o.tell(s); k != kindNone {
				return k
			}
		}
	}
	return kindNone
}

// opening is how lines of some kind begin.
type opening struct {
	words string
	// far are words that nobody but the kernel begins a line with. They tell
	// behind a prefix of no known form too; see behind.
	far string
	// tell decides what a line is that begins so. Nil: the words suffice.
	tell func(s string) kind
}

// anywhere makes an opening of each word that tells behind any prefix.
func anywhere(words ...string) []opening {
	all := eachWith(nil, words...)
	for i := range all {
		all[i].far = all[i].words
	}
	return all
}

// eachWith makes an opening of each word.
func eachWith(tell func(string) kind, words ...string) []opening {
	all := make([]opening, len(words))
	for i, w := range words {
		all[i] = opening{words: w, tell: tell}
	}
	return all
}

// openings are those of all kinds by the byte that they begin with, the longest
// words first; farWords are the words that tell behind any prefix.
var openings, farWords = func() (by [256][]opening, far []string) {
	for k, row := range kinds {
		for _, o := range row.opens {
			if o.far != "" {
				far = append(far, o.far)
			}
			if o.tell == nil {
				o.tell = func(string) kind { return kind(k) }
			}
			by[o.words[0]] = append(by[o.words[0]], o)
		}
	}
	for _, of := range by {
		slices.SortStableFunc(of, func(a, b opening) int { return len(b.words) - len(a.words) })
	}
	return by, far
}()

// classifyNamed is classify for a line that may begin with a name too.
func classifyNamed(s string) kind {
	k := classify(s)
	switch {
	case k != kindNone:
	case isAllocFailure(s):
		k = kindElsewhere
	case isHead(s):
		k = kindHead
	case isCpuset(s):
		k = kindCpuset
	}
	return k
}

// isHead reports whether s begins a report. The trigger's name may hold
// anything, but it is short.
func isHead(s string) bool {
	i := strings.Index(s, invoked)
	if i < 0 {
		return strings.HasPrefix(s, invoked[1:])
	}
	return i <= kernel.CommLen || i <= maxName && len(kernel.UnescapeHex([]byte(s[:i]))) <= kernel.CommLen
}

// calledFunction is the function in a line of a call trace, without what the
// compiler appends to its name; empty: it is no such line, or the unwinder marks it
// as uncertain.
func calledFunction(s string) string {
	end := strings.Index(s, "+0x")
	if end < 0 {
		return ""
	}
	begin := end
	for begin > 0 && (s[begin-1] == '_' || s[begin-1] == '.' || isAlnum(s[begin-1])) {
		begin--
	}
	if strings.HasSuffix(strings.TrimRight(s[:begin], " "), "?") {
		return ""
	}
	name, _, _ := strings.Cut(s[begin:end], ".")
	return name
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
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
	case strings.HasPrefix(rest, "Kill process"), strings.HasPrefix(rest, "kill process") && message != "":
		tail := strings.TrimLeft(strings.TrimPrefix(rest[1:], "ill process"), " ")
		n := digits(tail)
		if n == 0 && tail == "" && message != "" {
			return message, kindChosen
		}
		if n == 0 || n > 10 {
			return "", kindNone
		}
		if strings.Contains(tail, ") sharing same memory") { // longer than a name, so no part of one
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

func classifyVictim(s string) kind {
	_, k := classifyKill(s)
	return k
}

// containing tells a line of kind k by words inside it.
func containing(words string, k kind) func(string) kind {
	return func(s string) kind {
		if strings.Contains(s, words) {
			return k
		}
		return kindNone
	}
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
	for range 3 {
		rest = strings.TrimLeft(rest, " ")
		_, after, ok := number(rest)
		if !ok || after != "" && after[0] != ' ' {
			return kindNone
		}
		rest = after
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
	case strings.HasSuffix(word, ":"):
		return kindFree
	case strings.HasPrefix(rest[min(len(word), len(rest)):], " free:"):
		return kindZone
	case strings.HasPrefix(rest[min(len(word), len(rest)):], " per-cpu:"):
		return kindOther
	}
	return kindNone
}

func classifyPages(s string) kind {
	_, rest, ok := strings.Cut(s, " ")
	if ok && (strings.HasPrefix(rest, "pages ") || rest == "total pagecache pages") {
		return kindPages
	}
	return kindNone
}

func classifySummaryEnd(s string) kind {
	for _, p := range []string{",pid=", ",uid=", ",task_memcg=", ",oom_memcg=", ",cpuset="} {
		if strings.HasPrefix(s, p) {
			return kindSummaryEnd
		}
	}
	return containing(",task=", kindSummaryEnd)(s)
}

func classifySuppressed(s string) kind {
	if strings.HasSuffix(s, " callbacks suppressed") {
		return kindSuppressed
	}
	return kindNone
}

func classifySysrq(s string) kind {
	if len(s) > 5 && strings.EqualFold(s[:5], "sysrq") && strings.Contains(s, "Manual OOM execution") {
		return kindSysrq
	}
	return kindNone
}

func completeHead(s string) bool {
	_, rest, _ := strings.Cut(s, invoked[1:])
	h := parseHead(rest)
	return (h.Adj != nil || h.OOMAdj != nil && !strings.HasSuffix(s, ",")) && h.Order != nil
}

func completeZone(s string) bool {
	return strings.HasSuffix(s, "all_unreclaimable? yes") || strings.HasSuffix(s, "all_unreclaimable? no")
}

func completeSummary(s string) bool {
	i := strings.LastIndex(s, ",uid=")
	return i >= 0 && isNumber(strings.TrimSpace(s[i+len(",uid="):]))
}

func completeKill(s string) bool {
	_, _, tail, _ := splitProcess(s, "total-vm:")
	_, adj, ok := strings.Cut(squeeze(tail), "oom_score_adj:")
	return ok && isNumber(adj)
}

func completePanic(s string) bool {
	text := strings.TrimPrefix(s, panicMsg)
	return !strings.HasPrefix(text, "System is") && !strings.HasPrefix(text, "Out of") || endsPanic(s)
}

// endsPanic reports whether s ends as the OOM killer's panics do.
func endsPanic(s string) bool {
	return strings.HasSuffix(s, "memory") || strings.HasSuffix(s, "is enabled") || strings.HasSuffix(s, "processes...")
}

// extendsAmounts reports whether s can be the rest of a list of amounts.
func extendsAmounts(s string) bool {
	return strings.Contains(s, "kB") || strings.Contains(s, "failcnt") || strings.Contains(s, "=") ||
		strings.HasPrefix(s, "all_unreclaimable")
}

func extendsTable(s string) bool {
	first, _, _ := strings.Cut(s, " ")
	return columnSet[first] != nil || first == "name"
}

func extendsKill(s string) bool {
	first, _, _ := strings.Cut(s, " ")
	return s[0] == '(' || digits(s) > 0 || strings.Contains(s, "kB") || strings.Contains(s, "oom_score_adj:") ||
		strings.Contains(s, "total-vm:") || strings.HasSuffix(s, ")") || first == "B," || first == "UID:"
}
