package vm

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
)

// A machine that panics while its agent sends a message leaves the beginning of
// it on the serial line: the guest went down, and did not say nonsense.
func TestAMessageIsCutOff(t *testing.T) {
	said, stop := lines(strings.NewReader("\x00\r\n{\"id\":1,\"events\":\"whole\"}\n{\"id\":1,\"events\":\"pJh"))
	defer stop()
	var got []string
	for line := range said {
		got = append(got, string(line))
	}
	if want := []string{`{"id":1,"events":"whole"}`}; !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}

// testdata/console-panic.txt is the console of a 6.12 guest that was restored,
// got vm.panic_on_oom and ran out of memory.
func TestConsoleOfAPanic(t *testing.T) {
	data, err := os.ReadFile("testdata/console-panic.txt")
	if err != nil {
		t.Fatal(err)
	}
	console := string(data)
	if got, want := panicMessage(console), "Out of memory: system-wide panic_on_oom is enabled"; got != want {
		t.Errorf("panic %q, want %q", got, want)
	}
	events := consoleRecords(console)
	var invoked, table, panicked *evidence.Event
	for i, e := range events {
		switch text := e.Log.Text; {
		case strings.Contains(text, " invoked oom-killer: "):
			invoked = &events[i]
		case strings.HasPrefix(text, "[  pid  ]"):
			table = &events[i]
		case strings.HasPrefix(text, panicText):
			panicked = &events[i]
		}
		if e.Source != evidence.Console || e.Kind != evidence.Record || e.AtNS != e.Log.USec*1000 || e.AtNS == 0 {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if invoked == nil || table == nil || panicked == nil {
		t.Fatalf("in %d records: invoked %v, table %v, panic %v; want all three", len(events), invoked, table, panicked)
	}
	// The levels that the kernel gives them: KERN_WARNING, KERN_INFO, KERN_EMERG.
	for e, want := range map[*evidence.Event]int{invoked: 4, table: 6, panicked: 0} {
		if e.Log.Priority != want {
			t.Errorf("%q has priority %d, want %d", e.Log.Text, e.Log.Priority, want)
		}
	}
}

func TestConsoleLinesOfOthers(t *testing.T) {
	console := "ut off]\r\n<6>[    1.000002] whole\r\n<4>[    1.000003][   T44] told\r\nagent: said " +
		"something\r\n<6>[    1.0] short\r\n<6>[    2.500000] cut"
	events := consoleRecords(console)
	if len(events) != 3 || events[0].Log.Text != "whole" || events[0].AtNS != 1_000_002_000 ||
		events[1].Log.Text != "told" || events[2].Log.Text != "cut" {
		t.Errorf("events %+v", events)
	}
	if got := lastLines(console, 2); got != "<6>[    1.0] short\n<6>[    2.500000] cut" {
		t.Errorf("last lines %q", got)
	}
	if got := panicMessage(console); got != "" {
		t.Errorf("panic %q where there is none", got)
	}
}

func TestLastLines(t *testing.T) {
	const console = "c\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2)\r\nBooting from ROM...\r\n\n\nZSTD-compressed " +
		"data is corrupt\n\n -- System halted\xff"
	for n, want := range map[int]string{
		1: " -- System halted",
		2: "ZSTD-compressed data is corrupt\n -- System halted",
		9: "cSeaBIOS (version 1.16.2)\nBooting from ROM...\nZSTD-compressed data is corrupt\n -- System halted",
	} {
		if got := lastLines(console, n); got != want {
			t.Errorf("the last %d lines are %q, want %q", n, got, want)
		}
	}
}

// TestGrace: a guest that goes on telling may take longer than its deadline, but not forever.
func TestGrace(t *testing.T) {
	const s = time.Second
	for _, test := range []struct{ deadline, slack, asked, quiet, want time.Duration }{
		{30 * s, 20 * s, 30 * s, 1 * s, 19 * s},
		{30 * s, 20 * s, 30 * s, 30 * s, 0}, // it has said nothing at all
		{30 * s, 20 * s, 30 * s, 20 * s, 0},
		{30 * s, 20 * s, 119 * s, 1 * s, 1 * s},
		{30 * s, 20 * s, 120 * s, 0, 0},
		{30 * s, 20 * s, 500 * s, 0, 0},
	} {
		if got := grace(test.deadline, test.slack, test.asked, test.quiet); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
