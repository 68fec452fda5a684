//go:build !notlinux

package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/rank"
)

// watched is how far back --watch looks for growth.
const watched = time.Minute

// rank prints rankings of this machine: one, or with --watch one after the other.
func (a *app) rank(ctx context.Context, f rankFlags) error {
	c, err := census.Open(probe.Root("/"))
	if err != nil {
		return err
	}
	if f.watch {
		return a.watchRank(ctx, c, f)
	}
	return a.rankOnce(ctx, c, f)
}

// rankOnce prints one ranking.
func (a *app) rankOnce(ctx context.Context, c *census.Census, f rankFlags) error {
	var before *rank.Snapshot
	if f.growth > 0 {
		s, err := c.ReadDomains(ctx)
		if err != nil {
			return err
		}
		before = &s
		select {
		case <-time.After(f.growth):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	now, err := c.ReadFor(ctx, f.options())
	if err != nil {
		return err
	}
	return a.printRank(c, f, now, before)
}

// options are what of a ranking is shown.
func (f rankFlags) options() rank.Options {
	if f.pid != 0 {
		return rank.Options{} // to know the place of one takes all
	}
	return rank.Options{Cgroup: f.cgroup, Top: f.top, Domains: f.domains}
}

// printRank prints a ranking of a snapshot, or one process of it.
func (a *app) printRank(c *census.Census, f rankFlags, now rank.Snapshot, before *rank.Snapshot) error {
	o := f.options()
	o.Before = before
	if f.pid != 0 {
		one, err := rank.Explain(now, f.pid, o)
		if err != nil {
			return &mistake{err.Error(), ""}
		}
		rows := []rank.Row{one.Row}
		c.Score(rows)
		one.Row = rows[0]
		if f.output.value == "json" {
			return rank.JSON(a.out, one)
		}
		return one.Text(raw(a.out), a.outWidth())
	}
	r, err := rank.Rank(now, o)
	if err != nil {
		return &mistake{err.Error(), "oomlab rank --domains 0 shows all"}
	}
	for _, d := range r.Domains {
		c.Score(d.Rows)
	}
	if f.output.value == "json" {
		return rank.JSON(a.out, r)
	}
	return r.Text(raw(a.out), a.outWidth())
}

// watchRank prints rankings until it is interrupted. Growth is measured from the
// oldest snapshot of the last minute.
func (a *app) watchRank(ctx context.Context, c *census.Census, f rankFlags) error {
	var past []rank.Snapshot
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		now, err := c.ReadFor(ctx, f.options())
		if err != nil {
			return err
		}
		for len(past) > 1 && now.AtNS-past[0].AtNS > watched.Nanoseconds() {
			past = past[1:]
		}
		var before *rank.Snapshot
		if len(past) > 0 {
			before = &past[0]
		}
		if f.output.value == "text" {
			if err := a.heading(); err != nil {
				return err
			}
		}
		if err := a.printRank(c, f, now, before); err != nil {
			return err
		}
		now.Processes, now.Briefs = nil, nil // growth is of domains
		past = append(past, now)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// heading clears a terminal, and elsewhere says when a ranking was made.
func (a *app) heading() error {
	text := time.Now().Format(time.TimeOnly) + "\n"
	if screen(a.out) != nil && os.Getenv("TERM") != "dumb" {
		text = "\x1b[H\x1b[2J" + text
	}
	_, err := io.WriteString(raw(a.out), text)
	return err
}
