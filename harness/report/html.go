package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var pages = template.Must(template.New("").Funcs(template.FuncMap{"soft": soft}).Parse(pageSource))

// soft is a name that may be broken behind its slashes and dots.
func soft(name string) template.HTML {
	return template.HTML(strings.NewReplacer("/", "/<wbr>", ".", ".<wbr>").Replace(template.HTMLEscapeString(name)))
}

// Subject is a run that is shown with all that its directory holds.
type Subject struct {
	// Dir is where it was read from; empty where the result's own name will do.
	Dir    string
	Input  verdict.Input
	Result verdict.Result
	// Samples are the events of samples.jsonl; none where they were not kept.
	Samples []evidence.Event
}

// budget is how large a page of many runs may become: it is mailed, and opened
// on phones. One run may take it all.
const budget = 4 << 20

// HTML writes runs as one page that needs nothing else: no script, no network.
// Where runs are many, each shows less: first the log and the environment go,
// then the pictures. Half of the room is for those that did not pass, which are
// fewer and which the page is opened for.
func HTML(w io.Writer, title string, all []Subject) error {
	if len(all) == 1 {
		body, err := article(all[0], full, true)
		if err != nil {
			return err
		}
		return htmlPage(w, all[0].Result.Scenario+": "+string(all[0].Result.Verdict), body)
	}
	s := suitePage{Title: title}
	bodies, err := fittingAll(all)
	if err != nil {
		return err
	}
	var results []verdict.Result
	for i, subject := range all {
		r := subject.Result
		results = append(results, r)
		predicted, observed := Outcome(r)
		s.Runs = append(s.Runs, suiteRun{
			ID: fmt.Sprintf("run-%d", i+1), Scenario: r.Scenario, Kernel: version(r), Verdict: r.Verdict,
			Bad:       red(r.Verdict),
			Predicted: plaintext.Cut(predicted, 60), Observed: plaintext.Cut(observed, 60),
			Time: seconds(r.DurationMS), Body: bodies[i],
		})
	}
	s.Counts = Summary(results)
	for _, word := range []verdict.Verdict{verdict.Pass, verdict.Skip, verdict.Fail, verdict.Broken} {
		n := 0
		for _, r := range results {
			if r.Verdict == word {
				n++
			}
		}
		if n > 0 {
			s.Shares = append(s.Shares, share{word, n})
		}
	}
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "suite", s); err != nil {
		return err
	}
	return htmlPage(w, title, template.HTML(body.String()))
}

type suitePage struct {
	Title, Counts string
	Shares        []share
	Runs          []suiteRun
}

type share struct {
	Class verdict.Verdict
	N     int
}

type suiteRun struct {
	ID, Scenario, Kernel, Predicted, Observed, Time string
	Verdict                                         verdict.Verdict
	Bad                                             bool
	Body                                            template.HTML
}

func red(w verdict.Verdict) bool { return w == verdict.Fail || w == verdict.Broken }

// htmlPage wraps a body that the templates have made, and so escaped. What HTML
// cannot hold at all, and a comm may, is replaced in all of it.
func htmlPage(w io.Writer, title string, body template.HTML) error {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, "page", struct {
		Title string
		Style template.CSS
		Body  template.HTML
	}{title, template.CSS(pageStyle), body})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, plaintext.EscapeLines(b.String()))
	return err
}

// detail is how much of a run is shown.
type detail int

const (
	full   detail = iota
	middle        // without log and environment, with fewer points in the chart
	brief         // without pictures
)

// fittingAll is as much of every run as fits into the budget: of those that did
// not pass into half of it, and of the others into what is left.
func fittingAll(all []Subject) ([]template.HTML, error) {
	bodies := make([]template.HTML, len(all))
	left := budget
	for _, wanted := range []bool{true, false} {
		n, room := 0, left
		for _, s := range all {
			if red(s.Result.Verdict) == wanted {
				n++
			}
		}
		if wanted && n < len(all) {
			room /= 2
		}
		for i, s := range all {
			if red(s.Result.Verdict) != wanted {
				continue
			}
			var err error
			if bodies[i], err = fitting(s, room/n); err != nil {
				return nil, err
			}
			left -= len(bodies[i])
		}
	}
	return bodies, nil
}

// fitting is as much of a run as fits into a number of bytes.
func fitting(s Subject, most int) (template.HTML, error) {
	for _, d := range []detail{full, middle} {
		body, err := article(s, d, false)
		if err != nil || len(body) <= most {
			return body, err
		}
	}
	return article(s, brief, false)
}

func article(s Subject, d detail, single bool) (template.HTML, error) {
	v := view(s, d)
	v.Single = single
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "run", v); err != nil {
		return "", fmt.Errorf("%s: %w", s.Result.Scenario, err)
	}
	return template.HTML(squeeze(b.String())), nil
}

// squeeze drops empty lines that templates leave. A log keeps its own.
func squeeze(s string) string {
	head, log, found := strings.Cut(s, "<pre")
	for strings.Contains(head, "\n\n") {
		head = strings.ReplaceAll(head, "\n\n", "\n")
	}
	if !found {
		return head
	}
	return head + "<pre" + log
}
