package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/local"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

func (a *app) cleanCommand() *cobra.Command {
	var cached, all bool
	var where kube.Where
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "put back what killed runs have left",
		Long: `Put back what killed runs have left: sysctls, swap, cgroups and what runs in
them, temporary directories; and the VM cluster in the background. Runs that are
still going on are left alone, and so are run directories.

With --kubeconfig or --context, delete what oomlab has left in that cluster
instead: every pod with its labels, those of runs that still go on included, and
the namespace if a run has made it.`,
		Args: wants(0, 0, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&cached, "cache", false, "remove the snapshots of VMs too; they are made anew when needed")
	cmd.Flags().BoolVar(&all, "all", false, "remove snapshots and fetched kernels too")
	cmd.Flags().StringVar(&where.Kubeconfig, "kubeconfig", "", "clean the cluster of a kubeconfig `FILE`")
	cmd.Flags().StringVar(&where.Context, "context", "", "clean the cluster of a `CONTEXT`")
	cmd.Flags().StringVar(&where.Namespace, "namespace", "", "the `NAMESPACE` there (default oomlab)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !where.VM() {
			return a.cleanCluster(cmd.Context(), where)
		}
		root, err := cache.Root()
		if err != nil {
			return err
		}
		c := cleaner{app: a}
		c.undo(local.DefaultScratch)
		c.cgroups()
		c.temporary(os.TempDir())
		c.cluster(cmd.Context())
		c.cache(root, cached || all, all)
		return c.end()
	}
	return cmd
}

// cleaner removes what it finds and says so. What it cannot remove is an error,
// and the rest is removed all the same.
type cleaner struct {
	*app
	n    int
	busy []string // bases of runs that are still going on
	errs []error
}

func (c *cleaner) did(format string, args ...any) {
	c.n++
	fmt.Fprintf(c.out, format+"\n", args...)
}

func (c *cleaner) failed(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// cluster ends the VM cluster in the background.
func (c *cleaner) cluster(ctx context.Context) {
	switch s, err := kube.Down(ctx); {
	case errors.Is(err, kube.ErrDown):
	case err != nil:
		c.failed("%w", err)
	default:
		c.did("ended the VM cluster at https://%s", s.Address)
	}
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

// undo replays the undo lists that killed runs have left.
func (c *cleaner) undo(scratch string) {
	pending, err := agent.Pending(scratch)
	if err != nil {
		c.failed("%w", unprivileged(err))
		return
	}
	for _, list := range pending {
		switch err := agent.Undo(list); {
		case errors.Is(err, agent.ErrInUse):
			base, _, _ := strings.Cut(filepath.Base(list), ".")
			c.busy = append(c.busy, base)
			fmt.Fprintf(c.out, "left alone: %s, which is still going on\n", base)
		case errors.Is(err, fs.ErrNotExist): // its run has just ended by itself
		case err != nil:
			c.failed("%w", unprivileged(err))
		default:
			c.did("put back what %s lists", list)
		}
	}
}

func unprivileged(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run oomlab clean as root", err)
	}
	return err
}

// prefix begins the names of runs' cgroups and of temporary directories.
const prefix = "oomlab-"

// cgroups removes empty cgroups of runs that left no undo list: somebody
// deleted it, or the run kept it elsewhere. It looks below our own cgroup only,
// where runs make theirs.
func (c *cleaner) cgroups() {
	root := probe.Root("/")
	mount, err := root.CgroupMount()
	if err != nil {
		return // without a memory controller no run has made any
	}
	own := root.Path(mount.Root, mount.Self)
	entries, err := os.ReadDir(own)
	if err != nil {
		c.failed("%w", err)
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || c.inUse(e.Name()) {
			continue
		}
		dir := filepath.Join(own, e.Name())
		why, err := alive(dir)
		if err == nil && why == "" {
			err = c.removeCgroup(dir)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // its run has just ended by itself
		case err != nil:
			c.failed("%s: %w", dir, unprivileged(err))
		case why != "":
			fmt.Fprintf(c.out, "left alone: %s, which %s and has no undo list\n", dir, why)
		default:
			c.did("removed the cgroup %s", dir)
		}
	}
}

func (c *cleaner) inUse(name string) bool {
	return slices.ContainsFunc(c.busy, func(base string) bool { return name == base || strings.HasPrefix(name, base+"-") })
}

// young is how long a cgroup without a process may belong to a run whose undo
// list is not where ours are.
const young = time.Hour

// alive says why a cgroup may be in use; empty: it is not.
func alive(dir string) (string, error) {
	why := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		switch {
		case err != nil:
			return err
		case len(procs) > 0:
			why = "has processes"
		case time.Since(info.ModTime()) < young && why == "":
			why = fmt.Sprintf("is not older than %s", young)
		}
		return nil
	})
	return why, err
}

// removeCgroup lets the agent do it, as if the run had left an undo list.
func (c *cleaner) removeCgroup(dir string) error {
	var list []plan.Undo // replayed from its end
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			list = append(list, plan.Undo{Op: "rmdir", Path: path})
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(append(list, plan.Undo{Op: "kill-cgroup", Path: dir}))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", prefix+"clean-*.undo.json")
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := agent.Undo(f.Name()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// stale is how old a temporary directory is before nobody can be using it: no
// run lasts that long.
const stale = 24 * time.Hour

// temporary removes temporary directories of our own user.
func (c *cleaner) temporary(dir string) {
	for _, pattern := range []string{"oomlab-vm-*", "oomlab-clean-*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			c.failed("%w", err)
		}
		for _, name := range names {
			info, err := os.Lstat(name)
			if err != nil || time.Since(info.ModTime()) < stale {
				continue
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
				continue
			}
			if err := os.RemoveAll(name); err != nil {
				c.failed("%w", err)
				continue
			}
			c.did("removed %s", name)
		}
	}
}

// cache removes what makers of entries left that were killed and, where asked
// for, entries.
func (c *cleaner) cache(root string, snapshots, all bool) {
	for _, part := range []struct {
		dir, what string
		remove    bool
	}{{"snapshots", "snapshot", snapshots}, {"kernels", "kernel", all}, {"node", "node image", all}, {"payload", "unpacked payload", all}} {
		dir := filepath.Join(root, part.dir)
		before := count(dir)
		cache.Sweep(dir, time.Hour)
		if n := before - count(dir); n > 0 {
			c.did("removed %d half-made entries of %s", n, dir)
		}
		if part.remove {
			c.entries(dir, part.what)
		}
	}
}

// end says that there was nothing, or returns what could not be removed.
func (c *cleaner) end() error {
	if c.n == 0 && len(c.errs) == 0 {
		fmt.Fprintln(c.out, "nothing to clean")
	}
	return errors.Join(c.errs...)
}

func count(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}

// entries removes all entries of a part of the cache.
func (c *cleaner) entries(dir, what string) {
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		c.failed("%w", err)
	}
	for _, name := range names {
		if err := cache.Remove(name); err != nil {
			c.failed("%w", err)
			continue
		}
		c.did("removed the %s %s", what, name)
	}
}
