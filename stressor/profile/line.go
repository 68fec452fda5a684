package profile

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A line is words with spaces between them, such as
//
//	name=web threads=2 touch=64Mi,rate=32Mi/s fork=worker hold child=worker touch=8Mi hold
//
// A word with a space, a quote or a line feed in it stands in double quotes, in
// which \", \\ and \n are escapes. Package strconv could do it, for two more
// resident pages.

// split cuts a line into its words.
func split(line string) ([]string, error) {
	var words []string
	for at := 0; at < len(line); {
		fail := func(what string) error { return errors.New("byte " + strconv.Itoa(at) + ": " + what) }
		switch rest := line[at:]; rest[0] {
		case ' ':
			at++
		case '"':
			word, n := unquote(rest)
			if n == 0 {
				return nil, fail("the quotes do not end")
			}
			if at += n; at < len(line) && line[at] != ' ' {
				return nil, fail("a space has to follow the quotes")
			}
			words = append(words, word)
		default:
			word, _, _ := strings.Cut(rest, " ")
			if i := strings.IndexByte(word, '"'); i >= 0 {
				at += i
				return nil, fail("a word with quotes in it has to be quoted as a whole")
			}
			words, at = append(words, word), at+len(word)
		}
	}
	return words, nil
}

// unquote reads the quoted word that s begins with, and says how long it is; 0:
// it does not end.
func unquote(s string) (word string, n int) {
	var out []byte
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return string(out), i + 1
		case c == '\\' && i+1 < len(s):
			i++
			if c = s[i]; c == 'n' {
				c = '\n'
			}
		}
		out = append(out, c)
	}
	return "", 0
}

// quote is how a line has a word.
func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \"\n") {
		return word
	}
	out := []byte{'"'}
	for i := range len(word) {
		c := word[i]
		switch c {
		case '\n':
			out, c = append(out, '\\'), 'n'
		case '"', '\\':
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(append(out, '"'))
}

// place says which word is wrong.
func place(word string, err error) error { return errors.New(quote(word) + ": " + err.Error()) }

var errTwice = errors.New("is there twice")

// ParseLaunch reads the line of a launch. It refuses words that it does not
// know: a launcher that ignored one would start something else than it was told.
func ParseLaunch(line string) (Launch, error) {
	var l Launch
	words, err := split(line)
	if err != nil {
		return l, err
	}
	var seen []string
	for i, word := range words {
		if word == "--" {
			if l.Argv = words[i+1:]; len(l.Argv) == 0 {
				return l, errors.New("--: no program follows")
			}
			break
		}
		key, value, _ := strings.Cut(word, "=")
		err := l.set(key, value)
		if err == nil && slices.Contains(seen, key) && key != "ignore" && key != "bind" {
			err = errTwice
		}
		if err != nil {
			return l, place(word, err)
		}
		seen = append(seen, key)
	}
	return l, nil
}

func (l *Launch) set(key, value string) (err error) {
	switch key {
	case "comm":
		l.Comm = value
	case "nice":
		l.Nice, err = whole(value)
	case "uid":
		l.UID, err = whole(value)
	case "ignore":
		l.Ignore = append(l.Ignore, value)
	case "oom_score_adj":
		l.OOMScoreAdj, err = pointer(value)
	case "cgroup_procs":
		l.CgroupProcs = value
	case "one_cpu":
		l.OneCPU, err = flag(value)
	case "bind":
		var node int
		node, err = whole(value)
		l.Bind = append(l.Bind, node)
	case "deadline":
		l.DeadlineMS, err = parseDuration(value)
	default:
		err = errors.New("this version of the stressor knows no such setting of a launch")
	}
	return err
}

// Line is the launch as [ParseLaunch] reads it, without a line feed.
func (l Launch) Line() string {
	var w line
	w.text("comm", l.Comm)
	w.number("nice", l.Nice)
	w.number("uid", l.UID)
	for _, signal := range l.Ignore {
		w.add("ignore=" + signal)
	}
	w.pointer("oom_score_adj", l.OOMScoreAdj)
	w.text("cgroup_procs", l.CgroupProcs)
	w.flag("one_cpu", l.OneCPU)
	for _, node := range l.Bind {
		w.add("bind=" + strconv.Itoa(node))
	}
	w.duration("deadline", l.DeadlineMS)
	if len(l.Argv) > 0 {
		w.add("--")
		for _, arg := range l.Argv {
			w.add(arg)
		}
	}
	return string(w)
}

// ParseProfile reads the line of a profile, as strictly as [ParseLaunch].
func ParseProfile(line string) (Profile, error) {
	words, err := split(line)
	if err != nil {
		return Profile{}, err
	}
	return ParseWords(words)
}

// ParseWords reads the words of a profile: its settings and steps, then, behind
// child=NAME, those of each process that a step forks.
func ParseWords(words []string) (Profile, error) {
	all := []Profile{{}}
	var seen []string
	for _, word := range words {
		p := &all[len(all)-1]
		key, value, _ := strings.Cut(word, "=")
		if key == "child" {
			all, seen = append(all, Profile{Name: value}), nil
			continue
		}
		known, err := p.set(key, value, len(all) > 1)
		switch {
		case !known:
			var s Step
			s, err = parseStep(word)
			p.Steps = append(p.Steps, s)
		case err == nil && slices.Contains(seen, key):
			err = errTwice
		default:
			seen = append(seen, key)
		}
		if err != nil {
			return Profile{}, place(word, err)
		}
	}
	orphans := make(map[string]int, len(all)-1)
	for i := 1; i < len(all); i++ {
		if orphans[all[i].Name] != 0 {
			return Profile{}, place("child="+all[i].Name, errTwice)
		}
		orphans[all[i].Name] = i
	}
	adopt(&all[0], all, orphans)
	for i := 1; i < len(all); i++ {
		if orphans[all[i].Name] != 0 {
			return Profile{}, place("child="+all[i].Name, errNotForked)
		}
	}
	return all[0], nil
}

var errNotForked = errors.New("no step forks it")

// adopt makes children of the orphans, by their index in all, that the steps of
// p fork; 0: it has a parent.
func adopt(p *Profile, all []Profile, orphans map[string]int) {
	for _, s := range p.Steps {
		i := orphans[s.Name]
		if s.Op != Fork || i == 0 {
			continue
		}
		orphans[s.Name] = 0
		adopt(&all[i], all, orphans)
		if p.Children == nil {
			p.Children = map[string]Profile{}
		}
		p.Children[s.Name] = all[i]
	}
}

func (p *Profile) set(key, value string, child bool) (known bool, err error) {
	switch {
	case key == "name" && !child:
		p.Name = value
	case key == "threads":
		p.Threads, err = whole(value)
	case key == "deadline":
		p.DeadlineMS, err = parseDuration(value)
	case key == "oom_score_adj" && child:
		p.OOMScoreAdj, err = pointer(value)
	case key == "cgroup_procs" && child:
		p.CgroupProcs = value
	case key == "shares_memory" && child:
		p.SharesMemory, err = flag(value)
	default:
		return false, nil
	}
	return true, err
}

// Line is the profile as [ParseProfile] reads it, without a line feed. What a
// process that is not forked has from its [Launch] is left out.
func (p Profile) Line() string {
	var w line
	w.text("name", p.Name)
	w.profile(p)
	return string(w)
}

func (w *line) profile(p Profile) {
	w.number("threads", p.Threads)
	w.duration("deadline", p.DeadlineMS)
	for _, s := range p.Steps {
		w.add(s.word())
	}
	for _, s := range p.Steps {
		child, ok := p.Children[s.Name]
		if s.Op != Fork || !ok {
			continue
		}
		w.add("child=" + s.Name)
		w.pointer("oom_score_adj", child.OOMScoreAdj)
		w.text("cgroup_procs", child.CgroupProcs)
		w.flag("shares_memory", child.SharesMemory)
		w.profile(child)
	}
}

// parseStep reads a step such as touch=64Mi,rate=32Mi/s: its name and amount,
// and its qualifiers. The amount may be named as a qualifier is: leak,rate=1Mi/s.
func parseStep(word string) (Step, error) {
	first, rest, more := strings.Cut(word, ",")
	name, value, given := strings.Cut(first, "=")
	row := Op(name).Row()
	if row.Op == "" {
		return Step{}, errors.New("no step is called " + strconv.Quote(name))
	}
	s := Step{Op: row.Op}
	var seen []Kind
	var err error
	if given {
		if row.Amount == None {
			return s, errors.New("takes no amount")
		}
		seen, err = append(seen, row.Amount), s.set(row.Amount, value)
	}
	for more && err == nil {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(part, "=")
		k := Kind(key)
		switch {
		case k == None || k != row.Amount && !slices.Contains(row.Qualifiers, k):
			err = errors.New(quote(part) + " does not go with " + name)
		case slices.Contains(seen, k):
			err = place(part, errTwice)
		default:
			seen, err = append(seen, k), s.set(k, value)
		}
	}
	if err == nil && row.Amount != None && !slices.Contains(seen, row.Amount) {
		err = errors.New("needs a " + string(row.Amount))
	}
	return s, err
}

func (s *Step) set(k Kind, value string) (err error) {
	switch k {
	case Size:
		s.Bytes, err = parseQuantity(value)
	case Rate:
		s.Rate, err = parseQuantity(strings.TrimSuffix(value, "/s"))
	case Duration:
		s.DurationMS, err = parseDuration(value)
	case Code:
		s.Code, err = whole(value)
	case Name:
		s.Name = value
	case Content:
		s.Content = value
	case Path:
		s.Path = value
	}
	return err
}

// word is the step as parseStep reads it.
func (s Step) word() string {
	row := s.Op.Row()
	w := string(s.Op)
	if row.Amount != None {
		w += "=" + s.value(row.Amount)
	}
	for _, k := range row.Qualifiers {
		if v := s.value(k); v != (Step{}).value(k) {
			w += "," + string(k) + "=" + v
		}
	}
	return w
}

func (s Step) value(k Kind) string {
	switch k {
	case Size:
		return Quantity(s.Bytes)
	case Rate:
		return Quantity(s.Rate) + "/s"
	case Duration:
		return duration(s.DurationMS)
	case Code:
		return strconv.Itoa(s.Code)
	case Name:
		return s.Name
	case Content:
		return s.Content
	}
	return s.Path
}

func whole(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, errors.New(strconv.Quote(value) + " is not a whole number")
	}
	return n, nil
}

func pointer(value string) (*int, error) {
	n, err := whole(value)
	return &n, err
}

func flag(value string) (bool, error) {
	if value != "" {
		return false, errors.New("takes no value")
	}
	return true, nil
}

// line is built word by word. What has its zero value is left out.
type line []byte

func (w *line) add(word string) {
	if len(*w) > 0 {
		*w = append(*w, ' ')
	}
	*w = append(*w, quote(word)...)
}

func (w *line) text(key, value string) {
	if value != "" {
		w.add(key + "=" + value)
	}
}

func (w *line) number(key string, n int) {
	if n != 0 {
		w.add(key + "=" + strconv.Itoa(n))
	}
}

func (w *line) duration(key string, ms int64) {
	if ms != 0 {
		w.add(key + "=" + duration(ms))
	}
}

func (w *line) pointer(key string, n *int) {
	if n != nil {
		w.add(key + "=" + strconv.Itoa(*n))
	}
}

func (w *line) flag(key string, on bool) {
	if on {
		w.add(key)
	}
}
