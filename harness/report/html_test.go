package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// subject is a recorded run with its timeline.
func subject(t *testing.T) Subject { return subjectIn(t, os.DirFS("testdata/run")) }

func subjectIn(t *testing.T, dir fs.FS) Subject {
	t.Helper()
	in, err := verdict.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := Subject{Input: in, Result: verdict.Judge(in)}
	f, err := dir.Open(verdict.SamplesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s.Samples, err = evidence.Read(f); err != nil {
		t.Fatal(err)
	}
	return s
}

func recordedSubjects(t *testing.T, kernel string) []Subject {
	t.Helper()
	dirs, err := fs.Glob(selftest.Recorded(), kernel+"/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%v, %d recordings of %s", err, len(dirs), kernel)
	}
	var out []Subject
	for _, name := range dirs {
		dir, err := fs.Sub(selftest.Recorded(), name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, subjectIn(t, dir))
	}
	return out
}

func htmlOf(t *testing.T, all ...Subject) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, "oomlab", all); err != nil {
		t.Fatal(err)
	}
	checkHTML(t, b.String())
	return b.String()
}

// checkHTML complains about elements that are not closed in their order, about
// identifiers that are there twice, and about whatever would ask the network.
func checkHTML(t *testing.T, page string) {
	t.Helper()
	void := []string{"meta", "link", "br", "wbr"}
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Strict, dec.AutoClose, dec.Entity = false, void, xml.HTMLEntity
	var open []string
	ids := map[string]bool{}
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", open, err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "script" {
				t.Error("there is a script")
			}
			for _, a := range e.Attr {
				switch {
				case a.Name.Local == "id":
					if ids[a.Value] {
						t.Errorf("id %s is there twice", a.Value)
					}
					ids[a.Value] = true
				case a.Name.Local == "src", a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#") &&
					a.Value != "data:,":
					t.Errorf("%s asks for %s", e.Name.Local, a.Value)
				case strings.HasPrefix(a.Name.Local, "on"):
					t.Errorf("%s has a handler %s", e.Name.Local, a.Name.Local)
				}
			}
			open = append(open, e.Name.Local)
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != e.Name.Local {
				t.Fatalf("</%s> closes %q", e.Name.Local, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %q", open)
	}
	for _, wrong := range []string{"ZgotmplZ", "@import", "url("} {
		if strings.Contains(page, wrong) {
			t.Errorf("there is %s in it", wrong)
		}
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;;`) &&
		!strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src 'none';`) {
		t.Error("the page may ask the network: it has no policy against that")
	}
}

// TestHTMLShowsARun: the picture, the table behind it, the four witnesses, the
// split of the scores, the log, the environment and the command.
func TestHTMLShowsARun(t *testing.T) {
	s := subject(t)
	page := htmlOf(t, s)
	for _, want := range []string{
		"<title>memcg/adj-outweighs-size: pass</title>",
		">memory.max of /lab 256Mi</span>", ">✕ small</span>",
		"<h4>eBPF</h4><p>killed; invoked by big; 16988 points of 65536 pages</p>",
		"<h4>kernel log</h4><p>[   21.044232] Memory cgroup out of memory: Killed process 155 (small)",
		"<h4>counters</h4><p>vmstat oom_kill 0 → 1</p><p>memory.events /lab oom_kill 0 → 1</p>",
		"<h4>wait status</h4><p>SIGKILL at 5.7 s</p>",
		`<td class="r">-39000</td>`, "Scoreboard of decision 1, 65536 pages in all",
		"invoked oom-killer", "oom_badness() reads", "<code>oomlab run --target vm --kernel 6.12 " +
			"memcg/adj-outweighs-size</code>",
		"prefers-color-scheme: dark", `name="viewport"`, `<html lang="en">`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	for _, c := range s.Result.Claims {
		if !strings.Contains(page, `<th scope="row">`+c.Name+"</th>") {
			t.Errorf("claim %s is not shown", c.Name)
		}
	}
	// each bar ends where the points are, however much is added or forgiven
	for _, b := range boards(s, 9, 9) {
		for _, r := range b.Rows {
			if got, want := fmt.Sprint(r.held()+r.adj), r.Points; got != want {
				t.Errorf("%s: the parts add up to %s of %s points", r.Name, got, want)
			}
		}
	}
}

// TestHTMLOfEveryRecording: all kinds of runs make sound pages.
func TestHTMLOfEveryRecording(t *testing.T) {
	for _, kernel := range []string{"5.10", "7.3"} {
		for _, s := range recordedSubjects(t, kernel) {
			htmlOf(t, s)
			for i, b := range boards(s, 99, 99) {
				for _, r := range b.Rows {
					if got := fmt.Sprint(r.held() + r.adj); r.known && got != r.Points {
						t.Errorf("%s on %s, decision %d, %s: the parts add up to %s of %s points", s.Result.Scenario,
							kernel, i+1, r.Name, got, r.Points)
					}
				}
			}
		}
	}
	for _, name := range names { // failed, broken, skipped, panicked
		htmlOf(t, Subject{Result: read(t, name)})
	}
}

// TestHTMLOfManyRuns: 500 runs with all that was recorded stay below 5 MB, and
// none of them is left out.
func TestHTMLOfManyRuns(t *testing.T) {
	var all []Subject
	recorded := append(recordedSubjects(t, "7.3"), subject(t), Subject{Result: read(t, "fail")},
		Subject{Result: read(t, "broken")})
	for len(all) < 499 {
		all = append(all, recorded[len(all)%len(recorded)])
	}
	all = append(all, campaign(t).Runs[0])
	page := htmlOf(t, all...)
	if len(page) > 5_000_000 {
		t.Errorf("%d bytes", len(page))
	}
	if n := strings.Count(page, `<a href="#run-`); n != 500 {
		t.Errorf("%d runs are listed", n)
	}
	if n := len(regexp.MustCompile(`<details open><summary><span class="word (fail|broken)"`).FindAllString(page,
		-1)); n != countRed(all) {
		t.Errorf("%d of %d red runs are open", n, countRed(all))
	}
	if n := strings.Count(page, "<summary>Kernel log ("); n != 1 {
		t.Errorf("the log of %d runs is shown; want that of the one that failed, as it is what the page is opened for",
			n)
	}
	if strings.Contains(htmlOf(t, all[:4]...), "Not shown here") {
		t.Error("a page of four runs leaves something out")
	}
}

func countRed(all []Subject) int {
	n := 0
	for _, s := range all {
		if red(s.Result.Verdict) {
			n++
		}
	}
	return n
}

// TestHTMLIsNotFooled: a comm can be any bytes.
func TestHTMLIsNotFooled(t *testing.T) {
	s := subject(t)
	const evil = "</script><img src=x onerror=alert(1)>\x1b\xff&"
	s.Result.Kills = slices.Clone(s.Result.Kills)
	s.Result.Kills[0].Victim = verdict.Victim{PID: 1, Comm: evil, Cgroup: evil}
	s.Result.Reason, s.Result.Scenario = evil, evil
	s.Samples = []evidence.Event{{AtNS: 9e10,
		Sample: &evidence.SampleData{Cgroups: map[string]kernel.Bytes{evil: 1 << 20}}}}
	page := htmlOf(t, s, s)
	if strings.Contains(page, "<img") {
		t.Error("markup of a comm is markup of the page")
	}
}

func TestCompareHTML(t *testing.T) {
	var b bytes.Buffer
	if err := CompareHTML(&b, comparison(t), []string{"oomlab", "compare", "--kernels", "5.10,7.3",
		"memcg/..."}); err != nil {
		t.Fatal(err)
	}
	checkHTML(t, b.String())
	for _, want := range []string{
		"<h3>6.12, other than 5.10</h3>", "<td>memory.events: &#43;oom_group_kill</td>", `<td class="cell differs">`,
		"Baseline old.json: CHANGED",
		"<code>oomlab compare --kernels 5.10,7.3 memcg/...</code>", `<span class="dim">not run</span>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}

func TestThinKeepsPeaks(t *testing.T) {
	var all []point
	for i := range 1000 {
		all = append(all, point{int64(i), kernel.Bytes(i % 10)})
	}
	all[537].bytes = 99
	got := thin(all, 50)
	if len(got) > 52 || got[0] != all[0] || got[len(got)-1] != all[999] || !slices.Contains(got, all[537]) {
		t.Errorf("%d points from %v to %v, the peak among them: %v", len(got), got[0], got[len(got)-1],
			slices.Contains(got, all[537]))
	}
}
