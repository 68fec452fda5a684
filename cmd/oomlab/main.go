// Command oomlab reproduces out-of-memory kills on real kernels and proves
// what happened.
//
// Flags go in, calls go out to package harness and its neighbours, an exit
// status comes back. Everything else is there, not here.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// Exit statuses. Others script against them.
const (
	exitPass        = 0
	exitFail        = 1
	exitSkip        = 4
	exitUsage       = 64 // EX_USAGE of sysexits.h
	exitBroken      = 70 // EX_SOFTWARE
	exitInterrupted = 130
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: plaintext.Writer{W: stdout}, err: plaintext.Writer{W: stderr}}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := errors.Join(printable(args), misspelt(root, args))
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	interrupted := context.Cause(ctx) == errInterrupted && !a.ends.Load()
	var code status
	if err != nil && !errors.As(err, &code) {
		code = status(statusOf(err))
		if !interrupted || !errors.Is(err, context.Canceled) {
			complain(a.err, err)
		}
	}
	if interrupted {
		return exitInterrupted
	}
	if code == exitUsage {
		return ofUsage(args)
	}
	return int(code)
}

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer // escape what a terminal would obey

	mu sync.Mutex // of say

	// reading: the command only reads, so that a signal may end it at once.
	reading atomic.Bool
	// ends: a signal is how the command is meant to end.
	ends atomic.Bool
}

// say tells the user what is going on. It may be called from several goroutines.
func (a *app) say(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.err, text)
}

// terminal reports whether standard output is one that wants colour.
func (a *app) terminal() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && screen(a.out) != nil
}

// raw is what w writes to. Reports are written there: they escape what they show, and
// add colour.
func raw(w io.Writer) io.Writer {
	if e, ok := w.(plaintext.Writer); ok {
		return e.W
	}
	return w
}

// screen is the terminal that w writes to; nil: none.
func screen(w io.Writer) *os.File {
	if f, ok := raw(w).(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// status is an error that says nothing but the exit status: what there was to
// say has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// done is nil for success.
func done(code int) error {
	if code == exitPass {
		return nil
	}
	return status(code)
}

// mistake is what the user typed wrong, and what was meant.
type mistake struct{ what, hint string }

func (m *mistake) Error() string {
	if m.hint == "" {
		return m.what
	}
	return m.what + "\n" + hinting + m.hint
}

// program begins every line of a complaint, hinting one that shows the way out.
const (
	program = "oomlab: "
	hinting = program + "hint: "
)

// statusOf is the exit status for an error: 64 for what the user typed wrong,
// 4 for what this machine cannot do, 70 for all that should have worked.
func statusOf(err error) int {
	var m *mistake
	var p *scenario.Problems
	switch {
	case errors.As(err, &m), errors.As(err, &p), misnamed(err):
		return exitUsage
	case errors.Is(err, target.ErrUnsupported):
		return exitSkip
	}
	return exitBroken
}

// misnamed reports whether an error is about a name that the user gave. The way
// out follows behind a semicolon.
func misnamed(err error) bool {
	var run *lab.BadRun
	return errors.Is(err, scenarios.ErrUnknown) || errors.Is(err, kernels.ErrUnknown) || errors.As(err, &run)
}

// statusOfVerdict is the exit status for a verdict.
func statusOfVerdict(w verdict.Verdict) int {
	switch w {
	case verdict.Pass:
		return exitPass
	case verdict.Fail:
		return exitFail
	case verdict.Skip:
		return exitSkip
	}
	return exitBroken
}

// complain prints an error, a line for each thing that is wrong and one for
// each way out.
func complain(w io.Writer, err error) {
	hinted := misnamed(err) || errors.Is(err, payload.ErrMissing)
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimRight(line, "\n")
		text, named := strings.CutPrefix(line, program)
		hint := ""
		if hinted && !named {
			text, hint, _ = strings.Cut(text, "; ")
		}
		fmt.Fprintln(w, program+text)
		if hint != "" {
			fmt.Fprintln(w, hinting+hint)
		}
	}
	var altered *lab.Altered
	if errors.As(err, &altered) {
		fmt.Fprintln(w, hinting+"restore what was recorded; oomlab report --rejudge takes a run as it is now")
	}
}

// errInterrupted is the cause of a context that ended by a signal.
var errInterrupted = errors.New("interrupted")

// interruptible cancels the context at the first signal, so that everything is
// put back, and ends the process at the second, or at the first where there is
// nothing to put back.
func (a *app) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	over := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-over:
			return
		}
		if a.reading.Load() {
			fmt.Fprintln(a.err, "oomlab: interrupted")
			os.Exit(exitInterrupted)
		}
		if a.ends.Load() {
			cancel(errInterrupted)
			signal.Stop(signals) // a second one ends the process at once
			return
		}
		fmt.Fprintln(a.err, "oomlab: interrupted; restoring everything (interrupt again to stop at once)")
		cancel(errInterrupted)
		select {
		case <-signals:
			fmt.Fprintln(a.err, "oomlab: stopped; oomlab clean removes what is left")
			os.Exit(exitInterrupted)
		case <-over:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(over)
		cancel(nil)
	}
}

// printable is a mistake when an argument has a control character: no name that is
// meant has one, and in an error it would begin a line of its own.
func printable(args []string) error {
	for _, arg := range args {
		if strings.ContainsFunc(arg, unicode.IsControl) {
			return &mistake{fmt.Sprintf("the argument %q has a control character", arg), "rename the file"}
		}
	}
	return nil
}

// misspelt is a mistake when no command has the name that stands in its place,
// before flags that only that command would know are complained about.
func misspelt(root *cobra.Command, args []string) error {
	cmd, rest, err := root.Find(args)
	if err != nil || cmd == nil || !cmd.HasSubCommands() || len(rest) == 0 || strings.HasPrefix(rest[0], "-") {
		return nil
	}
	switch rest[0] {
	case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return nil // cobra adds these when it executes
	}
	known := []string{"help", "completion"}
	if cmd.HasParent() {
		known = nil
	}
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	return &mistake{fmt.Sprintf("%s has no command %q", cmd.CommandPath(), rest[0]),
		meant(rest[0], known, cmd.CommandPath()+" --help shows all")}
}

// meant is the hint for a name that is not known.
func meant(got string, known []string, otherwise string) string {
	if near := scenario.Nearest(got, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return otherwise
}
