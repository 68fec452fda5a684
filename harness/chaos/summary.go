package chaos

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/verdict"
)

// SummaryPattern matches the names of the files in a campaign's directory that
// hold its summaries, one for each kernel.
const SummaryPattern = "summary-*.json"

// Summary is what a kernel has shown in a campaign.
type Summary struct {
	Kernel   string    `json:"kernel"`
	Seed     uint64    `json:"seed"`
	Domain   Domain    `json:"domain"`
	Started  string    `json:"started,omitempty"`
	Seconds  float64   `json:"seconds"`
	Tally    Tally     `json:"tally"`
	Findings []Finding `json:"findings"`
	// Asked is the kernel as it was asked for; empty: the default one.
	Asked   string   `json:"asked,omitempty"`
	Command []string `json:"command,omitempty"` // that repeats the campaign
	// Cut says why it ended before it was meant to; empty: it did not.
	Cut string `json:"cut,omitempty"`
}

// Finding is a scenario that shows a disagreement, as small as it could be made.
type Finding struct {
	Index     int    `json:"index"`
	Scenario  string `json:"scenario"` // the file
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
	Processes int    `json:"processes"`
	Attempts  int    `json:"attempts,omitempty"` // runs that shrinking took
}

// FileName is the summary's own in the directory of its campaign.
func (s Summary) FileName() string {
	return "summary-" + s.Kernel + "-" + string(s.Domain) + ".json"
}

// Write writes the summary as JSON that [ReadSummary] reads.
func (s Summary) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(s)
}

// ReadSummary reads a summary that was written, and nothing else.
func ReadSummary(r io.Reader) (Summary, error) {
	var s Summary
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return s, err
}

// Verdict is that of all scenarios together.
func (t Tally) Verdict() verdict.Verdict {
	switch {
	case t.Broken > 0:
		return verdict.Broken
	case t.Disagreements > 0:
		return verdict.Fail
	}
	return verdict.Pass
}
