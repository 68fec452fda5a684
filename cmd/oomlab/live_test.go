package main

import (
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
)

// TestLiveLines: one line for each run that goes on, with what it is doing, and
// one that says how far all of them are and when they may be done.
func TestLiveLines(t *testing.T) {
	l := (&app{err: &strings.Builder{}}).show(4, false)
	l.start(0, "memcg/a on 6.12")
	l.start(1, "memcg/a on 7.3")
	l.event(1, evidence.Event{Kind: evidence.Begin})
	l.event(1, evidence.Event{Kind: evidence.Spawned, Process: "hog"})
	now := time.Now()
	l.began = now.Add(-10 * time.Second)
	for _, u := range l.busy {
		u.began = now.Add(-2500 * time.Millisecond)
	}
	want := []string{
		"  memcg/a on 6.12                                  2.5 s  preparing the machine",
		"  memcg/a on 7.3                                   2.5 s  filling: hog",
		"  0 of 4 ended, 2 under way",
	}
	if got := l.lines(now); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range []evidence.Event{
		{Kind: evidence.Ready}, {Kind: evidence.OutOfMemory},
		{Kind: evidence.MarkVictim, OOM: &evidence.OOM{Task: &evidence.Task{TaskID: evidence.TaskID{Comm: "hog"}}}},
	} {
		l.event(1, e)
	}
	l.end(0)
	want = []string{
		"  memcg/a on 7.3                                   2.5 s  dying: hog (kill 1)",
		"  1 of 4 ended, 1 under way, about 30s left",
	}
	if got := l.lines(now); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	l.event(7, evidence.Event{Kind: evidence.Begin}) // of a run that nobody started
	l.close()
}

// TestLiveDraws: what was drawn is wiped before anything else is printed, and
// at the end nothing of it is left. Without a terminal nothing is drawn.
func TestLiveDraws(t *testing.T) {
	var screen strings.Builder
	l := &live{term: &screen, width: func() int { return 30 }, total: 2, busy: map[int]*underway{},
		over: make(chan struct{}), began: time.Now()}
	l.plain = func(string) { t.Error("printed without wiping") }
	l.start(0, "memcg/a")
	l.draw()
	l.above("booting a kernel")
	l.print(func() { screen.WriteString("PASS\n") })
	l.close()
	text := screen.String()
	for _, line := range strings.Split(text, "\n") {
		if n := len([]rune(strings.NewReplacer("\x1b[2A", "", "\x1b[J", "").Replace(line))); n >= 30 {
			t.Errorf("a line of %d columns on a terminal of 30: %q", n, line)
		}
	}
	if !strings.Contains(text, "\x1b[2A\x1b[Jbooting a kernel\n") || !strings.Contains(text, "\x1b[2A\x1b[JPASS\n") ||
		!strings.HasSuffix(text, "\x1b[2A\x1b[J") {
		t.Errorf("drawn: %q", text)
	}
	said := ""
	l.plain = func(s string) { said = s }
	l.above("late")
	if said != "late" || screen.String() != text {
		t.Errorf("after the end: said %q, drew %q", said, strings.TrimPrefix(screen.String(), text))
	}
	var file strings.Builder
	a := &app{err: &file}
	quiet := a.show(9, false)
	quiet.start(0, "x")
	quiet.draw()
	quiet.close()
	if file.Len() > 0 {
		t.Errorf("drawn into a file: %q", file.String())
	}
}
