package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// explainFlags are the flags of oomlab explain.
type explainFlags struct {
	output     *choice
	whatIf     []string
	pageSize   string
	pid        int
	last, list bool
	verbose    bool
}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [flags] [FILE|-]",
		Short: "explain the kills in a kernel log",
		Long: `Explain the kills in a kernel log.

FILE is a kernel log in any form: dmesg, journalctl (short, export, json), syslog,
raw /dev/kmsg records, a serial console, a mail. Without FILE, or with -, explain
reads standard input. The log may contain lines of user space, and reports may be
incomplete: missing parts are listed, never guessed.

For each report: what happened, the score of every candidate and its parts,
whether the model chooses the same victim as the kernel, the reason in a few
sentences, and the memory that belongs to no process.

A log without a report is not an error: the exit status is 0, -o json prints [].`,
		Example: `  dmesg | oomlab explain
  oomlab explain --last --what-if victim.oom_score_adj=-500 /var/log/kern.log
  oomlab explain -o json node.log | jq '.[] | [.victim.pid, .agrees, .why]'`,
		Args: wants(0, 1, ""),
		RunE: func(_ *cobra.Command, args []string) error { return a.explain(f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.list, "list", false, "one line for each report")
	flags.IntVar(&f.pid, "pid", 0, "only reports that killed `PID`, or that it triggered")
	flags.BoolVar(&f.last, "last", false, "only the last report (of those with --pid)")
	flags.StringArrayVar(&f.whatIf, "what-if", nil,
		"who would have died with this `CHANGE`: victim.oom_score_adj=-500,\n"+
			"PID.oom_score_adj=0, limit=512Mi, without=PID; several count together")
	flags.StringVar(&f.pageSize, "page-size", "", pageSizeHelp)
	f.output = output(cmd, "text", "json")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "every row of the ranking")
	return cmd
}

const pageSizeHelp = "`SIZE` of a page of the machine that wrote the log\n(default what the report shows, or else 4Ki)"

// parsePageSize reads --page-size; 0 where it was not given.
func parsePageSize(text string) (kernel.Bytes, error) {
	if text == "" {
		return 0, nil
	}
	size, err := kernel.ParseBytes(text)
	if err != nil || size < 4*kernel.KiB || size > 256*kernel.KiB || size&(size-1) != 0 {
		return 0, &mistake{fmt.Sprintf("--page-size: %q is not a page size", text),
			"there are 4Ki, 8Ki, 16Ki, 32Ki, 64Ki, 128Ki and 256Ki"}
	}
	return size, nil
}

// options checks what the flags say.
func (f explainFlags) options() (explain.Options, error) {
	var o explain.Options
	var err error
	if o.PageSize, err = parsePageSize(f.pageSize); err != nil {
		return o, err
	}
	for _, text := range f.whatIf {
		c, err := explain.ParseChange(text)
		if err != nil {
			return o, &mistake{fmt.Sprintf("--what-if %q is not valid", text), err.Error()}
		}
		o.WhatIf = append(o.WhatIf, c)
	}
	switch {
	case f.pid < 0:
		return o, &mistake{fmt.Sprintf("--pid %d is not a process id", f.pid), ""}
	case f.list && f.output.value == "json":
		return o, &mistake{"--list is text; -o json has everything", "leave out one of them"}
	case f.list && len(f.whatIf) > 0:
		return o, &mistake{"--list and --what-if contradict each other", "leave out one of them"}
	}
	return o, nil
}

func (a *app) explain(f explainFlags, args []string) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	a.reading.Store(true)
	in, name, err := a.openLog(args)
	if err != nil {
		return err
	}
	defer in.Close()
	p := explained{app: a, f: f}
	err = p.all(in, explain.Explainer{Options: o})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return p.end(name)
}

// openLog opens the log that the arguments name.
func (a *app) openLog(args []string) (io.ReadCloser, string, error) {
	if len(args) == 0 || args[0] == "-" {
		if f, ok := a.in.(*os.File); ok && len(args) == 0 && term.IsTerminal(int(f.Fd())) {
			return nil, "",
				&mistake{"there is no log to read", "name a file, or pipe one in: dmesg | oomlab explain"}
		}
		return io.NopCloser(a.in), "standard input", nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "name a kernel log, or - for standard input"
		}
		return nil, "", &mistake{err.Error(), hint}
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, "", errors.Join(&mistake{args[0] + " is a directory", "name a file in it"}, f.Close())
	}
	return f, args[0], nil
}

// explained prints explanations as they come.
type explained struct {
	*app
	f       explainFlags
	n       int // reports so far
	printed int
	last    explain.Explanation
	lastN   int
}

func (p *explained) all(in io.Reader, x explain.Explainer) error {
	for r, err := range oomlog.Reports(in) {
		if err != nil {
			return errors.Join(err, p.bracket())
		}
		p.n++
		e := x.Explain(r)
		if p.f.pid != 0 && !concerns(e, p.f.pid) {
			continue
		}
		if p.f.last {
			p.last, p.lastN = e, p.n
			continue
		}
		if err := p.print(p.n, e); err != nil {
			return err
		}
	}
	if p.lastN > 0 {
		if err := p.print(p.lastN, p.last); err != nil {
			return err
		}
	}
	return p.bracket()
}

// concerns reports whether the process was killed or asked for memory.
func concerns(e explain.Explanation, pid int) bool {
	return e.Trigger.PID != nil && *e.Trigger.PID == pid ||
		slices.ContainsFunc(e.Kills, func(k oomlog.KillLine) bool { return k.PID == pid })
}

func (p *explained) print(n int, e explain.Explanation) error {
	p.printed++
	if p.f.output.value == "json" {
		separator := ","
		if p.printed == 1 {
			separator = "["
		}
		if _, err := io.WriteString(p.out, separator); err != nil {
			return err
		}
		return explain.JSON(p.out, e)
	}
	if p.f.list {
		return explain.Line(p.out, n, e, 0)
	}
	if p.printed > 1 {
		if _, err := fmt.Fprintln(p.out); err != nil {
			return err
		}
	}
	return explain.Text(p.out, n, e, explain.TextOptions{All: p.f.verbose})
}

// bracket closes the array of -o json.
func (p *explained) bracket() error {
	if p.f.output.value != "json" {
		return nil
	}
	text := "]\n"
	if p.printed == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// end says so when there was nothing to explain.
func (p *explained) end(name string) error {
	switch {
	case p.n == 0:
		a := "the line that begins one says: invoked oom-killer"
		fmt.Fprintf(p.err, "%sno OOM report in %s\n%s%s\n", program, name, hinting, a)
	case p.printed == 0:
		fmt.Fprintf(p.err, "%snone of %d reports concerns pid %d\n%soomlab explain --list shows all\n", program, p.n,
			p.f.pid, hinting)
	}
	return nil
}
