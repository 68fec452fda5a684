package profile

import (
	"errors"
	"strconv"
)

// ParseLaunch reads one line of JSON. It refuses keys that it does not know:
// a launcher that ignored one would start something else than it was told.
func ParseLaunch(line []byte) (Launch, error) {
	var l Launch
	p := parser{in: line}
	err := p.whole(func() error { return p.launch(&l) })
	return l, err
}

// ParseProfile reads one line of JSON, as strictly as [ParseLaunch].
func ParseProfile(line []byte) (Profile, error) {
	var pr Profile
	p := parser{in: line}
	err := p.whole(func() error { return p.profile(&pr) })
	return pr, err
}

func (p *parser) launch(l *Launch) error {
	return p.object(func(key string) (err error) {
		switch key {
		case "argv":
			l.Argv, err = p.strings()
		case "comm":
			l.Comm, err = p.string()
		case "dir":
			l.Dir, err = p.string()
		case "env":
			l.Env, err = p.strings()
		case "nice":
			l.Nice, err = p.int()
		case "uid":
			l.UID, err = p.int()
		case "ignore":
			l.Ignore, err = p.strings()
		case "oom_score_adj":
			l.OOMScoreAdj, err = p.intOrNull()
		case "cgroup_procs":
			l.CgroupProcs, err = p.string()
		case "outlives_parent":
			l.OutlivesParent, err = p.bool()
		case "one_cpu":
			l.OneCPU, err = p.bool()
		case "deadline_ms":
			l.DeadlineMS, err = p.int64()
		default:
			err = errUnknown
		}
		return err
	})
}

func (p *parser) profile(pr *Profile) error {
	return p.object(func(key string) (err error) {
		switch key {
		case "name":
			pr.Name, err = p.string()
		case "steps":
			err = p.array(func() error {
				var s Step
				err := p.step(&s)
				pr.Steps = append(pr.Steps, s)
				return err
			})
		case "threads":
			pr.Threads, err = p.int()
		case "children":
			err = p.object(func(name string) error {
				var child Profile
				err := p.profile(&child)
				if pr.Children == nil {
					pr.Children = map[string]Profile{}
				}
				pr.Children[name] = child
				return err
			})
		case "oom_score_adj":
			pr.OOMScoreAdj, err = p.intOrNull()
		case "nice":
			pr.Nice, err = p.int()
		case "uid":
			pr.UID, err = p.int()
		case "ignore":
			pr.Ignore, err = p.strings()
		case "cgroup_procs":
			pr.CgroupProcs, err = p.string()
		case "shares_memory":
			pr.SharesMemory, err = p.bool()
		case "outlives_parent":
			pr.OutlivesParent, err = p.bool()
		case "deadline_ms":
			pr.DeadlineMS, err = p.int64()
		default:
			err = errUnknown
		}
		return err
	})
}

func (p *parser) step(s *Step) error {
	return p.object(func(key string) (err error) {
		switch key {
		case "op":
			var op string
			op, err = p.string()
			s.Op = Op(op)
		case "bytes":
			s.Bytes, err = p.int64()
		case "rate":
			s.Rate, err = p.int64()
		case "duration_ms":
			s.DurationMS, err = p.int64()
		case "code":
			s.Code, err = p.int()
		case "name":
			s.Name, err = p.string()
		case "path":
			s.Path, err = p.string()
		default:
			err = errUnknown
		}
		return err
	})
}

var errUnknown = errors.New("is not a field of this version of the stressor")

// writer builds one line of JSON. Fields with their zero value are left out.
type writer []byte

func (w *writer) open(c byte) { *w = append(*w, c) }

func (w *writer) close(c byte) {
	if n := len(*w); (*w)[n-1] == ',' {
		*w = (*w)[:n-1]
	}
	*w = append(*w, c, ',')
}

func (w *writer) key(k string) {
	*w = append(appendString(*w, k), ':')
}

func (w *writer) str(k, v string) {
	if v != "" {
		w.key(k)
		*w = append(appendString(*w, v), ',')
	}
}

func (w *writer) int(k string, v int64) {
	if v != 0 {
		w.intp(k, &v)
	}
}

func (w *writer) intp(k string, v *int64) {
	if v != nil {
		w.key(k)
		*w = append(strconv.AppendInt(*w, *v, 10), ',')
	}
}

func (w *writer) adj(v *int) {
	if v != nil {
		n := int64(*v)
		w.intp("oom_score_adj", &n)
	}
}

func (w *writer) flag(k string, v bool) {
	if v {
		w.key(k)
		*w = append(*w, "true,"...)
	}
}

func (w *writer) strs(k string, v []string) {
	if len(v) == 0 {
		return
	}
	w.key(k)
	w.open('[')
	for _, s := range v {
		*w = append(appendString(*w, s), ',')
	}
	w.close(']')
}

func (w writer) line() []byte { return append(w[:len(w)-1], '\n') }

// AppendLaunch appends l as a line of JSON, its line feed included.
func AppendLaunch(dst []byte, l Launch) []byte {
	w := writer(dst)
	w.open('{')
	w.strs("argv", l.Argv)
	w.str("comm", l.Comm)
	w.str("dir", l.Dir)
	w.strs("env", l.Env)
	w.int("nice", int64(l.Nice))
	w.int("uid", int64(l.UID))
	w.strs("ignore", l.Ignore)
	w.adj(l.OOMScoreAdj)
	w.str("cgroup_procs", l.CgroupProcs)
	w.flag("outlives_parent", l.OutlivesParent)
	w.flag("one_cpu", l.OneCPU)
	w.int("deadline_ms", l.DeadlineMS)
	w.close('}')
	return w.line()
}

// AppendProfile appends p as a line of JSON, its line feed included.
func AppendProfile(dst []byte, p Profile) []byte {
	w := writer(dst)
	w.profile(p)
	return w.line()
}

func (w *writer) profile(p Profile) {
	w.open('{')
	w.str("name", p.Name)
	if len(p.Steps) > 0 {
		w.key("steps")
		w.open('[')
		for _, s := range p.Steps {
			w.open('{')
			w.str("op", string(s.Op))
			w.int("bytes", s.Bytes)
			w.int("rate", s.Rate)
			w.int("duration_ms", s.DurationMS)
			w.int("code", int64(s.Code))
			w.str("name", s.Name)
			w.str("path", s.Path)
			w.close('}')
		}
		w.close(']')
	}
	w.int("threads", int64(p.Threads))
	if len(p.Children) > 0 {
		w.key("children")
		w.open('{')
		for name, child := range p.Children {
			w.key(name)
			w.profile(child)
		}
		w.close('}')
	}
	w.adj(p.OOMScoreAdj)
	w.int("nice", int64(p.Nice))
	w.int("uid", int64(p.UID))
	w.strs("ignore", p.Ignore)
	w.str("cgroup_procs", p.CgroupProcs)
	w.flag("shares_memory", p.SharesMemory)
	w.flag("outlives_parent", p.OutlivesParent)
	w.int("deadline_ms", p.DeadlineMS)
	w.close('}')
}

// AppendReport appends r as a line of JSON, its line feed included.
func AppendReport(dst []byte, r Report) []byte {
	w := writer(dst)
	w.open('{')
	w.str("event", r.Event)
	w.str("name", r.Name)
	w.int("pid", int64(r.PID))
	w.int("mono_ns", r.MonoNS)
	w.int("step", int64(r.Step))
	w.int("held", r.Held)
	w.int("resident", r.Resident)
	w.int("overhead", r.Overhead)
	w.int("code", int64(r.Code))
	w.int("signal", int64(r.Signal))
	w.str("error", r.Error)
	w.close('}')
	return w.line()
}
