package vm

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// consoleLine is how the kernel writes to a console when it is told
// console_msg_format=syslog: the level, the time, the text.
var consoleLine = regexp.MustCompile(`^<(\d+)>\[ *(\d+)\.(\d{6})\] (.*)$`)

const panicText = "Kernel panic - not syncing: "

// panicMessage is the reason that a kernel gave for its panic; empty when the
// console shows none.
func panicMessage(console string) string {
	_, after, ok := strings.Cut(console, panicText)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

// lastLines are the last n lines of a console.
func lastLines(console string, n int) string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(console, "\r", ""), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// consoleRecords turns what the kernel wrote to the console into events. Lines
// that a program wrote there, and lines that are cut off, are left out.
func consoleRecords(console string) []evidence.Event {
	var out []evidence.Event
	for line := range strings.Lines(console) {
		m := consoleLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		priority, err := strconv.Atoi(m[1])
		if err != nil {
			continue
		}
		seconds, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || seconds > 1<<40 {
			continue
		}
		micros, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil {
			continue
		}
		at := seconds*1_000_000 + micros
		out = append(out, evidence.Event{
			AtNS: at * 1000, Source: evidence.Console, Kind: evidence.Record,
			Log: &evidence.LogRecord{Priority: priority, USec: at, Text: m[4]},
		})
	}
	return out
}
