package vm

import (
	"fmt"
	"runtime"

	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// board is what differs between the machines of two architectures. A new one is a row.
type board struct {
	arch string // as Go and Debian call it
	qemu string // program
	pkg  string // Debian's package with it
	// machine is QEMU's machine type with its options, without the accelerator.
	machine string
	model   string // the emulated processor
	counted string // options of the model where the clock counts instructions
	// console and channel are the guest's names for the first two serial ports; serial are the
	// options of QEMU that make them of the character devices console and channel.
	console, channel string
	serial           []string
	// words are on the kernel's command line.
	words []string
}

var boards = []board{
	{
		arch: kernels.AMD64, qemu: "qemu-system-x86_64", pkg: "qemu-system-x86",
		// vmport, SMM, SATA and USB are devices that take time to be probed
		// and that nothing here uses.
		machine: "q35,usb=off,vmport=off,smm=off,sata=off,graphics=off",
		// cx16: with the emulated cmpxchg16b of QEMU 7.2 loaded guests crash in the
		// slab allocator. la57: a fifth level of page tables makes every TLB miss
		// slower, and hardly any machine that oomlab is asked about has it.
		model: "max,-cx16,-la57",
		// The emulation of "rep stosb" takes twice as long as a loop.
		counted: ",-erms,-fsrm",
		console: "ttyS0", channel: "ttyS1",
		serial: []string{"-serial", "chardev:console", "-serial", "chardev:channel"},
		words: []string{
			// An emulated processor stands still at times, which is no reason to doubt the clock.
			"tsc=reliable", "no_timer_check",
			// A kernel that dies before it has a console says why all the same.
			"earlyprintk=ttyS0,115200",
		},
	},
	{
		arch: kernels.ARM64, qemu: "qemu-system-aarch64", pkg: "qemu-system-arm",
		machine: "virt,gic-version=3",
		// pauth and lpa2 are slow to emulate, and nothing here uses SVE.
		model:   "max,pauth=off,sve=off,lpa2=off",
		console: "ttyAMA0", channel: "ttyS0",
		serial: []string{"-serial", "chardev:console", "-device", "pci-serial,chardev=channel"},
		words: []string{
			"earlycon=pl011,0x9000000",
			// Debian's kernels keep 64 MiB for devices, of which page tables get nothing.
			"cma=0",
		},
	},
}

// boardOf is the machine that a kernel boots on.
func boardOf(k kernels.Kernel) board {
	for _, b := range boards {
		if b.arch == k.Arch {
			return b
		}
	}
	return boards[0]
}

// Emulator is QEMU's program for guests of an architecture, and Debian's package with it.
func Emulator(arch string) (program, pkg string) {
	b := boardOf(kernels.Kernel{Arch: arch})
	return b.qemu, b.pkg
}

// accelerates reports whether this machine's processor can run the guest's instructions.
func (b board) accelerates() bool { return b.arch == runtime.GOARCH }

// why says why it cannot.
func (b board) why() string {
	return fmt.Sprintf("the guest's processor is %s, and this machine's %s", b.arch, runtime.GOARCH)
}
