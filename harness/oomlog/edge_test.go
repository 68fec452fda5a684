package oomlog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// valuesOf are all values of a report by where they stand, those of processes by their pid.
func valuesOf(t *testing.T, r Report) map[string]any {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(jsonOf(plain(r))), &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				walk(at+"."+key, value)
			}
		case []any:
			for i, value := range v {
				if process, ok := value.(map[string]any); ok && process["pid"] != nil {
					walk(fmt.Sprintf("%s[%v]", at, process["pid"]), value)
					continue
				}
				walk(fmt.Sprintf("%s[%d]", at, i), value)
			}
		default:
			all[at] = v
		}
	}
	walk("", doc)
	return all
}

// TestCutLines: what a log does not have the end of is said to be cut, and no number, list or
// pid that was cut is taken for a whole one. A name and a panic's text may be cut.
func TestCutLines(t *testing.T) {
	mayBeCut := []string{"comm", "name", "panic", "path"}
	told := []string{".complete", ".kernel_format"}
	for name, log := range fixtures(t) {
		want := valuesOf(t, oneReport(t, log))
		records := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
		for form, of := range map[string]func(int, string) string{
			"dmesg": dmesgLine, "syslog": syslogLine, "both": bothLine, "bare": bare,
		} {
			for _, width := range []int{60, 72, 80, 90, 100, 110, 120, 132, 150, 170, 200} {
				for _, mark := range []string{"", "…", "...", ">", "$", " [...]", "[truncated]"} {
					var text strings.Builder
					for _, line := range dress(of, records) {
						if len(line) > width {
							line = line[:width-len(mark)] + mark
						}
						text.WriteString(line + "\n")
					}
					for _, r := range reportsOf(t, []byte(text.String())) {
						for at, got := range valuesOf(t, r) {
							if reflect.DeepEqual(got, want[at]) || slices.Contains(told, at) ||
								strings.HasPrefix(at, ".missing") {
								continue
							}
							whole, _ := want[at].(string)
							part, isText := got.(string)
							key := at[strings.LastIndexByte(at, '.')+1:]
							if !isText || !strings.HasPrefix(whole, part) || !slices.Contains(mayBeCut, key) ||
								r.Complete && key != "panic" && key != "name" {
								t.Errorf("%s as %s, cut at %d with %q: %s is %v, want %v; missing %v", name, form,
									width, mark, at, got, want[at], r.Missing)
							}
						}
					}
				}
			}
		}
	}
}
