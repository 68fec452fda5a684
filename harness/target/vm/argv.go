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
	Board   board
	Accel   string
	Kernel  string // image
	Initrd  string
	Cmdline string
	Memory  kernel.Bytes
	CPUs    int
	Counted bool // see Options

	// Nodes are the sizes of the NUMA nodes; none: there is one.
	Nodes []kernel.Bytes

	RAM     []string // files that are the guest's memory, one for each node
	Private bool     // the guest's writes do not reach them
	// ReadOnly opens them read-only, see opensReadOnly.
	ReadOnly  bool
	Swap      string       // raw file; empty: no disk
	Disk      string       // raw file of a disk with a file system; empty: none
	DiskWrite kernel.Bytes // how much of it can be written a second; 0: no bound
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
	fdEntry   = 7 // the directory of the snapshot
	fdRAM     = 8 // a copy of the memory of node 0, if QEMU cannot open that of the snapshot; others follow
)

// inherited is the path of an inherited descriptor.
func inherited(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// argv is QEMU's command line. It is a pure function, and what it says that is
// not the name of a file is part of a snapshot's identity.
func argv(c config) []string {
	name, options, _ := strings.Cut(c.Board.machine, ",")
	machine := name + ",accel=" + c.Accel + ","
	if len(c.Nodes) == 0 {
		machine += "memory-backend=ram,"
	}
	out := []string{
		c.QEMU,
		"-machine", machine + options,
		"-cpu", cpu(c),
		"-smp", fmt.Sprint(c.CPUs),
		"-m", fmt.Sprintf("size=%dM", c.Memory/kernel.MiB),
	}
	out = append(out, memory(c)...)
	out = append(out,
		// Nothing that is not named here: no network, no display, no floppy.
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none",
		// The guest reboots when it panics, which ends QEMU.
		"-no-reboot",
		// The clock stands still while the guest does.
		"-rtc", "base=utc,clock=vm",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", fdMonitor),
		"-mon", "chardev=monitor,mode=control",
		"-chardev", "file,id=console,path="+escape(c.Console),
		"-chardev", fmt.Sprintf("socket,id=channel,fd=%d", fdChannel))
	out = append(out, c.Board.serial...)
	out = append(out, "-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.Cmdline)
	out = append(out, clock(c)...)
	if c.Disk != "" {
		snapshot := "off"
		if c.Throwaway {
			snapshot = "on"
		}
		slow := ""
		if c.DiskWrite > 0 {
			slow = fmt.Sprintf(",throttling.bps-write=%d", c.DiskWrite)
		}
		out = append(out,
			"-drive", "if=none,id=disk,format=raw,cache=unsafe,snapshot="+snapshot+slow+",file="+escape(c.Disk),
			"-device", "virtio-blk-pci,drive=disk")
	}
	if c.GuestPort != 0 {
		out = append(out,
			// restrict: nothing gets out, neither to the host nor beyond it.
			"-netdev", fmt.Sprintf("user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:%d-:%d", c.HostPort,
				c.GuestPort),
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

// memory is the guest's memory: a file for each node. While a snapshot is made they are
// shared, and so the files are the snapshot of the memory: nothing is copied. A
// restored guest maps them privately: only the pages it writes cost
// anything, and guests that run side by side share the rest.
func memory(c config) []string {
	share := "on"
	if c.Private {
		share = "off"
		if c.ReadOnly {
			share += ",readonly=on,rom=off"
		}
	}
	file := func(id string, size kernel.Bytes, path string) []string {
		return []string{"-object", fmt.Sprintf("memory-backend-file,id=%s,size=%dM,mem-path=%s,share=%s", id,
			size/kernel.MiB, escape(path), share)}
	}
	if len(c.Nodes) == 0 {
		return file("ram", c.Memory, c.RAM[0])
	}
	var out []string
	for i, size := range c.Nodes {
		id, cpus := ramOf(i), ""
		if i == 0 {
			cpus = fmt.Sprintf(",cpus=0-%d", c.CPUs-1)
		}
		out = append(append(out, file(id, size, c.RAM[i])...),
			"-numa", fmt.Sprintf("node,nodeid=%d%s,memdev=%s", i, cpus, id))
	}
	return out
}

// opensReadOnly reports whether QEMU can use a read-only file for a private, writable
// memory: rom=off was added in 8.2. version is the first line of qemu --version.
func opensReadOnly(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "QEMU emulator version %d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 8 || major == 8 && minor >= 2
}

// clock says what the guest's time is. Where it is counted in its own instructions,
// and not in those of a host that may have other things to do, what is interrupted
// where, and so who leaves before whom, does not depend on the host's load.
func clock(c config) []string {
	switch {
	case c.Accel != TCG:
	case c.Counted:
		return []string{"-icount", "shift=0"} // 1 ns each, all processors in one thread
	case c.CPUs == 1:
		return []string{"-icount", "shift=2"} // 4 ns each
	}
	return nil
}

// cpu is the processor that the guest sees.
func cpu(c config) string {
	if c.Accel == KVM {
		return "host"
	}
	if c.Counted {
		return c.Board.model + c.Board.counted
	}
	return c.Board.model
}

// escape doubles commas, which QEMU's option syntax takes for separators.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// swapDevice is what the guest calls the swap disk.
func swapDevice(o Options) string {
	if o.Disk != "" || o.FilesDisk > 0 {
		return "/dev/vdb"
	}
	return "/dev/vda"
}

// cmdline is the kernel's command line. Every word has its reason.
func cmdline(o Options) string {
	b := boardOf(o.Kernel)
	words := []string{
		// What the kernel says, and the level of each line of it, goes to the
		// first serial port: after a panic that is all there is.
		"console=" + b.console + ",115200", "console_msg_format=syslog", "loglevel=7",
		"log_buf_len=1M", "printk.devkmsg=on", "printk.time=1",
		// A kernel that is broken must not go on; QEMU ends at the reboot.
		"panic=-1", "oops=panic",
		// The same plan should give the same page counts.
		"nokaslr", "norandmaps", "transparent_hugepage=madvise",
		// Debian switches these off by default; the first is needed on 5.10 for
		// memory.swap.max, the second for /proc/pressure.
		"swapaccount=1", "psi=1",
		// An emulated or overcommitted processor stands still at times. That is
		// not the guest's fault, and complaints about it are not evidence.
		"nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1",
		// Half a second of an emulated boot. nokaslr, above, saves a quarter.
		"cryptomgr.notests",
		// Nothing here is about security, and each of them costs system calls.
		"mitigations=off", "audit=0", "apparmor=0", "random.trust_cpu=on",
		// To the agent.
		"oomlab.channel=" + b.channel,
	}
	words = append(words, b.words...)
	if o.CgroupVersion == 1 {
		words = append(words, "oomlab.cgroup=1")
	}
	if o.SwapDisk > 0 {
		words = append(words, "oomlab.swap="+swapDevice(o))
	}
	if o.FilesDisk > 0 {
		words = append(words, "oomlab.files=/dev/vda")
	}
	if o.CgroupVersion == 1 && o.Cpusets {
		words = append(words, "oomlab.cpuset=1")
	}
	return strings.Join(append(words, o.Words...), " ")
}
