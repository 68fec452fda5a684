package scenarios

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTour: docs/tour.md has ten steps, each with a scenario of the library to run, and each but
// the last with a question.
func TestTour(t *testing.T) {
	text, err := os.ReadFile("../docs/tour.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := strings.Split(string(text), "\n## ")[1:]
	if len(steps) != 10 {
		t.Fatalf("%d steps", len(steps))
	}
	command := regexp.MustCompile(`(?m)^    bin/oomlab run (\S+)$`)
	for i, step := range steps {
		if !strings.HasPrefix(step, fmt.Sprintf("%d. ", i+1)) {
			t.Errorf("step %d is called %.20q", i+1, step)
		}
		runs := command.FindAllStringSubmatch(step, -1)
		if len(runs) == 0 {
			t.Errorf("step %d runs nothing", i+1)
		}
		for _, m := range runs {
			if _, err := Source(m[1]); err != nil {
				t.Errorf("step %d: %v", i+1, err)
			}
		}
		if asks := strings.Contains(step, "\n**Question:** "); asks != (i < 9) {
			t.Errorf("step %d: it asks: %v", i+1, asks)
		}
	}
}
