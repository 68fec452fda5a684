// Package report shows verdicts: as text to the person who waits for one, as
// JSON to scripts, as JUnit to whatever collects test results.
//
// It is pure. Everything it shows is in a [verdict.Result], so text and JSON of
// one run cannot say different things, and a run that was recorded elsewhere is
// shown as it was there.
package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/verdict"
)

// Options say how text is shown. The zero value is plain text of 80 columns.
type Options struct {
	// Colour paints the verdict word. It is for terminals.
	Colour bool
	// Width is in columns; 0: 80. Tables of pids and pages may be wider, since
	// a number that is cut is wrong.
	Width int
	// Verbose shows everything: all candidates, claims with their sources,
	// counters that have nothing to do with OOM.
	Verbose bool
	// RunsDir is where the run directories are; empty: unknown.
	RunsDir string
}

const defaultWidth = 80

func (o Options) width() int {
	if o.Width <= 0 {
		return defaultWidth
	}
	return max(o.Width, 40)
}

// colours by verdict, as SGR parameters of ECMA-48.
var colours = map[verdict.Verdict]string{
	verdict.Pass: "32", verdict.Fail: "31", verdict.Skip: "33", verdict.Broken: "35",
}

// word is the verdict as a line begins with it, padded to one width.
func (o Options) word(w verdict.Verdict) string {
	text := strings.ToUpper(string(w))
	pad := strings.Repeat(" ", max(0, wordWidth-len(text)))
	if code := colours[w]; o.Colour && code != "" {
		text = "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	return text + pad
}

// wordWidth is that of the longest verdict and the gap behind it.
const wordWidth = len("BROKEN") + 2

// seconds writes milliseconds for a reader.
func seconds(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }

// write puts lines on w without spaces at their ends.
func write(w io.Writer, lines []string) error {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
