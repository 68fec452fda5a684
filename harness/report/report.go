// Package report shows verdicts: as text to the person who waits for one, as
// JSON to scripts, as JUnit to whatever collects test results.
//
// It is pure. Everything it shows is in a [verdict.Result], so text and JSON of
// one run cannot say different things, and a run that was recorded elsewhere is
// shown as it was there.
package report

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/plaintext"
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
func word(w verdict.Verdict) string { return plaintext.Pad(strings.ToUpper(string(w)), wordWidth) }

// paint gives the verdict that a line begins with its colour.
func (o Options) paint(line string) string {
	for w, code := range colours {
		first := strings.ToUpper(string(w))
		if rest, ok := strings.CutPrefix(line, first+" "); ok && o.Colour {
			return "\x1b[" + code + "m" + first + "\x1b[0m " + rest
		}
	}
	return line
}

// wordWidth is that of the longest verdict and the gap behind it.
const wordWidth = len("BROKEN") + 2

// seconds writes milliseconds for a reader.
func seconds(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }
