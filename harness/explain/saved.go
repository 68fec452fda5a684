package explain

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// Saved is the least that would have let the victim live through this moment. It
// says nothing of the next: whoever asked goes on asking.
type Saved struct {
	Limit *SavedLimit `json:"limit,omitempty"`
	Adj   *SavedAdj   `json:"oom_score_adj,omitempty"`
}

// SavedLimit is the smallest limit, or on a machine the memory that was short, with
// which the allocation would have succeeded.
type SavedLimit struct {
	// Counter is memory or memory+swap of a cgroup, or machine.
	Counter string `json:"counter"`
	// Limit of the cgroup; 0 for a machine.
	Limit kernel.Bytes `json:"limit_bytes,omitempty"`
	// More is by how much that is more than there was.
	More    kernel.Bytes `json:"more_bytes"`
	RestsOn string       `json:"rests_on"`
}

// SavedAdj is the oom_score_adj nearest to the victim's at which another process, or
// nobody, is chosen.
type SavedAdj struct {
	Adj    int `json:"oom_score_adj"`
	Change int `json:"change"`
	// Instead is who dies then; nil: nobody can be chosen.
	InsteadPID  *int   `json:"instead_pid,omitempty"`
	InsteadComm string `json:"instead_comm,omitempty"`
	RestsOn     string `json:"rests_on"`
}

func (e *Explanation) saved() *Saved {
	if e.Victim == nil || e.report.Sysrq {
		return nil
	}
	s := Saved{Limit: e.savedLimit(), Adj: e.savedAdj()}
	if s.Limit == nil && s.Adj == nil {
		return nil
	}
	return &s
}

// savedLimit adds what was asked for to what was in use: try_charge() in
// mm/memcontrol.c tries what it needs alone after a batch has failed, and reclaim
// had found nothing more to give back by then.
func (e *Explanation) savedLimit() *SavedLimit {
	piece := max(e.PageSize, e.piece())
	if e.Global != nil && *e.Global {
		return e.savedMachine(piece)
	}
	u := e.report.Memcg
	if u == nil || e.LimitHit == "" {
		return nil
	}
	c := u.Memory
	if e.LimitHit == "memory+swap" {
		c = u.MemorySwap
	}
	limit := zoneBytes(c.UsageKB) + piece
	more := limit - zoneBytes(c.LimitKB)
	if more <= 0 {
		return nil // freed before it was printed; what was missing is not known
	}
	return &SavedLimit{Counter: e.LimitHit, Limit: limit, More: more, RestsOn: fmt.Sprintf("the %s in use and the %s "+
		"that were asked for, after reclaim; at this moment only, not for what would have been asked for next",
		zoneBytes(c.UsageKB).Human(), piece.Human())}
}

// savedMachine is what the zone that was nearest to its watermark lacked.
func (e *Explanation) savedMachine(piece kernel.Bytes) *SavedLimit {
	if e.Memory == nil {
		return nil
	}
	var best *FreeZone
	short := func(z *FreeZone) kernel.Bytes { return z.Mark + piece - z.Usable }
	for i := range e.Memory.Free {
		z := &e.Memory.Free[i]
		switch {
		case z.Why == "":
			return nil // by then there was enough
		case z.Why == lowMark && (best == nil || short(z) < short(best)):
			best = z
		}
	}
	if best == nil {
		return nil
	}
	return &SavedLimit{Counter: "machine", More: short(best), RestsOn: fmt.Sprintf("so much more free in zone %s of "+
		"node %d is above its watermark with the %s that were asked for; at this moment only", printable(best.Zone),
		best.Node,
		piece.Human())}
}

// savedAdj searches the nearest adjustment below the victim's.
func (e *Explanation) savedAdj() *SavedAdj {
	p := e.replay
	if e.Agrees == nil || !*e.Agrees || e.report.AllocatingTask || p.chosen < 0 || p.origin != nil ||
		p.tasks[p.chosen].Adj <= predict.AdjMin {
		return nil
	}
	sizes := []kernel.Pages{e.Scored()}
	rests := "the scores of this table"
	if e.TotalPages == nil {
		if e.Follows != nil && e.Follows.Max != nil {
			sizes = append(sizes, *e.Follows.Max)
			rests = fmt.Sprintf("the scores of this table, for a domain of %s pages", e.span(*e.Follows, true, 0))
		} else {
			rests = fmt.Sprintf("the scores of this table, for a domain of %d pages; its size is not known", sizes[0])
		}
	}
	v := p.chosen
	p.tasks = append([]predict.Task(nil), p.tasks...)
	old := p.tasks[v].Adj
	spared := func(adj int) bool {
		p.tasks[v].Adj = adj
		for _, total := range sizes {
			if p.choose(total) == v {
				return false
			}
		}
		return true
	}
	lo, hi := predict.AdjMin, old // spared(lo) holds: it exempts
	if !spared(lo) {
		return nil
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; spared(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	out := &SavedAdj{Adj: lo, Change: lo - old, RestsOn: rests + ", each process as large as it was"}
	p.tasks[v].Adj = lo
	if i := p.choose(sizes[0]); i >= 0 {
		out.InsteadPID, out.InsteadComm = &p.rows[i].PID, p.rows[i].Name
	}
	return out
}
