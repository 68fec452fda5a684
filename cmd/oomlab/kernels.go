package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

func (a *app) kernelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "the kernels that VMs boot: list, fetch and prune them",
		Long: `The kernels that VMs boot. oomlab fetches them from the Debian archive with this
machine's apt and mirror, checks signatures, and caches them. The machine's apt
configuration and lists do not change. --kernel PATH boots any bzImage.`,
	}
	cmd.AddCommand(a.kernelsList(), a.kernelsFetch(), a.kernelsPrune(), a.kernelsPath())
	return cmd
}

func (a *app) kernelOptions() kernels.Options {
	return kernels.Options{Progress: a.say}
}

func (a *app) kernelsList() *cobra.Command {
	var offered, cached bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the cached kernels and those that can be fetched",
		Long: `List the cached kernels and, of each series in each suite, the newest that the
mirror offers. --offered queries the mirror and stores the answer.`,
		Args: wants(0, 0, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&offered, "offered", false, "ask the mirror what it offers")
	cmd.Flags().BoolVar(&cached, "cached", false, "only those that are cached")
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if offered && cached {
			return &mistake{"--offered and --cached contradict each other", ""}
		}
		if offered {
			if _, err := kernels.Offered(cmd.Context(), a.kernelOptions()); err != nil {
				return err
			}
		}
		return a.listKernels(format.value, cached)
	}
	return cmd
}

func (a *app) listKernels(format string, cachedOnly bool) error {
	rows, asked, err := kernels.Rows(cachedOnly, a.kernelOptions())
	if err != nil {
		return err
	}
	if format == "json" {
		return lines(a, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.out, "no kernel is cached; oomlab kernels fetch 6.12 gets one")
		return nil
	}
	byDefault := "none of the cached; one is fetched"
	err = table(a.out, func(row func(...string)) {
		row("VERSION", "RELEASE", "STATE", "SIZE", "SUITE")
		for _, r := range rows {
			where := r.Suite
			if where == "" {
				where = r.Source
			}
			if len(r.Lacks) > 0 {
				where += " (without " + strings.Join(r.Lacks, ", ") + ")"
			}
			if r.Default {
				byDefault = r.Release
			}
			row(r.Version, r.Release, r.State, r.Size.Human(), where)
		}
	})
	if err != nil || cachedOnly {
		return err
	}
	note := "the mirror was never queried; --offered queries it"
	if !asked.IsZero() {
		note = fmt.Sprintf("as offered by the mirror on %s; --offered queries it again", asked.Format(time.DateOnly))
	}
	_, err = fmt.Fprintf(a.out, "\nbooted without --kernel: %s\n%s\n", byDefault, note)
	return err
}

func (a *app) kernelsPrune() *cobra.Command {
	var p kernels.PruneOptions
	cmd := &cobra.Command{
		Use:               "prune [VERSION...]",
		ValidArgsFunction: completeKernels,
		Short:             "remove kernels from the cache",
		Long: `Remove kernels from the cache: the named ones, or without names everything that
is obsolete: older versions of a series, unreadable entries, interrupted
downloads.`,
		Example: `  oomlab kernels prune --dry-run
  oomlab kernels prune 6.16 6.17`,
		Args: wants(0, -1, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&p.All, "all", false, "every kernel")
	cmd.Flags().BoolVar(&p.DryRun, "dry-run", false, "only say what would be removed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if p.All && len(args) > 0 {
			return &mistake{"oomlab kernels prune: --all and names contradict each other", ""}
		}
		for _, spec := range args {
			if err := checkVersion(spec); err != nil {
				return err
			}
		}
		p.Specs = args
		gone, err := kernels.Prune(cmd.Context(), p, a.kernelOptions())
		verb, total := "removed", kernel.Bytes(0)
		if p.DryRun {
			verb = "would remove"
		}
		for _, g := range gone {
			total += g.Size
			fmt.Fprintf(a.out, "%s %s (%s): %s\n", verb, g.Name, g.Size.Human(), g.Why)
		}
		if err == nil && len(gone) == 0 {
			fmt.Fprintln(a.out, "nothing to remove")
		} else if len(gone) > 1 {
			fmt.Fprintf(a.out, "%s in all\n", total.Human())
		}
		return err
	}
	return cmd
}

// lines prints values as JSON, one a line.
func lines[T any](a *app, all []T) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	for _, v := range all {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) kernelsFetch() *cobra.Command {
	return &cobra.Command{
		Use:               "fetch VERSION...",
		ValidArgsFunction: completeKernels,
		Short:             "download kernels into the cache",
		Long: `Download kernels into the cache, two at a time. An interrupted download resumes
where it stopped.`,
		Example: "  oomlab kernels fetch 5.10 6.1 6.12",
		Args:    wants(1, -1, "a kernel such as 6.12"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, spec := range args {
				if err := checkVersion(spec); err != nil {
					return err
				}
			}
			all, err := kernels.FetchAll(cmd.Context(), args, a.kernelOptions())
			for i, k := range all {
				if k.Release != "" {
					fmt.Fprintf(a.out, "%s: %s (%s, %s)\n", args[i], k.Release, k.Source, k.Size().Human())
				}
			}
			return err
		},
	}
}

// checkVersion is kernels.Check for where a path means nothing.
func checkVersion(spec string) error {
	if strings.ContainsRune(spec, '/') {
		return &mistake{fmt.Sprintf("%s is a path; only versions can be fetched", spec),
			"write one such as 6.12 or 6.12.107"}
	}
	return kernels.Check(spec)
}

func (a *app) kernelsPath() *cobra.Command {
	return &cobra.Command{
		Use:               "path VERSION",
		ValidArgsFunction: completeKernels,
		Short:             "print the path of a kernel's image, fetching it first if necessary",
		Args:              wants(1, 1, "a kernel such as 6.12"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := kernels.Check(args[0]); err != nil {
				return err
			}
			k, err := kernels.Resolve(cmd.Context(), args[0], a.kernelOptions())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, k.Image)
			return err
		},
	}
}
