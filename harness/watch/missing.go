package watch

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/probe"
)

// needed are the capabilities that all of this takes, by their numbers in
// include/uapi/linux/capability.h, and what each is for.
var needed = []struct {
	bit       int
	name, why string
}{
	{39, "CAP_BPF", "to load eBPF programs"},
	{38, "CAP_PERFMON", "to attach them"},
	{34, "CAP_SYSLOG", "to read /dev/kmsg, and addresses of kernel functions"},
}

// Missing names the capabilities that this process lacks, each with what it is for,
// and how to grant them to program. Empty: it has all.
func Missing(root probe.Root, program string) (lacks, hints []string) {
	text, err := root.Text("/proc/self/status")
	if err != nil {
		return nil, nil
	}
	var caps uint64
	for line := range strings.Lines(text) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ = strconv.ParseUint(strings.TrimSpace(hex), 16, 64) // 0: it lacks all
		}
	}
	var names []string
	for _, n := range needed {
		if caps&(1<<n.bit) == 0 {
			lacks = append(lacks, n.name+", "+n.why)
			names = append(names, n.name)
		}
	}
	if names == nil {
		return nil, nil
	}
	hints = []string{
		fmt.Sprintf("sudo setcap %s+ep %s", strings.ToLower(strings.Join(names, ",")), program),
		fmt.Sprintf("sudo systemd-run --pipe --wait --uid %d -p AmbientCapabilities='%s' %s trace", os.Getuid(),
			strings.Join(names, " "), program),
	}
	return lacks, hints
}
