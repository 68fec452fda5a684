package reproduce

import (
	"errors"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/oomlog"
)

// logOf is a log of reports, each with a victim or without.
func logOf(victims ...string) string {
	var out strings.Builder
	for _, v := range victims {
		out.WriteString("[  100.000000] a invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n")
		if v != "" {
			out.WriteString("[  100.000100] Out of memory: Killed process 7 (" + v +
				") total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n")
		}
	}
	return out.String()
}

func TestPick(t *testing.T) {
	for _, tt := range []struct {
		name   string
		log    string
		want   int
		number int
		victim string
		err    string
	}{
		{"the last with a victim", logOf("a", "b", ""), 0, 2, "b", ""},
		{"by number", logOf("a", "b", ""), 1, 1, "a", ""},
		{"one without a victim, by number", logOf("a", "b", ""), 3, 3, "", ""},
		{"no report", "[ 1.0] hello\n", 0, 0, "", "there is no OOM report in it"},
		{"no victim", logOf("", ""), 0, 0, "", "none of its 2 reports shows who was killed"},
		{"too few", logOf("a"), 2, 0, "", "it has no report 2; there are 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, n, err := Pick(strings.NewReader(tt.log), tt.want)
			var none *NoReport
			if tt.err != "" {
				if !errors.As(err, &none) || none.What != tt.err {
					t.Errorf("%v; want %s", err, tt.err)
				}
				return
			}
			victim := ""
			if k := r.Killed(); len(k) > 0 {
				victim = k[0].Comm
			}
			if err != nil || n != tt.number || victim != tt.victim {
				t.Errorf("report %d of %q, %v; want %d of %q", n, victim, err, tt.number, tt.victim)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	want := Result{Victim: "java", Of: oomlog.KillLine{}}
	for _, tt := range []struct {
		killed []string
		same   bool
		text   string
	}{
		{nil, false, "here nobody was"},
		{[]string{"java", "other"}, true, "reproduced: yes"},
		{[]string{"other", "java"}, false, `"other" was killed first here`},
		{[]string{""}, false, `"" was killed first here`},
	} {
		if same, text := want.Compare(tt.killed); same != tt.same || !strings.Contains(text, tt.text) {
			t.Errorf("%q: %v, %s; want %v, %s", tt.killed, same, text, tt.same, tt.text)
		}
	}
}
