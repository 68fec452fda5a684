package oomlog

import "strings"

// lostForms are the lines by which a log says that lines are missing, with the
// number between before and after.
var lostForms = []struct {
	like, before, after string
}{
	{"** 23 printk messages dropped **", "** ", " printk messages dropped **"},
	{"** 23 printk messages dropped ** [ 12.3] x", "** ", " printk messages dropped ** "},
	{"Missed 23 kernel messages", "Missed ", " kernel messages"},
	{"imjournal: 23 messages lost due to rate-limiting", "imjournal: ", " messages lost due to rate-limiting"},
}

// snips are what people put where they took lines out.
var snips = map[string]bool{
	"...": true, "....": true, "[...]": true, "<...>": true, "(...)": true, "[..]": true, "[snip]": true,
	"<snip>": true, "(snip)": true, "--snip--": true, "-- snip --": true, "---8<---": true, "[cut]": true,
	"...snip...": true,
}

// lostLines reads a line that says how many lines are missing. snip: a person
// took them out; rest is what follows in the same line.
func lostLines(s string) (n uint64, rest string, snip, ok bool) {
	for _, f := range lostForms {
		v, begins := strings.CutPrefix(s, f.before)
		if !begins {
			continue
		}
		if n, v, ok := unsigned(v); ok {
			if rest, ok := strings.CutPrefix(v, f.after); ok {
				return n, strings.TrimRight(rest, " ."), false, true
			}
		}
	}
	if len(s) > 16 {
		return 0, "", false, false
	}
	s = strings.ToLower(strings.TrimSpace(s))
	return 0, "", true, snips[s]
}

func classifyLost(s string) kind {
	if _, _, _, ok := lostLines(s); ok {
		return kindLost
	}
	return kindNone
}

// classifyShowMem is for sysrq-m.
func classifyShowMem(s string) kind {
	if len(s) > 5 && strings.EqualFold(s[:5], "sysrq") && strings.Contains(s, "Show Memory") {
		return kindElsewhere
	}
	return kindNone
}

// isAllocFailure recognises "x: page allocation failure: order:2, mode:0x20".
func isAllocFailure(s string) bool {
	i := strings.Index(s, ": page allocation failure")
	return i >= 0 && strings.Contains(s[i:], " order:")
}
