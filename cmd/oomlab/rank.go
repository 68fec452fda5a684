package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// rankFlags are the flags of oomlab rank.
type rankFlags struct {
	output   *choice
	cgroup   string
	pid      int
	top      int
	domains  int
	growth   time.Duration
	watch    bool
	interval time.Duration
}

func (a *app) rankCommand() *cobra.Command {
	var f rankFlags
	cmd := &cobra.Command{
		Use:   "rank [flags]",
		Short: "show who would die next on this machine",
		Long: `Show who would die next on this machine.

For each OOM domain (the machine, every memory cgroup with a limit, each set of NUMA
nodes that a process is confined to) the candidates are listed in the order in which
the kernel would choose them, with the score and what it is made of, in pages. The
score is computed as oom_badness() in mm/oom_kill.c does for that domain;
/proc/PID/oom_score, which is about the machine only, is read beside it.

A domain comes with how much it has left. Growth is measured between two readings,
and with --watch over the last minute.

--pid explains one process: the domains in which it is a candidate, its place in
each, and the oom_score_adj that would change it.

Nothing is changed, and root is not needed; without it a few processes may not be
readable.`,
		Example: `  oomlab rank
  oomlab rank --cgroup /system.slice/app.service --top 20
  oomlab rank --pid 4711
  oomlab rank --watch`,
		Args: wants(0, 0, ""),
	}
	fl := cmd.Flags()
	f.output = output(cmd, "text", "json")
	fl.StringVar(&f.cgroup, "cgroup", "", "only this memory cgroup, a `PATH` as in /proc/PID/cgroup")
	fl.IntVar(&f.pid, "pid", 0, "explain the process `PID`")
	fl.IntVar(&f.top, "top", 5, "rows of each domain; 0: all")
	fl.IntVar(&f.domains, "domains", 10, "domains beside the machine, those nearest to their limit; 0: all")
	fl.DurationVar(&f.growth, "growth", 250*time.Millisecond, "time between two readings; 0: only one, no growth")
	fl.BoolVar(&f.watch, "watch", false, "again and again, until interrupted")
	fl.DurationVar(&f.interval, "interval", 2*time.Second, "time between two rankings of --watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		return a.rank(cmd.Context(), f)
	}
	return cmd
}

func (f rankFlags) check(cmd *cobra.Command) error {
	set := cmd.Flags().Changed
	switch {
	case set("pid") && f.pid < 1:
		return &mistake{fmt.Sprintf("--pid %d is not the number of a process", f.pid), ""}
	case set("pid") && set("cgroup"):
		return &mistake{"--pid and --cgroup do not go together", "--pid shows every domain of the process"}
	case set("pid") && (set("top") || set("domains")):
		return &mistake{"--top and --domains are of the list, and --pid shows one process", ""}
	case set("cgroup") && (f.cgroup == "" || f.cgroup[0] != '/'):
		return &mistake{fmt.Sprintf("--cgroup %q does not begin with /", f.cgroup),
			"the path is the one in /proc/PID/cgroup, without the mount point"}
	case f.top < 0 || f.domains < 0:
		return &mistake{"--top and --domains count from 0", "0 shows all"}
	case f.growth < 0:
		return &mistake{fmt.Sprintf("--growth %s is negative", f.growth), "0 reads once"}
	case f.interval <= 0:
		return &mistake{fmt.Sprintf("--interval %s is not positive", f.interval), ""}
	}
	return nil
}
