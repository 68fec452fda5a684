package judge

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/trace"
)

// JSON writes a judgement on one line.
func JSON(w io.Writer, j Judgement) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}

// width of a report, in columns.
const width = 80

// Text writes a judgement for people.
func Text(w io.Writer, j Judgement) error {
	var lines []string
	add := func(label, text string) {
		const indent = 10
		lines = append(lines, plaintext.Hang(label, text, indent, width)...)
	}
	add(strings.ToUpper(string(j.Verdict)), j.Reasons[0])
	for _, r := range j.Reasons[1:] {
		add("", r)
	}
	switch {
	case j.Command != "" && j.Ended != "":
		add("command", j.Command)
		add("", fmt.Sprintf("%s after %.1f s", j.Ended, j.Seconds))
	case j.Command != "":
		add("command", j.Command)
		add("", fmt.Sprintf("it still ran after %.1f s", j.Seconds))
	case j.Since != "":
		add("since", fmt.Sprintf("%s, %.1f s", j.Since, j.Seconds))
	default:
		add("watched", fmt.Sprintf("%.1f s", j.Seconds))
	}
	for i, wit := range j.Witnesses {
		label := ""
		if i == 0 {
			label = "witnesses"
		}
		text := wit.Name + ": " + plaintext.Count(wit.Kills, "kill")
		if wit.Twice > 0 {
			text += fmt.Sprintf(", %d of them a second time, with its group", wit.Twice)
		}
		if wit.Error != "" {
			text = wit.Name + ": none, " + wit.Error
		}
		add(label, text)
	}
	if len(j.Kills) > 0 {
		lines = append(lines, "", "killed by the kernel")
	}
	for i, k := range j.Kills {
		const indent = 5
		lines = append(lines, plaintext.Hang("  "+strconv.Itoa(i+1), j.at(k)+k.text(j.Command != ""), indent, width)...)
	}
	if j.Since != "" {
		lines = append(lines, "", "signals by other processes: nobody watched for them")
	}
	if len(j.Signals) > 0 {
		lines = append(lines, "", "signals by other processes")
	}
	for _, k := range j.Signals {
		by := "somebody"
		if k.Trigger != nil {
			by = name(*k.Trigger)
		}
		if k.Daemon {
			by += ", an OOM daemon,"
		}
		text := fmt.Sprintf("%s by %s to %s", k.Signal, by, name(k.Victim))
		lines = append(lines, plaintext.Hang("", text, 5, width)...)
	}
	if j.SignalsCut > 0 {
		lines = append(lines, fmt.Sprintf("     %d more signals on this machine were not looked at", j.SignalsCut))
	}
	return plaintext.Write(w, lines, nil)
}

// at is when a kill was, where that is not within the last moments.
func (j Judgement) at(k Kill) string {
	t, err := time.Parse(time.RFC3339Nano, k.Time)
	if j.Since == "" || err != nil {
		return ""
	}
	return t.Format(time.DateTime) + " "
}

// text says who was killed, at whose limit, and who asked for memory.
func (k Kill) text(command bool) string {
	var b strings.Builder
	b.WriteString(name(k.Victim))
	if k.Victim.RSS != nil {
		b.WriteString(", " + k.Victim.RSS.Human() + " resident")
	}
	if k.Victim.Adj != nil {
		fmt.Fprintf(&b, ", oom_score_adj %d", *k.Victim.Adj)
	}
	if k.Points != nil {
		fmt.Fprintf(&b, ", score %d", *k.Points)
	}
	switch {
	case k.Own != nil && *k.Own:
		b.WriteString("; the command started it")
	case k.Own != nil && command:
		b.WriteString("; the command did not start it")
	}
	if !k.Expected {
		b.WriteString("; not expected")
	}
	b.WriteString("; " + k.Limited())
	if k.Trigger != nil && k.By == trace.ByKernel {
		b.WriteString("; invoked by " + name(*k.Trigger))
	}
	if k.Group {
		b.WriteString("; killed with its group")
	}
	return b.String()
}
