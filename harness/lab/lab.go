// Package lab opens targets for scenarios and runs many of them side by side.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/local"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Options say where scenarios run and what is kept.
type Options struct {
	Target scenario.Target // empty: chosen for each scenario
	Kernel string          // for VMs, as kernels.Resolve takes it
	// CgroupVersion of VMs where a scenario does not ask for one; 0: 2.
	CgroupVersion int
	// Userland of VMs where a scenario does not need one; empty: a bare guest.
	Userland     string
	AllowHostOOM bool
	// Cluster is where scenarios with pods run.
	Cluster kube.Where
	RunsDir string // empty: runs
	// Parallel bounds how many VMs run at once; 0: as many as the machine has
	// room for.
	Parallel int
	// Log is told what takes time; it may be nil. It may be called from
	// several goroutines.
	Log func(string)
}

// Job is one run to make.
type Job struct {
	Scenario scenario.Scenario
	Source   []byte
	Arg      string   // what named the scenario on a command line
	Command  []string // that repeats it
	// Manifests are the user's own pods, by the name of their file.
	Manifests map[string]scenario.Manifest
	// Node of somebody else's cluster to run on; empty: Options.Cluster's.
	Node string
}

// Lab runs jobs.
type Lab struct {
	o               Options
	agent, stressor []byte

	kernelOnce sync.Once
	kernel     kernels.Kernel
	kernelErr  error

	numberMu sync.Mutex // two runs do not get one number

	nodesMu sync.Mutex
	nodes   map[string]*sync.Mutex // a node of a cluster carries out one plan at a time

	clusterOnce sync.Once
	cluster     *kube.Cluster // that is there already; nil: none was asked for
	clusterErr  error

	localMu  sync.Mutex // this machine carries out one plan at a time
	local    *local.Local
	localErr error
	opened   bool
}

// Open gets a lab ready. Nothing is booted or probed before it is needed.
func Open(o Options) (*Lab, error) {
	if o.RunsDir == "" {
		o.RunsDir = "runs"
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Target != "" && openers[o.Target] == nil {
		known := scenario.TargetNames(scenario.Targets...)
		return nil, fmt.Errorf("target %q: there are %s", o.Target, strings.Join(known, ", "))
	}
	if (o.CgroupVersion != 0 || o.Userland != "") && o.Target == "" {
		o.Target = scenario.VM // only there can it be chosen
	}
	l := &Lab{o: o}
	var err error
	if l.agent, l.stressor, err = payload.Load(); err != nil {
		return nil, err
	}
	return l, nil
}

// Close puts back what a lab set up.
func (l *Lab) Close() error {
	l.localMu.Lock()
	defer l.localMu.Unlock()
	var errs []error
	if l.cluster != nil {
		errs = append(errs, l.cluster.Close())
	}
	if l.local != nil {
		errs = append(errs, l.local.Close())
	}
	return errors.Join(errs...)
}

// Kernel is the kernel that VMs boot.
func (l *Lab) Kernel(ctx context.Context) (kernels.Kernel, error) {
	l.kernelOnce.Do(func() {
		l.kernel, l.kernelErr = kernels.Resolve(ctx, l.o.Kernel, kernels.Options{Progress: l.o.Log})
	})
	return l.kernel, l.kernelErr
}

// onCluster reports whether a scenario runs on a cluster: because nothing else will
// do, or because somebody asked for one.
func (l *Lab) onCluster(s scenario.Scenario) bool {
	return s.NeedsKubelet() || slices.Contains(s.Targets, scenario.Kube) &&
		(l.o.Target == scenario.Kube || l.o.Target == "" && !l.o.Cluster.VM())
}

// choose says where a scenario runs, and why.
func (l *Lab) choose(ctx context.Context, s scenario.Scenario) (name scenario.Target, because string) {
	if l.onCluster(s) {
		return scenario.Kube, "it has pods; " + l.o.Cluster.String()
	}
	if l.o.Target != "" {
		return l.o.Target, "asked for"
	}
	if l.o.Kernel != "" {
		return scenario.VM, "a kernel was asked for"
	}
	if !slices.Contains(s.Targets, scenario.Local) {
		return scenario.VM, "the scenario is not for this machine"
	}
	l.localMu.Lock()
	defer l.localMu.Unlock()
	t, err := l.openLocal(ctx)
	if err != nil {
		return scenario.VM, "not local: " + err.Error()
	}
	hello, err := t.Hello(ctx)
	if err != nil {
		return scenario.VM, "not local: " + err.Error()
	}
	layout, err := plan.LayOut(s, plan.Place{Target: scenario.Local, Machine: hello.Machine}, nil)
	if err != nil {
		return scenario.VM, "not local: " + err.Error()
	}
	if unmet := layout.Unmet(); len(unmet) > 0 {
		return scenario.VM, "not local: " + unmet[0].String()
	}
	return scenario.Local, "this machine meets its needs"
}

// openLocal expects localMu to be held.
func (l *Lab) openLocal(ctx context.Context) (*local.Local, error) {
	if !l.opened {
		l.opened = true
		if l.localErr = local.Usable(); l.localErr != nil {
			return nil, l.localErr
		}
		var stressor string
		if stressor, l.localErr = l.unpackStressor(); l.localErr == nil {
			l.local, l.localErr = local.Open(ctx, local.Options{Stressor: stressor, AllowHostOOM: l.o.AllowHostOOM})
		}
	}
	return l.local, l.localErr
}

// unpackStressor is where the stressor can be executed.
func (l *Lab) unpackStressor() (path string, err error) {
	return unpack("oomlab-stressor", l.stressor, l.o.Log)
}

// programs are the agent and the stressor for guests of an architecture. Those for this
// machine's are loaded already.
func (l *Lab) programs(arch string) (agent, stressor []byte, err error) {
	if arch == runtime.GOARCH {
		return l.agent, l.stressor, nil
	}
	return payload.For(arch)
}

// memoryStep rounds the memory of VMs, so that scenarios share snapshots.
const memoryStep = 128 * kernel.MiB

// vmOptions say what VM a scenario gets.
func (l *Lab) vmOptions(ctx context.Context, s scenario.Scenario, dir string) (vm.Options, error) {
	k, err := l.Kernel(ctx)
	if err != nil {
		return vm.Options{}, err
	}
	agent, stressor, err := l.programs(k.Arch)
	if err != nil {
		return vm.Options{}, err
	}
	o := vm.Options{
		Kernel: k, Memory: (s.VMMemory() + memoryStep - 1) / memoryStep * memoryStep,
		CPUs: s.Needs.CPUs, CgroupVersion: s.Needs.Cgroup, Agent: agent, Stressor: stressor, RunDir: dir,
		Log: l.o.Log,
	}
	if o.CgroupVersion == 0 {
		o.CgroupVersion = l.o.CgroupVersion
	}
	if swap := s.System.Swap; swap != nil && (swap.Kind == "" || swap.Kind == "disk") {
		o.SwapDisk = (swap.Size + kernel.MiB - 1) / kernel.MiB * kernel.MiB
	}
	var programs []string
	program := func(command []string) {
		if len(command) > 0 {
			programs = append(programs, command[0])
		}
	}
	for _, p := range s.Processes {
		program(p.Command)
	}
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			program(c.Command)
		}
	}
	if spec := l.spec(s); spec.Name != "" {
		return l.withUserland(ctx, o, spec, programs)
	}
	if o.Nodes = s.System.Nodes; len(o.Nodes) > 0 {
		o.Memory = s.VMMemory()
	}
	o.Cpusets = slices.ContainsFunc(s.Cgroups, func(c scenario.Cgroup) bool { return c.CpusetMems != "" })
	o.Programs, o.FilesDisk = programs, s.FilesDisk()
	if d := s.System.Disk; d != nil {
		o.DiskWrite = kernel.Bytes(d.Write)
	}
	return o, nil
}

// openers open a target for one job, whose run directory is dir. Close of that
// target gives back whatever was taken for it.
var openers = map[scenario.Target]func(l *Lab, ctx context.Context, j Job, dir string) (target.Target, error){
	scenario.Local: (*Lab).takeLocal,
	scenario.VM:    (*Lab).openVM,
	scenario.Kube:  (*Lab).openKube,
}

// RunOne makes one run and returns its result. An error means that there is
// no result.
func (l *Lab) RunOne(ctx context.Context, j Job, onEvent func(evidence.Event)) (verdict.Result, error) {
	name, because := l.choose(ctx, j.Scenario)
	dir, err := l.newRun(j.Scenario.Name)
	if err != nil {
		return verdict.Result{}, err
	}
	t, err := openers[name](l, ctx, j, dir)
	if err != nil {
		t = absent{name, err}
	}
	result, err := harness.Run(ctx, t, j.Scenario, j.Source, harness.Options{
		Dir: dir, Because: because, Command: j.Command, OnEvent: onEvent, Manifests: j.Manifests,
	})
	return result, errors.Join(err, t.Close(), harness.Seal(dir))
}

// lent is a target that is not the job's own: Close gives it back.
type lent struct {
	target.Target
	giveBack func() error
}

func (t lent) Close() error { return t.giveBack() }

func (t lent) Describe(ctx context.Context) (wire.Hello, error) {
	if d, ok := t.Target.(target.Described); ok {
		return d.Describe(ctx)
	}
	return wire.Hello{}, nil
}

// takeLocal waits until this machine is free, and keeps it.
func (l *Lab) takeLocal(ctx context.Context, _ Job, _ string) (target.Target, error) {
	l.localMu.Lock()
	t, err := l.openLocal(ctx)
	if err != nil {
		l.localMu.Unlock()
		return nil, err
	}
	if _, err := l.unpackStressor(); err != nil { // somebody may have damaged it since
		l.localMu.Unlock()
		return nil, err
	}
	turn, err := local.Turn(ctx, "", func() { l.o.Log("waiting for another oomlab's run on this machine") })
	if err != nil {
		l.localMu.Unlock()
		return nil, err
	}
	return lent{t, func() error {
		defer l.localMu.Unlock()
		return turn.Close()
	}}, nil
}

func (l *Lab) openVM(ctx context.Context, j Job, dir string) (target.Target, error) {
	o, err := l.vmOptions(ctx, j.Scenario, dir)
	if err != nil {
		return nil, err
	}
	t, err := vm.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// node waits until a node of a cluster is free, and keeps it until release is
// called.
func (l *Lab) node(name string) (release func()) {
	l.nodesMu.Lock()
	mu := l.nodes[name]
	if mu == nil {
		mu = &sync.Mutex{}
		if l.nodes == nil {
			l.nodes = map[string]*sync.Mutex{}
		}
		l.nodes[name] = mu
	}
	l.nodesMu.Unlock()
	mu.Lock()
	return mu.Unlock
}

// NodeKernel is the series that a VM cluster's node boots where none is asked
// for.
const NodeKernel = "6.12"

// openKube opens the cluster for a scenario: a VM cluster with the node that the
// scenario describes, or a node of an existing one once it is free.
func (l *Lab) openKube(ctx context.Context, j Job, dir string) (target.Target, error) {
	if where := l.o.Cluster; !where.VM() {
		cluster, err := l.connect()
		if err != nil {
			return nil, err
		}
		node := cmp.Or(j.Node, where.Node)
		release := l.node(node)
		t := cluster.Target(node)
		return lent{t, func() error {
			defer release()
			return t.Close()
		}}, nil
	}
	k, err := kernels.Resolve(ctx, cmp.Or(l.o.Kernel, NodeKernel), kernels.Options{Progress: l.o.Log})
	if err != nil {
		return nil, err
	}
	if k.Arch != runtime.GOARCH {
		return nil, &target.Missing{What: "a kernel of " + runtime.GOARCH + " for the node of a cluster, whose image " +
			"is made for that; " + k.Release + " is of " + k.Arch, Hint: "leave out --arch for scenarios with pods"}
	}
	c, err := kube.OpenVM(ctx, kube.VMOptions{
		Kernel: k, Memory: j.Scenario.Needs.Memory, Node: j.Scenario.Node, Container: l.o.Cluster.Container,
		Agent: l.agent, Stressor: l.stressor, RunDir: dir, Log: l.o.Log,
	})
	if err != nil {
		return nil, err
	}
	return kube.NewVM(c), nil
}

// connect connects to the cluster that is there already, once.
func (l *Lab) connect() (*kube.Cluster, error) {
	l.clusterOnce.Do(func() {
		l.cluster, l.clusterErr = kube.Connect(l.o.Cluster, l.agent, l.stressor)
	})
	return l.cluster, l.clusterErr
}

// newRun makes the next run directory: 0142-memcg-adj-outweighs-size.
func (l *Lab) newRun(scenario string) (string, error) {
	if err := os.MkdirAll(l.o.RunsDir, 0o755); err != nil {
		return "", err
	}
	l.numberMu.Lock()
	defer l.numberMu.Unlock()
	suffix := "-" + strings.ReplaceAll(scenario, "/", "-")
	next := 1
	entries, err := os.ReadDir(l.o.RunsDir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "%d-", &n); err == nil {
			next = max(next, n+1)
		}
	}
	for ; ; next++ {
		dir := filepath.Join(l.o.RunsDir, fmt.Sprintf("%04d%s", next, suffix))
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}
