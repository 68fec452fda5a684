package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// journal makes a log of about size bytes as journalctl prints it: user space
// and kernel lines, words that look like a report's, and a report every MiB.
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
		b.WriteString([]string{"kernel: ", "systemd[1]: ", "kubelet[812]: I1122 ", "sshd[4711]: ", "containerd[99]: "}[rng.IntN(5)])
		for range 6 + rng.IntN(14) {
			b.Write(words[rng.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
		if b.Len() > next {
			next += 1 << 20
			for _, line := range bytes.Split(bytes.TrimSpace([]byte(report618)), []byte{'\n'}) {
				fmt.Fprintf(&b, "%skernel: %s\n", stamp, line)
			}
		}
	}
	return b.Bytes()
}

func BenchmarkReports(b *testing.B) {
	log := journal(16 << 20)
	want := bytes.Count(log, []byte(invoked))
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range Reports(bytes.NewReader(log)) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != want {
			b.Fatalf("%d reports, want %d", n, want)
		}
	}
}

// BenchmarkScanner is the floor: the same log, line by line, and nothing done
// with it.
func BenchmarkScanner(b *testing.B) {
	log := journal(16 << 20)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		sc := bufio.NewScanner(bytes.NewReader(log))
		n := 0
		for sc.Scan() {
			n += len(sc.Bytes())
		}
		if n == 0 {
			b.Fatal("nothing read")
		}
	}
}

// BenchmarkReport is a log that is nothing but reports.
func BenchmarkReport(b *testing.B) {
	log := bytes.Repeat([]byte(report618), 1000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		for _, err := range Reports(bytes.NewReader(log)) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkHostile is what somebody could put into a log to keep the parser
// busy. Its rate is far below that of a real log, but no line costs more than
// in proportion to its length.
func BenchmarkHostile(b *testing.B) {
	for name, line := range map[string]string{
		"task=":    "oom-kill:constraint=" + strings.Repeat(",task=x", 8000) + ",pid=1,uid=0\n",
		"memcg=":   "oom-kill:constraint=X,oom_memcg=/" + strings.Repeat("a,task_memcg=/", 4000) + ",task=x,pid=1,uid=0\n",
		"brackets": "oom-kill" + strings.Repeat("[", 60000) + "\n",
		"heads":    "x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n",
		"kills":    "Tasks in /a are going to be killed due to memory.oom.group set\nKilled process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB\n",
		"stats":    "x invoked oom-killer:\nMemory cgroup stats for /a:\n" + strings.Repeat("a 1\n", 1000),
		"json":     `{"MESSAGE":"` + strings.Repeat("oom-kill ", 6000) + "\"}\n",
		"times":    strings.Repeat("[1.5] ", 10000) + "oom-kill\n",
	} {
		log := []byte(strings.Repeat(line, max(1, (4<<20)/len(line))))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(log)))
			for b.Loop() {
				for _, err := range Reports(bytes.NewReader(log)) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
