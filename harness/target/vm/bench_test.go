package vm

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// eachKernel runs a benchmark with every cached kernel.
func eachKernel(b *testing.B, run func(b *testing.B, o Options)) {
	cached, err := kernels.List(kernels.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if len(cached) == 0 {
		b.Skip("needs a kernel in the cache: oomlab kernels fetch 6.12")
	}
	for _, k := range cached {
		if k.Arch != runtime.GOARCH {
			continue
		}
		b.Run(k.Version.Series(), func(b *testing.B) {
			o := options(b, k.Version.Series())
			o.Log = nil
			run(b, o)
		})
	}
}

func median(all []time.Duration) time.Duration {
	slices.SortFunc(all, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return all[len(all)/2]
}

// BenchmarkBoot is a cold boot up to the agent's Hello, and the snapshot of it.
func BenchmarkBoot(b *testing.B) {
	eachKernel(b, func(b *testing.B, o Options) {
		var boots, saves []time.Duration
		var size int64
		for b.Loop() {
			o.CacheDir = b.TempDir()
			v := open(b, o)
			if _, err := v.Hello(b.Context()); err != nil {
				b.Fatal(err)
			}
			boots = append(boots, time.Duration(v.snapshot.meta.BootMS)*time.Millisecond)
			saves = append(saves, time.Duration(v.snapshot.meta.SaveMS)*time.Millisecond)
			size = int64(cache.Allocated(v.snapshot.entry.Dir()))
		}
		b.ReportMetric(median(boots).Seconds()*1000, "boot-ms")
		b.ReportMetric(median(saves).Seconds()*1000, "save-ms")
		b.ReportMetric(float64(size>>20), "snapshot-MiB")
	})
}

// BenchmarkRestore is from the call of Do to the first event of the restored
// guest's answer.
func BenchmarkRestore(b *testing.B) {
	eachKernel(b, func(b *testing.B, o Options) {
		v := open(b, o)
		if _, err := v.Hello(b.Context()); err != nil {
			b.Fatal(err)
		}
		var first []time.Duration
		var resident int64
		v.onStart = func(p *process) { resident = max(resident, rss(b, p.cmd.Process.Pid)) }
		for b.Loop() {
			begin := time.Now()
			var answered time.Duration
			req := wire.Request{ID: 1, Plan: plan.Plan{Scenario: "echo 1", DeadlineMS: 20_000}}
			if err := v.Do(b.Context(), req, func(evidence.Event) { answered = time.Since(begin) }); err != nil {
				b.Fatal(err)
			}
			first = append(first, answered)
		}
		b.ReportMetric(median(first).Seconds()*1000, "answer-ms")
		b.ReportMetric(float64(resident>>20), "QEMU-MiB")
	})
}

// rss is what a process has resident, in bytes.
func rss(tb testing.TB, pid int) int64 {
	tb.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkEvents is how fast events come through the serial line.
func BenchmarkEvents(b *testing.B) {
	o := options(b, "")
	o.Log = nil
	v := open(b, o)
	if _, err := v.Hello(b.Context()); err != nil {
		b.Fatal(err)
	}
	const events = 2000
	var took []time.Duration
	for b.Loop() {
		var first, last time.Time
		req := wire.Request{ID: 1, Plan: plan.Plan{Scenario: "echo " + strconv.Itoa(events), DeadlineMS: 60_000}}
		err := v.Do(b.Context(), req, func(evidence.Event) {
			if last = time.Now(); first.IsZero() {
				first = last
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, last.Sub(first))
	}
	b.ReportMetric(events/median(took).Seconds(), "events/s")
}
