package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf/btf"
)

// offer is what the running kernel has to offer, read from its BTF and its
// symbols.
type offer struct {
	markVictimTask bool // mark_victim's argument is the task, not the pid
	threadBatched  bool // mm->rss_stat is an array of atomics: up to 6.1
	memlock        bool // eBPF memory counts against RLIMIT_MEMLOCK: up to 5.10
	constraints    map[int32]string
	btfErr         error // why there is no BTF; then all of the above is a guess

	pidNS uint32 // pid namespace of what Root's /proc shows; 0: the initial one

	symbols    map[string]uint64 // functions of interest that exist, with every suffix
	symbolsErr error             // why symbols says nothing
	handler    string            // callbacks of BPF programs that are attached as OOM handlers
	cpus       int
	perCPU     uint64 // address of __per_cpu_offset[]
	exactErr   error  // why the parts that CPUs keep back cannot be read
}

// functions are the kernel functions that programs attach to.
var functions = []string{
	"out_of_memory", "oom_kill_process", "__oom_kill_process", "mark_oom_victim",
	"oom_badness", "oom_evaluate_task",
}

const perCPUSymbol = "__per_cpu_offset"

// handlerSymbols begin the names of a struct_ops' trampolines, "bpf__OPS_MEMBER"
// (kernel/bpf/bpf_struct_ops.c). bpf_oom_ops is the name in the patches for a BPF OOM
// handler, "mm: introduce BPF OOM struct ops"; no released kernel has it so far.
const handlerSymbols = "bpf__bpf_oom_ops_"

// readOffer reads what the kernel offers. Without BTF that is little: no program
// that reads a kernel structure can be relocated.
func readOffer(root string, cache *btf.Cache) (*offer, error) {
	spec, err := cache.Kernel()
	if err != nil {
		return &offer{
			btfErr:      fmt.Errorf("BTF of the kernel: %w; it needs CONFIG_DEBUG_INFO_BTF", err),
			constraints: constraintNames(nil), memlock: true,
		}, nil
	}
	o := &offer{constraints: constraintNames(spec)}

	if params := tracepointParams(spec, "mark_victim"); len(params) > 0 {
		_, o.markVictimTask = btf.UnderlyingType(params[0].Type).(*btf.Pointer)
	}
	var charged *btf.Struct
	o.memlock = spec.TypeByName("bpf_map_memory", &charged) == nil

	var mm *btf.Struct
	if err := spec.TypeByName("mm_struct", &mm); err != nil {
		return nil, fmt.Errorf("BTF of the kernel: struct mm_struct: %w", err)
	}
	stat, ok := memberType(mm, "rss_stat")
	if !ok {
		return nil, errors.New("BTF of the kernel: struct mm_struct has no rss_stat; its page counters moved")
	}
	_, o.threadBatched = stat.(*btf.Struct)

	o.pidNS = pidNamespace(root)
	o.readSymbols(filepath.Join(root, "proc/kallsyms"))
	o.readCPUs(filepath.Join(root, "sys/devices/system/cpu/possible"))
	return o, nil
}

// initPIDNS is the number of the initial pid namespace: PROC_PID_INIT_INO of
// include/linux/proc_ns.h, PID_NS_INIT_INO of include/uapi/linux/nsfs.h since 6.18.
const initPIDNS = 0xEFFFFFFC

// pidNamespace is the number of the pid namespace whose processes root's /proc
// shows; 0: the initial one, or nobody may know.
func pidNamespace(root string) uint32 {
	info, err := os.Stat(filepath.Join(root, "proc/1/ns/pid"))
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino != initPIDNS {
		return uint32(st.Ino)
	}
	return 0
}

// tracepointParams are the parameters of a tracepoint's probes without the
// first one, which is private data.
func tracepointParams(spec *btf.Spec, name string) []btf.FuncParam {
	var def *btf.Typedef
	if spec.TypeByName("btf_trace_"+name, &def) != nil {
		return nil
	}
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil
	}
	return proto.Params[1:]
}

// memberType finds a member by name, in anonymous structs and unions too.
func memberType(s btf.Type, name string) (btf.Type, bool) {
	var members []btf.Member
	switch s := btf.UnderlyingType(s).(type) {
	case *btf.Struct:
		members = s.Members
	case *btf.Union:
		members = s.Members
	}
	for _, m := range members {
		if m.Name == name {
			return btf.UnderlyingType(m.Type), true
		}
		if m.Name == "" {
			if t, ok := memberType(m.Type, name); ok {
				return t, true
			}
		}
	}
	return nil, false
}

// constraintNames are the values of enum oom_constraint, in the words that
// evidence uses. The enum has grown in trees outside of mainline.
func constraintNames(spec *btf.Spec) map[int32]string {
	names := map[int32]string{0: "none", 1: "cpuset", 2: "mempolicy", 3: "memcg"}
	var enum *btf.Enum
	if spec == nil || spec.TypeByName("oom_constraint", &enum) != nil {
		return names
	}
	for _, v := range enum.Values {
		name := strings.ToLower(strings.TrimPrefix(v.Name, "CONSTRAINT_"))
		if name == "memory_policy" {
			name = "mempolicy"
		}
		names[int32(v.Value)] = name
	}
	return names
}

func (o *offer) readSymbols(path string) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		o.symbols, o.handler, err = parseKallsyms(f)
	}
	if err == nil && len(o.symbols) == 0 {
		err = fmt.Errorf("%s names none of the OOM killer's functions", path)
	}
	o.symbolsErr = err
	o.perCPU = o.symbols[perCPUSymbol]
}

// parseKallsyms collects the symbols of interest with their suffixes, and what of a BPF
// OOM handler is attached. What modules have does not count; BPF programs come after
// them.
func parseKallsyms(r io.Reader) (found map[string]uint64, handler string, err error) {
	wanted := map[string]bool{perCPUSymbol: true}
	for _, f := range functions {
		wanted[f] = true
	}
	found = map[string]uint64{}
	var members []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Bytes() // ffffffff81598eb0 t oom_badness.part.0
		addr, rest, ok := strings.Cut(string(line), " ")
		if !ok || len(rest) < 3 {
			continue
		}
		name, module, ok := strings.Cut(rest[2:], "\t")
		if ok {
			if member, is := strings.CutPrefix(name, handlerSymbols); is && module == "[bpf]" {
				members = append(members, member)
			}
			continue
		}
		base, suffix, _ := strings.Cut(name, ".")
		if !wanted[base] || suffix == "cold" {
			continue
		}
		value, err := strconv.ParseUint(addr, 16, 64)
		if err != nil {
			return nil, "", fmt.Errorf("kallsyms: %q has no address: %w", line, err)
		}
		found[name] = value
	}
	slices.Sort(members)
	return found, strings.Join(slices.Compact(members), ", "), lines.Err()
}

func (o *offer) readCPUs(path string) {
	text, err := os.ReadFile(path)
	if err == nil {
		o.cpus, err = parsePossible(strings.TrimSpace(string(text)))
	}
	switch {
	case err != nil:
		o.exactErr = err
	case o.cpus > maxCPUs:
		o.exactErr = fmt.Errorf("%d possible CPUs; the programs add up at most %d", o.cpus, maxCPUs)
	case o.symbolsErr != nil:
		o.exactErr = o.symbolsErr
	case o.perCPU == 0:
		o.exactErr = fmt.Errorf("the address of %s is not in /proc/kallsyms; "+
			"it needs CONFIG_KALLSYMS_ALL and kernel.kptr_restrict below 2", perCPUSymbol)
	}
}

// maxCPUs is MAX_CPUS of oom.bpf.c.
const maxCPUs = 1024

// parsePossible reads the number of CPUs from cpu/possible, "0-7". A list with
// gaps is refused: __per_cpu_offset[] has no meaning for a CPU that cannot be.
func parsePossible(s string) (int, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	n, err := strconv.Atoi(last)
	if err != nil || first != "0" || n < 0 {
		return 0, fmt.Errorf("possible CPUs %q are not numbered 0 to N without gaps", s)
	}
	return n + 1, nil
}

// missing says why fn cannot be probed; empty when it can, or when the symbols
// could not be read and only trying tells.
func (o *offer) missing(fn string) string {
	if o.symbolsErr != nil {
		return ""
	}
	if _, ok := o.symbols[fn]; ok {
		return ""
	}
	for name := range o.symbols {
		if strings.HasPrefix(name, fn+".") {
			return "compiled as " + name + ", whose arguments may be others"
		}
	}
	return "not in /proc/kallsyms: the compiler inlined it"
}

// part is the symbol that gcc split off fn, "oom_badness.part.0", or "".
func (o *offer) part(fn string) string {
	for name := range o.symbols {
		if strings.HasPrefix(name, fn+".part.") {
			return name
		}
	}
	return ""
}

// victimFormat says what is wrong with the format of the tracepoint mark_victim,
// whose record trace_mark_victim reads; nil: nothing.
func victimFormat(root string) error {
	var first error
	for _, dir := range []string{"sys/kernel/tracing", "sys/kernel/debug/tracing"} {
		text, err := os.ReadFile(filepath.Join(root, dir, "events/oom/mark_victim/format"))
		if err == nil {
			return checkVictimFormat(string(text))
		}
		if first == nil {
			first = fmt.Errorf("tracepoint mark_victim: %w; it needs CONFIG_FTRACE and a mounted tracefs", err)
		}
	}
	return first
}

// checkVictimFormat looks for the pid where struct mark_victim_record of
// oom.bpf.c has it.
func checkVictimFormat(format string) error {
	for line := range strings.Lines(format) {
		if field := strings.Fields(line); len(field) >= 4 && field[0] == "field:int" && field[1] == "pid;" {
			if field[2] == "offset:8;" && field[3] == "size:4;" {
				return nil
			}
			return fmt.Errorf("tracepoint mark_victim: its pid has %s %s and not offset:8; size:4;", field[2], field[3])
		}
	}
	return errors.New("tracepoint mark_victim: its record has no int pid")
}
