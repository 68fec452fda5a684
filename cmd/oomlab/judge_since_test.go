package main

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestParseSince(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 14, 30, 15, 0, zone)
	for text, want := range map[string]string{
		"2026-12-01 10:00":          "2026-12-01T10:00:00+01:00",
		"2026-07-01 10:00:05":       "2026-07-01T10:00:05+02:00",
		"10:00":                     "2026-12-01T10:00:00+01:00",
		"14:30:15":                  "2026-12-01T14:30:15+01:00",
		"2026-12-01T10:00:00Z":      "2026-12-01T10:00:00Z",
		"2026-12-01T10:00:00+05:30": "2026-12-01T10:00:00+05:30",
		"@1764583200":               "2025-12-01T11:00:00+01:00",
		"-10min":                    "2026-12-01T14:20:15+01:00",
		"-10 min":                   "2026-12-01T14:20:15+01:00",
		"2 h ago":                   "2026-12-01T12:30:15+01:00",
		"90s ago":                   "2026-12-01T14:28:45+01:00",
		"-1d":                       "2026-11-30T14:30:15+01:00",
		"boot":                      "0001-01-01T00:00:00Z",
	} {
		if got, err := parseSince(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v; want %s", text, got.Format(time.RFC3339), err, want)
		}
	}
	for text, want := range map[string]string{
		"14:31": "has not been yet", "2026-12-02 10:00": "has not been yet", "@99999999999": "has not been yet",
		"9:00": "is no time", "25:00": "is no time", "10:00:00.5": "is no time", "yesterday": "is no time",
		"-10": "is no time", "10min": "is no time", "-10 weeks": "is no time", "": "is no time",
		"-1h30min":   "is no time",
		"-10min ago": "is no time", "-200000d": "longer ago than clocks tell", "2026-02-30 10:00": "is no time", "2026-12-01": "is no time",
		"2026-10-25 02:30": "two such times", "2026-03-29 02:30": "no such time",
	} {
		if got, err := parseSince(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}
