package oomlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// facts says what matters of a report in one line: who asked, what was full,
// who was chosen or killed, how many rows there are, and what is missing.
func facts(r Report) string {
	var b strings.Builder
	pid := func(p *int) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprint(*p)
	}
	fmt.Fprintf(&b, "%s %s; ", r.Trigger.Comm, pid(r.Trigger.PID))
	switch {
	case r.Global == nil:
		b.WriteString("unknown")
	case *r.Global:
		b.WriteString("machine")
	default:
		b.WriteString("cgroup " + r.OOMMemcg)
	}
	if r.TaskMemcg != "" {
		b.WriteString(" task " + r.TaskMemcg)
	}
	b.WriteString("; ")
	for _, k := range r.Kills {
		verb := "killed"
		if k.Announced {
			verb = "chose"
		}
		fmt.Fprintf(&b, "%s %d %s; ", verb, k.PID, k.Comm)
	}
	if len(r.Kills) == 0 && r.ContextPID != nil {
		fmt.Fprintf(&b, "summary %d %s; ", *r.ContextPID, r.ContextComm)
	}
	for _, t := range r.Tasks {
		fmt.Fprintf(&b, "%d %s %d, ", t.PID, t.Name, t.RSS)
	}
	fmt.Fprintf(&b, "missing %s", strings.Join(r.Missing, ", "))
	return b.String()
}

const somePod = "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555"

// faults are logs that were once misread, one fault each.
var faults = map[string]string{
	"01-openwrt-logread.log": "beta 20; machine task /; killed 10 alpha; 10 alpha 15000, 20 beta 300, missing ",
	"03a-csv-quote.csv": "app -; cgroup " + somePod + " task " + somePod +
		"/c1; killed 20 app; 20 app 9900, missing ",
	"03c-trailing-spaces.log": "app 20; cgroup " + somePod + " task " + somePod +
		"; killed 20 app; 20 app 9900, missing ",
	"16-syslog-wrapped-at-80.log": "app 20; cgroup " + somePod + " task " + somePod + "/c1; killed 20 app; " +
		"20 app 65119, missing ",
	"17-newest-first.log": "app 20; cgroup " + somePod + " task " + somePod +
		"/c1; killed 20 app; 20 app 65119, missing ",
	"18-vmware-log.log": "app 20; cgroup " + somePod + " task " + somePod +
		"/c1; killed 20 app; 20 app 65119, missing ",
	"20-dmesg-json.json": "app 20; cgroup " + somePod + " task " + somePod +
		"/c1; killed 20 app; 20 app 65119, missing ",
	"04-2.6.3x-kill-without-sizes.log": "web 30; machine; killed 20 app; missing mem-info, task table",
	"05-killed-nobody-though-summary.log": "app -; cgroup /x task /x; summary 20 app; 20 app 9900, " +
		"missing memcg usage, table header, kill line",
	"06-unknown-table-column.log": " -; machine task /; killed 20 near; 10 far 30000, 20 near 15000, " +
		"missing head, mem-info, meaning of a table column",
	"10-thread-on-kill-line.log": " -; cgroup /kubepods/pod11111111-2222-3333-4444-555555555555 " +
		"task /kubepods/pod11111111-2222-3333-4444-555555555555/c1; killed 20 app; 10 pause 1, 20 app 60921, " +
		"missing head",
	"14-cut-cgroup-path.log": " -; cgroup /kubepods.slice/kubepods-burstable.slice/" +
		"kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice; killed 20 app; " +
		"missing head, end of cgroup path, memcg usage, task table, end of summary",
	"15-64k-pages-head-lost.log":   " -; machine; 20 app 2053, missing head",
	"21a-scope-in-stack-trace.log": "systemd 20; cgroup ; missing memcg usage, task table",
	"22-victim-row-missing-kill-line-suffices.log": "cc1plus 9810; machine task /1; killed 4511 browser; " +
		"10046 deps.sh 196, 10219 st 987, 10453 btop 4667, 9284 ninja 1493, 9343 cc1plus 308340, 9345 cc1plus 369596, " +
		"9515 cc1plus 223133, 9810 cc1plus 136014, 9971 g++ 323, 9972 cc1plus 11389, missing victim's row",
	"23-usage-far-below-limit.log": "db 20; cgroup /lxc/a task /; chose 99 php; 20 db 6404, 30 web 2785, missing " +
		"kill line",
	"24a-dropped-lines-called-complete.log": "x 99; machine task /; killed 1200 java; 1200 java 300000, 1300 web " +
		"50000, " +
		"missing lost lines",
	"25-tab-after-tgid.log": "a -; machine; killed 6723 file.so; 6723 file.so 829, missing mem-info, summary",
}

func TestFaults(t *testing.T) {
	for name, want := range faults {
		t.Run(name, func(t *testing.T) {
			log, err := os.ReadFile(filepath.Join("testdata", "faults", name))
			if err != nil {
				t.Fatal(err)
			}
			if got := facts(oneReport(t, string(log))); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

// TestFieldsOfFaults are what facts does not say.
func TestFieldsOfFaults(t *testing.T) {
	read := func(name string) Report {
		log, err := os.ReadFile(filepath.Join("testdata", "faults", name))
		if err != nil {
			t.Fatal(err)
		}
		return oneReport(t, string(log))
	}
	if k := read("10-thread-on-kill-line.log").Kills[0]; !k.ChosenThread || k.SacrificeChild || *k.ChosenPID != 27 {
		t.Errorf("a thread on the line of the choice: %s", jsonOf(k))
	}
	if r := read("04-2.6.3x-kill-without-sizes.log"); *r.Trigger.OOMAdj != 0 || *r.Kills[0].Score != 1822 ||
		r.Trigger.Adj != nil {
		t.Errorf("2.6.31: %s", jsonOf(r))
	}
	if r := read("06-unknown-table-column.log"); fmt.Sprint(r.UnknownColumns) != "[(01)nrss]" ||
		*r.Tasks[0].PgTables != 262144 {
		t.Errorf("a column that no kernel has: %s", jsonOf(r))
	}
	if r := read("24a-dropped-lines-called-complete.log"); r.Lost == nil || r.Lost.Lines != 23 || !r.Lost.Rows ||
		r.Complete {
		t.Errorf("dropped lines: %s", jsonOf(r))
	}
	if r := read("15-64k-pages-head-lost.log"); *r.Mem.PagesRAM != 31744 || r.PanicText == "" {
		t.Errorf("a report without its head: %s", jsonOf(r))
	}
}

// TestLostForms: whoever drops lines, and wherever, the report says so.
func TestLostForms(t *testing.T) {
	for _, form := range lostForms {
		if n, _, _, ok := lostLines(form.like); n != 23 || !ok {
			t.Errorf("%q: %d, %v", form.like, n, ok)
		}
	}
	const kern = "Nov 17 09:08:07 node-1 kernel: "
	for line, want := range map[string]*Lost{
		"** 7 printk messages dropped **":                                         {7, true},
		kern + "** 7 printk messages dropped **":                                  {7, true},
		kern + "** 7 printk messages dropped ** [ 12.3] x: y":                     {7, true},
		"Nov 17 09:08:07 node-1 systemd-journald[300]: Missed 7 kernel messages":  {7, true},
		"Nov 17 09:08:07 node-1 systemd-journald[300]: Missed 7 kernel messages.": {7, true},
		`{"_TRANSPORT":"driver","MESSAGE":"Missed 7 kernel messages"}`:            {7, true},
		"[...]": {0, true},
		"Nov 17 09:08:07 node-1 app[3]: Missed 7 heartbeats": nil,
		kern + "x: Missed 7 kernel messages":                 nil,
	} {
		var b strings.Builder
		for row := range strings.Lines(report618) {
			b.WriteString(kern + row)
			if strings.HasPrefix(row, "[    105]") {
				b.WriteString(line + "\n")
			}
		}
		r := oneReport(t, b.String())
		if jsonOf(r.Lost) != jsonOf(want) || r.Complete != (want == nil) || len(r.Tasks) != 2 {
			t.Errorf("%q: lost %s, complete %v, %d rows", line, jsonOf(r.Lost), r.Complete, len(r.Tasks))
		}
	}
}

// TestHeadless: what belongs to another event is no part of a report.
func TestHeadless(t *testing.T) {
	failed := "x: page allocation failure: order:2, mode:0xcc0(GFP_KERNEL)\nCall Trace:\nMem-Info:\n" +
		"active_anon:1 inactive_anon:2 isolated_anon:0\n1 pages RAM\n"
	if r := oneReport(t, failed+report618); r.Mem != nil || !r.Complete {
		t.Errorf("a failed allocation before a report: %s", jsonOf(r))
	}
	if r := oneReport(t, "Mem-Info:\n5 pages RAM\n"+strings.Join(strings.SplitAfter(report618, "\n")[6:],
		"")); r.Mem != nil {
		t.Errorf("the machine's memory before a cgroup's: %s", jsonOf(r))
	}
}

// TestOldKillLines of kernels before 2.6.36.
func TestOldKillLines(t *testing.T) {
	for log, want := range map[string]string{
		"Out of memory: kill process 20 (a b) score 18 or a child\nKilled process 20 (a b)": "killed 20 a b",
		"Out of memory: kill process 20 (app) score 18 or a child\nKilled process 21 (kid) vsz:8kB, anon-rss:4kB, " +
			"file-rss:4kB": "killed 21 kid",
		"Memory cgroup out of memory: kill process 20 (app) score 18 or a child\nKilled process 20 (app)": "killed 20 app",
		"Out of memory: Killed process 20, UID 500, (app).":                                               "killed 20 app",
		"Out of Memory: Killed process 20 (app).":                                                         "killed 20 app",
	} {
		r := oneReport(t, log+"\n")
		if got := facts(r); !strings.Contains(got, want+";") || r.Global == nil ||
			strings.Contains(got, MissingKillSizes) {
			t.Errorf("%q: %s", log, got)
		}
	}
}
