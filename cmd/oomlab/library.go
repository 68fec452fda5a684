package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/reproduce"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/trace"
	"github.com/oomlab/oomlab/scenarios"
)

func (a *app) listCommand() *cobra.Command {
	claims := false
	cmd := &cobra.Command{
		Use:   "list [PATTERN...]",
		Short: "list the scenarios that oomlab carries",
		Long: `List the scenarios that oomlab carries. With --claims only those that answer a
statement people make about the OOM killer, with the statement and what a run that
passes shows: true or false. oomlab report -o claims shows the answers of runs.

-o yaml prints the scenarios themselves, to read them; one alone is a file to begin
one's own with.`,
		Example: `  oomlab list memcg/...
  oomlab list -o yaml memcg/adj-outweighs-size > mine.yaml`,
		Args:              wants(0, -1, ""),
		ValidArgsFunction: completeScenarios,
	}
	format := output(cmd, "text", "json", "yaml")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{"..."}
		}
		all, err := scenarios.Match(args...)
		if err != nil {
			return err
		}
		if claims {
			all = slices.DeleteFunc(all, func(s scenario.Scenario) bool { return s.Claim == nil })
		}
		if format.value == "json" {
			return listJSON(a.out, all)
		}
		if format.value == "yaml" {
			return listYAML(a.out, all)
		}
		if claims {
			return listClaims(a.out, all)
		}
		return table(a.out, func(row func(...string)) {
			row("NAME", "TARGETS", "SUMMARY")
			for _, s := range all {
				row(s.Name, strings.Join(scenario.TargetNames(s.Targets...), ","), s.Summary)
			}
		})
	}
	cmd.Flags().BoolVar(&claims, "claims", false, "only those that answer a statement, with the statement")
	return cmd
}

// listYAML prints scenarios as they are in the library, each a document.
func listYAML(w io.Writer, all []scenario.Scenario) error {
	for i, s := range all {
		source, err := scenarios.Source(s.Name)
		if err != nil {
			return err
		}
		// the schema is not beside what is made of it
		line, rest, _ := bytes.Cut(source, []byte("\n"))
		if bytes.HasPrefix(line, []byte("# yaml-language-server:")) {
			source = rest
		}
		if i > 0 {
			source = append([]byte("---\n"), source...)
		}
		if _, err := w.Write(source); err != nil {
			return err
		}
	}
	return nil
}

func listClaims(w io.Writer, all []scenario.Scenario) error {
	return table(w, func(row func(...string)) {
		row("NAME", "ANSWER", "STATEMENT")
		for _, s := range all {
			text := s.Claim.Statement
			if s.Claim.When != "" {
				text += " (when " + s.Claim.When + ")"
			}
			row(s.Name, string(s.Claim.Answer), text)
		}
	})
}

func listJSON(w io.Writer, all []scenario.Scenario) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, s := range all {
		err := enc.Encode(struct {
			Name    string              `json:"name"`
			Targets []scenario.Target   `json:"targets"`
			Summary string              `json:"summary"`
			Because string              `json:"because"`
			Refs    []string            `json:"refs"`
			Claim   *scenario.Statement `json:"claim,omitempty"`
		}{s.Name, s.Targets, s.Summary, s.Because, append([]string{}, s.Refs...), s.Claim})
		if err != nil {
			return err
		}
	}
	return nil
}

// table prints rows in columns as wide as they need to be.
func table(w io.Writer, fill func(row func(cells ...string))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) {
		for i, cell := range cells {
			cells[i] = plaintext.Escape(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	})
	return t.Flush()
}

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "check scenario files",
		Long: `Check scenario files, or standard input with -. Every problem of every file is
reported at once, with its line and, where possible, a correction. Where a model of
a VM cannot predict who is killed in which order, the reason is printed, and so is
an order that it allows and that the file's "expect: killed" refuses.`,
		Args: wants(1, -1, "a scenario file"),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, file := range args {
				s, _, err := a.read(file)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.out, "%s: ok\n", file)
				if p, ok, err := reproduce.Foresee(s); err == nil && ok && p.Unsure != "" {
					fmt.Fprintf(a.out, "%s: the prediction for a VM is unsure: %s%s\n", file, p.Unsure, bounds(p))
				}
				if kills, ok := reproduce.Unexpected(s); ok {
					fmt.Fprintf(a.out, "%s: expect: killed refuses what may happen by that prediction: %s\n", file,
						cmp.Or(strings.Join(kills, ", "), "nobody"))
				}
			}
			return errors.Join(errs...)
		},
	}
	return cmd
}

// bounds says what is certain of a prediction with an open end.
func bounds(p predict.Prediction) string {
	text := ""
	if p.Open {
		text = fmt.Sprintf("; at least %s", plaintext.Count(p.AtLeast, "kill"))
	}
	if p.Open && p.AtMost > 0 {
		text += fmt.Sprintf(", at most %d", p.AtMost)
	}
	return text
}

func (a *app) schemaCommand() *cobra.Command {
	kills := false
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "print the JSON schema of scenario files, for editors",
		Long: `Print the JSON schema of scenario files. Editors check and complete with it
when the first line of a file is

  # yaml-language-server: $schema=schema.json

--trace prints that of a line of oomlab trace -o json instead.`,
		Args: wants(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			schema, err := scenario.Schema()
			if kills {
				schema, err = trace.Schema()
			}
			if err != nil {
				return err
			}
			_, err = a.out.Write(schema)
			return err
		},
	}
	cmd.Flags().BoolVar(&kills, "trace", false, "of what oomlab trace -o json prints")
	return cmd
}
