//go:build unix

package explain_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// journal is a log of size bytes with a report at every so many of them, made
// as it is read: lines of user space, of the kernel, and reports with tables.
type journal struct {
	size, every int64
	noise       []byte
	report      []byte
	read, next  int64
	rest        []byte
}

// journalForms are the forms in which a journal is searched: a line of text for each entry,
// and all fields of each entry, as journalctl -o export and -o json print them.
var journalForms = []struct {
	name  string
	entry func(b *bytes.Buffer, n int, ident, message string)
}{
	{"short", func(b *bytes.Buffer, n int, ident, message string) {
		fmt.Fprintf(b, "Nov 22 10:%02d:%02d node-1 %s: %s\n", n/60%60, n%60, ident, message)
	}},
	{"export", func(b *bytes.Buffer, n int, ident, message string) {
		for _, f := range journalFields(n, ident, message) {
			fmt.Fprintf(b, "%s=%s\n", f[0], f[1])
		}
		b.WriteByte('\n')
	}},
	{"json", func(b *bytes.Buffer, n int, ident, message string) {
		comma := "{"
		for _, f := range journalFields(n, ident, message) {
			fmt.Fprintf(b, "%s%q:%q", comma, f[0], f[1])
			comma = ","
		}
		b.WriteString("}\n")
	}},
}

// journalFields are those of an entry, as journald stores them for the kernel and for a
// service.
func journalFields(n int, ident, message string) [][2]string {
	name, _, _ := strings.Cut(ident, "[")
	fields := [][2]string{
		{"__CURSOR", fmt.Sprintf("s=8a1f0b6c5d3e47f2a9c8b7d6e5f40312;i=%x;b=5c0d1e2f3a4b4c5d8e9f0a1b2c3d4e5f;m=%x;"+
			"t=5f1a2b3c4d%05x;x=9f8e7d6c5b4a3f2e", 4711+n, 90000000+n, n)},
		{"__REALTIME_TIMESTAMP", fmt.Sprint(1669111200000000 + n*1000)},
		{"__MONOTONIC_TIMESTAMP", fmt.Sprint(90000000 + n*1000)},
		{"_BOOT_ID", "5c0d1e2f3a4b4c5d8e9f0a1b2c3d4e5f"},
		{"_MACHINE_ID", "0f1e2d3c4b5a46978869504132231405"},
		{"_HOSTNAME", "node-1"}, {"PRIORITY", "6"}, {"SYSLOG_IDENTIFIER", name},
	}
	if name == "kernel" {
		if _, text, timed := strings.Cut(message, "] "); timed && strings.HasPrefix(message, "[ 1000.") {
			message = text // its time is a field
		}
		return append(fields, [2]string{"_TRANSPORT", "kernel"}, [2]string{"SYSLOG_FACILITY", "0"},
			[2]string{"_SOURCE_MONOTONIC_TIMESTAMP", fmt.Sprint(90000000 + n*1000)}, [2]string{"MESSAGE", message})
	}
	return append(fields, [2]string{"_TRANSPORT", "stdout"}, [2]string{"_PID", fmt.Sprint(812 + n%5)},
		[2]string{"_UID", "0"}, [2]string{"_GID", "0"}, [2]string{"_COMM", name}, [2]string{"_EXE", "/usr/bin/" + name},
		[2]string{"_CMDLINE", "/usr/bin/" + name + " --config=/etc/" + name + "/config.yaml --v=2"},
		[2]string{"_CAP_EFFECTIVE", "1ffffffffff"}, [2]string{"_SYSTEMD_CGROUP", "/system.slice/" + name + ".service"},
		[2]string{"_SYSTEMD_UNIT", name + ".service"}, [2]string{"_SYSTEMD_SLICE", "system.slice"},
		[2]string{"MESSAGE", message})
}

func newJournal(size, reports int64) *journal {
	return newJournalAs(size, reports, journalForms[0].entry)
}

func newJournalAs(size, reports int64, entry func(*bytes.Buffer, int, string, string)) *journal {
	var noise, report bytes.Buffer
	for i := range 2000 {
		ident := []string{"systemd[1]", "kubelet[812]", "kernel", "sshd[4711]", "containerd[99]"}[i%5]
		entry(&noise, i, ident, fmt.Sprintf("session %d opened for user root, memory usage %d of %d, status ok, "+
			"GET /healthz 200", i, i*7919%65536, i*104729%1048576))
	}
	for line := range strings.Lines(kubeLog) {
		line = strings.TrimSuffix(line, "\n")
		entry(&report, 0, "kernel", line)
		if strings.Contains(line, "oom_score_adj name") {
			for pid := range 200 {
				entry(&report, 0, "kernel", fmt.Sprintf("[ 1000.000010] [%7d]  1000 %6d    90000     "+
					"%5d   204800        0           936 worker %d", 5000+pid, 5000+pid, pid*31, pid))
			}
		}
	}
	return &journal{size: size, every: size / reports, noise: noise.Bytes(), report: report.Bytes()}
}

func (j *journal) Read(p []byte) (int, error) {
	if len(j.rest) == 0 {
		switch {
		case j.read >= j.size:
			return 0, io.EOF
		case j.read >= j.next:
			j.rest = j.report
			j.next += j.every
		default:
			j.rest = j.noise
		}
	}
	n := copy(p, j.rest)
	j.rest = j.rest[n:]
	j.read += int64(n)
	return n, nil
}

// BenchmarkLargeLog explains a log of 5 GB with 10,000 reports. MiB-peak is the
// most that the process had from the system while it did.
func BenchmarkLargeLog(b *testing.B) {
	const size, reports = 5_000_000_000, 10_000
	b.SetBytes(size)
	var peak uint64
	for b.Loop() {
		var x explain.Explainer
		n := 0
		for r, err := range oomlog.Reports(newJournal(size, reports)) {
			if err != nil {
				b.Fatal(err)
			}
			if err := explain.JSON(io.Discard, x.Explain(r)); err != nil {
				b.Fatal(err)
			}
			if n++; n%500 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.Sys-m.HeapReleased)
			}
		}
		if n < reports {
			b.Fatalf("%d reports, want %d", n, reports)
		}
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
}

// processorTime is what this process and the children that it waited for have used.
func processorTime(b *testing.B) (all time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return all
}

// BenchmarkJournal searches a file of 1 GB with 386 reports, explains them, and compares
// that with grep -c oom-killer and with looking for nothing but the ends of lines. Beside
// the time that passed it has the processor's: other programs do not add to that.
func BenchmarkJournal(b *testing.B) {
	for _, form := range journalForms {
		b.Run(form.name, func(b *testing.B) { benchmarkJournal(b, form.entry) })
	}
}

func benchmarkJournal(b *testing.B, entry func(*bytes.Buffer, int, string, string)) {
	const size, reports = 1_000_000_000, 386
	file := filepath.Join(b.TempDir(), "journal")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, newJournalAs(size, reports, entry)); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	over := func(name string, do func(b *testing.B, f *os.File)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			before := processorTime(b)
			for b.Loop() {
				f, err := os.Open(file)
				if err != nil {
					b.Fatal(err)
				}
				do(b, f)
				_ = f.Close()
			}
			b.ReportMetric(float64((processorTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
	all := func(b *testing.B, f *os.File, do func(n int, r oomlog.Report) error) {
		n := 0
		for r, err := range oomlog.Reports(f) {
			n++
			if err = errors.Join(err, do(n, r)); err != nil {
				b.Fatal(err)
			}
		}
		if n != reports {
			b.Fatalf("%d reports, want %d", n, reports)
		}
	}
	over("reports", func(b *testing.B, f *os.File) {
		all(b, f, func(int, oomlog.Report) error { return nil })
	})
	over("explain", func(b *testing.B, f *os.File) {
		defer debug.SetGCPercent(debug.SetGCPercent(400)) // as oomlab explain does
		var x explain.Explainer
		all(b, f, func(n int, r oomlog.Report) error {
			return explain.Text(io.Discard, n, x.Explain(r), explain.TextOptions{})
		})
	})
	over("grep", func(b *testing.B, f *os.File) {
		grep := exec.Command("grep", "-c", "oom-killer")
		grep.Stdin, grep.Env = f, []string{"LC_ALL=C"}
		if out, err := grep.Output(); err != nil {
			b.Skipf("grep: %q, %v", out, err)
		}
	})
	over("newlines", func(b *testing.B, f *os.File) {
		lines, buf := 0, make([]byte, 256<<10)
		for {
			n, err := f.Read(buf)
			lines += bytes.Count(buf[:n], []byte{'\n'})
			if err != nil {
				break
			}
		}
		if lines < reports {
			b.Fatalf("%d lines", lines)
		}
	})
}

// BenchmarkDense is a log that is nothing but reports of 200 processes.
func BenchmarkDense(b *testing.B) {
	for _, form := range journalForms {
		log := bytes.Repeat(newJournalAs(1, 1, form.entry).report, 100)
		for name, explained := range map[string]bool{"reports": false, "explain": true} {
			b.Run(form.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(log)))
				for b.Loop() {
					var x explain.Explainer
					for r, err := range oomlog.Reports(bytes.NewReader(log)) {
						if err == nil && explained {
							err = explain.Text(io.Discard, 1, x.Explain(r), explain.TextOptions{})
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkExplain explains one report with 200 processes.
func BenchmarkExplain(b *testing.B) {
	var report oomlog.Report
	for r, err := range oomlog.Reports(newJournal(1, 1)) {
		if err != nil {
			b.Fatal(err)
		}
		report = r
	}
	b.ReportAllocs()
	for b.Loop() {
		explain.Explain(report, explain.Options{})
	}
}
