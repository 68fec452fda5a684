package reproduce

import (
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// namer makes names for processes that scenarios allow, each once.
type namer map[string]bool

func (n namer) of(comm string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		case r < 0x80:
			return '-'
		}
		return -1
	}, comm)
	name = strings.TrimLeft(name, ".-")
	name = strings.TrimRight(name[:min(len(name), kernel.CommLen)], "-")
	if name == "" {
		name = "process"
	}
	unique := name
	for i := 2; n[unique]; i++ {
		suffix := "-" + strconv.Itoa(i)
		unique = name[:min(len(name), kernel.CommLen-len(suffix))] + suffix
	}
	n[unique] = true
	return unique
}
