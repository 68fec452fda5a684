package profile

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Validate says what is wrong with a launch, or nil.
func (l Launch) Validate() error {
	if l.DeadlineMS <= 0 {
		return errors.New("deadline: " + duration(l.DeadlineMS) + " is not a time; " +
			"nothing is launched without a deadline")
	}
	if len(l.Argv) > 0 && l.Argv[0] == "" {
		return errors.New(`--: "" is not a program`)
	}
	if len(l.Comm) > CommLen {
		return errors.New("comm: " + strconv.Quote(l.Comm) + " is longer than 15 bytes, and the kernel would cut it")
	}
	if l.UID < 0 {
		return errors.New("uid: " + strconv.Itoa(l.UID) + " is not a user")
	}
	for _, node := range l.Bind {
		if node < 0 || node >= MaxNodes {
			return errors.New("bind: " + strconv.Itoa(node) + " is not a NUMA node")
		}
	}
	return validateAdj(l.OOMScoreAdj)
}

func validateAdj(adj *int) error {
	if adj != nil && (*adj < -1000 || *adj > 1000) {
		return errors.New("oom_score_adj: " + strconv.Itoa(*adj) + " is not between -1000 and 1000")
	}
	return nil
}

// Validate says what is wrong with a profile or one of its children, or nil.
// The error names the word that is wrong, and the children that it belongs to.
func (p Profile) Validate() error {
	if p.Name == "" {
		return errors.New("name: a stressor needs one")
	}
	if p.Threads < 0 || p.DeadlineMS < 0 {
		return errors.New("threads and deadline: neither can be negative")
	}
	if err := validateAdj(p.OOMScoreAdj); err != nil {
		return err
	}
	forked := map[string]bool{}
	for i, s := range p.Steps {
		err := s.validate(p, forked)
		if err == nil && s.Op.Row().Last && i != len(p.Steps)-1 {
			err = errors.New("a step comes after it, and is never done")
		}
		if err != nil {
			return place(s.word(), err)
		}
	}
	for name, child := range p.Children {
		err := child.validateChild(name)
		if err == nil && !forked[name] {
			err = errNotForked
		}
		if err != nil {
			return place("child="+name, err)
		}
	}
	return nil
}

func (p Profile) validateChild(name string) error {
	if p.Name == "" {
		p.Name = name
	}
	if p.Name != name {
		return errors.New("name: " + strconv.Quote(p.Name) + " is not the name it is forked by")
	}
	if !p.SharesMemory {
		return p.Validate()
	}
	for _, s := range p.Steps {
		if s.Op != Hold {
			return place(s.word(), errors.New("a process that shares its parent's memory can only hold"))
		}
	}
	if p.Threads > 0 || len(p.Children) > 0 {
		return errors.New("shares_memory: such a process has no threads and no children")
	}
	return validateAdj(p.OOMScoreAdj)
}

// validate checks one step of p. Forked holds the children that earlier steps
// forked, and gets the one that this step forks.
func (s Step) validate(p Profile, forked map[string]bool) error {
	if s.Bytes < 0 || s.Rate < 0 || s.DurationMS < 0 {
		return errors.New("an amount cannot be negative")
	}
	if strings.Contains(s.Name+s.Path, ",") {
		return errors.New("a name or a path cannot have a comma in it")
	}
	if s.Content != "" && !slices.Contains(Contents, s.Content) {
		return errors.New(strconv.Quote(s.Content) + " is none of " + strings.Join(Contents, ", "))
	}
	row := s.Op.Row()
	switch row.Amount {
	case Size:
		if s.Op == Write && s.Path != "" && s.Bytes == 0 {
			return errors.New("how much is written?")
		}
		if s.Bytes == 0 && (row.Endless || !row.Takes()) { // a step may take nothing, or a whole file
			return errors.New("how much?")
		}
	case Rate:
		if s.Rate == 0 {
			return errors.New("how fast?")
		}
	case Duration:
		if s.DurationMS == 0 {
			return errors.New("how long?")
		}
	case Code:
		if s.Code < 0 || s.Code > 255 {
			return errors.New(strconv.Itoa(s.Code) + " is not between 0 and 255")
		}
	case Name:
		return s.validateName(p, forked)
	case None:
		if row.Op == "" {
			return errors.New("no step is called " + strconv.Quote(string(s.Op)))
		}
	}
	return nil
}

func (s Step) validateName(p Profile, forked map[string]bool) error {
	if s.Op == Wait {
		if !forked[s.Name] {
			return errors.New("no earlier step forks it")
		}
		return nil
	}
	if _, ok := p.Children[s.Name]; !ok {
		return errors.New("no child is called " + strconv.Quote(s.Name))
	}
	if forked[s.Name] {
		return errors.New("it is forked already")
	}
	forked[s.Name] = true
	return nil
}
