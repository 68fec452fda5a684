package reproduce

import (
	"fmt"
	"io"

	"github.com/oomlab/oomlab/harness/oomlog"
)

// NoReport says that a log lacks the report that is asked for, and the way out.
type NoReport struct{ What, Hint string }

func (n *NoReport) Error() string { return n.What + "; " + n.Hint }

// Pick finds the report of a log that is asked for by its number, or with 0 the
// last one with a victim, and says which it is. The error is a [*NoReport] where
// there is none.
func Pick(log io.Reader, want int) (oomlog.Report, int, error) {
	var found oomlog.Report
	n, at := 0, 0
	for r, err := range oomlog.Reports(log) {
		if err != nil {
			return found, 0, err
		}
		n++
		if want == n || want == 0 && len(r.Killed()) > 0 {
			found, at = r, n
		}
		if want == n {
			break
		}
	}
	switch {
	case at > 0:
		return found, at, nil
	case n == 0:
		return found, 0, &NoReport{"there is no OOM report in it", "the line that begins one says: invoked oom-killer"}
	case want == 0:
		return found, 0, &NoReport{fmt.Sprintf("none of its %d reports shows who was killed", n),
			"oomlab explain shows what is there"}
	}
	return found, 0, &NoReport{fmt.Sprintf("it has no report %d; there are %d", want, n),
		"oomlab explain --list shows them"}
}

// Compare says whether the process that a run killed first is the one that stands
// for the reported victim. killed are the victims of the run, in order.
func (want Result) Compare(killed []string) (same bool, text string) {
	reported := fmt.Sprintf("%q (pid %d)", want.Of.Comm, want.Of.PID)
	if len(killed) == 0 {
		return false, fmt.Sprintf("reproduced: no; the log reports that %s was killed, and here nobody was", reported)
	}
	first := killed[0]
	if first == want.Victim {
		return true, fmt.Sprintf("reproduced: yes; %s, which stands for %s, was killed first here too", first, reported)
	}
	return false, fmt.Sprintf("reproduced: no; %s stands for %s, and %q was killed first here",
		want.Victim, reported, first)
}
