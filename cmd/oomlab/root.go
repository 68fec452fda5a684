package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/scenarios"
)

const about = `oomlab reproduces out-of-memory kills on real kernels and proves what happened.

A scenario says what should happen; a model says what will happen; the kernel
says what did happen, through four independent witnesses. A verdict is only
"pass" when all of them agree.`

const exitStatuses = `Exit status:
  0    pass: every claim is shown
  1    fail: the evidence contradicts a claim or the prediction
  4    skip: this machine cannot run it
  64   wrong usage, or a wrong scenario
  70   broken: it ran, but the evidence cannot carry a judgement
  130  interrupted, after everything was put back`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "oomlab",
		Short:             "reproduce out-of-memory kills and prove what happened",
		Long:              about,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: false},
	}
	cobra.EnableCommandSorting = false
	root.SetUsageTemplate(root.UsageTemplate() + "\n" + exitStatuses + "\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.runCommand(), a.listCommand(), a.validateCommand(), a.schemaCommand(), a.reportCommand(),
		a.selftestCommand(), a.kernelsCommand(), a.doctorCommand(), a.cleanCommand(), a.versionCommand(),
	)
	return root
}

// flagError turns a complaint about flags into one that names the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	hint := cmd.CommandPath() + " --help shows all flags"
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		slices.Sort(known)
		text = fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name)
		if near := meant(name, known, ""); near != "" {
			hint = strings.Replace(near, `"`, `"--`, 1)
		}
	}
	return &mistake{text, hint}
}

// wants checks the number of arguments. most < 0 is any number.
func wants(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &mistake{fmt.Sprintf("%s: %s is missing", cmd.CommandPath(), what), "usage: " + cmd.UseLine()}
		case most >= 0 && len(args) > most:
			return &mistake{fmt.Sprintf("%s: %q is one argument too many", cmd.CommandPath(), args[most]), "usage: " + cmd.UseLine()}
		}
		return nil
	}
}

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.of, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("%s", meant(s, c.of, "one of "+strings.Join(c.of, ", ")))
	}
	c.value = s
	return nil
}

// output adds the flag -o; the first format is the default.
func output(cmd *cobra.Command, formats ...string) *choice {
	c := &choice{value: formats[0], of: formats}
	cmd.Flags().VarP(c, "output", "o", "how it is printed")
	return c
}

// completeScenarios completes names of the library.
func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return scenarios.Names(), cobra.ShellCompDirectiveDefault
}
