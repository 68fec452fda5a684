package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/harness/judge"
)

// judgeFlags are the flags of oomlab judge.
type judgeFlags struct {
	during  string
	since   string
	then    time.Time // what since means; zero: since the machine was started
	limit   time.Duration
	settle  time.Duration
	victims []string
	kills   string
	expect  judge.Expectation
	exit    exitFlags
	output  *choice
}

func (a *app) judgeCommand() *cobra.Command {
	var f judgeFlags
	cmd := &cobra.Command{
		Use:   "judge --during COMMAND|--since TIME",
		Short: "watch this machine during an experiment of others, and judge who was killed",
		Long: `Watch this machine while an experiment runs that others have made, such as a chaos
tool's memory hog or a load test, and judge what the kernel killed.

Without --victim every victim has to be a process that the command started, and at
least one has to be killed: the hog, and nobody else. --victim says who else may be:
a process by its name, a cgroup and those below by its path, or a pod by its
NAMESPACE/NAME, with wildcards. Every kill must match one of them, and each of them a
kill. Without --during this machine is watched for as long as --for says, for
experiments that are started elsewhere.

--since judges what has happened already, by --victim or --kills. TIME is
2026-12-01 10:00, 10:00 (today), both in this machine's zone and with seconds if
need be, 2026-12-01T10:00:00Z, @1764583200 (seconds since 1970), -10min or '10 min
ago' (s, min, h, d), or boot. What is left of that time is the kernel log and how
many kills the kernel has counted since the machine was started. Where those do not
tell for certain, the verdict is broken.

eBPF, the kernel log and the counter oom_kill of /proc/vmstat watch each for itself.
Where they do not tell of the same processes, or events were lost, the verdict is
broken. SIGKILL and SIGTERM that others send to the command's processes, and those of
userspace OOM daemons, are shown with their sender: they are not kills of the kernel.

The command's standard output and error are this one's standard error. It is ended
with all that it has started when the time is over, or by Ctrl-C, and the judgement
until then is printed; what it leaves running by itself stays.

` + judgeStatuses,
		Example: `  oomlab judge --during 'stress-ng --vm 1 --vm-bytes 110% --timeout 20s'
  oomlab judge --during ./load-test.sh --victim /system.slice/app.service --kills 1
  oomlab judge --for 5m --victim 'default/web-*' -o json
  oomlab judge --during 'make -j8' --kills 0
  oomlab judge --since -10min --kills 0`,
		Args: wants(0, 0, ""),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.during, "during", "", "run a shell `COMMAND` and watch until it has ended")
	fl.StringVar(&f.since, "since", "", "judge what has happened since `TIME`, such as 10:00, -10min, boot")
	fl.DurationVar(&f.limit, "for", time.Hour, "watch for this `TIME` at most; the command is ended then")
	fl.DurationVar(&f.settle, "settle", time.Second, "go on for this `TIME` after the command has ended, within --for")
	fl.StringArrayVar(&f.victims, "victim", nil, "expect a victim: a process, /CGROUP or NAMESPACE/POD; repeatable")
	fl.StringVar(&f.kills, "kills", "", "expect so many kills: `N`, or N..M (default at least 1)")
	f.exit.addSkip(fl)
	f.output = output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd.Flags(), time.Now()); err != nil {
			return err
		}
		return f.exit.of(cmd.Context(), a, a.judge(cmd.Context(), f))
	}
	return cmd
}

const judgeStatuses = `Exit status:
  0    pass: who was expected was killed, and nobody else
  1    fail: somebody else was, or nobody
  4    skip: kills cannot be seen on this machine
  64   wrong usage
  70   broken: the witnesses contradict each other, or lost events
  130  interrupted`

func (f *judgeFlags) check(given *pflag.FlagSet, now time.Time) error {
	if given.Changed("since") {
		for _, name := range []string{"during", "for", "settle"} {
			if given.Changed(name) {
				return &mistake{"--since and --" + name + " contradict each other",
					"--since judges what has happened already"}
			}
		}
		var err error
		if f.then, err = parseSince(f.since, now); err != nil {
			return err
		}
	}
	f.expect = judge.Expectation{Victims: f.victims, Least: 1, Most: -1}
	switch {
	case f.since != "" && len(f.victims) == 0 && f.kills == "":
		return &mistake{"nothing says what is expected", "say it with --victim, or with --kills"}
	case f.during == "" && len(f.victims) == 0 && f.kills == "":
		return &mistake{"nothing says what is expected",
			"name the experiment with --during, or its victims with --victim"}
	case f.during != "" && strings.TrimSpace(f.during) == "":
		return &mistake{"--during: the command is empty", ""}
	case f.during == "" && f.since == "" && !given.Changed("for"):
		return &mistake{"without --during nothing ends the experiment", "say how long it lasts with --for"}
	case f.limit <= 0:
		return &mistake{fmt.Sprintf("--for %s is no time to watch", f.limit), ""}
	case f.settle < 0:
		return &mistake{fmt.Sprintf("--settle %s is less than nothing", f.settle), ""}
	}
	for _, v := range f.victims {
		if err := judge.Check(v); err != nil {
			return &mistake{fmt.Sprintf("--victim %q: %v", v, err),
				"a process such as stress-ng-vm, /CGROUP, or NAMESPACE/POD; * and ? are wildcards"}
		}
	}
	if f.kills == "" {
		return f.exit.check()
	}
	least, most, ranged := strings.Cut(f.kills, "..")
	n, err := strconv.ParseUint(least, 10, 31)
	m := n
	if err == nil && ranged {
		m, err = strconv.ParseUint(most, 10, 31)
	}
	if err != nil || m < n {
		return &mistake{fmt.Sprintf("--kills %s: that is neither a number nor a range", f.kills), "write 1, 0, or 1..3"}
	}
	if m == 0 && len(f.victims) > 0 {
		return &mistake{"--kills 0 and --victim contradict each other", ""}
	}
	f.expect.Least, f.expect.Most = int(n), int(m)
	return f.exit.check()
}
