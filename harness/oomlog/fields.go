package oomlog

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// parseHead reads what is behind "invoked oom-killer:".
func parseHead(rest string) Trigger {
	var t Trigger
	s := squeeze(rest)
	if _, v, ok := strings.Cut(s, "gfp_mask="); ok {
		end := strings.IndexAny(v, ",(")
		if end < 0 {
			end = len(v)
		}
		if mask, err := strconv.ParseUint(v[:end], 0, 64); err == nil && end < len(v) { // else it may be cut
			t.GFPMask = &mask
		}
		if end < len(v) && v[end] == '(' {
			if names, _, whole := strings.Cut(v[end+1:], ")"); whole {
				t.GFP = names
			}
		}
	}
	if _, v, ok := strings.Cut(s, "nodemask="); ok {
		if mask, _, whole := strings.Cut(v, ",order="); whole {
			t.NodeMask = mask
		}
	}
	if _, v, ok := strings.Cut(s, "order="); ok {
		t.Order, _ = integer(v)
	}
	if _, v, ok := strings.Cut(s, "oom_score_adj="); ok {
		t.Adj, _ = integer(v)
	}
	for _, name := range []string{"oomkilladj=", "oom_adj="} {
		if _, v, ok := strings.Cut(s, name); ok {
			t.OOMAdj, _ = integer(v)
		}
	}
	return t
}

// parseCPU reads the line of dump_stack_print_info(). comm, where it is known,
// helps to find the end of the name.
func parseCPU(s, comm string) (pid *int, name, release string) {
	for _, form := range [][2]string{{"PID: ", " Comm: "}, {"Pid: ", ", comm: "}} {
		_, v, ok := strings.Cut(s, form[0])
		if !ok {
			continue
		}
		if pid, ok = integer(v); !ok {
			return nil, "", ""
		}
		_, rest, ok := strings.Cut(v, form[1])
		if !ok {
			return pid, "", ""
		}
		if after, ok := strings.CutPrefix(rest, comm); ok && comm != "" {
			name, rest = comm, after
		} else {
			end := len(rest)
			for _, mark := range []string{" Not tainted ", " Tainted: ", " Kdump: "} {
				if i := strings.Index(rest, mark); i >= 0 && i < end {
					end = i
				}
			}
			name, rest = rest[:end], rest[end:]
		}
		// The release stands before the build's number, "#1".
		words := strings.Fields(rest)
		for i := 1; i < len(words); i++ {
			if words[i][0] == '#' {
				if w := words[i-1]; strings.Contains(w, ".") && digits(w) > 0 {
					release = w
				}
				break
			}
		}
		return pid, name, release
	}
	return nil, "", ""
}

// parseUsage reads a "memory: usage" line.
func parseUsage(s string) (Usage, bool) {
	s = squeeze(s)
	var u Usage
	for _, f := range []struct {
		name, unit string
		to         *uint64
	}{{"usage", "kB,", &u.UsageKB}, {"limit", "kB,", &u.LimitKB}, {"failcnt", "", &u.Failcnt}} {
		_, v, ok := strings.Cut(s, f.name)
		if !ok {
			return u, false
		}
		n, rest, ok := unsigned(v)
		if !ok || !strings.HasPrefix(rest, f.unit) {
			return u, false
		}
		*f.to, s = n, rest
	}
	return u, true
}

// clip bounds a name that the log gives, and lets go of its line.
func clip(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }

// splitProcess splits "... N (comm) tail", where tail begins with next. The name
// may hold parentheses and the words that follow it, so the last place where
// they fit counts; if they are cut off, the name ends at the last parenthesis.
func splitProcess(s, next string) (pid int, comm, tail string, ok bool) {
	i := strings.Index(s, "process")
	if i >= 0 {
		i += len("process")
	} else if i = strings.Index(s, "OOM victim"); i >= 0 {
		i += len("OOM victim")
	} else if i = strings.Index(s, "pid:"); i >= 0 {
		i += len("pid:")
	} else {
		return 0, "", "", false
	}
	s = strings.TrimLeft(s[i:], " ")
	n, s, ok := number(s)
	if !ok || n < 0 || n > 1<<31-1 {
		return 0, "", "", false
	}
	pid = int(n)
	open := strings.IndexByte(s, '(')
	if open < 0 {
		return pid, "", "", true
	}
	s = s[open+1:]
	shut := strings.LastIndex(s, ") "+next)
	if shut < 0 {
		shut = strings.LastIndexByte(s, ')')
	}
	if shut < 0 {
		return pid, s, "", true
	}
	return pid, s[:shut], strings.TrimLeft(s[shut+1:], " "), true
}

// sizes reads the key:NkB list at the end of a kill or reaper line.
func sizes(tail string, keys map[string]**uint64) {
	tail = squeeze(tail)
	for key, to := range keys {
		_, v, ok := strings.Cut(tail, key)
		if !ok {
			continue
		}
		if n, rest, ok := unsigned(v); ok && strings.HasPrefix(rest, "k") {
			*to = &n
		}
	}
}

// parseKill reads a "Killed process" line.
func parseKill(s string) (KillLine, bool) {
	var k KillLine
	k.Message, _ = classifyKill(s)
	pid, comm, tail, ok := splitProcess(s[len(k.Message):], "total-vm:")
	if !ok {
		return k, false
	}
	k.PID, k.Comm, k.Message = pid, clip(comm, maxName), strings.Clone(k.Message)
	sizes(tail, map[string]**uint64{
		"total-vm:": &k.TotalVMKB, "vsz:": &k.TotalVMKB, "anon-rss:": &k.AnonRSSKB, "file-rss:": &k.FileRSSKB,
		"shmem-rss:": &k.ShmemRSSKB, "pgtables:": &k.PgTablesKB,
	})
	tail = squeeze(tail)
	for _, form := range []string{"UID:", "UID"} { // Red Hat's: "(mysqld), UID 27, total-vm:..."
		_, v, ok := strings.Cut(tail, form)
		if uid, _, isNum := number(v); ok && isNum {
			k.UID, k.long = &uid, form == "UID:"
			break
		}
	}
	if _, v, ok := strings.Cut(tail, "oom_score_adj:"); ok {
		k.Adj, _ = integer(v)
	}
	k.bare = tail == "."
	return k, true
}

// parseChosen reads "Kill process N (comm) score S or sacrifice child", and
// "kill process N (comm) score S or a child" of kernels up to 2.6.35.
func parseChosen(s string) (KillLine, bool) {
	var k KillLine
	k.Message, _ = classifyKill(s)
	pid, comm, tail, ok := splitProcess(s[len(k.Message):], "score ")
	if !ok {
		return k, false
	}
	comm = clip(comm, maxName)
	k.Message = strings.Clone(k.Message)
	k.PID, k.Comm, k.Announced, k.ChosenPID, k.ChosenComm = pid, comm, true, &pid, comm
	if _, v, ok := strings.Cut(squeeze(tail), "score"); ok {
		k.Score, _ = integer(v)
	}
	k.bare = !strings.HasSuffix(tail, "sacrifice child")
	return k, true
}

// summary is the oom-kill: line.
type summary struct {
	constraint, nodemask, cpuset, mems, oomMemcg, taskMemcg, comm string
	global                                                        bool
	pid                                                           *int
	uid                                                           *int64
	whole                                                         bool
}

// parseSummary reads the oom-kill: line. Names of cgroups and processes are in
// it without quotes, so it is read from both ends, and what is left in the
// middle is split where the result makes sense: a victim's cgroup is below the
// one whose limit was hit, and a process's name is short. name gives the name
// of a process in the task table.
func parseSummary(s string, name func(pid int) (string, bool)) summary {
	var m summary
	s = strings.TrimPrefix(s, "oom-kill:")
	if i := strings.LastIndex(s, ",uid="); i >= 0 {
		if uid, rest, ok := number(s[i+len(",uid="):]); ok && strings.TrimSpace(rest) == "" {
			m.uid, m.whole = &uid, true
			s = s[:i]
		}
	}
	if i := strings.LastIndex(s, ",pid="); i >= 0 && m.whole {
		if pid, ok := integer(s[i+len(",pid="):]); ok {
			m.pid = pid
			s = s[:i]
		}
	}
	const task = ",task="
	at := -1
	for i := strings.Index(s, task); i >= 0; {
		comm := s[i+len(task):]
		if len(comm) <= kernel.CommLen || len(comm) <= maxName &&
			len(kernel.UnescapeHex([]byte(comm))) <= kernel.CommLen {
			if at < 0 {
				at = i
			}
			if m.pid != nil {
				if known, ok := name(*m.pid); ok && known == comm {
					at = i
					break
				}
			}
		}
		next := strings.Index(s[i+1:], task)
		if next < 0 {
			break
		}
		i += 1 + next
	}
	if at >= 0 {
		m.comm, s = s[at+len(task):], s[:at]
		if name, _, known := strings.Cut(m.comm, ",pid="); !m.whole && known {
			m.comm = name
		} else if !m.whole {
			m.comm = "" // it may go on
		}
	}
	if rest, ok := strings.CutPrefix(s, "constraint="); ok {
		constraint, more, known := strings.Cut(rest, ",")
		if known || m.whole {
			m.constraint = constraint
		}
		s = "," + more
	}
	// What is left: ,nodemask=..,cpuset=..,mems_allowed=..,global_oom,task_memcg=..
	if before, after, ok := strings.Cut(s, ",global_oom"); ok {
		m.global = true
		m.taskMemcg = strings.TrimPrefix(after, ",task_memcg=")
		s = before
	} else if before, after, ok := strings.Cut(s, ",oom_memcg="); ok {
		m.oomMemcg, m.taskMemcg = splitMemcgs(after)
		s = before
	}
	if i := strings.LastIndex(s, ",mems_allowed="); i >= 0 {
		m.mems, s = s[i+len(",mems_allowed="):], s[:i]
	}
	if before, after, ok := strings.Cut(s, ",cpuset="); ok {
		m.cpuset, s = after, before
	}
	m.nodemask = strings.TrimPrefix(s, ",nodemask=")
	if s == "," {
		m.nodemask = ""
	}
	m.dropCut()
	return m
}

// dropCut drops the last value of a summary that is cut inside its lists: it may go on.
func (m *summary) dropCut() {
	switch {
	case m.whole || m.global || m.oomMemcg != "":
	case m.mems != "":
		m.mems = ""
	case m.cpuset != "":
		m.cpuset = ""
	default:
		m.nodemask = ""
	}
}

// splitMemcgs splits "/oom,task_memcg=/oom/task".
func splitMemcgs(s string) (oom, task string) {
	const sep = ",task_memcg="
	for from := 0; ; {
		i := strings.Index(s[from:], sep)
		if i < 0 {
			break
		}
		i += from
		if o, t := s[:i], s[i+len(sep):]; kernel.InCgroup(t, o) {
			return o, t
		}
		from = i + 1
	}
	oom, task, _ = strings.Cut(s, sep)
	return oom, task
}

// columns of the task table that are numbers, by their names in the header.
var columnSet = map[string]func(*TaskRow, int64){
	"uid":            func(t *TaskRow, n int64) { t.UID = n },
	"tgid":           func(t *TaskRow, n int64) { t.TGID = int(n) },
	"total_vm":       func(t *TaskRow, n int64) { t.TotalVM = kernel.Pages(n) },
	"rss":            func(t *TaskRow, n int64) { t.RSS = kernel.Pages(n) },
	"rss_anon":       func(t *TaskRow, n int64) { p := kernel.Pages(n); t.RSSAnon = &p },
	"rss_file":       func(t *TaskRow, n int64) { p := kernel.Pages(n); t.RSSFile = &p },
	"rss_shmem":      func(t *TaskRow, n int64) { p := kernel.Pages(n); t.RSSShmem = &p },
	"pgtables_bytes": func(t *TaskRow, n int64) { b := kernel.Bytes(n); t.PgTables = &b },
	"nr_ptes":        func(t *TaskRow, n int64) { t.NrPtes = &n },
	"nr_pmds":        func(t *TaskRow, n int64) { t.NrPmds = &n },
	"swapents":       func(t *TaskRow, n int64) { t.Swapents = kernel.Pages(n) },
	"oom_score_adj":  func(t *TaskRow, n int64) { t.Adj = int(n) },
	"cpu":            func(*TaskRow, int64) {},
	"oom_adj":        func(*TaskRow, int64) {},
}

// The tables' columns behind the pid, for rows whose header is missing.
var (
	columnsPtes = strings.Fields("uid tgid total_vm rss nr_ptes swapents oom_score_adj")
	columnsPmds = strings.Fields("uid tgid total_vm rss nr_ptes nr_pmds swapents oom_score_adj")
	columnsOne  = strings.Fields("uid tgid total_vm rss pgtables_bytes swapents oom_score_adj")
	columnsRSS  = strings.Fields("uid tgid total_vm rss rss_anon rss_file rss_shmem pgtables_bytes swapents " +
		"oom_score_adj")
)

// parseTableHeader gives the columns between the pid and the name, those that
// are not in columnSet too. It is nil where the header is cut.
func parseTableHeader(s string) []string {
	_, rest, _ := strings.Cut(s, "]")
	columns := strings.Fields(rest)
	end := slices.Index(columns, "name")
	if last := slices.Index(columns, "oom_score_adj"); end < 0 && last > 0 { // the end is cut
		end = last + 1
	}
	if end <= 0 || end > 32 || !slices.Contains(columns, "tgid") {
		return nil
	}
	return columns[:end]
}

// guessColumns tells the layout of a row without a header. A name that is a
// number is the last field, so it does not count as a column.
func guessColumns(rest string) []string {
	fields := strings.Fields(rest)
	n := 0
	for n < len(fields) && isNumber(fields[n]) {
		n++
	}
	if n == len(fields) {
		n-- // the name is a number
	}
	switch {
	case n >= len(columnsRSS):
		return columnsRSS
	case n == len(columnsPmds):
		return columnsPmds
	case n >= len(columnsOne):
		if b, err := strconv.ParseInt(fields[4], 10, 64); err == nil && b%1024 == 0 && b > 0 {
			return columnsOne
		}
		return columnsPtes
	}
	return nil
}

// setters are what the columns set; nil for those that no known kernel has.
func setters(columns []string) []func(*TaskRow, int64) {
	set := make([]func(*TaskRow, int64), len(columns))
	for i, c := range columns {
		set[i] = columnSet[c]
	}
	return set
}

// wholeRow reports whether a row has all its columns and a name.
func wholeRow(s string, columns []string) bool {
	_, rest, _ := strings.Cut(s, "]")
	if columns == nil {
		if columns = guessColumns(rest); columns == nil {
			return false
		}
	}
	fields := 0
	for i := range len(rest) {
		if rest[i] != ' ' && (i == 0 || rest[i-1] == ' ') {
			fields++
		}
	}
	return fields > len(columns)
}

// parseRow reads one row of the task table. columns are what its columns set; nil:
// the header is missing.
func parseRow(s string, columns []func(*TaskRow, int64)) (t TaskRow, ok bool) {
	inside, rest, _ := strings.Cut(s[1:], "]")
	pid, junk, ok := number(strings.TrimSpace(inside))
	if !ok || junk != "" || pid != int64(int32(pid)) {
		return t, false
	}
	t.PID = int(pid)
	if columns == nil {
		guess := guessColumns(rest)
		if guess == nil {
			return t, false
		}
		columns = setters(guess)
	}
	for _, set := range columns {
		rest = strings.TrimLeft(rest, " ")
		if set == nil {
			if end := strings.IndexByte(rest, ' '); end > 0 {
				rest = rest[end:]
				continue
			}
			return t, false
		}
		n, after, ok := number(rest)
		if !ok || after != "" && after[0] != ' ' {
			return t, false
		}
		set(&t, n)
		rest = after
	}
	// Exactly one space stands between the last number and the name, which
	// may be empty and may begin with spaces itself.
	t.Name = clip(strings.TrimPrefix(rest, " "), maxName)
	return t, true
}
