package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
	"github.com/oomlab/oomlab/harness/target/vm/userland"
)

func (a *app) userlandCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "userland",
		Short: "the distributions that VMs boot: build, list and prune them",
		Long: `The distributions that VMs boot beside a kernel: a root file system with systemd
and packages. A scenario asks for one with needs: {userland: debian, packages:
[...]}; oomlab run --userland boots one for other scenarios.

A userland is built once for each set of packages, from this machine's Debian
mirror, and cached. A VM with it boots once and is kept as a snapshot. It has no
network.`,
	}
	cmd.AddCommand(a.userlandBuild(), a.userlandList(), a.userlandPrune())
	return cmd
}

func (a *app) userlandBuild() *cobra.Command {
	var packages []string
	var fresh bool
	cmd := &cobra.Command{
		Use:   "build [NAME]",
		Short: "build a userland now, instead of when a scenario needs it",
		Long: `Build a userland now, instead of when a scenario needs it. NAME is ` + strings.Join(scenario.Userlands, " or ") + `.

Needs root, mmdebstrap and e2fsprogs. The scripts of packages run in a chroot, in
namespaces of their own.`,
		Example: `  oomlab userland build debian
  oomlab userland build debian --packages postgresql,openjdk-21-jre-headless`,
		Args:      wants(0, 1, "a userland"),
		ValidArgs: scenario.Userlands,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringSliceVar(&packages, "packages", nil, "`PACKAGES` beside those of every userland")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "build it again with the newest packages, though there is one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec, err := userlandSpec(args, packages)
		if err != nil {
			return err
		}
		begin := time.Now()
		u, err := userland.Make(cmd.Context(), spec, fresh, userland.Options{Progress: a.say})
		if errors.Is(err, debian.ErrNoPackage) {
			return &mistake{err.Error(), "apt-cache search finds packages; the mirror has those of Debian 13"}
		}
		if err != nil {
			return err
		}
		how := fmt.Sprintf("built in %.0f s", time.Since(begin).Seconds())
		if u.Made.Before(begin.Add(-time.Second)) {
			how = "is there since " + u.Made.Format(time.DateTime)
		}
		fmt.Fprintf(a.out, "%s: %d packages, %s, %s\n", u.Spec(), len(u.Versions), u.Size.Human(), how)
		return nil
	}
	return cmd
}

// userlandSpec is what the command line asks for.
func userlandSpec(args, packages []string) (userland.Spec, error) {
	spec := userland.Spec{Name: scenario.Userlands[0], Packages: packages}
	if len(args) > 0 {
		spec.Name = args[0]
	}
	if !slices.Contains(scenario.Userlands, spec.Name) {
		return spec, &mistake{fmt.Sprintf("%q is not a userland", spec.Name),
			meant(spec.Name, scenario.Userlands, "there is "+strings.Join(scenario.Userlands, ", "))}
	}
	for _, name := range packages {
		if problem := scenario.CheckPackage(name); problem != "" {
			return spec, &mistake{"--packages: " + problem, "write one such as postgresql"}
		}
	}
	return spec, nil
}

func (a *app) userlandList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the userlands that are there",
		Args:  wants(0, 0, ""),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		good, bad, err := userland.List("")
		if err != nil {
			return err
		}
		if format.value == "json" {
			return lines(a, good)
		}
		for _, b := range bad {
			a.say(fmt.Sprintf("%s cannot be used: %s; oomlab userland prune removes it", b.Name, b.Why))
		}
		if len(good) == 0 {
			_, err := fmt.Fprintln(a.out,
				"no userland is there; oomlab userland build makes one, and so does a scenario that needs it")
			return err
		}
		return table(a.out, func(row func(...string)) {
			row("NAME", "SIZE", "MADE", "PACKAGES", "ASKED FOR")
			for _, u := range good {
				asked := strings.Join(u.Packages, ",")
				if asked == "" {
					asked = "-"
				}
				row(u.Name, u.Size.Human(), u.Made.Format(time.DateOnly), fmt.Sprint(len(u.Versions)), asked)
			}
		})
	}
	return cmd
}

func (a *app) userlandPrune() *cobra.Command {
	var all, dryRun bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "remove userlands from the cache",
		Long: `Remove userlands from the cache: those that are damaged or that another version of
oomlab made. Snapshots of VMs that booted them go by oomlab clean --cache.`,
		Args: wants(0, 0, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&all, "all", false, "every userland")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	cmd.RunE = func(*cobra.Command, []string) error {
		gone, err := userland.Prune("", all, dryRun)
		verb := "removed"
		if dryRun {
			verb = "would remove"
		}
		for _, g := range gone {
			fmt.Fprintf(a.out, "%s %s (%s): %s\n", verb, g.Name, g.Size.Human(), g.Why)
		}
		if err == nil && len(gone) == 0 {
			fmt.Fprintln(a.out, "nothing to remove")
		}
		return err
	}
	return cmd
}
