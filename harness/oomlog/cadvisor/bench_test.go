// Package cadvisor holds oomlab's parser of kernel logs against the one that
// cAdvisor and the kubelet use, in speed and on logs that a person has read. It
// is a module of its own, so that nobody but its reader needs cAdvisor.
package cadvisor

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/euank/go-kmsg-parser/kmsgparser"
	"github.com/google/cadvisor/utils/oomparser"

	"github.com/oomlab/oomlab/harness/oomlog"
)

// report is one report of a 6.18 as it prints it, with 40 of its processes.
func report() []string {
	lines := []string{
		"hog1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
		"CPU: 0 UID: 0 PID: 107 Comm: hog1 Not tainted 6.18.15+deb13-cloud-amd64 #1 PREEMPT(lazy)  Debian " +
			"6.18.15-1~bpo13+1",
		"Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.3-debian-1.16.3-2 04/01/2014",
		"Call Trace:", " <TASK>", " dump_stack_lvl+0x5d/0x80", " dump_header+0x43/0x1b0",
		" oom_kill_process.cold+0xa/0xaa",
		" out_of_memory+0x1b6/0x460", " mem_cgroup_out_of_memory+0x133/0x150", " try_charge_memcg+0x3f6/0x5e0",
		" </TASK>",
		"memory: usage 40960kB, limit 40960kB, failcnt 19", "swap: usage 0kB, limit 9007199254740988kB, failcnt 0",
		"Memory cgroup stats for /p/c:",
	}
	for i, name := range []string{"anon", "file", "kernel", "kernel_stack", "pagetables", "percpu", "sock", "shmem",
		"file_mapped", "slab", "pgfault"} {
		lines = append(lines, fmt.Sprintf("%s %d", name, i*4096))
	}
	lines = append(lines, "Tasks state (memory values in pages):",
		"[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj "+
			"name")
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("[%7d]  1000 %6d    15609    %5d    %5d        0       136   110592      "+
			"  0             0 worker %d", 200+i, 200+i, 136+i, i, i))
	}
	return append(lines, "[    107]     0   107    15609    10344    10208        0       136   110592        0    "+
		"         0 hog1",
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/p/c,task_memcg=/p/c,task=hog1,pid=107,uid=0",
		"Memory cgroup out of memory: Killed process 107 (hog1) total-vm:62436kB, anon-rss:40832kB, file-rss:0kB, "+
			"shmem-rss:544kB, UID:0 pgtables:108kB oom_score_adj:0")
}

// journal makes a log of about size bytes as journalctl prints it: user space
// and kernel lines, words that look like a report's, and a report every half
// MB, which is 10,000 in 5 GB.
func journal(size int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := bytes.Fields([]byte(`session opened for user root by uid room zoom bloom started stopped unit reached
		target process kernel memory usage limit error warning connection from port accepted closed GET /healthz 200
		container killed signal restarting loom pid status ok volume mount cgroup oom-score-adj 10.0.0.1 eth0 link`))
	var b bytes.Buffer
	next := 0
	for n := 0; b.Len() < size; n++ {
		stamp := fmt.Sprintf("Nov 22 10:%02d:%02d node-%d ", n/60%60, n%60, n%3)
		b.WriteString(stamp)
		b.WriteString([]string{"kernel: ", "systemd[1]: ", "kubelet[812]: I1122 ", "sshd[4711]: ",
			"containerd[99]: "}[rng.IntN(5)])
		for range 6 + rng.IntN(14) {
			b.Write(words[rng.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
		if b.Len() > next {
			next += 500_000
			for _, line := range report() {
				fmt.Fprintf(&b, "%skernel: %s\n", stamp, line)
			}
		}
	}
	return b.Bytes()
}

// BenchmarkJournal reads the same log with oomlab's parser, with cAdvisor's,
// and with a bufio.Scanner that does nothing with what it reads.
func BenchmarkJournal(b *testing.B) {
	log := journal(16 << 20)
	want := bytes.Count(log, []byte("invoked oom-killer:"))
	for _, reader := range []struct {
		name string
		read func() (reports int)
	}{
		{"oomlab", func() (n int) {
			for _, err := range oomlog.Reports(bytes.NewReader(log)) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			return n
		}},
		{"cadvisor", func() int { return len(cadvisor(log)) }},
		{"scanner", func() (n int) {
			lines := bufio.NewScanner(bytes.NewReader(log))
			for lines.Scan() {
			}
			return want
		}},
	} {
		b.Run(reader.name, func(b *testing.B) {
			b.SetBytes(int64(len(log)))
			b.ReportAllocs()
			before := processor(b)
			for b.Loop() {
				if n := reader.read(); n != want {
					b.Fatalf("%d reports, want %d", n, want)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(log))/1e6/(processor(b)-before).Seconds(), "MB/cpu-s")
		})
	}
}

// processor is the time that this process has had a processor. On a machine that
// does other things too it says more than the clock.
func processor(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// lines are the lines of a log as records of /dev/kmsg, which is all that
// cAdvisor's parser reads.
type lines []byte

func (l lines) Parse() <-chan kmsgparser.Message {
	out := make(chan kmsgparser.Message)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(bytes.NewReader(l)); s.Scan(); {
			out <- kmsgparser.Message{Message: s.Text()}
		}
	}()
	return out
}

func (lines) SetLogger(kmsgparser.Logger) {}
func (lines) SeekEnd() error              { return nil }
func (lines) Close() error                { return nil }

// cadvisor gives what cAdvisor's parser makes of a log. It has no way in but
// /dev/kmsg, so its only field is set from outside. What it says after the end
// of the log, that it stops, goes nowhere.
func cadvisor(log []byte) []oomparser.OomInstance {
	p := new(oomparser.OomParser)
	field := reflect.ValueOf(p).Elem().FieldByName("parser")
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(reflect.ValueOf(lines(log)))
	found := make(chan *oomparser.OomInstance)
	go func() {
		defer close(found)
		p.StreamOoms(found)
	}()
	var all []oomparser.OomInstance
	for one := range found {
		all = append(all, *one)
	}
	return all
}
