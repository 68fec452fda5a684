package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/trace"
)

// traceFlags are the flags of oomlab trace.
type traceFlags struct {
	output   *choice
	tier     *choice
	cgroup   string
	pid      int
	pod      string
	count    int
	duration time.Duration
	exec     string
	snapshot string
	signals  bool
	verbose  bool
	burst    int
	listen   string
	kube     bool
	where    kube.Where
	filter   trace.Filter
}

func (a *app) traceCommand() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace [flags]",
		Short: "print every kill on this machine while it happens",
		Long: `Print every kill on this machine while it happens, one line each, until interrupted.

A line says who asked for memory, who was killed, what ran out (the limit of a
container, pod, slice or other cgroup, NUMA nodes, or the machine), the victim's score,
its memory, and the victim's own cgroup, which is not always the trigger's. Both
processes are described as they were inside the kernel at that moment. -v adds what
there is besides: the scoreboard, the kernel's stack, the allocation, the command
lines, how long the victim took to end. -o json has everything, one line for a kill;
oomlab schema --trace describes it.

Signals that known userspace OOM daemons send are shown too, with their sender;
--signals shows every SIGKILL and SIGTERM that a process sends to another.

How much can be told depends on the kernel and on privileges. What is watched and what
is missing is said first, on standard error: eBPF tier 3 (scores), 2 (limits), 1
(victims; the kernel log says what ran out), or the kernel log only. CAP_BPF,
CAP_PERFMON and CAP_SYSLOG are enough. Events that were lost are counted and told.

--kube shows the kills on all nodes of a cluster in one stream, each with its node. It
reads the logs of the pods of docs/tracing/daemonset.yaml from now on, and needs no
privileges but those: list pods, get pods/log.

The exit status is 0 when --count or --duration is reached, and after SIGINT or
SIGTERM; 4 if kills cannot be seen here.`,
		Example: `  oomlab trace
  oomlab trace -v --cgroup /kubepods.slice
  oomlab trace -o json --duration 1h > kills.jsonl
  oomlab trace --kube --context production --pod default/web-0
  oomlab trace --snapshot --exec 'logger "oom: $OOM_VICTIM_COMM"'`,
		Args: wants(0, 0, ""),
	}
	fl := cmd.Flags()
	f.output = output(cmd, "text", "json")
	f.tier = &choice{value: "3", of: []string{"3", "2", "1", "log"}}
	fl.Var(f.tier, "tier", "how far to go: eBPF tier 3, 2 or 1, or the kernel log only; 3 only with -v or -o json")
	fl.StringVar(&f.cgroup, "cgroup", "", "kills in this memory cgroup or below, a `PATH` as in /proc/PID/cgroup")
	fl.IntVar(&f.pid, "pid", 0, "kills of, or by, the process `PID`")
	fl.StringVar(&f.pod, "pod", "", "kills in the pod `NAMESPACE/NAME`")
	fl.IntVar(&f.count, "count", 0, "end after so many kills")
	fl.DurationVar(&f.duration, "duration", 0, "end after this time")
	fl.StringVar(&f.exec, "exec", "", "run a shell `COMMAND` for each kill; the kill is its input, as JSON")
	fl.StringVar(&f.snapshot, "snapshot", "", "store the machine's counters and ranking after each kill, below `DIR`")
	fl.Lookup("snapshot").NoOptDefVal = "oom-snapshots"
	fl.BoolVar(&f.signals, "signals", false, "show every SIGKILL and SIGTERM that a process sends to another")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "scores, stack, allocation, command lines and times")
	fl.IntVar(&f.burst, "burst", trace.DefaultBurst, "kills at once that must not be lost; sizes the ring buffer")
	fl.StringVar(&f.listen, "listen", "", "serve metrics for Prometheus at `ADDRESS`, such as :9464, path /metrics")
	fl.BoolVar(&f.kube, "kube", false, "the kills on all nodes of a cluster that runs docs/tracing/daemonset.yaml")
	fl.StringVar(&f.where.Kubeconfig, "kubeconfig", "", "with --kube: the cluster of a kubeconfig `FILE`")
	fl.StringVar(&f.where.Context, "context", "",
		"with --kube: the `CONTEXT` of the kubeconfig (default its current one)")
	fl.StringVar(&f.where.Namespace, "namespace", image.Namespace, "with --kube: the `NAMESPACE` of the DaemonSet")
	fl.StringVar(&f.where.Node, "node", "", "with --kube: only this `NODE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		if f.kube {
			return a.traceKube(cmd.Context(), f)
		}
		return a.trace(cmd.Context(), f)
	}
	return cmd
}

func (f *traceFlags) check(cmd *cobra.Command) error {
	set := cmd.Flags().Changed
	namespace, name, ok := strings.Cut(f.pod, "/")
	switch {
	case set("pid") && f.pid < 1:
		return &mistake{fmt.Sprintf("--pid %d is not the number of a process", f.pid), ""}
	case set("pod") && (!ok || namespace == "" || name == "" || strings.Contains(name, "/")):
		return &mistake{fmt.Sprintf("--pod %q is not NAMESPACE/NAME", f.pod), "for example --pod default/web-0"}
	case set("cgroup") && (f.cgroup == "" || f.cgroup[0] != '/'):
		return &mistake{fmt.Sprintf("--cgroup %q does not begin with /", f.cgroup),
			"the path is the one in /proc/PID/cgroup, without the mount point"}
	case set("exec") && strings.TrimSpace(f.exec) == "":
		return &mistake{"--exec: the command is empty", ""}
	case f.burst < 1 || f.burst > trace.MaxBurst:
		return &mistake{fmt.Sprintf("--burst %d is not from 1 to %d", f.burst, trace.MaxBurst), ""}
	case f.signals && f.tier.value == "log":
		return &mistake{"--signals and --tier log do not go together", "the kernel log tells of no signals"}
	}
	if err := f.checkKube(set); err != nil {
		return err
	}
	f.filter = trace.Filter{Cgroup: strings.TrimSuffix(f.cgroup, "/"), PID: f.pid, Namespace: namespace, Pod: name,
		Signals: f.signals}
	return nil
}

// checkKube checks what goes together with --kube.
func (f *traceFlags) checkKube(set func(string) bool) error {
	if !f.kube {
		for _, name := range []string{"kubeconfig", "context", "namespace", "node"} {
			if set(name) {
				return &mistake{fmt.Sprintf("--%s names a cluster, and this machine is traced", name), "add --kube"}
			}
		}
		return nil
	}
	for _, name := range []string{"tier", "exec", "snapshot", "signals", "burst", "listen"} {
		if set(name) {
			return &mistake{fmt.Sprintf("--%s and --kube do not go together", name),
				"it is a flag of the tracers on the nodes: docs/tracing/daemonset.yaml has their command"}
		}
	}
	f.where.Current = true
	if _, err := f.where.Config(); err != nil {
		return &mistake{"--kube: " + err.Error(), "kubectl config get-contexts shows the contexts"}
	}
	return nil
}
