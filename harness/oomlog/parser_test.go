package oomlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
)

// fixtures are one report each, as the kernel prints it: no prefix.
func fixtures(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	all := make(map[string]string)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".log")] = string(b)
	}
	return all
}

func oneReport(t testing.TB, log string) Report {
	t.Helper()
	all := reportsOf(t, []byte(log))
	if len(all) != 1 {
		t.Fatalf("%d reports, want 1", len(all))
	}
	return all[0]
}

func TestReports(t *testing.T) {
	for name, log := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(oneReport(t, log), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden.File(t, filepath.Join("testdata", name+".json"), got)
		})
	}
}

// plain takes away what a transport may add: times and the host.
func plain(r Report) Report {
	r.At, r.Host = "", ""
	r.Kills = slices.Clone(r.Kills)
	for i := range r.Kills {
		r.Kills[i].At = ""
	}
	return r
}

func exportField(name, value string) string {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(value)))
	return name + "\n" + string(size[:]) + value + "\n"
}

// wrapAt breaks a line at spaces as a mail program does.
func wrapAt(s string, width int) string {
	var b strings.Builder
	for len(s) > width {
		i := strings.LastIndexByte(s[:width], ' ')
		if i <= 0 || strings.TrimSpace(s[:i]) == "" || strings.TrimSpace(s[i:]) == "" {
			break
		}
		b.WriteString(s[:i] + "\n")
		s = s[i+1:]
	}
	return b.String() + s
}

// transports are the ways in which a record, n-th of its log, arrives.
var transports = map[string]func(n int, text string) string{
	"bare":     func(_ int, s string) string { return s + "\n" },
	"indented": func(_ int, s string) string { return "    " + s + "\n" },
	"kmsg":     func(n int, s string) string { return fmt.Sprintf("6,%d,%d,-;%s\n", n, 5e6+n, escapeHex(s)) },
	"kmsg caller": func(n int, s string) string {
		return fmt.Sprintf("4,%d,%d,-,caller=T107;%s\n SUBSYSTEM=x\n", n, 5e6+n, s)
	},
	"dmesg":              func(n int, s string) string { return fmt.Sprintf("[ %4d.%06d] %s\n", n, n, s) },
	"dmesg raw":          func(n int, s string) string { return fmt.Sprintf("<6>[ %4d.%06d] %s\n", n, n, s) },
	"dmesg -T":           func(_ int, s string) string { return "[Tue Nov 17 09:08:07 2026] " + s + "\n" },
	"dmesg -T, German":   func(_ int, s string) string { return "[Di Aug 12 03:54:03 2025] " + s + "\n" },
	"dmesg -T, Japanese": func(_ int, s string) string { return "[火 8月 12 03:54:03 2025] " + s + "\n" },
	"dmesg -e":           func(_ int, s string) string { return "[Aug12 03:54] " + s + "\n" },
	"dmesg -d":           func(_ int, s string) string { return "[<    0.000012>] " + s + "\n" },
	"dmesg iso":          func(_ int, s string) string { return "2026-11-17T09:08:07,123456+00:00 " + s + "\n" },
	"dmesg colour": func(n int, s string) string {
		return fmt.Sprintf("\x1b[32m[ %4d.%06d] \x1b[0m\x1b[1m%s\x1b[0m\n", n, n, s)
	},
	"caller":          func(n int, s string) string { return fmt.Sprintf("[ %4d.%06d][  T107] %s\n", n, n, s) },
	"caller, spaced":  func(n int, s string) string { return fmt.Sprintf("[ %4d.%06d] [    C1] %s\n", n, n, s) },
	"serial":          func(n int, s string) string { return fmt.Sprintf("\r[ %4d.%06d] %s\r\r\n", n, n, s) },
	"login prompt":    func(n int, s string) string { return fmt.Sprintf("vm login: [ %4d.%06d] %s\n", n, n, s) },
	"journal short":   func(_ int, s string) string { return "Nov 17 09:08:07 node-1 kernel: " + s + "\n" },
	"journal, locale": func(_ int, s string) string { return "Mär 03 09:08:07 node-1 kernel: " + s + "\n" },
	"journal iso":     func(_ int, s string) string { return "2026-11-17T09:08:07+0000 node-1 kernel: " + s + "\n" },
	"journal precise": func(_ int, s string) string { return "Nov 17 09:08:07.123456 node-1 kernel: " + s + "\n" },
	"journal full":    func(_ int, s string) string { return "Tue 2026-11-17 09:08:07 UTC node-1 kernel: " + s + "\n" },
	"journal unix":    func(_ int, s string) string { return "1763370487.123456 node-1 kernel: " + s + "\n" },
	"journal mono":    func(n int, s string) string { return fmt.Sprintf("[ %4d.%06d] node-1 kernel: %s\n", n, n, s) },
	"journal export": func(n int, s string) string {
		return fmt.Sprintf("__CURSOR=s=%d\n_TRANSPORT=kernel\nMESSAGE=%s\n_SOURCE_MONOTONIC_TIMESTAMP=%d\n\n", n, s,
			5e6+n)
	},
	"journal export, binary": func(n int, s string) string {
		return fmt.Sprintf("__CURSOR=s=%d\n%s_TRANSPORT=kernel\n\n", n, exportField("MESSAGE", s))
	},
	"journal json": func(_ int, s string) string {
		b, _ := json.Marshal(s)
		return `{"_TRANSPORT":"kernel","__REALTIME_TIMESTAMP":"1763370487123456","MESSAGE":` + string(b) + "}\n"
	},
	"journal json, bytes": func(_ int, s string) string {
		codes := make([]string, len(s))
		for i := range len(s) {
			codes[i] = strconv.Itoa(int(s[i]))
		}
		return `{"_TRANSPORT":"kernel","MESSAGE":[` + strings.Join(codes, ",") + "]}\n"
	},
	"journal json-pretty": func(_ int, s string) string {
		b, _ := json.Marshal(s)
		return "{\n\t\"_TRANSPORT\" : \"kernel\",\n\t\"MESSAGE\" : " + string(b) + ",\n\t\"PRIORITY\" : \"4\"\n}\n"
	},
	"syslog, both times": func(n int, s string) string {
		return fmt.Sprintf("Nov 17 09:08:07 node-1 kernel: [ %4d.%06d] %s\n", n, n, s)
	},
	"syslog, facility": func(n int, s string) string {
		return fmt.Sprintf("Tue Nov 17 09:08:07 2026 kern.warn kernel: [ %4d.%06d] %s\n", n, n, s)
	},
	"syslog 5424": func(_ int, s string) string {
		return "<4>1 2026-11-17T09:08:07.123456Z node-1 kernel - - - " + s + "\n"
	},
	"tag only": func(_ int, s string) string { return "kernel: " + s + "\n" },
	"cri": func(n int, s string) string {
		return fmt.Sprintf("2026-11-17T09:08:07.12Z stderr F [%d.%06d] %s\n", n, n, s)
	},
	"docker": func(n int, s string) string {
		b, _ := json.Marshal(fmt.Sprintf("[ %4d.%06d] %s\n", n, n, s))
		return `{"log":` + string(b) + `,"stream":"stdout","time":"2026-11-17T09:08:07Z"}` + "\n"
	},
	"shipper": func(_ int, s string) string {
		b, _ := json.Marshal(s)
		return `{"host":"node-1","jsonPayload":{"SYSLOG_IDENTIFIER":"kernel","MESSAGE":` + string(b) + "}}\n"
	},
	"quoted":        func(n int, s string) string { return fmt.Sprintf("> > [ %4d.%06d] %s\n", n, n, s) },
	"wrapped at 72": func(n int, s string) string { return wrapAt(fmt.Sprintf("[ %4d.%06d] %s", n, n, s), 72) + "\n" },
	"wrapped, bare": func(_ int, s string) string { return wrapAt(s, 72) + "\n" },
	"wrapped, quote": func(n int, s string) string {
		return strings.ReplaceAll("> "+wrapAt(fmt.Sprintf("[ %4d.%06d] %s", n, n, s), 70), "\n", "\n> ") + "\n"
	},
}

func escapeHex(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 32 || c >= 127 || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// TestTransports: a report is the same report, whatever brings it.
func TestTransports(t *testing.T) {
	for name, log := range fixtures(t) {
		want := plain(oneReport(t, log))
		for transport, dress := range transports {
			t.Run(name+"/"+transport, func(t *testing.T) {
				var b strings.Builder
				n := 0
				for line := range strings.Lines(log) {
					n++
					b.WriteString(dress(n, strings.TrimSuffix(line, "\n")))
				}
				got := plain(oneReport(t, b.String()))
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %s\nwant %s", jsonOf(got), jsonOf(want))
				}
			})
		}
	}
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestRecords: the same by Feed, one record at a time.
func TestRecords(t *testing.T) {
	for name, log := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			want := plain(oneReport(t, log))
			var p Parser
			seq := uint64(0)
			for line := range strings.Lines(log) {
				seq++
				if early := p.Feed(kernel.Record{Seq: seq, USec: int64(seq),
					Text: strings.TrimSuffix(line, "\n")}); len(early) > 0 {
					t.Fatalf("report after %d records of one report", seq)
				}
			}
			got := p.Close()
			if len(got) != 1 || !reflect.DeepEqual(plain(got[0]), want) {
				t.Errorf("got %s\nwant %s", jsonOf(got), jsonOf(want))
			}
			if again := p.Close(); len(again) != 0 {
				t.Errorf("%d reports from a closed parser", len(again))
			}
		})
	}
}

// hostile are names that a process can give itself to be misread.
var hostile = []string{
	"a b", "x) y", "(sd-pam)", ")", "] [", "a,pid=1,uid=0", "pid=", ",task=x", "a,task=b,pid=2",
	"Killed process", "oom-kill:", " lead", "trail ", "", "kworker/0:2", "\xff\xfe", "näme", "a\nKilled p",
	"[  1] 0 1 2 3", "531", "12 34", "kernel: x", "12:34:56", ") total-vm:1kB", "Mem-Info:", "x invoked oom-k",
	`a\x0ab`, "foo: ", "#012", "&gt; x", "<6>[1.5] x", "CPU: 0 PID: 1",
}

func reportOf(comm string) []string {
	var lines []string
	for line := range strings.Lines(report618) {
		line = strings.TrimSuffix(line, "\n")
		lines = append(lines, strings.ReplaceAll(line, "hog1", comm))
	}
	return lines
}

const report618 = `hog1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
CPU: 1 UID: 0 PID: 107 Comm: hog1 Not tainted 6.18.15+deb13-cloud-amd64 #1 PREEMPT(lazy)  Debian 6.18.15-1~bpo13+1
Call Trace:
 <TASK>
 dump_stack_lvl+0x5d/0x80
 </TASK>
memory: usage 40960kB, limit 40960kB, failcnt 19
swap: usage 0kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /p/c:
anon 41582592
pgfault 10602
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
[    105]     0   105      602      170       32        0       138    45056        0             0 sh
[    107]     0   107    15609    10344    10208        0       136   110592        0             0 hog1
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/p/c,task_memcg=/p/c,task=hog1,pid=107,uid=0
Memory cgroup out of memory: Killed process 107 (hog1) total-vm:62436kB, anon-rss:40832kB, file-rss:0kB, shmem-rss:544kB, UID:0 pgtables:108kB oom_score_adj:0
oom_reaper: reaped process 107 (hog1), now anon-rss:0kB, file-rss:0kB, shmem-rss:544kB
`

func checkNames(t *testing.T, r Report, comm string) {
	t.Helper()
	if len(r.Kills) != 1 || len(r.Tasks) != 2 || len(r.Reaped) != 1 {
		t.Fatalf("%d kills, %d tasks, %d reaped, want 1, 2, 1: %s", len(r.Kills), len(r.Tasks), len(r.Reaped),
			jsonOf(r))
	}
	for what, got := range map[string]string{
		"trigger": r.Trigger.Comm, "row": r.Tasks[1].Name, "summary": r.ContextComm, "victim": r.Kills[0].Comm,
		"reaped": r.Reaped[0].Comm,
	} {
		if got != comm {
			t.Errorf("%s: %q, want %q", what, got, comm)
		}
	}
	if !r.Complete || r.Kills[0].PID != 107 || *r.ContextPID != 107 || r.OOMMemcg != "/p/c" || r.TaskMemcg != "/p/c" ||
		*r.Kills[0].TotalVMKB != 62436 || r.Tasks[1].RSS != 10344 || r.Trigger.PID == nil {
		t.Errorf("misread: %s", jsonOf(r))
	}
}

func TestHostileNames(t *testing.T) {
	for _, comm := range hostile {
		t.Run("records/"+comm, func(t *testing.T) {
			var p Parser
			for _, line := range reportOf(comm) {
				p.Feed(kernel.Record{Text: line})
			}
			got := p.Close()
			if len(got) != 1 {
				t.Fatalf("%d reports, want 1: %s", len(got), jsonOf(got))
			}
			checkNames(t, got[0], comm)
		})
		t.Run("kmsg/"+comm, func(t *testing.T) {
			var b strings.Builder
			for n, line := range reportOf(comm) {
				b.WriteString(transports["kmsg"](n, line))
			}
			checkNames(t, oneReport(t, b.String()), comm)
		})
		if strings.Contains(comm, "\n") {
			continue // only escapes tell it from the end of a line
		}
		for _, transport := range []string{"dmesg", "journal export", "caller", "syslog, both times", "journal short"} {
			if transport == "journal short" && comm == "<6>[1.5] x" {
				continue // this is how rsyslog prints the kernel's own prefix
			}
			t.Run(transport+"/"+comm, func(t *testing.T) {
				var b strings.Builder
				for n, line := range reportOf(comm) {
					b.WriteString(transports[transport](n, line))
				}
				checkNames(t, oneReport(t, b.String()), comm)
			})
		}
	}
}

// TestFirstVictimOnce: of a group kill, each process is killed once.
func TestFirstVictimOnce(t *testing.T) {
	r := oneReport(t, fixtures(t)["linux-6.18-group"])
	var pids []int
	for _, k := range r.Killed() {
		pids = append(pids, k.PID)
	}
	if want := []int{155, 151, 152}; !slices.Equal(pids, want) {
		t.Errorf("killed %v, want %v", pids, want)
	}
	if len(r.Kills) != 4 {
		t.Errorf("%d lines kept, want 4", len(r.Kills))
	}
}

// TestStorm: beyond ten kills in five seconds only the kill lines are left.
func TestStorm(t *testing.T) {
	var b strings.Builder
	b.WriteString(report618)
	for pid := 200; pid < 240; pid++ {
		fmt.Fprintf(&b, "Memory cgroup out of memory: Killed process %d (hog) total-vm:6kB, anon-rss:4kB, "+
			"file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n", pid)
	}
	all := reportsOf(t, []byte(b.String()))
	if len(all) != 41 {
		t.Fatalf("%d reports, want 41", len(all))
	}
	for i, r := range all[1:] {
		if k := r.Killed(); len(k) != 1 || k[0].PID != 200+i {
			t.Errorf("report %d: %s", i+1, jsonOf(r))
		}
		if want := []string{MissingHead, MissingUsage, MissingTable, MissingSummary}; !slices.Equal(r.Missing, want) ||
			r.Complete {
			t.Errorf("report %d: missing %q, want %q", i+1, r.Missing, want)
		}
	}
}

// TestLostLines drops each line of a report in turn: what is left is still one
// report, and it does not claim to be complete when something matters.
func TestLostLines(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(report618), "\n")
	missing := map[int]string{
		0: MissingHead, 6: MissingUsage, 12: MissingTableHead, 14: MissingVictimRow, 15: MissingSummary,
		16: MissingKill,
	}
	for i := range lines {
		log := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n")
		r := oneReport(t, log)
		if want := missing[i]; want != "" && !slices.Contains(r.Missing, want) || want == "" && !r.Complete {
			t.Errorf("without %q: missing %q, want %q", lines[i], r.Missing, want)
		}
		if killed := len(r.Killed()); killed != 1 && i != 16 || killed != 0 && i == 16 {
			t.Errorf("without %q: %d kills", lines[i], killed)
		}
	}
	for i := range lines {
		if n := len(reportsOf(t, []byte(strings.Join(lines[:i], "\n")))); n > 1 || i > 0 && n == 0 {
			t.Errorf("the first %d lines: %d reports", i, n)
		}
		if n := len(reportsOf(t, []byte(strings.Join(lines[i:], "\n")))); n > 1 {
			t.Errorf("from line %d: %d reports", i, n)
		}
	}
}

// TestInterleaved: two cgroups of an old kernel report at the same time.
func TestInterleaved(t *testing.T) {
	report := func(comm, cg string, pid int) []string {
		return []string{
			fmt.Sprintf("%s invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0", comm),
			fmt.Sprintf("%s cpuset=%s mems_allowed=0", comm, cg),
			fmt.Sprintf("CPU: 0 PID: %d Comm: %s Not tainted 3.10.0-1160.el7.x86_64 #1", pid, comm),
			fmt.Sprintf("Task in /%s killed as a result of limit of /%s", cg, cg),
			fmt.Sprintf("memory: usage %dkB, limit 102400kB, failcnt 120", pid),
			"[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
			fmt.Sprintf("[ %d]  1000  %d    27001    25580      60        0             0 %s", pid, pid, comm),
			fmt.Sprintf("Memory cgroup out of memory: Kill process %d (%s) score 998 or sacrifice child", pid, comm),
			fmt.Sprintf("Killed process %d (%s) total-vm:108004kB, anon-rss:102080kB, file-rss:240kB", pid, comm),
		}
	}
	a, b := report("red", "a", 2210), report("blue", "b", 3310)
	var lines []string
	for i := range a {
		lines = append(lines, a[i], "systemd[1]: Started something.", b[i])
	}
	all := reportsOf(t, []byte(strings.Join(lines, "\n")))
	if len(all) != 2 {
		t.Fatalf("%d reports, want 2", len(all))
	}
	for i, want := range []struct {
		comm, cg string
		pid      int
	}{{"red", "/a", 2210}, {"blue", "/b", 3310}} {
		r := all[i]
		if r.Trigger.Comm != want.comm || r.OOMMemcg != want.cg || len(r.Tasks) != 1 || r.Tasks[0].PID != want.pid ||
			len(r.Killed()) != 1 || r.Killed()[0].PID != want.pid || int(r.Memcg.Memory.UsageKB) != want.pid ||
			!slices.Equal(r.Missing, []string{MissingOwner}) {
			t.Errorf("report %d: %s", i, jsonOf(r))
		}
	}
}

// TestInterleavedCallers: with CONFIG_PRINTK_CALLER the log itself tells two
// CPUs apart; in a central log, the hosts' names do.
func TestInterleavedCallers(t *testing.T) {
	other := strings.NewReplacer("hog1", "pig2", "107", "909", "/p/c", "/q").Replace(report618)
	a, b := strings.Split(strings.TrimSpace(report618), "\n"), strings.Split(strings.TrimSpace(other), "\n")
	for name, form := range map[string][2]string{
		"caller": {"[  5.100000][  T107] ", "[  5.100001][  T909] "},
		"host":   {"Nov 17 09:08:07 red kernel: ", "Nov 17 09:08:07 blue kernel: "},
	} {
		var lines []string
		for i := range a {
			lines = append(lines, form[0]+a[i], form[1]+b[i])
		}
		all := reportsOf(t, []byte(strings.Join(lines, "\n")))
		if len(all) != 2 {
			t.Fatalf("%s: %d reports, want 2", name, len(all))
		}
		for i, want := range []Report{oneReport(t, report618), oneReport(t, other)} {
			if got := plain(all[i]); !reflect.DeepEqual(got, plain(want)) {
				t.Errorf("%s: report %d:\n%s\nwant\n%s", name, i, jsonOf(got), jsonOf(want))
			}
		}
	}
}

// TestSplitSummary: pr_cont pieces that the kernel could not join.
func TestSplitSummary(t *testing.T) {
	var p Parser
	for line := range strings.Lines(report618) {
		line = strings.TrimSuffix(line, "\n")
		before, after, ok := strings.Cut(line, ",task_memcg=")
		if !ok {
			p.Feed(kernel.Record{Text: line})
			continue
		}
		p.Feed(kernel.Record{Text: before})
		p.Feed(kernel.Record{Text: "e1000: eth0 NIC Link is Up"})
		p.Feed(kernel.Record{Text: ",task_memcg=" + after[:2], Cont: true})
		p.Feed(kernel.Record{Text: after[2:], Cont: true})
	}
	got := p.Close()
	if len(got) != 1 || !reflect.DeepEqual(plain(got[0]), plain(oneReport(t, report618))) {
		t.Errorf("got %s", jsonOf(got))
	}
}

// TestMultiLineRecord: up to 6.4 the statistics are one record of many lines,
// and the Mem-Info block still is.
func TestMultiLineRecord(t *testing.T) {
	for name, log := range map[string]string{
		"kmsg":    `6,1,1,-;anon 41582592\x0apgfault 10602`,
		"indent":  "[    1.000001] anon 41582592\n               pgfault 10602",
		"rsyslog": "Nov 17 09:08:07 node-1 kernel: anon 41582592#012pgfault 10602",
	} {
		lines := strings.Split(report618, "\n")
		form := map[string]string{"kmsg": "6,1,1,-;", "indent": "[    1.000001] ",
			"rsyslog": "Nov 17 09:08:07 node-1 kernel: "}[name]
		for i := range lines {
			lines[i] = form + lines[i]
		}
		lines = slices.Replace(lines, 9, 11, log)
		r := plain(oneReport(t, strings.Join(lines, "\n")))
		if want := plain(oneReport(t, report618)); !reflect.DeepEqual(r, want) {
			t.Errorf("%s: %s", name, jsonOf(r))
		}
	}
}

// TestNotKills are lines that speak of kills and are none of the kernel's.
func TestNotKills(t *testing.T) {
	const told = "Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB"
	for _, line := range []string{
		"Nov 17 09:08:07 node-1 logger[12]: Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, " +
			"file-rss:1kB",
		`Nov 17 09:08:07 node-1 app[3]: {"message":"` + told + `"}`,
		`Nov 17 09:08:07 node-1 app[3]: level=info msg="` + told + `"`,
		`Nov 17 09:08:07 node-1 app[3]: "a","` + told + `"`,
		"Nov 17 09:08:07 node-1 app[3]: a<br>" + told,
		`Nov 17 09:08:07 node-1 app[3]: a\n` + told + `\nb`,
		"Nov 17 09:08:07 node-1 app[3]: a#012" + told + "#012b",
		"Nov 17 09:08:07 node-1 app[3]: a\r" + told + "\rb",
		`{"_TRANSPORT":"syslog","MESSAGE":"a\n` + told + `"}`,
		`[{"_TRANSPORT":"stdout","MESSAGE":"` + told + `"}]`,
		`{"SYSLOG_IDENTIFIER":"app","message":"` + told + `"}`,
		"Nov 17 09:08:07 node-1 app: kernel: Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, " +
			"file-rss:1kB",
		"Nov 17 09:08:07 node-1 kubelet[812]: sed invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0",
		`{"_TRANSPORT":"syslog","MESSAGE":"Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB"}`,
		"__CURSOR=x\n_TRANSPORT=stdout\nMESSAGE=Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, " +
			"file-rss:1kB\n",
		"12,1,1,-;Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
		"[  1.5] systemd[1]: x.service: A process of this unit has been killed by the OOM killer.",
		"oom02-1036073 has been killed before crash.",
		"Killed process 12 (x)",
		"Killed process group 12",
		"x: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL)\nMem-Info:\nactive_anon:1 inactive_anon:2 " +
			"isolated_anon:0\n1 pages RAM",
		"[ 12.3] oom_reaper: reaped process 5 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
		"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009",
	} {
		if all := reportsOf(t, []byte(line+"\n")); len(all) != 0 {
			t.Errorf("%q: %s", line, jsonOf(all))
		}
	}
}

// TestBounded: whatever the log, a report stays within its limits and says so.
func TestBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n[ pid ]   uid  tgid total_vm     " +
		" rss nr_ptes swapents oom_score_adj name\n")
	for pid := range MaxTasks + 10 {
		fmt.Fprintf(&b, "[ %d] 0 %d 1 1 1 0 0 x\n", pid+1, pid+1)
	}
	r := oneReport(t, b.String())
	if len(r.Tasks) != MaxTasks || !slices.Contains(r.Capped, "tasks") || r.Complete {
		t.Errorf("%d tasks, capped %q, complete %v", len(r.Tasks), r.Capped, r.Complete)
	}
	var p Parser
	for i := range 1000 {
		p.Line(fmt.Sprintf("x%d invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0", i))
		if len(p.open) > maxOpen {
			t.Fatalf("%d reports open, want at most %d", len(p.open), maxOpen)
		}
	}
}

// TestChunks: where the reads end does not matter, nor how long a line is.
func TestChunks(t *testing.T) {
	quiet := strings.Repeat("Nov 17 09:08:07 node-1 app[1]: nothing here, rooms and zooms\n", 6000)
	log := quiet + report618 + strings.Repeat("x", 3*scanBuffer) + "oom-kill\n" + quiet + report618 + "Killed process"
	want := reportsOf(t, []byte(log))
	if len(want) != 2 || !want[0].Complete || !want[1].Complete {
		t.Fatalf("%d reports: %s", len(want), jsonOf(want))
	}
	for name, r := range map[string]io.Reader{
		"half":          iotest.HalfReader(strings.NewReader(log)),
		"data with EOF": iotest.DataErrReader(strings.NewReader(log)),
		"small":         &smallReader{strings.NewReader(log), 777},
	} {
		var got []Report
		for report, err := range Reports(r) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, report)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: differs: %s", name, jsonOf(got))
		}
	}
	var got []Report
	var failed error
	for report, err := range Reports(io.MultiReader(strings.NewReader(report618), iotest.ErrReader(io.ErrClosedPipe))) {
		if err != nil {
			failed = err
			continue
		}
		got = append(got, report)
	}
	if want := fmt.Sprintf("kernel log: after %d bytes: io: read/write on closed pipe",
		len(report618)); failed == nil || failed.Error() != want || len(got) != 1 {
		t.Errorf("%d reports, error %v, want 1 and %q", len(got), failed, want)
	}
}

// TestChunksFarIn: behind the start of a log lines are passed over unless they
// hold a word of the kernel's; a wrapped line and a journal entry must be found
// from their first byte wherever a read ends.
func TestChunksFarIn(t *testing.T) {
	for _, transport := range []string{"wrapped, bare", "wrapped at 72", "journal export", "journal export, binary",
		"journal json, bytes", "journal short"} {
		var b strings.Builder
		for n := range 2 * scanStart {
			b.WriteString(transports[transport](n, "e1000: eth0 NIC Link is Up, said a room to a zoom"))
		}
		start := b.Len()
		n := 0
		for line := range strings.Lines(strings.Replace(report618, "hog1", "a-name-of-15-ch", 1)) {
			n++
			b.WriteString(transports[transport](n, strings.TrimSuffix(line, "\n")))
		}
		log := b.String()
		want := reportsOf(t, []byte(log[start:]))
		if len(want) != 1 || len(want[0].Killed()) != 1 || want[0].Trigger.Adj == nil {
			t.Fatalf("%s: %s", transport, jsonOf(want))
		}
		for _, size := range []int{start + 1, start + 17, start + 40, start + 90, 4096, 100} {
			var got []Report
			for r, err := range Reports(&smallReader{strings.NewReader(log), size}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, reads of %d: %s\nwant %s", transport, size, jsonOf(got), jsonOf(want))
			}
		}
	}
}

type smallReader struct {
	r io.Reader
	n int
}

func (s *smallReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func TestCandidates(t *testing.T) {
	for name, want := range map[string]kernel.Candidate{
		"linux-4.8-memcg":  {PID: 1381, Comm: "gunpowder", RSS: 5191, Swap: 5489, PgTables: 38 * 4096},
		"linux-6.18-memcg": {PID: 105, Comm: "sh", RSS: 170, PgTables: 45056},
	} {
		got := oneReport(t, fixtures(t)[name]).Candidates(4096)
		if len(got) == 0 || got[0] != want {
			t.Errorf("%s: %+v, want first %+v", name, got, want)
		}
	}
}
