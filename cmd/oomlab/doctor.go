package main

import "github.com/spf13/cobra"

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "show what this machine can run, and what it lacks",
		Long: `Show what this machine can run, and what it lacks. Every ability is yes, no or
unsure; no and unsure come with the reason and a hint. Abilities that need a
trial are tried in a temporary cgroup.

The exit status is 4 if nothing at all can run.`,
		Args: wants(0, 0, ""),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.doctor(cmd.Context(), format.value)
	}
	return cmd
}
