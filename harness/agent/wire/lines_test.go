package wire_test

import (
	"bufio"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/agent/wire"
)

func TestScanLines(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      nil,
		"{}\n":                  {"{}"},
		"{}\r\n\n{\"id\":1}\n":  {"{}", "", `{"id":1}`},
		"{}\n{\"events\":\"pJh": {"{}"}, // a machine panicked while it sent this
		"{\"events\":\"pJh":     nil,
	} {
		var got []string
		lines := bufio.NewScanner(strings.NewReader(text))
		lines.Split(wire.ScanLines)
		for lines.Scan() {
			got = append(got, lines.Text())
		}
		if err := lines.Err(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}
