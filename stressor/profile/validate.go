package profile

import (
	"errors"
	"strconv"
)

// Validate says what is wrong with a launch, or nil.
func (l Launch) Validate() error {
	if l.DeadlineMS <= 0 {
		return errors.New("deadline_ms: " + strconv.FormatInt(l.DeadlineMS, 10) +
			" is not a time; nothing is launched without a deadline")
	}
	if len(l.Argv) > 0 && l.Argv[0] == "" {
		return errors.New(`argv[0]: "" is not a program`)
	}
	if len(l.Comm) > CommLen {
		return errors.New("comm: " + strconv.Quote(l.Comm) + " is longer than 15 bytes, and the kernel would cut it")
	}
	if l.UID < 0 {
		return errors.New("uid: " + strconv.Itoa(l.UID) + " is not a user")
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
// The error names the step by its index and the field by its JSON name.
func (p Profile) Validate() error {
	if p.Name == "" {
		return errors.New("name: a stressor needs one")
	}
	if p.Threads < 0 || p.DeadlineMS < 0 || p.UID < 0 {
		return errors.New("threads, deadline_ms and uid: none of them can be negative")
	}
	if err := validateAdj(p.OOMScoreAdj); err != nil {
		return err
	}
	forked := map[string]bool{}
	for i, s := range p.Steps {
		at := "steps[" + strconv.Itoa(i) + "]: " + string(s.Op)
		if err := s.validate(p, forked); err != nil {
			return errors.New(at + ": " + err.Error())
		}
		if s.Op.Row().Last && i != len(p.Steps)-1 {
			return errors.New(at + " never ends, and a step comes after it")
		}
	}
	for name, child := range p.Children {
		if child.Name == "" {
			child.Name = name
		}
		if err := child.validateChild(name); err != nil {
			return errors.New("children[" + strconv.Quote(name) + "]: " + err.Error())
		}
	}
	return nil
}

func (p Profile) validateChild(name string) error {
	if p.Name != name {
		return errors.New("name: " + strconv.Quote(p.Name) + " is not the name it is forked by")
	}
	if !p.SharesMemory {
		return p.Validate()
	}
	for i, s := range p.Steps {
		if s.Op != Hold {
			return errors.New("steps[" + strconv.Itoa(i) + "]: " + string(s.Op) +
				": a process that shares its parent's memory can only hold")
		}
	}
	if p.Threads > 0 || len(p.Children) > 0 || p.OutlivesParent || p.Nice != 0 || p.UID != 0 || len(p.Ignore) > 0 {
		return errors.New("shares_memory: such a process has no threads, children, nice, uid or ignored signals, and dies with its parent")
	}
	return validateAdj(p.OOMScoreAdj)
}

// validate checks one step of p. Forked holds the children that earlier steps
// forked, and gets the one that this step forks.
func (s Step) validate(p Profile, forked map[string]bool) error {
	if s.Bytes < 0 || s.Rate < 0 || s.DurationMS < 0 {
		return errors.New("bytes, rate and duration_ms: none of them can be negative")
	}
	row := s.Op.Row()
	switch row.Amount {
	case Size:
		if s.Op == Write && s.Path != "" && s.Bytes == 0 {
			return errors.New("bytes: how much is written to " + strconv.Quote(s.Path) + "?")
		}
		if s.Bytes == 0 && (row.Endless || !row.Takes()) { // a step may take nothing, or a whole file
			return errors.New("bytes: how much?")
		}
	case Rate:
		if s.Rate == 0 {
			return errors.New("rate: how fast?")
		}
	case Duration:
		if s.DurationMS == 0 {
			return errors.New("duration_ms: how long?")
		}
	case Code:
		if s.Code < 0 || s.Code > 255 {
			return errors.New("code: " + strconv.Itoa(s.Code) + " is not between 0 and 255")
		}
	case Name:
		return s.validateName(p, forked)
	case None:
		if row.Op == "" {
			return errors.New("op: no step is called " + strconv.Quote(string(s.Op)))
		}
	}
	return nil
}

func (s Step) validateName(p Profile, forked map[string]bool) error {
	if s.Op == Wait {
		if !forked[s.Name] {
			return errors.New("name: no earlier step forks " + strconv.Quote(s.Name))
		}
		return nil
	}
	if _, ok := p.Children[s.Name]; !ok {
		return errors.New("name: no child is called " + strconv.Quote(s.Name))
	}
	if forked[s.Name] {
		return errors.New("name: " + strconv.Quote(s.Name) + " is forked already")
	}
	forked[s.Name] = true
	return nil
}
