package vm

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// consoleLine is how the kernel writes to a console when it is told
// console_msg_format=syslog: the level, the time, with CONFIG_PRINTK_CALLER who
// said it, the text.
var consoleLine = regexp.MustCompile(`^<(\d+)>\[ *(\d+)\.(\d{6})\](?:\[ *[TC]\d+\])? (.*)$`)

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

// lastLines are the last n lines of a console. What a firmware does to a terminal
// is left out, and so are empty lines.
func lastLines(console string, n int) string {
	console = strings.ToValidUTF8(terminalCodes.ReplaceAllString(console, ""), "")
	lines := strings.FieldsFunc(console, func(r rune) bool { return r == '\n' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// terminalCodes are escape sequences (ECMA-48) and other control characters.
var terminalCodes = regexp.MustCompile("\x1b(?:\\[[0-9;?=]*[A-Za-z]|[^\\[])|[\x00-\x08\x0b-\x1f\x7f]")

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
