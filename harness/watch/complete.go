package watch

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// complete adds to a kill what is read in user space.
func (w *Watch) complete(k *trace.Kill) {
	now := time.Now()
	if at := monotonic(); at > 0 {
		now = now.Add(time.Duration(k.AtNS - at))
	}
	k.Time = now.Format(time.RFC3339Nano)
	if text, err := os.ReadFile(w.root.Path("/proc/loadavg")); err == nil {
		if l, err := kernel.ParseLoadavg(bytes.NewReader(text)); err == nil {
			k.Load = []float64{l.Load1, l.Load5, l.Load15}
		}
	}
	for _, p := range []*trace.Process{&k.Victim, k.Trigger} {
		if p != nil {
			w.about(p)
		}
	}
	if k.GFP != nil && k.GFPFlags == "" {
		k.GFPFlags = words(w.gfp, *k.GFP)
	}
	if w.o.Detail && k.GFP != nil && k.Order != nil && *k.Order >= 0 {
		w.zones.read(w.root, k.AtNS) // unless it was read when the kill was seen
		if z, ok := w.zones.take(k.AtNS); ok {
			k.Zones, k.ZonesNS = trace.ZonesOf(z.info, *k.GFP), &z.after
		}
	}
	if after, ok := w.gone.take(k.AtNS, goneSoon); ok {
		k.GoneNS = &after
	}
	if w.symbols != nil {
		k.Stack = w.symbols.names(k.Addresses())
		if k.By == trace.ByKernel && slices.Contains(k.Stack, handles) {
			k.Asked = trace.AskedHandler
		}
		if !w.o.Detail {
			k.Stack = nil
		}
	}
}

// handles is the function that calls BPF OOM handlers, in the patches for them.
const handles = "bpf_handle_oom"

// about adds what a process's files and its cgroup tell.
func (w *Watch) about(p *trace.Process) {
	if p.Args == nil && p.PID != 0 {
		if text, err := os.ReadFile(w.root.Path("/proc", strconv.Itoa(p.PID), "cmdline")); err == nil && len(text) > 0 {
			const most = 4 << 10
			p.ArgsCut = len(text) > most
			line := strings.TrimRight(string(text[:min(len(text), most)]), "\x00")
			p.Args, p.ArgsRead = strings.Split(line, "\x00"), true
		}
	}
	if (p.Cgroup == "" || p.CgroupCut) && p.CgroupID() != 0 {
		if path, ok := w.cgroupOf(p.CgroupID()); ok {
			p.Own(path)
			p.CgroupCut = false
		}
	}
	if p.Kubernetes != nil && p.Kubernetes.PodUID != "" {
		p.Namespace, p.Pod = podOf(w.root, p.Kubernetes.PodUID)
	}
}

// cgroupOf finds a memory cgroup by its kernfs id, which is its inode.
func (w *Watch) cgroupOf(id uint64) (string, bool) {
	mount, err := w.root.CgroupMount()
	if err != nil {
		return "", false
	}
	root, found := w.root.Path(mount.Root), ""
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // gone, or a file
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Ino == id {
			found = strings.TrimPrefix(path, root)
			return fs.SkipAll
		}
		return nil
	})
	return found, found != ""
}

// podLogs is where the kubelet keeps the logs of pods, in NAMESPACE_NAME_UID.
const podLogs = "/var/log/pods"

// podOf is the namespace and the name of a pod, from the kubelet's directories.
func podOf(root probe.Root, uid string) (namespace, name string) {
	entries, err := os.ReadDir(root.Path(podLogs))
	if err != nil {
		return "", ""
	}
	for _, e := range entries {
		rest, ok := strings.CutSuffix(e.Name(), "_"+uid)
		if ok {
			namespace, name, _ = strings.Cut(rest, "_")
			return namespace, name
		}
	}
	return "", ""
}

// flag is one word for bits of a gfp mask.
type flag struct {
	bits uint64
	name string
}

// gfpWords are those of include/trace/events/mmflags.h as a tracepoint's format shows
// them: {( unsigned long)(...0x400u...), "GFP_KERNEL"}; newer ones have sums and shifts.
var gfpWords = regexp.MustCompile(`\{\s*([^{}"]*),\s*"((?:__)?GFP_\w+)"\s*\}`)

// readGFP reads what the bits of a gfp mask are called on this kernel.
func readGFP(root interface{ Path(...string) string }) []flag {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		text, err := os.ReadFile(root.Path(dir, "events/kmem/kmalloc/format"))
		if err == nil {
			return parseGFP(string(text))
		}
	}
	return nil
}

// parseGFP reads the words of a format file; those whose value is no sum of numbers
// are left out.
func parseGFP(format string) []flag {
	var out []flag
	for _, m := range gfpWords.FindAllStringSubmatch(format, -1) {
		if bits, ok := value(m[1]); ok && bits != 0 {
			out = append(out, flag{bits, m[2]})
		}
	}
	return out
}

var (
	casts  = regexp.MustCompile(`\(\s*(?:unsigned long|gfp_t|\( gfp_t\))\s*\)`)
	number = regexp.MustCompile(`^(0x[0-9a-fA-F]+|\d+)[uUlL]*$`)
)

// value computes an expression of numbers joined by |, in any parentheses.
func value(expr string) (uint64, bool) {
	expr = casts.ReplaceAllString(expr, "")
	expr = strings.NewReplacer("(", " ", ")", " ").Replace(expr)
	var sum uint64
	for term := range strings.SplitSeq(expr, "|") {
		m := number.FindStringSubmatch(strings.TrimSpace(term))
		if m == nil {
			return 0, false
		}
		n, err := strconv.ParseUint(m[1], 0, 64)
		if err != nil {
			return 0, false
		}
		sum |= n
	}
	return sum, true
}

// words are the names of a mask, as __print_flags() chooses them: the first that fit,
// and the bits that are left as a number.
func words(all []flag, mask uint32) string {
	if len(all) == 0 {
		return ""
	}
	left := uint64(mask)
	var out []string
	for _, f := range all {
		if f.bits&left == f.bits {
			left &^= f.bits
			out = append(out, f.name)
		}
	}
	if left != 0 {
		out = append(out, "0x"+strconv.FormatUint(left, 16))
	}
	return strings.Join(out, "|")
}
