package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/harness/scenario"
)

const about = `oomlab reproduces out-of-memory kills on real kernels and proves what happened.

A scenario states what should happen, a model predicts what will happen, and four
independent witnesses record what the kernel did. A verdict is "pass" only when
all of them agree.`

const exitStatuses = `Exit status:
  0    pass: every claim is shown
  1    fail: the evidence contradicts a claim or the prediction
  4    skip: this machine cannot run it
  64   wrong usage, or an invalid scenario
  70   broken: it ran, but the evidence is incomplete or contradicts itself
  130  interrupted, after everything was restored`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "oomlab",
		Short:         "reproduce out-of-memory kills and prove what happened",
		Long:          about + "\n\n" + exitStatuses,
		Args:          cobra.ArbitraryArgs, // see misspelt
		SilenceErrors: true,
		SilenceUsage:  true,

		PersistentPreRunE: a.begin,
	}
	cobra.EnableCommandSorting = false
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(help(root))
	root.AddCommand(
		a.runCommand(), a.compareCommand(), a.listCommand(), a.validateCommand(), a.schemaCommand(),
		a.reportCommand(), a.explainCommand(), a.reproduceCommand(), a.rankCommand(), a.traceCommand(),
		a.judgeCommand(), a.chaosCommand(),
		a.selftestCommand(),
		a.kernelsCommand(), a.userlandCommand(), a.clusterCommand(), a.doctorCommand(), a.cleanCommand(),
		a.versionCommand(), a.manCommand(),
	)
	completions(root)
	plugin(root, os.Args[0])
	return root
}

// plugin has the texts say what the user types where the program was started under the name of a
// plugin for kubectl.
func plugin(root *cobra.Command, started string) {
	const name, typed = "kubectl-oomlab", "kubectl oomlab"
	// kubectl on Windows finds programs that end in .exe
	if strings.TrimSuffix(filepath.Base(started), ".exe") != name {
		return
	}
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: typed}
	for _, cmd := range append(root.Commands(), root) {
		cmd.Example = strings.ReplaceAll("\n"+cmd.Example, "\n  oomlab ", "\n  "+typed+" ")[1:]
	}
}

// flagError says what is wrong with a flag, with the nearest one that there is.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help shows all flags"
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		slices.Sort(known)
		name := unknown.GetSpecifiedName()
		if near := scenario.Nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean --%s?", near)
		}
		return &mistake{fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name), hint}
	case errors.As(err, &unknown):
		return &mistake{fmt.Sprintf("%s has no flag -%s", cmd.CommandPath(), unknown.GetSpecifiedName()), hint}
	case errors.As(err, &invalid):
		var number *strconv.NumError
		what := "is not one of " + strings.ReplaceAll(invalid.GetFlag().Value.Type(), "|", ", ")
		if cause := invalid.Unwrap(); errors.As(cause, &number) {
			what = "is not a number"
			if number.Func == "ParseBool" {
				what = "is neither true nor false"
			}
		} else if cause != nil && cause.Error() != "" {
			hint = cause.Error()
		}
		return &mistake{fmt.Sprintf("--%s: %q %s", invalid.GetFlag().Name, invalid.GetValue(), what), hint}
	}
	return &mistake{err.Error(), hint}
}

// help replaces cobra's command, which forgives names that do not exist.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := misspelt(root, args); err != nil {
				return err
			}
			cmd, _, err := root.Find(args)
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// wants checks the number of arguments. most < 0 is any number.
func wants(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &mistake{fmt.Sprintf("%s: %s is missing", cmd.CommandPath(), what), "usage: " + cmd.UseLine()}
		case most >= 0 && len(args) > most:
			return &mistake{fmt.Sprintf("%s: %q is one argument too many", cmd.CommandPath(), args[most]),
				"usage: " + cmd.UseLine()}
		}
		return nil
	}
}

// reads are the commands that only read, at least until they know what to run.
var reads = []string{"run", "compare", "report", "explain", "reproduce", "validate", "selftest",
	"rank"}

// begin is called before each command, and refuses values that no command takes.
func (a *app) begin(cmd *cobra.Command, _ []string) error {
	a.reading.Store(slices.Contains(reads, cmd.Name()))
	if err := elsewhere(cmd); err != nil {
		return err
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		n, notNumber := strconv.Atoi(value)
		small := notNumber == nil && n < 1
		what, _ := pflag.UnquoteUsage(f)
		switch {
		case (what == "FILE" || what == "DIR") && value == "":
			err = &mistake{fmt.Sprintf("--%s: the name is empty", f.Name), ""}
		case f.Name == "parallel" && small:
			err = &mistake{fmt.Sprintf("--parallel %d: at least one VM runs at a time", n),
				"leave it out for as many as there is room for"}
		case (f.Name == "count" || f.Name == "kills" && f.Value.Type() == "int") && small:
			err = &mistake{"--count and --kills must be at least 1",
				"leave out the one that should not end the campaign"}
		case f.Name == "duration" && (value == "0s" || strings.HasPrefix(value, "-")):
			err = &mistake{fmt.Sprintf("--duration %s is not positive", value), ""}
		}
	})
	return err
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
		return errors.New(meant(s, c.of, ""))
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
