package main

import (
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/chaos"
)

func TestChaosProgressSaysWhatIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags chaosFlags
		want  string
	}{
		{"scenarios", chaosFlags{count: 100}, "25 scenarios, 60 kills, 120 a minute, 1 disagreement, 1m30s to go"},
		{"whatever is first", chaosFlags{count: 100, kills: 120, duration: time.Hour},
			"25 scenarios, 60 kills, 120 a minute, 1 disagreement, 30s to go"},
		{"time", chaosFlags{duration: time.Minute}, "25 scenarios, 60 kills, 120 a minute, 1 disagreement, 30s to go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := chaosProgress{flags: tt.flags, done: 25, tally: chaos.Tally{Kills: 60, Disagreements: 1}}
			if got := p.line(30 * time.Second); got != tt.want {
				t.Errorf("said %q; want %q", got, tt.want)
			}
		})
	}
}
