package watch

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// symbols are the functions of the kernel by their address.
type symbols struct {
	address []uint64
	name    []string
}

// readSymbols reads /proc/kallsyms. Nil: it shows no addresses.
func readSymbols(root interface{ Path(...string) string }) *symbols {
	f, err := os.Open(root.Path("/proc/kallsyms"))
	if err != nil {
		return nil
	}
	defer f.Close()
	s := &symbols{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes()) // ffffffff81598eb0 t oom_badness [module]
		if len(fields) < 3 || fields[1][0] != 't' && fields[1][0] != 'T' {
			continue
		}
		address, err := strconv.ParseUint(string(fields[0]), 16, 64)
		if err != nil || address == 0 {
			continue
		}
		s.address, s.name = append(s.address, address), append(s.name, string(fields[2]))
	}
	if len(s.address) == 0 {
		return nil
	}
	if !slices.IsSorted(s.address) {
		sortBoth(s)
	}
	return s
}

func sortBoth(s *symbols) {
	order := make([]int, len(s.address))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case s.address[a] < s.address[b]:
			return -1
		case s.address[a] > s.address[b]:
			return 1
		}
		return 0
	})
	sorted := &symbols{}
	for _, i := range order {
		sorted.address, sorted.name = append(sorted.address, s.address[i]), append(sorted.name, s.name[i])
	}
	*s = *sorted
}

// names are the functions that addresses are in.
func (s *symbols) names(addresses []uint64) []string {
	var out []string
	for _, a := range addresses {
		i, exact := slices.BinarySearch(s.address, a)
		if !exact {
			i--
		}
		if i < 0 || a-s.address[i] > 1<<20 {
			out = append(out, fmt.Sprintf("%#x", a))
			continue
		}
		if name := s.name[i]; len(out) > 0 || !strings.HasPrefix(name, "bpf_") {
			out = append(out, name) // those of the program that looks are left out
		}
	}
	return out
}
