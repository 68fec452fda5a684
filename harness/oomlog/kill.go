package oomlog

import (
	"slices"
	"strings"
)

// end marks that the report has come to its kill, or will not.
func (p *Parser) end(d *draft) {
	d.body, d.section = false, sectionNone
	// A report that began earlier in the same place and got nothing since has
	// lost its end.
	for _, o := range p.open {
		if o == d {
			break
		}
		if !o.interleaved && o.Host == d.Host && o.caller == d.caller {
			o.body = false
		}
	}
}

func (p *Parser) applyChosen(l logLine) {
	k, ok := parseChosen(l.text)
	if !ok {
		return
	}
	k.At = clip(l.at, maxName)
	d := p.pick(l, func(d *draft) bool { return d.announced < 0 && d.fits(k.Message) })
	if d == nil {
		d = p.begin(l)
	}
	d.addKill(k)
	d.announced = len(d.Kills) - 1
}

func (p *Parser) applySharing(l logLine) {
	k, ok := parseNamed(l, "sharing same memory")
	if !ok {
		return
	}
	k.SharesMemory, k.bare = true, false
	d := p.latest(l, func(d *draft) bool { return len(d.Kills) > 0 })
	if d == nil {
		d = p.begin(l)
		p.end(d)
	}
	d.addKill(k)
}

func (p *Parser) applyExiting(l logLine) {
	k, ok := parseNamed(l, "is already exiting")
	if !ok {
		return
	}
	k.AlreadyExiting = true
	d := p.pickOrBegin(l, func(d *draft) bool { return d.fits(k.Message) })
	p.end(d)
	d.addKill(k)
}

// parseNamed reads a line that says no more of a process than its name.
func parseNamed(l logLine, next string) (KillLine, bool) {
	message, _ := classifyKill(l.text)
	pid, comm, _, ok := splitProcess(l.text[len(message):], next)
	return KillLine{At: clip(l.at, maxName), PID: pid, Comm: clip(comm, maxName), Message: strings.Clone(message)}, ok
}

// latest finds the latest report of the line's place, finished or not.
func (p *Parser) latest(l logLine, can func(*draft) bool) *draft {
	for _, d := range slices.Backward(p.open) {
		if d.same(l) && can(d) {
			return d
		}
	}
	return nil
}

// applyKill finds the report that a "Killed process" line ends, or begins
// one that is nothing but the line: the rate limit spares only it.
func (p *Parser) applyKill(l logLine) {
	k, ok := parseKill(l.text)
	if !ok {
		return
	}
	k.At = clip(l.at, maxName)
	// The kill that a report announced.
	announced := func(d *draft) bool {
		return d.announced >= 0 && k.Message == "" && d.Kills[d.announced].PID == k.PID
	}
	d := p.pick(l, announced)
	if d == nil {
		d = p.pick(l, func(d *draft) bool { return d.announced >= 0 && k.Message == "" })
	}
	if d != nil {
		a := d.Kills[d.announced]
		k.Message, k.Score, k.ChosenPID, k.ChosenComm = a.Message, a.Score, a.ChosenPID, a.ChosenComm
		k.ChosenThread = k.PID != a.PID && k.Comm == a.Comm && d.knows(k.PID) && !d.knows(a.PID) && d.Lost == nil
		k.SacrificeChild = k.PID != a.PID && !k.ChosenThread
		k.bare = k.bare || a.bare && k.TotalVMKB == nil && k.AnonRSSKB == nil
		d.Kills[d.announced] = k
		d.announced = -1
		p.end(d)
		return
	}
	if k.Message == "" && k.TotalVMKB == nil {
		return // "Killed process 5 (x)" alone is not the kernel's
	}
	d = p.pick(l, func(d *draft) bool {
		if d.ContextPID == nil {
			return false
		}
		return *d.ContextPID == k.PID || strings.Contains(k.Message, "allocating_task") && d.fits(k.Message)
	})
	if d == nil {
		d = p.pick(l, func(d *draft) bool {
			return d.ContextPID == nil && d.fits(k.Message) && len(d.Kills) == 0 &&
				(d.head || d.summary || d.knows(k.PID))
		})
	}
	if d != nil {
		d.addKill(k)
		p.end(d)
		return
	}
	// A member of a group, or a line that the log has twice.
	d = p.latest(l, func(d *draft) bool {
		if len(d.Kills) == 0 {
			return false
		}
		if d.GroupPath != "" && d.fits(k.Message) && (len(d.Tasks) == 0 || d.knows(k.PID)) {
			return true
		}
		return slices.ContainsFunc(d.Kills, func(o KillLine) bool { return sameKill(o, k) })
	})
	if d == nil {
		d = p.begin(l)
		p.end(d)
	}
	d.addKill(k)
}

// sameKill reports whether two lines print the same of the same process.
func sameKill(a, b KillLine) bool {
	equal := func(x, y *uint64) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }
	return a.PID == b.PID && a.Comm == b.Comm && a.Message == b.Message &&
		a.AnonRSSKB != nil && equal(a.AnonRSSKB, b.AnonRSSKB) &&
		equal(a.TotalVMKB, b.TotalVMKB) && equal(a.FileRSSKB, b.FileRSSKB)
}

func (p *Parser) applyGroup(l logLine) {
	path := strings.TrimPrefix(l.text, "Tasks in ")
	if i := strings.LastIndex(path, " are going to be killed"); i >= 0 {
		path = path[:i]
	}
	path = clip(path, maxPath)
	d := p.latest(l, func(d *draft) bool { return len(d.Kills) > 0 })
	if d == nil || d.GroupPath != "" && d.GroupPath != path {
		last := d
		d = p.begin(l)
		// Beyond the rate limit groups follow each other without a head: the kill
		// before this line is the first of this group, not a member of the last.
		if last != nil && len(last.Kills) > 1 && !last.Kills[len(last.Kills)-1].Duplicate {
			d.addKill(last.Kills[len(last.Kills)-1])
			last.Kills = last.Kills[:len(last.Kills)-1]
		}
		p.end(d)
	}
	d.GroupPath = path
}

func (p *Parser) applyReaper(l logLine) {
	rest := strings.TrimPrefix(l.text, "oom_reaper: ")
	unable := strings.HasPrefix(rest, "unable")
	pid, comm, tail, ok := splitProcess(rest, "now anon-rss:")
	if !unable {
		pid, comm, tail, ok = splitReaped(rest)
	}
	if !ok {
		return
	}
	line := ReapLine{PID: pid, Comm: clip(comm, maxName), Unable: unable}
	sizes(tail, map[string]**uint64{
		"anon-rss:": &line.AnonRSSKB, "file-rss:": &line.FileRSSKB, "shmem-rss:": &line.ShmemRSSKB,
	})
	// The reaper is a thread of its own: the caller's tag does not tell.
	l.caller = ""
	d := p.latest(l, func(d *draft) bool {
		return slices.ContainsFunc(d.Kills, func(k KillLine) bool { return k.PID == pid })
	})
	if d == nil {
		d = p.latest(l, func(d *draft) bool { return d.ContextPID != nil && *d.ContextPID == pid })
	}
	if d == nil {
		p.rest()
		return
	}
	if len(d.Reaped) >= MaxReaped {
		d.cap("reaped")
		return
	}
	d.Reaped = append(d.Reaped, line)
}

// splitReaped reads "reaped process N (comm), now anon-rss:...".
func splitReaped(s string) (pid int, comm, tail string, ok bool) {
	i := strings.LastIndex(s, "), now ")
	if i < 0 {
		return splitProcess(s, "now")
	}
	pid, comm, _, ok = splitProcess(s[:i+1], "\x00")
	return pid, comm, s[i+len("), now "):], ok
}

func (p *Parser) applyPanic(l logLine) {
	text := strings.TrimSpace(strings.TrimPrefix(l.text, panicMsg))
	if !strings.HasPrefix(text, "Out of memory") && !strings.HasPrefix(text, "System is deadlocked") {
		p.rest()
		return
	}
	d := p.latest(l, func(d *draft) bool {
		return (d.body || d.NoKillable) && d.PanicText == "" &&
			len(d.Killed()) == 0
	})
	if d == nil {
		d = p.begin(l)
	}
	d.PanicText = clip(text, maxPath)
	if strings.Contains(text, "no killable processes") {
		d.NoKillable = true
	}
	// out_of_memory() never panics for want of a victim in a cgroup, and with
	// vm.panic_on_oom 1 (system-wide) not for a cgroup at all.
	if d.NoKillable || strings.HasPrefix(text, "System is deadlocked") || strings.Contains(text, "system-wide") {
		d.scope(true)
	}
	p.end(d)
}
