package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

func (a *app) kernelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "the kernels that VMs boot: list them, fetch them",
		Long: `The kernels that VMs boot. They come from the Debian archive by this machine's
own apt and mirror, signatures checked, into a cache of their own; nothing of
the machine's apt is changed. Any bzImage can be booted with --kernel PATH.`,
	}
	cmd.AddCommand(a.kernelsList(), a.kernelsFetch(), a.kernelsPath())
	return cmd
}

func (a *app) kernelOptions() kernels.Options {
	return kernels.Options{Progress: a.say}
}

func (a *app) kernelsList() *cobra.Command {
	var offered bool
	cmd := &cobra.Command{Use: "list", Short: "list the cached kernels, or those that can be fetched", Args: wants(0, 0, "")}
	cmd.Flags().BoolVar(&offered, "offered", false, "those that the mirror offers")
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if offered {
			return a.listOffered(cmd.Context(), format.value)
		}
		all, err := kernels.List(a.kernelOptions())
		if err != nil {
			return err
		}
		if format.value == "json" {
			return lines(a, all)
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "no kernel is cached; oomlab kernels fetch 6.12 gets one")
			return nil
		}
		return table(a.out, func(row func(...string)) {
			row("VERSION", "RELEASE", "SOURCE", "IMAGE")
			for _, k := range all {
				row(k.Version.String(), k.Release, k.Source, k.Image)
			}
		})
	}
	return cmd
}

func (a *app) listOffered(ctx context.Context, format string) error {
	all, err := kernels.Offered(ctx, a.kernelOptions())
	if err != nil {
		return err
	}
	if format == "json" {
		return lines(a, all)
	}
	return table(a.out, func(row func(...string)) {
		row("VERSION", "RELEASE", "SUITE", "SIZE", "LACKS")
		for _, o := range all {
			row(o.Version.String(), o.Release, o.Suite, o.Size.Human(), strings.Join(o.Lacks, ", "))
		}
	})
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
		Use:     "fetch VERSION...",
		Short:   "download kernels into the cache",
		Example: "  oomlab kernels fetch 5.10 6.1 6.12",
		Args:    wants(1, -1, "a kernel such as 6.12"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, spec := range args {
				if err := checkVersion(spec); err != nil {
					return err
				}
			}
			var errs []error
			for _, spec := range args {
				k, err := kernels.Fetch(cmd.Context(), spec, a.kernelOptions())
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.out, "%s: %s (%s)\n", spec, k.Release, k.Source)
			}
			return errors.Join(errs...)
		},
	}
}

// checkVersion is checkKernel for where a path means nothing.
func checkVersion(spec string) error {
	if strings.ContainsRune(spec, '/') {
		return &mistake{fmt.Sprintf("%s is a path; only versions can be fetched", spec), "write one such as 6.12 or 6.12.107"}
	}
	return checkKernel(spec)
}

func (a *app) kernelsPath() *cobra.Command {
	return &cobra.Command{
		Use:   "path VERSION",
		Short: "print where a kernel's image is, fetching it first if need be",
		Args:  wants(1, 1, "a kernel such as 6.12"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKernel(args[0]); err != nil {
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
