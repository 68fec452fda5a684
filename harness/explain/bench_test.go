//go:build unix

package explain_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

func newJournal(size, reports int64) *journal {
	var noise bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&noise, "Nov 22 10:%02d:%02d node-1 %s: session %d opened for user root, memory usage %d of "+
			"%d, status ok, GET /healthz 200\n",
			i/60%60, i%60, []string{"systemd[1]", "kubelet[812]", "kernel", "sshd[4711]", "containerd[99]"}[i%5], i,
			i*7919%65536, i*104729%1048576)
	}
	var report bytes.Buffer
	for line := range bytes.Lines([]byte(kubeLog)) {
		report.WriteString("Nov 22 10:00:00 node-1 kernel: ")
		report.Write(line)
		if bytes.Contains(line, []byte("oom_score_adj name")) {
			for pid := range 200 {
				fmt.Fprintf(&report, "Nov 22 10:00:00 node-1 kernel: [ 1000.000010] [%7d]  1000 %6d    90000     "+
					"%5d   204800        0           936 worker %d\n", 5000+pid, 5000+pid, pid*31, pid)
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
	const size, reports = 1_000_000_000, 386
	file := filepath.Join(b.TempDir(), "journal")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, newJournal(size, reports)); err != nil {
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
	over("reports", func(b *testing.B, f *os.File) {
		n := 0
		for _, err := range oomlog.Reports(f) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != reports {
			b.Fatalf("%d reports, want %d", n, reports)
		}
	})
	over("explain", func(b *testing.B, f *os.File) {
		var x explain.Explainer
		n := 0
		for r, err := range oomlog.Reports(f) {
			if err != nil {
				b.Fatal(err)
			}
			n++
			if err := explain.Text(io.Discard, n, x.Explain(r), explain.TextOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if n != reports {
			b.Fatalf("%d reports, want %d", n, reports)
		}
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
