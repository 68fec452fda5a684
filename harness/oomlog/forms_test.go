package oomlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// More ways in which a record arrives, of which many have a prefix that nobody
// told the parser about.
func init() {
	jsonLine := func(key string, more string) func(int, string) string {
		return func(_ int, s string) string {
			b, _ := json.Marshal(s)
			return "{" + more + `"` + key + `":` + string(b) + "}\n"
		}
	}
	prefix := func(format string) func(int, string) string {
		if !strings.Contains(format, "%") {
			return func(_ int, s string) string { return format + s + "\n" }
		}
		return func(n int, s string) string { return fmt.Sprintf(format, n) + s + "\n" }
	}
	for name, f := range map[string]func(int, string) string{
		"dmesg -T, French":    prefix("[mar. nov. 17 09:08:07 2026] "),
		"dmesg -T, Russian":   prefix("[Вт ноя 17 09:08:07 2026] "),
		"dmesg -T, Arabic":    prefix("[الثلاثاء نوفمبر 17 09:08:07 2026] "),
		"dmesg -T, Czech":     prefix("[Út lis 17 09:08:07 2026] "),
		"dmesg -T, caller":    prefix("[Tue Nov 17 09:08:07 2026][ T107] "),
		"dmesg -x":            prefix("kern  :info  : [ 1000.%06d] "),
		"dmesg -x -T":         prefix("kern  :warn  : [Tue Nov 17 09:08:07 2026] "),
		"dmesg -x, iso":       prefix("kern  :err   : 2026-11-17T09:08:07,123456+00:00 "),
		"journal short-delta": prefix("[ 1000.%06d <    0.000012 >] node-1 kernel: "),
		"journal verbose": prefix("Tue 2026-11-17 09:08:07.123456 UTC [s=3af1;i=%x;b=4b]\n    " +
			"_TRANSPORT=kernel\n    PRIORITY=4\n    MESSAGE="),
		"journal json-sse": func(n int, s string) string {
			return "data: " + jsonLine("MESSAGE", `"_TRANSPORT":"kernel",`)(n, s) + "\n"
		},
		"journal json-seq": func(n int, s string) string {
			return "\x1e" +
				jsonLine("MESSAGE", `"_TRANSPORT":"kernel",`)(n, s)
		},
		"syslog 5424, data": prefix(
			`<4>1 2026-11-17T09:08:07.1Z node-1 kernel - - [meta sequenceId="%d" x="a \"b\] c"][y] `),
		"syslog 5424, BOM":         prefix("<4>1 2026-11-17T09:08:07.1Z node-1 kernel - - - \ufeff"),
		"syslog 5424, framed":      prefix("412 <4>1 2026-11-17T09:08:07.1Z node-1 kernel - - - "),
		"syslog 3164, priority":    prefix("<4>Nov  7 09:08:07 node-1 kernel: [ 1000.%06d] "),
		"syslog, level in the tag": prefix("Nov 17 09:08:07 node-1 kern.info<6>: [ 1000.%06d] "),
		"syslog, address":          prefix("2026-11-17 09:08:07 10.0.0.1 kern.warning kernel: [ 1000.%06d] "),
		"grep":                     prefix("/var/log/messages-20261117:%d:Nov 17 09:08:07 node-1 kernel: "),
		"cri of kmsg": func(n int, s string) string {
			return "2026-11-17T09:08:07.1Z stdout F " +
				transports["kmsg"](n, s)
		},
		"cri of syslog": prefix("2026-11-17T09:08:07.1Z stdout F Nov 17 09:08:07 node-1 kernel: "),
		"cri, cut": func(_ int, s string) string {
			return "2026-11-17T09:08:07.1Z stdout P " + s[:len(s)/2] + "\n2026-11-17T09:08:07.2Z stdout F " +
				s[len(s)/2:] + "\n"
		},
		"kubectl logs --timestamps": prefix("2026-11-17T09:08:07.123456789Z [ 1000.%06d] "),
		"kubectl logs --prefix":     prefix("[pod/node-debugger/debugger] [ 1000.%06d] "),
		"compose":                   prefix("node_1  | [ 1000.%06d] "),
		"terminal's clock":          prefix("[2026-11-17 09:08:07.123] [ 1000.%06d] "),
		"serial server":             prefix("2026/11/17 09:08:07 [ 1000.%06d] "),
		"hypervisor":                prefix("(XEN) [ 1000.%06d] "),
		"logcat":                    prefix("11-17 09:08:07.123     0     0 W kernel: "),
		"logcat, no tag":            prefix("11-17 09:08:07.123     0     0 W         : "),
		"vendor's CPU and task":     prefix("[ 1000.%06d]  (0)[107:hog1]"),
		"vendor's task":             prefix("[ 1000.%06d] [107:hog1] "),
		"csv": func(_ int,
			s string) string {
			return `"2026-11-17 09:08:07","node-1","kernel","` + s + "\"\n"
		},
		"JSON, line": jsonLine("line", `"stream":{"host":"node-1"},`),
		"JSON, below _source": func(n int, s string) string {
			return `{"_source":` + strings.TrimSuffix(jsonLine("message", "")(n, s), "\n") + "}\n"
		},
		"quoted-printable": func(n int,
			s string) string {
			return quotedPrintableOf(fmt.Sprintf("[ 1000.%06d] %s", n, s))
		},
		"HTML mail": func(n int, s string) string {
			return fmt.Sprintf("<br>[ 1000.%06d] %s\n", n,
				s)
		},
		"printk index, colour, CR":   prefix("\r\x1b[0;32m[ 1000.%06d]\x1b[0m "),
		"quoted by name":             prefix("AB> [ 1000.%06d] "),
		"monotonic seconds and host": prefix("[ 1000.%06d] node-1 kernel: "),
	} {
		if transports[name] != nil {
			panic(name + " is there twice")
		}
		transports[name] = f
	}
}

// quotedPrintableOf encodes a line as mails are: = as =3D, no line longer than 76.
func quotedPrintableOf(s string) string {
	var b strings.Builder
	column := 0
	for i := range len(s) {
		code := s[i : i+1]
		if code == "=" {
			code = "=3D"
		}
		if column+len(code) > 75 {
			b.WriteString("=\n")
			column = 0
		}
		b.WriteString(code)
		column += len(code)
	}
	return b.String() + "\n"
}

// TestTold are kills that somebody else tells of, in forms that carry the
// kernel's log too.
func TestTold(t *testing.T) {
	const line = "Out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB"
	for _, log := range []string{
		"user  :info  : [ 12.3] " + line,
		"Tue 2026-11-17 09:08:07.123456 UTC [s=3af1;i=2;b=4b]\n    _TRANSPORT=stdout\n    MESSAGE=" + line,
		"Tue 2026-11-17 09:08:07.123456 UTC [s=3af1;i=2;b=4b]\n    MESSAGE=" + line + "\n    _TRANSPORT=syslog",
		"11-17 09:08:07.123   812   812 I ActivityManager: " + line,
		`<14>1 2026-11-17T09:08:07.1Z node-1 app 812 - [x y="z"] ` + line,
		"2026-11-17 09:08:07 10.0.0.1 daemon.info app[5]: " + line,
		"[ 12.3] systemd[1]: " + line,
		"[ 12.3] foo: " + line,
		"2026-11-17 09:08:07.123 ERROR [main] node said " + line,
		"On Tuesday, the log had " + line,
		"I1117 09:08:07.123456     812 oom_watcher.go:80] " + line,
	} {
		if all := reportsOf(t, []byte(log+"\n")); len(all) != 0 {
			t.Errorf("%q: %s", log, jsonOf(all))
		}
	}
}

// TestCodesOfMailsInOtherLogs: =3D in a line of user space does not make the
// kernel's oom_score_adj=200 a code for a space.
func TestCodesOfMailsInOtherLogs(t *testing.T) {
	log := "Nov 17 09:08:07 node-1 app[1]: GET /?q=3D1&token=abc==\nNov 17 09:08:07 node-1 app[1]: " +
		strings.Repeat("x", 70) + "=\n"
	for line := range strings.Lines(strings.Replace(report618, "oom_score_adj=0", "oom_score_adj=200", 1)) {
		log += "Nov 17 09:08:07 node-1 kernel: " + line
	}
	if r := oneReport(t, log); !r.Complete || r.Trigger.Adj == nil || *r.Trigger.Adj != 200 {
		t.Errorf("%s", jsonOf(r))
	}
}

// TestAnUnknownPrefixAndANameWithSpaces: the head alone does not tell where the
// prefix ends; the lines behind it do.
func TestAnUnknownPrefixAndANameWithSpaces(t *testing.T) {
	for _, comm := range []string{"a b", "web: worker 1", "12 34", "[x] y"} {
		var b strings.Builder
		for n, line := range reportOf(comm) {
			fmt.Fprintf(&b, "node=web%d; seq=%d; %s\n", n%3, n, line)
		}
		checkNames(t, oneReport(t, b.String()), comm)
	}
}

// TestRedHatsKillLine has the user between name and sizes.
func TestRedHatsKillLine(t *testing.T) {
	uid := int64(27)
	for line, want := range map[string]*int64{
		"Killed process 4000 (mysqld), UID 27, total-vm:2000kB, anon-rss:240kB, file-rss:0kB, shmem-rss:0kB": &uid,
		"Killed process 4000 (mysqld) total-vm:2000kB, anon-rss:240kB, file-rss:0kB, shmem-rss:0kB":          nil,
	} {
		r := oneReport(t, "Out of memory: Kill process 4000 (mysqld) score 600 or sacrifice child\n"+line+"\n")
		k := r.Kills[0]
		if k.Comm != "mysqld" || *k.TotalVMKB != 2000 || (k.UID == nil) != (want == nil) || want != nil &&
			*k.UID != *want ||
			slices.Contains(r.Missing, MissingKillSizes) || r.KernelFormat != "-5.0" {
			t.Errorf("%s: %s", line, jsonOf(r))
		}
	}
}

// TestGroupsBeyondTheRateLimit: groups that die one after the other, of whose
// reports only the kills are left, are told apart.
func TestGroupsBeyondTheRateLimit(t *testing.T) {
	var b bytes.Buffer
	kill := func(pid int) {
		fmt.Fprintf(&b, "Memory cgroup out of memory: Killed process %d (x) total-vm:6kB, anon-rss:4kB, "+
			"file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n", pid)
	}
	for group := range 3 {
		kill(100 * group)
		fmt.Fprintf(&b, "Tasks in /pod%d are going to be killed due to memory.oom.group set\n", group)
		for _, member := range []int{1, 2, 0} {
			kill(100*group + member)
		}
	}
	all := reportsOf(t, b.Bytes())
	if len(all) != 3 {
		t.Fatalf("%d reports, want 3: %s", len(all), jsonOf(all))
	}
	for i, r := range all {
		var pids []int
		for _, k := range r.Killed() {
			pids = append(pids, k.PID)
		}
		if want := []int{100 * i, 100*i + 1, 100*i + 2}; !slices.Equal(pids, want) ||
			r.GroupPath != fmt.Sprintf("/pod%d", i) {
			t.Errorf("%s: killed %v, want %v", r.GroupPath, pids, want)
		}
	}
}

// TestEveryRow: each example in the tables is what its row says.
func TestEveryRow(t *testing.T) {
	for k, row := range kinds {
		if row.apply == nil {
			t.Errorf("kind %d: nothing takes its lines", k)
		}
		if got := classifyNamed(row.like); got != kind(k) {
			t.Errorf("%q: kind %d, want %d", row.like, got, k)
		}
		for _, o := range row.opens {
			if o.words == "" || o.far != "" && !strings.HasPrefix(o.far, o.words) && o.words[0] != o.far[0] {
				t.Errorf("%q: told by %q, far away by %q", row.like, o.words, o.far)
			}
		}
	}
	for _, form := range timeForms {
		if at, rest, ok := form.cut(form.like + "x"); !ok || at == "" || rest != "x" {
			t.Errorf("%q: %q, %q, %v", form.like, at, rest, ok)
		}
	}
	for _, form := range tagForms {
		foreign := strings.Contains(form.like, "sshd")
		if host, rest, other, ok := cutTag(form.like+"x", false); !ok || other != foreign || !foreign &&
			(host != "node-1" || rest != "x") {
			t.Errorf("%q: host %q, rest %q, foreign %v, %v", form.like, host, rest, other, ok)
		}
	}
	for _, m := range marks {
		if got := stripQuotes(m.open + "x" + m.shut); m.open != "" && got != "x" {
			t.Errorf("%+v: %q", m, got)
		}
	}
	const head = "hog invoked oom-killer: order=0"
	for _, p := range append(leading, pieces...) {
		line := p.like + "Nov 17 09:08:07 " + p.like + head
		if slices.ContainsFunc(leading, func(l piece) bool { return l.like == p.like }) {
			line = p.like + head
		}
		if got := parseLogLine(strings.TrimPrefix(line, "node-1 kernel: ")); got.kind != kindHead || got.text != head {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// TestLastLineIsHeld: a log may end in a line that was to go on.
func TestLastLineIsHeld(t *testing.T) {
	const head = "[ 1000.000001] hog invoked oom-killer: gfp_mask"
	for _, log := range []string{
		head + "=3D0xcc0(GFP_KERNEL), order=3D0, oom_score_adj=3D=",
		"2026-11-17T09:08:07.1Z stdout P " + head + "=0xcc0(GFP_KERNEL), order=0, oom_sco",
	} {
		if r := oneReport(t, log+"\n"); r.Trigger.Comm != "hog" || r.Trigger.Order == nil {
			t.Errorf("%q: %s", log, jsonOf(r))
		}
	}
}
