package vm

import (
	"fmt"
	"os"
	"runtime"

	"github.com/oomlab/oomlab/harness/kernel"
)

const (
	hostReserve = kernel.GiB       // left to everything else on the host
	vmOverhead  = 150 * kernel.MiB // QEMU's own memory, and files the page cache should keep
)

// Fit is how many guests of the given memory can run side by side on a machine
// with that many processors and that much available memory. It is never less
// than one: a single guest gets its chance, since it seldom uses all it has.
func Fit(available kernel.Bytes, cpus int, memory kernel.Bytes) int {
	byMemory := int((available - hostReserve) / (memory + vmOverhead))
	return max(1, min(cpus, byMemory))
}

// FitHere is Fit for this machine as it is now.
func FitHere(memory kernel.Bytes) (int, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 1, err
	}
	defer f.Close()
	for {
		var name string
		var kb int64
		var unit string
		if n, err := fmt.Fscanf(f, "%s %d %s\n", &name, &kb, &unit); err != nil && n < 2 {
			return 1, fmt.Errorf("/proc/meminfo has no MemAvailable: %w", err)
		}
		if name == "MemAvailable:" {
			return Fit(kernel.Bytes(kb)*kernel.KiB, runtime.NumCPU(), memory), nil
		}
	}
}
