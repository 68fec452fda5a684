package main

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/scenario"
)

// linuxOnly are commands that need Linux whatever their flags say.
var linuxOnly = []string{"doctor", "rank", "trace", "chaos", "cluster", "kernels", "userland"}

// linuxUnless and linuxWith are commands that need Linux unless one of these flags is
// given, and if this flag is given.
var (
	linuxUnless = map[string][]string{
		"run": {"kubeconfig", "context"}, "clean": {"kubeconfig", "context"},
	}
	linuxWith = map[string]string{"reproduce": "run", "compare": "kernels"}
)

// notHere is a mistake: what needs Linux, on a machine that has none.
func notHere(what string) error {
	return &mistake{fmt.Sprintf("%s needs Linux, and this oomlab is for %s", what, runtime.GOOS),
		"explain, reproduce, validate, list, report and compare work here, and so does run --context on a cluster"}
}

// elsewhere is a mistake where a command needs Linux and this is none.
func elsewhere(cmd *cobra.Command) error {
	if host.Linux {
		return nil
	}
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	for _, name := range linuxOnly {
		if top.Name() == name {
			return notHere(cmd.CommandPath())
		}
	}
	if flag := linuxWith[top.Name()]; flag != "" && cmd.Flags().Changed(flag) {
		return notHere(fmt.Sprintf("%s --%s", cmd.CommandPath(), flag))
	}
	without, some := linuxUnless[top.Name()]
	for _, flag := range without {
		some = some && !cmd.Flags().Changed(flag)
	}
	if some {
		return notHere(cmd.CommandPath() + " without --context or --kubeconfig")
	}
	return nil
}

// clusterOnly is a mistake where a scenario would run on this machine or in a VM, and
// neither is possible here.
func clusterOnly(f runFlags, jobs []lab.Job) error {
	if host.Linux {
		return nil
	}
	if t := scenario.Target(f.target.value); t != "" && t != scenario.Kube {
		return notHere("--target " + f.target.value)
	}
	for _, j := range jobs {
		if !slices.Contains(j.Scenario.Targets, scenario.Kube) {
			return notHere(fmt.Sprintf("the scenario %s, which is not for clusters,", j.Arg))
		}
	}
	return nil
}
