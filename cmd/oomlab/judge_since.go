package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// sinceUnits are the units of a time that has gone by, as journalctl has them.
var sinceUnits = map[string]time.Duration{"s": time.Second, "sec": time.Second, "min": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour}

var (
	sinceAgo   = regexp.MustCompile(`^(?:-([0-9]{1,6}) ?(s|sec|min|h|d)|([0-9]{1,6}) ?(s|sec|min|h|d) ago)$`)
	sinceEpoch = regexp.MustCompile(`^@([0-9]{1,11})$`)
)

// sinceForms are those of a time of this machine's zone. A time of day is one of today.
var sinceForms = []struct {
	layout string
	today  bool
}{
	{"2006-01-02 15:04", false}, {"2006-01-02 15:04:05", false}, {"15:04", true}, {"15:04:05", true},
}

const sinceHint = "write 2026-12-01 10:00, 10:00, -10min or '10 min ago' (s, min, h, d), @SECONDS, or boot"

// parseSince reads TIME of --since, in the zone of now. A zero time is when the machine was started.
func parseSince(text string, now time.Time) (time.Time, error) {
	then, err := sinceTime(text, now)
	if err == nil && then.After(now) {
		hint := ""
		if text[2] == ':' {
			hint = "a time without a date is one of today"
		}
		return then, &mistake{fmt.Sprintf("--since %s: that has not been yet", text), hint}
	}
	return then, err
}

func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "boot" {
		return time.Time{}, nil
	}
	if m := sinceAgo.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1] + m[3])
		if unit := sinceUnits[m[2]+m[4]]; n > int(math.MaxInt64/int64(unit)) {
			return now, &mistake{fmt.Sprintf("--since %s: that is longer ago than clocks tell", text), sinceHint}
		}
		return now.Add(-time.Duration(n) * sinceUnits[m[2]+m[4]]), err
	}
	if m := sinceEpoch.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		return time.Unix(n, 0).In(now.Location()), err
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, form := range sinceForms {
		if len(text) != len(form.layout) { // Parse takes fewer digits, and fractions
			continue
		}
		layout, full := form.layout, text
		if form.today {
			layout, full = time.DateOnly+" "+layout, now.Format(time.DateOnly)+" "+text
		}
		t, err := time.ParseInLocation(layout, full, now.Location())
		if err != nil {
			continue
		}
		if t.Format(layout) != full { // clocks were put forward
			return t, &mistake{fmt.Sprintf("--since %s: there is no such time in this machine's zone", text), ""}
		}
		for _, other := range []time.Duration{-time.Hour, time.Hour} { // clocks were put back
			if t.Add(other).Format(layout) == full {
				return t, &mistake{fmt.Sprintf("--since %s: there are two such times in this machine's zone", text),
					"say which with its zone, such as " + t.Format(time.RFC3339)}
			}
		}
		return t, nil
	}
	return time.Time{}, &mistake{fmt.Sprintf("--since %q is no time", text), sinceHint}
}
