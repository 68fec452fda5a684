package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

// side is one line of what was expected, predicted, observed and replayed. A
// cell that nobody said anything about is empty.
type side struct {
	label                                   string
	expected, predicted, observed, replayed string
	claims                                  []string // that are about it
}

// nothing stands where a column has nothing to say.
const nothing = "-"

// sides shows the four side by side. A line with a claim that does not hold has
// a mark before it.
func (p *page) sides() {
	const gutter, label = 2, 12
	width := (p.width() - gutter - label) / 4
	p.line("")
	row := func(mark, name string, cells ...string) {
		wrapped := make([][]string, len(cells))
		height := 1
		for i, cell := range cells {
			wrapped[i] = plaintext.Wrap(cmp.Or(cell, nothing), width-2)
			height = max(height, len(wrapped[i]))
		}
		for n := range height {
			line := plaintext.Pad("", gutter+label)
			if n == 0 {
				line = plaintext.Pad(mark, gutter) + plaintext.Pad(name, label)
			}
			for _, lines := range wrapped {
				cell := ""
				if n < len(lines) {
					cell = lines[n]
				}
				line += plaintext.Pad(cell, width)
			}
			p.line("%s", line)
		}
	}
	row("", "", "expected", "predicted", "observed", "replayed")
	for _, s := range p.compared() {
		mark := ""
		if slices.ContainsFunc(p.r.Claims, func(c verdict.Claim) bool {
			return c.Verdict != verdict.Pass && c.Verdict != verdict.Skip && slices.Contains(s.claims, c.Name)
		}) {
			mark = "!"
		}
		row(mark, s.label, s.expected, s.predicted, s.observed, s.replayed)
	}
}

func (p *page) compared() []side {
	var first verdict.Kill
	if len(p.r.Kills) > 0 {
		first = p.r.Kills[0]
	}
	q := p.r.Prediction
	killed := p.names(victims(p.r))
	if len(p.r.Kills) == 0 && p.untold("prediction.killed") {
		killed = "" // of a run that was cut short: nobody is not what was observed
	}
	all := []side{
		{
			label: "killed", claims: []string{"killed", "prediction.killed", "collateral", "replay.choice",
				"replay.log"},
			expected: p.expected("killed"), predicted: p.predictedKills(),
			observed: killed, replayed: p.names(choices(p.r)),
		}, {
			label: "constraint", claims: []string{"constraint", "oom_memcg", "prediction.constraint"},
			expected:  strings.TrimSpace(p.expected("constraint") + " " + p.expected("oom_memcg")),
			predicted: strings.TrimSpace(q.Constraint + " " + q.OOMMemcg),
			observed:  strings.TrimSpace(first.Constraint + " " + first.OOMMemcg),
		}, {
			label: "trigger", claims: []string{"trigger", "prediction.trigger"},
			expected: p.expected("trigger"), predicted: p.anyOf(q.Triggers),
		}, {
			label: "points", claims: []string{"prediction.scores", "replay.points"},
			observed: number(first.Points), replayed: number(first.Replayed),
		},
	}
	if len(p.r.Kills) > 0 {
		all[2].observed = trigger(first.Trigger)
		all[3].predicted = bounds(q, first.Victim.Process)
	}
	if f := p.fails(); f.expected != "" || f.predicted != "" || f.observed != "" {
		all = append(all, f)
	}
	if q.Panic != "" || p.r.Panic != "" || p.expected("panic") != "" {
		all = append(all, side{
			label: "panic", claims: []string{"panic", "prediction.panic"},
			expected: p.expected("panic"), predicted: q.Panic, observed: p.r.Panic,
		})
	}
	return slices.DeleteFunc(all, func(s side) bool {
		return s.expected == "" && s.predicted == "" && s.observed == "" && s.replayed == ""
	})
}

// fails are those who were refused memory: ENOMEM is an outcome, too.
func (p *page) fails() side {
	s := side{label: "fails", claims: []string{"prediction.fails"}}
	var expected, observed []string
	for _, c := range p.r.Claims {
		if name, ok := strings.CutPrefix(c.Name, "fails "); ok {
			expected, s.claims = append(expected, name+" "+c.Expected), append(s.claims, c.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.r.Fails)) {
		observed = append(observed, fmt.Sprintf("%s %s", name, p.r.Fails[name].Errno))
	}
	s.expected, s.observed = strings.Join(expected, ", "), strings.Join(observed, ", ")
	q := p.r.Prediction
	if len(q.Fails) > 0 || len(q.MayFail) > 0 {
		s.predicted = p.names(append([]string{}, q.Fails...))
		if n := len(slices.DeleteFunc(slices.Clone(q.MayFail), func(name string) bool {
			return slices.Contains(q.Fails, name)
		})); n > 0 {
			s.predicted += fmt.Sprintf(" or %s", plaintext.Count(n, "other"))
		} else if len(q.MayFail) > 0 {
			s.predicted += ", perhaps"
		}
	}
	if s.observed == "" && (s.expected != "" || s.predicted != "") {
		s.observed = "nobody"
	}
	return s
}

// expected is what the author of the scenario claimed.
func (p *page) expected(claim string) string {
	for _, c := range p.r.Claims {
		if c.Name == claim {
			return c.Expected
		}
	}
	return ""
}

// untold reports whether a claim could not be told.
func (p *page) untold(claim string) bool {
	return slices.ContainsFunc(p.r.Claims, func(c verdict.Claim) bool {
		return c.Name == claim && c.Verdict == verdict.Skip
	})
}

// predictedKills says who is predicted to be killed. Where more courses are possible than
// the prediction lists, it says what they have in common, in the words of a claim: the
// likeliest course is one of very many, and would look like a contradiction beside what
// was observed.
func (p *page) predictedKills() string {
	q := p.r.Prediction
	switch {
	case q.Open && len(q.Possible) == 0:
	case q.Open && q.AtMost == 0:
		return fmt.Sprintf(">= %d of %s", q.AtLeast, p.names(q.Possible))
	case q.Open && q.AtLeast < q.AtMost:
		return fmt.Sprintf("%d to %d of %s", q.AtLeast, q.AtMost, p.names(q.Possible))
	case q.Open:
		return fmt.Sprintf("%d of %s", q.AtLeast, p.names(q.Possible))
	}
	text := p.names(q.Killed)
	if n := len(q.Orders); q.Unsure != "" && n > 1 {
		text += fmt.Sprintf(" or %s", plaintext.Count(n-1, "other order"))
	}
	return text
}

// names lists processes; nobody is an answer too, and nil is none.
func (p *page) names(all []string) string {
	const most = 6
	if all == nil {
		return ""
	}
	if len(all) == 0 {
		return "nobody"
	}
	all = p.sets(all, false)
	shown := p.shown(len(all), most)
	text := strings.Join(all[:shown], ", ")
	if shown < len(all) {
		text += fmt.Sprintf(" and %d more", len(all)-shown)
	}
	return text
}

// copyOf is the process that a name means one of several copies of, such as worker for
// worker/2; "" if it means none. What a program has started has its number by order.
func (p *page) copyOf(name string) string {
	if slices.ContainsFunc(p.r.Descendants, func(d verdict.Descendant) bool { return d.Process == name }) {
		return ""
	}
	base, number := numbered(name)
	for other := range p.r.Exits {
		if b, n := numbered(other); number > 0 && b == base && n > 0 && n != number {
			return base
		}
	}
	return ""
}

// numbered parts worker/2; a name without a number has 0.
func numbered(name string) (base string, number int) {
	i := strings.LastIndexByte(name, '/')
	number, err := strconv.Atoi(name[i+1:])
	if i < 0 || err != nil {
		return name, 0
	}
	return name[:i], number
}

// sets writes copies of a process that follow each other as one: worker x3, be they
// named (worker/1, worker/3) or not (worker, worker). Which of them are first is chance,
// and two lists of them would look like a contradiction. Where choice is set, it is one
// of them.
func (p *page) sets(names []string, choice bool) []string {
	var out []string
	class := func(i int) string { return cmp.Or(p.copyOf(names[i]), names[i]) }
	for i := 0; i < len(names); {
		text, n := class(i), 1
		for i+n < len(names) && class(i+n) == text {
			n++
		}
		switch {
		case n > 1 && choice:
			text = fmt.Sprintf("one of %s x%d", text, n)
		case n > 1:
			text = fmt.Sprintf("%s x%d", text, n)
		}
		out = append(out, text)
		i += n
	}
	return out
}

func (p *page) anyOf(names []string) string {
	all := p.sets(names, true)
	for i, name := range all {
		if name == predict.Elsewhere {
			all[i] = "any other task"
		}
	}
	return strings.Join(all, " or ")
}

// victims are those that were killed, in order; never nil.
func victims(r verdict.Result) []string {
	out := []string{}
	for _, k := range r.Kills {
		out = append(out, named(k.Victim.Process, k.Victim.Comm, k.Victim.PID))
	}
	return out
}

// choices are those whom the model chooses from the numbers that the kernel
// read, one for each decision. It is nil where no decision was shown.
func choices(r verdict.Result) []string {
	var out []string
	for _, board := range r.Scoreboard {
		i := slices.IndexFunc(board, func(row verdict.Row) bool { return row.Instead })
		if i < 0 {
			i = slices.IndexFunc(board, func(row verdict.Row) bool { return row.Chosen && row.Replayed != nil })
		}
		if i >= 0 {
			out = append(out, named(board[i].Process, board[i].Comm, board[i].PID))
		}
	}
	return out
}

func number(p *int64) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// bounds are the predicted points of a process at the first kill.
func bounds(q verdict.Prediction, process string) string {
	if r, ok := q.Ranges[process]; ok && process != "" {
		if r.Lo == r.Hi {
			return fmt.Sprint(r.Lo)
		}
		return fmt.Sprintf("%d..%d", r.Lo, r.Hi)
	}
	if s, ok := q.Scores[process]; ok && process != "" {
		return fmt.Sprint(s)
	}
	return ""
}

// scoreboards shows the candidates of each decision in the kernel's order, the
// chosen one marked.
func (p *page) scoreboards() {
	const most = 2
	shown := p.shown(len(p.r.Scoreboard), most)
	for i, board := range p.r.Scoreboard[:shown] {
		p.scoreboard(i, board)
	}
	p.more(len(p.r.Scoreboard), shown, "scoreboard")
}

func (p *page) scoreboard(n int, board []verdict.Row) {
	const most = 6
	rows := board
	if !p.Verbose && len(board) > most {
		rows = highest(board, most)
	}
	title := fmt.Sprintf("scoreboard of kill decision %d", n+1)
	if total := totalPages(p.r, board); total > 0 {
		title += fmt.Sprintf(", %d pages in all", total)
	}
	if len(rows) < len(board) {
		title += fmt.Sprintf(", the highest %d of %d candidates", len(rows), len(board))
	}
	p.section("%s", title)
	g := plaintext.Grid{Right: []bool{false, false, true, true, true, true, true}}
	head := []string{"", "process", "pid", "adj", "points", "replayed"}
	if n == 0 {
		head = append(head, "predicted")
	}
	g.Add(head...)
	for _, row := range rows {
		mark := ""
		if row.Chosen {
			mark = ">"
		}
		if !equal(row.Points, row.Replayed) {
			mark += "!"
		}
		cells := []string{mark, named(row.Process, row.Comm, row.PID), fmt.Sprint(row.PID), fmt.Sprint(row.Adj),
			cmp.Or(number(row.Points), "never"), cmp.Or(number(row.Replayed), "never")}
		if n == 0 {
			cells = append(cells, cmp.Or(bounds(p.r.Prediction, row.Process), nothing))
		}
		g.Add(cells...)
	}
	p.out = append(p.out, g.Lines("  ")...)
}

func equal(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// highest keeps the n rows with the most points, and the chosen one, in the
// kernel's order.
func highest(board []verdict.Row, n int) []verdict.Row {
	order := make([]int, len(board))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := board[a], board[b]
		if x.Chosen != y.Chosen {
			if x.Chosen {
				return -1
			}
			return 1
		}
		return kernel.HighestFirst(x.Points, y.Points)
	})
	order = order[:n]
	slices.Sort(order)
	out := make([]verdict.Row, n)
	for i, at := range order {
		out[i] = board[at]
	}
	return out
}

// totalPages is the size of the domain that a decision was about.
func totalPages(r verdict.Result, board []verdict.Row) kernel.Pages {
	for _, row := range board {
		if !row.Chosen {
			continue
		}
		for _, k := range r.Kills {
			if k.Victim.PID == row.PID && k.TotalPages != nil {
				return *k.TotalPages
			}
		}
	}
	return 0
}
