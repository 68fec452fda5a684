package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/scenarios"
)

// completions makes shells complete what the flags of all commands take: the
// words of a choice, and kernels that are known without asking a mirror.
func completions(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		var complete cobra.CompletionFunc
		if c, ok := f.Value.(*choice); ok {
			complete = cobra.FixedCompletions(c.of, cobra.ShellCompDirectiveNoFileComp)
		} else if f.Name == "kernel" || f.Name == "kernels" {
			complete = completeKernels
		}
		if complete == nil {
			return
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // it is registered once, for a flag that exists
		}
	})
	for _, c := range cmd.Commands() {
		completions(c)
	}
}

// completeScenarios completes names of the library.
func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return scenarios.Names(), cobra.ShellCompDirectiveDefault
}

// completeKernels completes series, the last of several between commas; a file
// may be meant too.
func completeKernels(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	known, err := kernels.Known(kernels.Options{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	before := word[:strings.LastIndexByte(word, ',')+1]
	var out []string
	for _, v := range known {
		if s := v.Series(); !slices.Contains(out, before+s) && !slices.Contains(args, s) {
			out = append(out, before+s)
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

// completeRuns completes runs below the default directory.
func completeRuns(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	dir := defaultRunsDir
	if f := cmd.Flag("runs-dir"); f != nil {
		dir = f.Value.String()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}
