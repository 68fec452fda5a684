package watch

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// settle ends the start. Reading the kernel's types takes several times the memory that
// watching does, and much of the program runs once: both are given back, and what is used
// from then on stays in memory.
func (w *Watch) settle() {
	debug.FreeOSMemory()
	if err := forgetProgram(w.root); err != nil {
		w.notes = append(w.notes, "the pages of this program stay in memory: "+err.Error())
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		w.notes = append(w.notes, "this process can be delayed by reclaim: locking its memory needs CAP_IPC_LOCK")
	}
}

// Rehearse shows a kill that did not happen, of this process by itself, put together as real
// ones are. What that takes of the program is in memory then, and need not be read from a disk
// when there is no memory left. Nothing counts it.
func (w *Watch) Rehearse(show func(trace.Kill) error) error {
	self := evidence.Task{TaskID: evidence.TaskID{PID: os.Getpid(), TGID: os.Getpid(), Comm: "oomlab"}, StartNS: 1,
		MM: &evidence.MM{}, Cgroup: "/oomlab"}
	person := evidence.Person{Task: self, Threads: 1}
	at, points := monotonic(), int64(1)
	oom := func(kind evidence.Kind) evidence.Event {
		return evidence.Event{AtNS: at, Source: evidence.BPF, Kind: kind, PID: self.TGID,
			OOM: &evidence.OOM{Decision: 1, Current: self.TaskID, Task: &self, Points: &points,
				Control: &evidence.OOMControl{Constraint: "memcg", TotalPages: 1}}}
	}
	line := evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
		USec: at / 1000, Text: fmt.Sprintf("Memory cgroup out of memory: Killed process %d (oomlab) total-vm:4kB, "+
			"anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0", self.TGID)}}
	events := []evidence.Event{line}
	if w.assembly.BPF {
		events = []evidence.Event{oom(evidence.Badness), oom(evidence.KillDecision), oom(evidence.MarkVictim),
			{AtNS: at, Source: evidence.BPF, Kind: evidence.VictimStatus, PID: self.TGID, Killed: &evidence.Killed{
				Decision: 1, Victim: person, Trigger: person, Domain: self.Cgroup}},
			line, oom(evidence.TaskExit)}
	}
	put := trace.New(w.assembly)
	var kills []trace.Kill
	for _, e := range events {
		kills = append(kills, put.Feed(e)...)
	}
	for _, k := range append(kills, put.Close()...) {
		w.complete(&k)
		if err := show(k); err != nil {
			return err
		}
	}
	return nil
}

// forgetProgram unmaps the pages of this program's files that nothing was written to, as
// /proc/self/smaps tells. Those that are needed again are mapped again from the page cache.
func forgetProgram(root probe.Root) error {
	file, err := os.Open(root.Path("/proc/self/smaps"))
	if err != nil {
		return err
	}
	defer file.Close()
	var first, end uintptr // of the mapping whose lines are read; none: end is 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if bounds, rest, ok := strings.Cut(key, " "); ok { // the line that begins a mapping
			first, end = 0, 0
			allowed, _, _ := strings.Cut(rest, " ")
			if !strings.Contains(allowed, "w") && strings.Contains(value, " /") {
				if _, err := fmt.Sscanf(bounds, "%x-%x", &first, &end); err != nil {
					return fmt.Errorf("/proc/self/smaps: %q: %w", lines.Text(), err)
				}
			}
			continue
		}
		if end == 0 || key != "Anonymous" || strings.TrimSpace(value) != "0 kB" {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, first, end-first, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise(2): %w", errno)
		}
	}
	return lines.Err()
}
