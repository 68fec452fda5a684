package oomlog

import (
	"bytes"
	"strings"
	"testing"
)

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
		"task=": "oom-kill:constraint=" + strings.Repeat(",task=x", 8000) + ",pid=1,uid=0\n",
		"memcg=": "oom-kill:constraint=X,oom_memcg=/" + strings.Repeat("a,task_memcg=/", 4000) +
			",task=x,pid=1,uid=0\n",
		"brackets": "oom-kill" + strings.Repeat("[", 60000) + "\n",
		"heads":    "x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n",
		"kills": "Tasks in /a are going to be killed due to memory.oom.group set\nKilled process 1 (x) " +
			"total-vm:1kB, anon-rss:1kB, file-rss:1kB\n",
		"stats": "x invoked oom-killer:\nMemory cgroup stats for /a:\n" + strings.Repeat("a 1\n", 1000),
		"json":  `{"MESSAGE":"` + strings.Repeat("oom-kill ", 6000) + "\"}\n",
		"times": strings.Repeat("[1.5] ", 10000) + "oom-kill\n",
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
