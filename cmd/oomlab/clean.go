package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/target/kube"
)

func (a *app) cleanCommand() *cobra.Command {
	var cached, all bool
	var where kube.Where
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "restore what killed runs left behind",
		Long: `Restore what killed runs left behind: sysctls and swap are reset; cgroups with
their processes, temporary directories and the VM cluster in the background are
removed. Runs in progress and run directories are not touched.

With --kubeconfig or --context, delete what oomlab left behind in that cluster
instead: every pod with its labels, including those of runs in progress, and the
namespace if a run created it.`,
		Args: wants(0, 0, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&cached, "cache", false, "also remove the snapshots of VMs; they are recreated when needed")
	cmd.Flags().BoolVar(&all, "all", false, "also remove snapshots and fetched kernels")
	cmd.Flags().StringVar(&where.Kubeconfig, "kubeconfig", "", "clean the cluster of a kubeconfig `FILE`")
	cmd.Flags().StringVar(&where.Context, "context", "", "clean the cluster of a `CONTEXT`")
	cmd.Flags().StringVar(&where.Namespace, "namespace", "", "the `NAMESPACE` there (default oomlab)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !where.VM() {
			return a.cleanCluster(cmd.Context(), where)
		}
		return a.cleanHere(cmd.Context(), cached, all)
	}
	return cmd
}

// cleanCluster deletes what runs have left in somebody else's cluster.
func (a *app) cleanCluster(ctx context.Context, w kube.Where) error {
	if _, err := w.Config(); err != nil {
		return &mistake{err.Error(), "kubectl config get-contexts shows the contexts"}
	}
	names, err := w.Clean(ctx)
	for _, name := range names {
		fmt.Fprintf(a.out, "deleted %s\n", name)
	}
	if err == nil && len(names) == 0 {
		fmt.Fprintf(a.out, "nothing of oomlab's is in %s\n", w)
	}
	return err
}
