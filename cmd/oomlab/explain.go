package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/explain/view"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/oomlog/unpack"
)

// explainFlags are the flags of oomlab explain.
type explainFlags struct {
	output     *choice
	whatIf     []string
	pageSize   string
	pid        int
	last, list bool
	summary    bool
	verbose    bool
}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [flags] [FILE|-]",
		Short: "explain the kills in a kernel log",
		Long: `Explain the kills in a kernel log.

FILE is a kernel log in any form: dmesg, journalctl, syslog, raw /dev/kmsg records,
JSON or CSV of a log store, a serial console, a mail, a web page; compressed or not.
Without FILE, or with -, explain reads standard input. The log may contain lines of user space, and reports may be
incomplete: missing parts are listed, never guessed.

For each report: what happened, the score of every candidate and its parts,
whether the model chooses the same victim as the kernel, the reason in a few
sentences, and the memory that belongs to no process.

-o html is one page for a browser, without scripts, -o markdown for a ticket.

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
	flags.BoolVar(&f.summary, "summary", false, "all reports together: who dies again and again, where, at which limit")
	flags.IntVar(&f.pid, "pid", 0, "only reports that killed `PID`, or that it triggered")
	flags.BoolVar(&f.last, "last", false, "only the last report (of those with --pid)")
	flags.StringArrayVar(&f.whatIf, "what-if", nil,
		"who would have died with this `CHANGE`: victim.oom_score_adj=-500,\n"+
			"PID or COMM.oom_score_adj=0, limit=512Mi, swap=1Gi, without=PID or COMM,\n"+
			"memory.oom.group=1, panic_on_oom=0; several count together")
	flags.StringVar(&f.pageSize, "page-size", "", pageSizeHelp)
	f.output = output(cmd, "text", "json", "markdown", "html")
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
	case f.list && f.output.value != "text":
		return o, &mistake{fmt.Sprintf("--list is text; -o %s has everything", f.output.value), "leave out one of them"}
	case f.summary && (f.list || f.last || len(f.whatIf) > 0):
		return o, &mistake{"--summary is of all reports; --list, --last and --what-if are of single ones",
			"leave out one of them"}
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
	in, name, err := a.openLog(args)
	if err != nil {
		return err
	}
	defer in.Close()
	// What is held is some megabytes; collecting it each time that it has doubled takes a
	// third of the time of a large log.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	p := explained{app: a, f: f}
	err = p.all(in, explain.Explainer{Options: o})
	if err != nil {
		return logError(name, err)
	}
	if err := p.writePage(name); err != nil {
		return err
	}
	return p.end(name)
}

// logError is the error of a log that cannot be read.
func logError(name string, err error) error {
	if e := (*unpack.Error)(nil); errors.As(err, &e) {
		return &mistake{name + ": " + e.Error(), e.Hint}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// openLog opens the log that the arguments name, whatever it is packed in.
func (a *app) openLog(args []string) (io.ReadCloser, string, error) {
	in, name, err := a.openPacked(args)
	if err != nil {
		return nil, "", err
	}
	text, err := unpack.Open(in)
	if err != nil {
		return nil, "", errors.Join(logError(name, err), in.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{text, in}, name, nil
}

func (a *app) openPacked(args []string) (io.ReadCloser, string, error) {
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
	if err := lab.Verify(args[0]); err != nil {
		return nil, "", errors.Join(err, f.Close())
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
	summary explain.Summary
	page    []view.Report // of -o html
	left    int           // reports that the page has no room for
}

// maxPage is how many reports a page shows; all of them are in its summary.
const maxPage = 500

func (p *explained) all(in io.Reader, x explain.Explainer) error {
	for r, err := range oomlog.Reports(in) {
		if err != nil && p.f.summary {
			return err
		}
		if err != nil {
			return errors.Join(err, p.bracket())
		}
		p.n++
		e := x.Explain(r)
		if p.f.pid != 0 && !concerns(e, p.f.pid) {
			continue
		}
		if p.f.summary || p.f.output.value == "html" && !p.f.last {
			p.summary.Add(e)
		}
		if p.f.summary {
			p.printed++
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
	if p.f.summary {
		return p.summarize()
	}
	if p.lastN > 0 {
		if err := p.print(p.lastN, p.last); err != nil {
			return err
		}
	}
	return p.bracket()
}

// writePage writes what -o html has collected.
func (p *explained) writePage(name string) error {
	if p.f.output.value != "html" || p.printed == 0 {
		return nil
	}
	if p.left > 0 {
		p.say(fmt.Sprintf("%sthe page shows the first %d reports; its summary is of all %d", program, maxPage,
			maxPage+p.left))
	}
	return view.Page(p.out, "OOM kills in "+filepath.Base(name), p.page, &p.summary)
}

// summarize prints all reports together; of none there is nothing to say.
func (p *explained) summarize() error {
	switch {
	case p.f.output.value == "json":
		return p.summary.JSON(p.out)
	case p.printed == 0, p.f.output.value == "html": // see writePage
		return nil
	case p.f.output.value == "markdown":
		return view.SummaryMarkdown(p.out, &p.summary)
	}
	return p.summary.Text(p.out, explain.TextOptions{All: p.f.verbose})
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
	if p.f.output.value == "html" {
		if len(p.page) == maxPage {
			p.left++
			return nil
		}
		p.page = append(p.page, view.Report{N: n, Explanation: e})
		return nil
	}
	if p.f.list {
		return explain.Line(p.out, n, e, 0)
	}
	if p.printed > 1 {
		if _, err := fmt.Fprintln(p.out); err != nil {
			return err
		}
	}
	if p.f.output.value == "markdown" {
		return view.Report{N: n, Explanation: e}.Markdown(p.out)
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
