package agent

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/rank"
)

// rankPause is the least time between two rankings. It is as long as the last one took
// where that is more, so that the machine has half of its time for the plan.
const rankPause = 20 * time.Millisecond

// ranker ranks the processes of the machine again and again, so that there is a
// ranking of the moment before a kill, which nobody knows in advance.
type ranker struct {
	run    *run
	census *census.Census
	below  string // the run's own cgroup, as paths of the census have it
	last   []evidence.RankedDomain
}

// startRanking ranks until the function that it returns is called, if the plan asks for
// it. The first ranking is made before it returns.
func (r *run) startRanking() (stop func()) {
	if !r.plan.Ranks {
		return func() {}
	}
	c, err := census.Open(r.agent.root)
	if err != nil {
		r.failure("rank: " + err.Error())
		return func() {}
	}
	k := &ranker{run: r, census: c, below: strings.TrimPrefix(r.tree.base, r.agent.hierarchy())}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	k.rank(ctx, r.emit)
	go func() {
		defer close(ended)
		k.repeat(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// repeat ranks until ctx ends.
func (k *ranker) repeat(ctx context.Context) {
	// What the agent says of a run comes from its loop, in order.
	post := func(e evidence.Event) {
		select {
		case k.run.posted <- func() { k.run.emit(e) }:
		case <-ctx.Done():
		}
	}
	pause := time.NewTimer(rankPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		took := k.rank(ctx, post)
		pause.Reset(max(rankPause, took))
	}
}

// rank makes a ranking and hands it on if it is another one than the last.
func (k *ranker) rank(ctx context.Context, to func(evidence.Event)) time.Duration {
	from := monotonic()
	domains, err := k.domains(ctx)
	end := monotonic()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		to(evidence.Event{Source: evidence.Agent, Kind: evidence.Failure, Text: "rank: " + err.Error()})
	case !reflect.DeepEqual(domains, k.last):
		k.last = domains
		to(evidence.Event{Source: evidence.Agent, Kind: evidence.Ranked,
			Ranking: &evidence.Ranking{FromNS: from, ToNS: end, Domains: domains}})
	}
	return time.Duration(end - from)
}

// domains are the machine and the run's own cgroups with a limit.
func (k *ranker) domains(ctx context.Context) ([]evidence.RankedDomain, error) {
	s, err := k.census.Read(ctx)
	if err != nil {
		return nil, err
	}
	ranking, err := rank.Rank(s, rank.Options{})
	if err != nil {
		return nil, err
	}
	var out []evidence.RankedDomain
	for _, d := range ranking.Domains {
		one := evidence.RankedDomain{TotalPages: d.TotalPages, Rows: []evidence.RankedRow{}}
		switch {
		case d.Kind == rank.KindMachine:
		case d.Kind == rank.KindCgroup && d.Path != k.below && kernel.InCgroup(d.Path, k.below):
			one.Cgroup = strings.TrimPrefix(d.Path, k.below)
		default:
			continue
		}
		for _, row := range d.Rows {
			one.Rows = append(one.Rows, evidence.RankedRow{PID: row.PID, Adj: row.Adj,
				Holds: row.RSS + row.Swap + row.PgTables, Points: row.Points})
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b evidence.RankedDomain) int { return strings.Compare(a.Cgroup, b.Cgroup) })
	if len(out) == 0 {
		return nil, errors.New("the ranking has no domain of the run's")
	}
	return out, nil
}
