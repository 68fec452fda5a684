package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// runFlags are the flags of oomlab run.
type runFlags struct {
	target, output     *choice
	kernel, modules    string
	runsDir, junit     string
	html               string
	cgroup             int
	userland, arch     *choice
	repeat, parallel   int
	hostOOM, allowSkip bool
	quiet, verbose     bool
	failFast           bool
	exit               exitFlags
	kcidb              kcidbFlags
	cluster            *choice
	where              kube.Where
	nodes              string
}

// repeatable are the flags that the command which repeats a run must have.
var repeatable = []string{"target", "arch", "kernel", "modules", "cgroup", "userland", "allow-host-oom", "cluster",
	"in-container", "kubeconfig", "context", "namespace", "node", "nodes", "allow-node-oom"}

const defaultRunsDir = "runs"

func (a *app) runCommand() *cobra.Command {
	f := runFlags{target: &choice{of: scenario.TargetNames(scenario.Targets...)}, cluster: &choice{of: []string{"vm"}},
		userland: &choice{of: scenario.Userlands}, arch: &choice{of: kernels.Flavours()}}
	cmd := &cobra.Command{
		Use:   "run [flags] SCENARIO|FILE.yaml|PATTERN...",
		Short: "run scenarios and judge what happened",
		Long: `Run scenarios and judge what happened.

A scenario is named by its path in the library (oomlab list), by a file that
ends in .yaml, or by - for standard input. A pattern names several: a directory
(memcg), wildcards (memcg/oom-*), or ... for all. Nothing is run by default.

Without --target each scenario runs here if this machine can run it, and in a
VM otherwise; the report says which, and why.

` + exitStatuses + `

Several scenarios: the worst, in the order broken, fail, skip, pass.`,
		Example: `  oomlab run memcg/adj-outweighs-size
  oomlab run --target vm --kernel 6.12 system/...
  oomlab run -o json ... | jq .verdict`,
		Args:              wants(1, -1, "a scenario to run (... is all of them)"),
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.exit.of(cmd.Context(), a, a.run(cmd.Context(), f, repeats(cmd.Flags()), args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(f.target, "target", "where it runs; chosen for each scenario when not given")
	flags.Var(f.arch, "arch", "processor and pages of the VM: as --kernel KERNEL/arm64, KERNEL/arm64-16k\n"+
		"(default this machine's)")
	flags.StringVar(&f.kernel, "kernel", "",
		"`KERNEL` of the VM: 6.12, an exact release, or a path to a bzImage or a kernel tree\n(default the newest "+
			kernels.DefaultSeries+")")
	flags.StringVar(&f.modules, "modules", "", "`DIR` of the modules of a bzImage (default modules beside it)")
	flags.IntVar(&f.cgroup, "cgroup", 0, "cgroup `VERSION` of the VM, 1 or 2, where a scenario does not say")
	flags.Var(f.userland, "userland",
		"distribution that the VM boots, with systemd, where a scenario does not say;\nprograms are looked up there")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where the run directories are made")
	flags.IntVar(&f.repeat, "repeat", 1, "run everything `N` times and compare")
	flags.IntVar(&f.parallel, "parallel", 0, "run `N` VMs side by side (default as many as there is room for)")
	flags.BoolVar(&f.hostOOM, "allow-host-oom", false, "let the local target run this machine out of memory")
	flags.Var(f.cluster, "cluster", "the cluster for scenarios with pods: one of oomlab's own in a VM (the default)")
	flags.BoolVar(&f.where.Container, "in-container", false,
		"have the node of that VM cluster be a container in its VM, as kind's nodes are")
	flags.StringVar(&f.where.Kubeconfig, "kubeconfig", "",
		"the cluster for scenarios with pods: that of a kubeconfig `FILE`")
	flags.StringVar(&f.where.Context, "context", "", "the `CONTEXT` of the kubeconfig (default its current one)")
	flags.StringVar(&f.where.Namespace, "namespace", "", "`NAMESPACE` of the pods in that cluster (default oomlab)")
	flags.StringVar(&f.where.Node, "node", "", "`NODE` of that cluster to run on (default any that is ready)")
	flags.StringVar(&f.nodes, "nodes", "", "run on every node of that cluster whose labels match `SELECTOR`")
	flags.StringSliceVar(&f.where.AllowNodeOOM, "allow-node-oom", nil,
		"let the `NODE` of that cluster run out of memory")
	flags.BoolVar(&f.allowSkip, "allow-skip", false, "count a scenario that cannot run here as passed")
	flags.BoolVar(&f.failFast, "fail-fast", false, "stop at the first run that does not pass")
	f.exit.add(flags)
	f.output = output(cmd, "text", "json", "junit", "ktap", "kcidb", "markdown", "html")
	f.kcidb.add(flags)
	flags.StringVar(&f.html, "html", "", "write an HTML report to `FILE` as well")
	flags.StringVar(&f.junit, "junit", "", "write a JUnit report to `FILE` as well")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress, and little about runs that passed")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show everything, including events as they happen")
	return cmd
}

// repeats are the given flags that belong into the command that repeats a run.
func repeats(flags *pflag.FlagSet) []string {
	var out []string
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains(repeatable, f.Name) {
			return
		}
		list, isList := f.Value.(pflag.SliceValue)
		switch {
		case f.Value.Type() == "bool":
			out = append(out, "--"+f.Name)
		case isList:
			out = append(out, "--"+f.Name, strings.Join(list.GetSlice(), ","))
		default:
			out = append(out, "--"+f.Name, f.Value.String())
		}
	})
	return out
}

// check finds flags that contradict each other.
func (f runFlags) check() error {
	switch on := scenario.Target(f.target.value).Traits(); {
	case f.cgroup < 0 || f.cgroup > 2:
		return &mistake{fmt.Sprintf("--cgroup %d: there are versions 1 and 2", f.cgroup), ""}
	case f.repeat < 1:
		return &mistake{fmt.Sprintf("--repeat %d: a scenario is run at least once", f.repeat), ""}
	case f.quiet && f.verbose:
		return &mistake{"-q and -v contradict each other", ""}
	case on.Here && f.arch.value != "":
		return &mistake{"--arch is for VMs; the local target is this machine as it is", "leave out --target local"}
	case f.arch.value != "" && f.kernel != "" && kernels.Of(f.kernel, f.arch.value) == f.kernel:
		return &mistake{fmt.Sprintf("--arch is for a KERNEL that does not say it; %s does", f.kernel),
			"leave out --arch"}
	case on.Here && f.kernel != "":
		return &mistake{"--kernel is for VMs; the local target runs on this machine's kernel",
			"leave out --target local"}
	case on.Here && f.cgroup != 0:
		return &mistake{"--cgroup is for VMs; the local target has this machine's version", "leave out --target local"}
	case on.Here && f.userland.value != "":
		return &mistake{"--userland is for VMs; the local target is this machine as it is", "leave out --target local"}
	case f.userland.value != "" && f.cgroup == 1:
		return &mistake{"--userland has cgroup v2; systemd does not run on v1", "leave out --cgroup 1"}
	case f.modules != "" && !kernels.IsImage(f.kernel):
		return &mistake{"--modules belongs to a bzImage; kernels of a version bring their own",
			"name one with --kernel PATH"}
	case on.Throwaway && f.hostOOM:
		return &mistake{"--allow-host-oom is for the local target; a VM may always run out of memory", ""}
	case f.cluster.value != "" && !f.where.VM():
		return &mistake{"--cluster vm is oomlab's own cluster; --kubeconfig and --context name another", ""}
	case f.where.Container && !f.where.VM():
		return &mistake{"--in-container is for the cluster in a VM; --kubeconfig and --context name another",
			"leave out --in-container"}
	case f.where.Node != "" && f.nodes != "":
		return &mistake{"--node names one node, --nodes selects several", ""}
	case f.where.VM() &&
		(f.where.Namespace != "" || f.where.Node != "" || f.nodes != "" || len(f.where.AllowNodeOOM) > 0):
		return &mistake{"--namespace, --node, --nodes and --allow-node-oom are for an existing cluster",
			"name it with --kubeconfig or --context"}
	}
	if err := kube.CheckSelector(f.nodes); err != nil {
		return &mistake{fmt.Sprintf("--nodes %s: %v", f.nodes, err), "write pool=new, or pool in (new, old)"}
	}
	if !f.where.VM() {
		if _, err := f.where.Config(); err != nil {
			return &mistake{err.Error(), "kubectl config get-contexts shows the contexts"}
		}
	}
	if err := errors.Join(f.exit.check(), f.kcidb.check(f.output.value)); err != nil {
		return err
	}
	return kernels.Check(f.kernel)
}

func (a *app) run(ctx context.Context, f runFlags, repeat, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	all, err := a.choose(args)
	if err == nil {
		err = clusterOnly(f, all)
	}
	if err != nil {
		return err
	}
	if err := tryOutputs(f.junit, f.html); err != nil {
		return err
	}
	a.reading.Store(false)
	var watching *live
	progress := func(text string) {
		switch {
		case f.quiet:
		case watching != nil:
			watching.say(text) // above what is drawn again and again
		default:
			a.say(text)
		}
	}
	f.kernel = kernels.Of(f.kernel, f.arch.value)
	image := f.kernel
	if f.modules != "" {
		image = kernels.WithModules(f.kernel, f.modules)
	}
	laboratory, err := lab.Open(lab.Options{
		Target: scenario.Target(f.target.value), Kernel: image, CgroupVersion: f.cgroup, AllowHostOOM: f.hostOOM,
		Userland: f.userland.value, RunsDir: f.runsDir, Parallel: f.parallel, Log: progress, Cluster: f.where,
	})
	if err != nil {
		return err
	}
	if f.kernel != "" {
		// asked for by name: one clear error instead of one for each scenario
		if _, err := laboratory.Kernel(ctx); err != nil {
			return errors.Join(err, laboratory.Close())
		}
	}
	if f.nodes != "" {
		if all, err = onNodes(ctx, f, all); err != nil {
			return errors.Join(err, laboratory.Close())
		}
	}
	for i, j := range all {
		all[i].Command = slices.Concat([]string{"oomlab", "run"}, repeat, []string{j.Arg})
	}
	var tasks []lab.Task
	for _, j := range slices.Repeat(all, f.repeat) {
		tasks = append(tasks, lab.Task{Lab: laboratory, Job: j, Label: j.Scenario.Name})
	}
	watching = a.show(len(tasks), f.quiet || f.verbose)
	p := &printer{app: a, flags: f, rounds: f.repeat, each: len(all), results: make([]verdict.Result, len(tasks))}
	err = errors.Join(lab.RunAll(ctx, tasks, f.parallel, watching.watch(p.event, p.ended)), laboratory.Close())
	watching.close()
	verdicts := p.end()
	if err != nil {
		return err // some run has no verdict, which is worse than a bad one
	}
	return verdicts
}

// onNodes is every scenario on every node that is selected.
func onNodes(ctx context.Context, f runFlags, all []lab.Job) ([]lab.Job, error) {
	nodes, err := f.where.Nodes(ctx, f.nodes)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, &mistake{fmt.Sprintf("--nodes %s: no node of %s has such labels", f.nodes, f.where),
			"kubectl get nodes --show-labels shows them"}
	}
	var out []lab.Job
	for _, j := range all {
		for _, n := range nodes {
			j.Node = n
			out = append(out, j)
		}
	}
	return out, nil
}

// printer shows runs as they end, and all of them at the end.
type printer struct {
	*app
	flags        runFlags
	rounds, each int // jobs are rounds of each scenarios
	results      []verdict.Result
	failed       error
}

func (p *printer) options() report.Options {
	return report.Options{Colour: p.terminal(), Verbose: p.flags.verbose, RunsDir: p.flags.runsDir}
}

// status is the exit status for one verdict.
func (p *printer) status(w verdict.Verdict) int {
	if w == verdict.Skip && p.flags.allowSkip {
		return exitPass
	}
	return statusOfVerdict(w)
}

// ended shows one run that has ended, and reports whether others are to follow.
// Calls do not overlap.
func (p *printer) ended(i int, r verdict.Result) (more bool) {
	p.results[i] = r
	var err error
	switch single := len(p.results) == 1; {
	case p.flags.output.value == "json":
		err = report.JSON(p.out, []verdict.Result{r})
	case p.flags.output.value != "text":
	case p.flags.verbose, single && !p.flags.quiet:
		err = report.Text(raw(p.out), r, p.options())
		if !single {
			fmt.Fprintln(p.out)
		}
	case single, !p.flags.quiet, r.Verdict != verdict.Pass:
		err = report.Line(raw(p.out), r, p.options())
	}
	p.failed = errors.Join(p.failed, err)
	return !p.flags.failFast || p.status(r.Verdict) == exitPass
}

// end shows all runs together and turns their verdicts into an exit status.
func (p *printer) end() error {
	var finished []verdict.Result
	var words []verdict.Verdict
	for _, r := range p.results {
		if r.Verdict == "" {
			continue
		}
		finished = append(finished, r)
		if p.status(r.Verdict) != exitPass {
			words = append(words, r.Verdict)
		}
	}
	if p.flags.junit != "" {
		p.failed = errors.Join(p.failed,
			writeFile(p.flags.junit, func(w io.Writer) error { return report.JUnit(w, finished) }))
	}
	if p.flags.html != "" {
		p.failed = errors.Join(p.failed,
			writeFile(p.flags.html, func(w io.Writer) error { return p.page(w, finished) }))
	}
	var err error
	switch p.flags.output.value {
	case "junit":
		err = report.JUnit(p.out, finished)
	case "ktap":
		err = report.KTAP(p.out, finished)
	case "kcidb":
		err = report.KCIDB(p.out, finished, p.flags.kcidb.o)
	case "markdown":
		err = report.Markdown(p.out, finished)
	case "html":
		err = p.page(p.out, finished)
	case "text":
		if len(p.results) > 1 {
			err = p.summary(finished)
		}
	}
	p.failed = errors.Join(p.failed, err)
	if p.failed != nil {
		return p.failed
	}
	if p.flags.exit.bisect && slices.Contains(words, verdict.Fail) {
		return done(exitFail) // of a commit that one run shows to be bad the others say nothing
	}
	return done(statusOfVerdict(verdict.Worst(words...)))
}

// page writes the runs as HTML, with all that their directories hold.
func (p *printer) page(w io.Writer, finished []verdict.Result) error {
	var all []report.Subject
	for _, r := range finished {
		s, err := subject(&lab.Records{}, filepath.Join(p.flags.runsDir, r.Run))
		if err != nil {
			return err
		}
		s.Dir, s.Result = "", r
		all = append(all, s)
	}
	return report.HTML(w, fmt.Sprintf("oomlab: %d runs", len(all)), all)
}

func (p *printer) summary(finished []verdict.Result) error {
	if p.flags.quiet {
		_, err := fmt.Fprintln(p.out, report.Summary(finished))
		return err
	}
	fmt.Fprintln(p.out)
	var err error
	if p.rounds > 1 {
		err = report.Rounds(p.out, p.results, p.each)
		fmt.Fprintf(p.out, "\n%s\n", report.Summary(finished))
	} else {
		err = report.Table(p.out, finished)
	}
	if n := len(p.results) - len(finished); n > 0 {
		fmt.Fprintf(p.out, "%d of %d have no verdict: they were not started, or were interrupted\n", n, len(p.results))
	}
	return err
}

// event shows what happens while it happens.
func (p *printer) event(_ int, e evidence.Event) {
	if !p.flags.verbose || len(p.results) > 1 {
		return
	}
	if line := report.Event(e); line != "" {
		p.say(line)
	}
}

// tryOutputs reports the first file that could not be written at the end, before
// anything is run. It leaves them as they are.
func tryOutputs(names ...string) error {
	for _, name := range names {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			continue // a pipe or a device; opening it may block
		}
		f, createErr := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
		if createErr != nil {
			return &mistake{createErr.Error(), "name a file that can be written"}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Remove(name)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a file of what write writes.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
