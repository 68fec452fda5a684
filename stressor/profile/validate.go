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
		if s.Op.last() && i != len(p.Steps)-1 {
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

// last reports whether no step can come after one of this kind.
func (o Op) last() bool {
	return o == Hold || o == Leak || o == Sawtooth || o == Exit
}

// validate checks one step of p. Forked holds the children that earlier steps
// forked, and gets the one that this step forks.
func (s Step) validate(p Profile, forked map[string]bool) error {
	if s.Bytes < 0 || s.Rate < 0 || s.DurationMS < 0 {
		return errors.New("bytes, rate and duration_ms: none of them can be negative")
	}
	switch s.Op {
	case Touch, Mlock, HugePages, HugeTLB, Shmem, Hold:
	case File, Write:
		if s.Op == Write && s.Path != "" && s.Bytes == 0 {
			return errors.New("bytes: how much is written to " + strconv.Quote(s.Path) + "?")
		}
	case Free, SwapOut, Sawtooth:
		if s.Bytes == 0 {
			return errors.New("bytes: how much?")
		}
	case Leak:
		if s.Rate == 0 {
			return errors.New("rate: a leak has one")
		}
	case Sleep:
		if s.DurationMS == 0 {
			return errors.New("duration_ms: how long?")
		}
	case Exit:
		if s.Code < 0 || s.Code > 255 {
			return errors.New("code: " + strconv.Itoa(s.Code) + " is not between 0 and 255")
		}
	case Fork:
		if _, ok := p.Children[s.Name]; !ok {
			return errors.New("name: no child is called " + strconv.Quote(s.Name))
		}
		if forked[s.Name] {
			return errors.New("name: " + strconv.Quote(s.Name) + " is forked already")
		}
		forked[s.Name] = true
	case Wait:
		if !forked[s.Name] {
			return errors.New("name: no earlier step forks " + strconv.Quote(s.Name))
		}
	default:
		return errors.New("op: no step is called " + strconv.Quote(string(s.Op)))
	}
	return nil
}

// Takes reports whether a step of this kind takes memory.
func (o Op) Takes() bool {
	switch o {
	case Touch, File, Write, Shmem, Mlock, HugePages, HugeTLB, Leak, Sawtooth:
		return true
	}
	return false
}
