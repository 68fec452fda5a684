package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// live shows runs while they are in progress. On a terminal there is a line for
// each run that is going on and one for all of them, which are drawn again and
// again; elsewhere nothing but what is said and what has ended, line by line.
type live struct {
	say   func(string) // a whole line that stays
	plain func(string) // the same where nothing is drawn
	term  io.Writer    // nil: not a terminal, or nothing is drawn any more
	width func() int
	total int

	mu     sync.Mutex
	began  time.Time
	ended  int
	busy   map[int]*underway
	order  []int
	drawn  int // lines on the screen that belong to us
	over   chan struct{}
	closed sync.WaitGroup
}

// underway is one run that is going on.
type underway struct {
	label string
	stage string
	began time.Time
	ready int
	kills int
}

const redraw = 200 * time.Millisecond

// show begins to show total runs. quiet shows nothing.
func (a *app) show(total int, quiet bool) *live {
	l := &live{say: a.say, plain: a.say, total: total, began: time.Now(), busy: map[int]*underway{},
		over: make(chan struct{})}
	f := screen(a.err)
	if quiet || f == nil || os.Getenv("TERM") == "dumb" || total < 2 {
		return l
	}
	l.term, l.width = f, func() int { return columns(f) }
	l.say = l.above
	l.closed.Go(func() {
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			case <-l.over:
				return
			}
		}
	})
	return l
}

// close takes the lines that are drawn again and again off the screen.
func (l *live) close() {
	if l.term == nil {
		return
	}
	close(l.over)
	l.closed.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	l.term = nil
}

// above prints lines that stay above those that are drawn again.
func (l *live) above(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil {
		l.plain(text)
		return
	}
	l.wipe()
	fmt.Fprintln(l.term, plaintext.EscapeLines(text))
	l.draw()
}

// print runs write, which prints to the terminal too, above those lines.
func (l *live) print(write func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil {
		write()
		return
	}
	l.wipe()
	write()
	l.draw()
}

// watch lets runs be followed on the screen. event, which may be nil, and result
// are told of them too; what result prints comes above the lines that are drawn
// again.
func (l *live) watch(event func(int, evidence.Event), result func(int, verdict.Result) bool) lab.Watch {
	return lab.Watch{
		Started: l.start, Over: l.end,
		Event: func(i int, e evidence.Event) {
			l.event(i, e)
			if event != nil {
				event(i, e)
			}
		},
		Result: func(i int, r verdict.Result) (more bool) {
			l.print(func() { more = result(i, r) })
			return more
		},
	}
}

func (l *live) wipe() {
	if l.drawn > 0 {
		fmt.Fprintf(l.term, "\x1b[%dA\x1b[J", l.drawn) // up, and erase to the end
	}
	l.drawn = 0
}

// start says that run i has begun.
func (l *live) start(i int, label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[i] = &underway{label: label, stage: "preparing the machine", began: time.Now()}
	l.order = append(l.order, i)
}

// event moves run i to its next stage.
func (l *live) event(i int, e evidence.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.busy[i]
	if u == nil {
		return
	}
	switch e.Kind {
	case evidence.Begin:
		u.stage = "starting"
	case evidence.Spawned:
		u.stage = "filling: " + e.Process
	case evidence.Ready:
		u.ready++
		u.stage = fmt.Sprintf("%d hold what they want", u.ready)
	case evidence.OutOfMemory:
		if u.kills == 0 {
			u.stage = "out of memory"
		}
	case evidence.MarkVictim:
		u.kills++
		who := e.Process
		if who == "" && e.OOM != nil && e.OOM.Task != nil {
			who = e.OOM.Task.Comm
		}
		u.stage = fmt.Sprintf("dying: %s (kill %d)", who, u.kills)
	case evidence.End:
		u.stage = "judging"
	}
}

// end says that run i is over.
func (l *live) end(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, i)
	l.ended++
	for at, n := range l.order {
		if n == i {
			l.order = append(l.order[:at], l.order[at+1:]...)
			break
		}
	}
}

// draw expects mu to be held.
func (l *live) draw() {
	if l.term == nil {
		return
	}
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", l.drawn)
	}
	width := l.width()
	lines := l.lines(time.Now())
	for _, line := range lines {
		b.WriteString(clip(line, width) + "\n")
	}
	l.drawn = len(lines)
	io.WriteString(l.term, b.String()) // a terminal that went away is not worth an error
}

func (l *live) lines(now time.Time) []string {
	var out []string
	for _, i := range l.order {
		u := l.busy[i]
		out = append(out, fmt.Sprintf("  %-46s %5.1f s  %s", u.label, now.Sub(u.began).Seconds(), u.stage))
	}
	return append(out, "  "+l.summary(now))
}

// summary says how far it is and when it may be done.
func (l *live) summary(now time.Time) string {
	text := fmt.Sprintf("%d of %d ended, %d under way", l.ended, l.total, len(l.order))
	if l.ended > 0 && l.ended < l.total {
		left := now.Sub(l.began) * time.Duration(l.total-l.ended) / time.Duration(l.ended)
		text += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return text
}

// clip cuts a line to the width of the terminal: one that wraps would be two
// lines to wipe.
func clip(s string, width int) string {
	s = plaintext.Escape(s)
	if utf8.RuneCountInString(s) < width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)])
}

// columns is the width of a terminal, 80 where it does not say.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		return 80
	}
	return width
}

// outWidth is how wide what goes to standard output may be; 0: it is no terminal.
func (a *app) outWidth() int {
	if f := screen(a.out); f != nil {
		return columns(f)
	}
	return 0
}
