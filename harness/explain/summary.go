package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// Summary is what many reports of one log say together: who dies again and again, in
// whose cgroups, at which limit, over what time. The zero Summary is ready. Its JSON
// keys are an interface.
type Summary struct {
	Reports int `json:"reports"`
	// Outcomes count reports by Explanation.Outcome.
	Outcomes map[string]int `json:"outcomes"`
	// Processes is how many were killed, those of groups included.
	Processes int    `json:"processes_killed"`
	Agrees    int    `json:"agrees"`
	Differs   int    `json:"differs"`
	First     string `json:"first,omitempty"`
	Last      string `json:"last,omitempty"`
	// Seconds from the first to the last, where both have a time that is understood.
	Seconds    *float64  `json:"seconds,omitempty"`
	Suppressed uint64    `json:"suppressed_callbacks,omitempty"`
	Victims    []Victims `json:"victims"` // most kills first
	// More are kills of victims beyond the first maxVictims kinds of them.
	More int `json:"more_kills,omitempty"`

	index map[victimKey]int
}

// Victims are the first victims of one name, in one kind of place, at one limit.
type Victims struct {
	Comm  string `json:"comm"`
	Kills int    `json:"kills"`
	// Global: the machine ran out; nil: not known.
	Global *bool        `json:"global,omitempty"`
	Limit  kernel.Bytes `json:"limit_bytes,omitempty"`
	First  string       `json:"first,omitempty"`
	Last   string       `json:"last,omitempty"`
	// Seconds from the first to the last.
	Seconds *float64 `json:"seconds,omitempty"`
	// Owners are whose cgroups they were in, OwnersMore how many more.
	Owners     []string     `json:"owners,omitempty"`
	OwnersMore int          `json:"owners_more,omitempty"`
	Largest    kernel.Bytes `json:"largest_bytes,omitempty"` // resident, of one victim
}

type victimKey struct {
	comm  string
	scope int8
	limit kernel.Bytes
}

// What a summary holds at most.
const (
	maxVictims = 4096
	maxOwners  = 8
)

// Add takes one report.
func (s *Summary) Add(e Explanation) {
	if s.Outcomes == nil {
		s.Outcomes, s.index, s.Victims = map[string]int{}, map[victimKey]int{}, []Victims{}
	}
	s.Reports++
	s.Outcomes[e.Outcome]++
	s.Processes += len(e.Kills)
	switch {
	case e.Agrees != nil && *e.Agrees:
		s.Agrees++
	case e.Agrees != nil:
		s.Differs++
	}
	if e.Suppressed != nil {
		s.Suppressed += min(*e.Suppressed, 1<<40)
	}
	extend(&s.First, &s.Last, &s.Seconds, e.At)
	v := e.Victim
	if v == nil {
		return
	}
	key := victimKey{comm: v.Comm, scope: -1}
	if e.Global != nil {
		key.scope = map[bool]int8{true: 1}[*e.Global]
	}
	if e.Memory != nil && e.Memory.Size != nil {
		key.limit = e.Memory.Size.Bytes(e.PageSize)
	}
	i, ok := s.index[key]
	if !ok {
		if i = len(s.Victims); i >= maxVictims {
			s.More++
			return
		}
		s.index[key] = i
		s.Victims = append(s.Victims, Victims{Comm: v.Comm, Global: e.Global, Limit: key.limit})
	}
	g := &s.Victims[i]
	g.Kills++
	extend(&g.First, &g.Last, &g.Seconds, e.At)
	var kb uint64
	for _, n := range []*uint64{v.AnonRSSKB, v.FileRSSKB, v.ShmemRSSKB} {
		if n != nil {
			kb += min(*n, 1<<50)
		}
	}
	g.Largest = max(g.Largest, zoneBytes(kb))
	owner := e.Owner.String()
	if k := e.Kubernetes; k != nil && k.PodUID != "" {
		owner = "pod " + k.PodUID
	}
	switch {
	case owner == "" || slices.Contains(g.Owners, owner):
	case len(g.Owners) < maxOwners:
		g.Owners = append(g.Owners, owner)
	default:
		g.OwnersMore++
	}
}

func extend(first, last *string, seconds **float64, at string) {
	if at == "" {
		return
	}
	if *first == "" {
		*first = at
	}
	*last = at
	a, form1, ok1 := seconded(*first)
	b, form2, ok2 := seconded(at)
	if *seconds = nil; ok1 && ok2 && form1 == form2 && b > a {
		d := b - a
		*seconds = &d
	}
}

// layouts are the times that logs print. Those without a year count within one.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.999999-0700",
	"2006-01-02 15:04:05",
	time.Stamp, time.ANSIC, "Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 MST 2006"}

// seconded reads a time of a log, and says of which form it is: times of two forms
// have nothing in common.
func seconded(at string) (seconds float64, form int, ok bool) {
	if f, err := strconv.ParseFloat(strings.TrimSpace(at), 64); err == nil && f >= 0 && f < 1e12 {
		return f, -1, true
	}
	for i, layout := range layouts {
		if t, err := time.Parse(layout, at); err == nil {
			return float64(t.UnixNano()) / 1e9, i, true
		}
	}
	return 0, 0, false
}

// sorted gives the victims, most kills first.
func (s *Summary) sort() {
	slices.SortStableFunc(s.Victims, func(a, b Victims) int { return cmp.Compare(b.Kills, a.Kills) })
	s.index = nil
}

// JSON writes the summary on one line, and ends it.
func (s *Summary) JSON(w io.Writer) error {
	s.sort()
	if s.Victims == nil {
		s.Victims, s.Outcomes = []Victims{}, map[string]int{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(s)
}

// Facts are the summary in words, without its table, and end it.
func (s *Summary) Facts() (out facts) {
	s.sort()
	over := ""
	if s.First != "" {
		over = fmt.Sprintf(", from %s to %s", s.First, s.Last) + lasting(s.Seconds)
	}
	out.add("reports", fmt.Sprintf("%d%s", s.Reports, over))
	var ends []string
	for _, end := range []struct{ outcome, words string }{{Killed, "with a kill"},
		{WasOnly, "that chose somebody, the kill not shown"}, {Exiting, "whose choice was exiting already"},
		{Nobody, "that killed nobody"}, {Unknown, "that do not show who was killed"}} {
		if n := s.Outcomes[end.outcome]; n > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", n, end.words))
		}
	}
	out.add("ended", strings.Join(ends, ", ")+fmt.Sprintf("; %d processes killed", s.Processes))
	if s.Suppressed > 0 {
		out.add("", fmt.Sprintf("%d more reports were swallowed by the rate limit", s.Suppressed))
	}
	out.add("model", fmt.Sprintf("agrees with %d, differs from %d", s.Agrees, s.Differs))
	return out
}

// Text writes the summary for a person, and ends it.
func (s *Summary) Text(w io.Writer, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	p := page{o: o}
	p.facts(s.Facts())
	out := p.out
	if len(s.Victims) > 0 {
		out = append(out, "")
		g := plaintext.Grid{Right: []bool{true, false, true, true, false}}
		g.Add("kills", "victim", "limit", "largest", "where, and over what time")
		for i, v := range s.Victims {
			if i >= someRows && !o.All {
				break
			}
			limit := "?"
			if v.Limit > 0 {
				limit = v.Limit.Human()
			}
			g.Add(fmt.Sprint(v.Kills), plaintext.Cut(printable(v.Comm), kernel.CommLen), limit, v.Largest.Human(),
				v.Where())
		}
		for _, line := range g.Lines("  ") {
			if !o.All {
				line = plaintext.Cut(line, o.Width)
			}
			out = append(out, line)
		}
		if more := len(s.Victims) - someRows; more > 0 && !o.All {
			out = append(out, fmt.Sprintf("  ... and %d more with fewer kills (-v shows all)", more))
		}
	}
	return plaintext.Write(w, out, nil)
}

// Where is where they died, and over what time.
func (v Victims) Where() string {
	s := "a cgroup"
	if v.Global == nil {
		s = "not known"
	} else if *v.Global {
		s = "the machine"
	}
	switch n := len(v.Owners) + v.OwnersMore; {
	case n == 1:
		s += ": " + v.Owners[0]
	case n > 1:
		s += fmt.Sprintf(": %d owners, such as %s", n, v.Owners[0])
	}
	if v.Kills > 1 {
		s += lasting(v.Seconds)
	}
	return s
}

func lasting(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return ", within " + (time.Duration(*seconds * float64(time.Second))).Round(time.Second).String()
}
