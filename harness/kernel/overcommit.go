package kernel

// The sysctls by which __vm_enough_memory() in mm/util.c refuses memory.
const (
	OvercommitMemory = "vm.overcommit_memory"
	OvercommitRatio  = "vm.overcommit_ratio"
	OvercommitKbytes = "vm.overcommit_kbytes"
)

// What vm.overcommit_memory says: refuse a mapping that is larger than the machine, none,
// and what is more than CommitLimit.
const (
	OvercommitGuess  = "0"
	OvercommitAlways = "1"
	OvercommitNever  = "2"
)

// ClearedBy is the sysctl that the kernel sets to zero when another one is written, and the
// other way round (overcommit_ratio_handler() and overcommit_kbytes_handler()); "": none.
func ClearedBy(sysctl string) string {
	switch sysctl {
	case OvercommitRatio:
		return OvercommitKbytes
	case OvercommitKbytes:
		return OvercommitRatio
	}
	return ""
}
