package vm

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Accelerators of QEMU.
const (
	KVM = "kvm" // the processor's own virtualisation
	TCG = "tcg" // software emulation: slower, and there everywhere
)

// config is a machine as QEMU is told about it.
type config struct {
	QEMU    string // program
	Accel   string
	Kernel  string // bzImage
	Initrd  string
	Cmdline string
	Memory  kernel.Bytes
	CPUs    int

	RAM     string // file that is the guest's memory
	Private bool   // the guest's writes do not reach that file
	Swap    string // raw file; empty: no disk
	Disk    string // raw file of a disk with a file system; empty: none
	// Throwaway keeps the guest's writes out of Disk: they are gone with QEMU.
	Throwaway bool
	// GuestPort is a TCP port of the guest, HostPort where loopback leads to it.
	GuestPort, HostPort int
	Link                string // MAC address of the card that fdLink is the cable of; empty: no card
	Console             string // file

	// Incoming makes QEMU wait for a state to be loaded instead of booting.
	Incoming bool
}

// File descriptors that QEMU inherits. Sockets that are connected from the start
// need no path, no listening and no waiting, and their end is seen when QEMU dies.
const (
	fdMonitor = 3
	fdChannel = 4
	fdState   = 5 // the saved state, where Incoming is set
	fdLink    = 6 // datagrams, one for each frame, where Link is set
)

// argv is QEMU's command line. It is a pure function, and what it says that is
// not the name of a file is part of a snapshot's identity.
func argv(c config) []string {
	share := "on"
	if c.Private {
		share = "off"
	}
	out := []string{
		c.QEMU,
		// vmport, SMM, SATA and USB are devices that take time to be probed
		// and that nothing here uses.
		"-machine", "q35,accel=" + c.Accel + ",memory-backend=ram,usb=off,vmport=off,smm=off,sata=off,graphics=off",
		"-cpu", cpu(c.Accel),
		"-smp", fmt.Sprint(c.CPUs),
		"-m", fmt.Sprintf("size=%dM", c.Memory/kernel.MiB),
		// The guest's memory is a file. While a snapshot is made it is shared,
		// and so the file is the snapshot of the memory: nothing is copied. A
		// restored guest maps it privately: only the pages it writes cost
		// anything, and guests that run side by side share the rest.
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s,share=%s", c.Memory/kernel.MiB, escape(c.RAM), share),
		// Nothing that is not named here: no network, no display, no floppy.
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none",
		// The guest reboots when it panics, which ends QEMU.
		"-no-reboot",
		// The clock stands still while the guest does.
		"-rtc", "base=utc,clock=vm",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", fdMonitor),
		"-mon", "chardev=monitor,mode=control",
		"-chardev", "file,id=console,path=" + escape(c.Console),
		"-serial", "chardev:console", // ttyS0
		"-chardev", fmt.Sprintf("socket,id=channel,fd=%d", fdChannel),
		"-serial", "chardev:channel", // ttyS1
		"-kernel", c.Kernel,
		"-initrd", c.Initrd,
		"-append", c.Cmdline,
	}
	if c.Accel == TCG && c.CPUs == 1 {
		// The guest's time is counted in its own instructions, 4 ns each, and not
		// in those of a host that may have other things to do: what is
		// interrupted where, and so who leaves before whom, does not depend on
		// the host's load. Several processors cannot be counted.
		out = append(out, "-icount", "shift=2")
	}
	if c.Disk != "" {
		snapshot := "off"
		if c.Throwaway {
			snapshot = "on"
		}
		out = append(out,
			"-drive", "if=none,id=disk,format=raw,cache=unsafe,snapshot="+snapshot+",file="+escape(c.Disk),
			"-device", "virtio-blk-pci,drive=disk")
	}
	if c.GuestPort != 0 {
		out = append(out,
			// restrict: nothing gets out, neither to the host nor beyond it.
			"-netdev", fmt.Sprintf("user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:%d-:%d", c.HostPort, c.GuestPort),
			"-device", "virtio-net-pci,netdev=net,romfile=")
	}
	if c.Link != "" {
		out = append(out,
			"-netdev", fmt.Sprintf("dgram,id=link,local.type=fd,local.str=%d", fdLink),
			"-device", "virtio-net-pci,netdev=link,romfile=,mac="+c.Link)
	}
	if c.Swap != "" {
		out = append(out,
			// The disk is new for each guest and never read again: it need not
			// reach the host's disk.
			"-drive", "if=none,id=swap,format=raw,cache=unsafe,file="+escape(c.Swap),
			"-device", "virtio-blk-pci,drive=swap")
	}
	if c.Incoming {
		out = append(out, "-S", "-incoming", "defer")
	}
	return out
}

// cpu is the processor that the guest sees.
func cpu(accel string) string {
	if accel == KVM {
		return "host"
	}
	// cx16: with the emulated cmpxchg16b of QEMU 7.2 loaded guests crash in the
	// slab allocator. la57: a fifth level of page tables makes every TLB miss
	// slower, and hardly any machine that oomlab is asked about has it.
	return "max,-cx16,-la57"
}

// escape doubles commas, which QEMU's option syntax takes for separators.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// swapDevice is what the guest calls the swap disk.
const swapDevice = "/dev/vda"

// cmdline is the kernel's command line. Every word has its reason.
func cmdline(o Options) string {
	words := []string{
		// What the kernel says, and the level of each line of it, goes to the
		// first serial port: after a panic that is all there is.
		"console=ttyS0,115200", "console_msg_format=syslog", "loglevel=7",
		"log_buf_len=1M", "printk.devkmsg=on", "printk.time=1",
		// A kernel that is broken must not go on; QEMU ends at the reboot.
		"panic=-1", "oops=panic",
		// The same plan should give the same page counts.
		"nokaslr", "norandmaps", "transparent_hugepage=madvise",
		// Debian switches these off by default; the first is needed on 5.10 for
		// memory.swap.max, the second for /proc/pressure.
		"swapaccount=1", "psi=1",
		// An emulated or overcommitted processor stands still at times. That is
		// not the guest's fault, and complaints about it are not evidence; nor is
		// it a reason to doubt the clock.
		"nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1", "tsc=reliable", "no_timer_check",
		// Half a second of an emulated boot. nokaslr, above, saves a quarter.
		"cryptomgr.notests",
		// Nothing here is about security, and each of them costs system calls.
		"mitigations=off", "audit=0", "apparmor=0", "random.trust_cpu=on",
		// A kernel that dies before it has a console says why all the same.
		"earlyprintk=ttyS0,115200",
		// To the agent.
		"oomlab.channel=ttyS1",
	}
	if o.CgroupVersion == 1 {
		words = append(words, "oomlab.cgroup=1")
	}
	if o.SwapDisk > 0 {
		words = append(words, "oomlab.swap="+swapDevice)
	}
	return strings.Join(append(words, o.Words...), " ")
}
