package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/oomlab/oomlab/harness/agent/wire"
)

// manCommand writes the manual pages. Packages are made with it, so it is hidden.
func (a *app) manCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "man DIR", Short: "write the manual pages", Hidden: true, Args: wants(1, 1, "DIR"),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return err
		}
		verbatim(cmd.Root())
		version, _, _ := strings.Cut(wire.Build(), " ")
		// the date is that of SOURCE_DATE_EPOCH, if it is set
		return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Source: "oomlab " + version,
			Manual: "oomlab"}, args[0])
	}
	return cmd
}

// verbatim keeps the lines of long descriptions as --help prints them: they have
// tables and indented examples, which a manual page would fill.
func verbatim(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	if cmd.Long != "" {
		cmd.Long = "```\n" + cmd.Long + "\n```"
	}
	for _, c := range cmd.Commands() {
		verbatim(c)
	}
}
