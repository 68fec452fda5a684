// Package guest is PID 1 of a virtual machine.
//
// [Main] makes a kernel that has just started into a machine and serves the
// agent on the device that the kernel command line names. On the node of a
// cluster it also switches to the node's disk and starts the node's daemons. In a
// machine with a userland it switches to the disk, leaves PID 1 to systemd, and serves
// from a unit.
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent"
)

// Where the initramfs of a virtual machine has things.
const (
	guestStressor = "/oomlab/stressor"
	guestModules  = "/oomlab/modules/*.ko"
	guestScratch  = "/run/oomlab"
	guestFiles    = "/run/oomlab/files"
)

// Main is the life of PID 1, of the machine or of a container on it. It never returns: without PID 1 the kernel panics,
// so the machine is switched off instead, with the reason on its console.
func Main() {
	err := func() error {
		if len(os.Args) == 3 && (os.Args[1] == enterContainer || os.Args[1] == inContainer) {
			return containerMain(os.Args[1], os.Args[2])
		}
		options, err := boot()
		if err != nil {
			return err
		}
		switch {
		case options["oomlab.node"] != "":
			return bootNode(options["oomlab.channel"])
		case options["oomlab.userland"] != "":
			return bootUserland(options["oomlab.channel"])
		}
		return serve(options["oomlab.channel"], agent.Options{})
	}()
	fmt.Fprintln(os.Stderr, "oomlab-agent:", err)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the machine is going down
}

// ServeNode is the agent of a cluster's node in a virtual machine, a process
// beside PID 1. It returns when the channel is closed or broken.
func ServeNode(channel string) error {
	return serve(channel, agent.Options{Node: agent.ContainerdNode()})
}

// serve is the agent of a virtual machine. It returns when the channel is closed
// or broken. o is what the machine is beside that.
func serve(channel string, o agent.Options) error {
	// Started as /proc/self/exe, it would be "exe" in the kernel's reports.
	warn(os.WriteFile("/proc/self/comm", []byte("oomlab-agent"), 0))
	line, err := openChannel(channel)
	if err != nil {
		return err
	}
	o.Stressor, o.ScratchDir, o.HostOOM, o.Own = guestStressor, guestScratch, true, true
	a, err := agent.New(context.Background(), o)
	if err != nil {
		return err
	}
	if err := a.Serve(context.Background(), line, line); err != nil {
		return err
	}
	return errors.New("the channel was closed")
}

// boot makes a kernel that has just started into a machine, and returns the
// NAME=VALUE words of its command line.
func boot() (map[string]string, error) {
	for _, m := range []mount{
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
	} {
		// A user's program may have come with the initramfs at its own path,
		// below /tmp too; it is not covered up. The root is a tmpfs anyway.
		if there, _ := os.ReadDir(m.target); len(there) > 0 && m.fs == "tmpfs" {
			continue
		}
		if err := m.mount(); err != nil {
			return nil, err
		}
	}
	// What not every kernel has; the code that needs it reports that it is missing.
	for _, m := range []mount{
		{"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"devpts", "/dev/pts", "devpts", ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", ""},
		{"bpf", "/sys/fs/bpf", "bpf", ""},
	} {
		warn(m.mount())
	}
	for name, to := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		warn(os.Symlink(to, name))
	}
	warn(unix.Sethostname([]byte("oomlab")))
	// The command line says so too, but a machine below 512Mi starts with
	// "never" whatever it says (hugepage_init() in mm/huge_memory.c).
	const thp = "/sys/kernel/mm/transparent_hugepage/enabled"
	if _, err := os.Stat(thp); err == nil {
		warn(os.WriteFile(thp, []byte("madvise"), 0))
	}
	// eBPF maps of 5.10 are charged to RLIMIT_MEMLOCK; a run has a few
	// descriptors for each process.
	warn(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
	warn(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 65536, Max: 65536}))
	for name, value := range map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "linux",
	} {
		os.Setenv(name, value)
	}
	if err := loadModules(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	options := commandLine(string(text))
	if device := options["oomlab.files"]; device != "" {
		if err := mountFiles(device); err != nil {
			return nil, err
		}
	}
	switch {
	case options["oomlab.node"] != "", options["oomlab.userland"] != "":
		return options, nil // its own cgroups are mounted below the disk
	case options["oomlab.cgroup"] == "1":
		return options, mountCgroupV1(options["oomlab.cpuset"] != "")
	}
	return options, mountCgroupV2("/sys/fs/cgroup")
}

// mountFiles mounts the disk that stressors have their files on. Without it they have
// them in a tmpfs, and the agent refuses plans with files.
func mountFiles(device string) error {
	err := await(diskWait, func() error { _, err := os.Stat(device); return err })
	if err != nil {
		warn(err)
		return nil
	}
	if err := (mount{device, guestFiles, "ext4", ""}).mount(); err != nil {
		warn(err)
		return nil
	}
	return os.Setenv("OOMLAB_TMP", guestFiles)
}

// warn prints what went wrong and is not fatal. A name that exists already is
// as good as one that was made.
func warn(err error) {
	if err != nil && !errors.Is(err, os.ErrExist) {
		fmt.Fprintln(os.Stderr, "oomlab-agent:", err)
	}
}

type mount struct{ source, target, fs, data string }

// mount makes the directory and mounts it. The kernel may have mounted
// devtmpfs itself; nothing else is there yet.
func (m mount) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(m.source, m.target, m.fs, 0, m.data)
	if err != nil && !(m.fs == "devtmpfs" && errors.Is(err, unix.EBUSY)) {
		return fmt.Errorf("mount %s at %s: %w", m.fs, m.target, err)
	}
	return nil
}

// commandLine reads the NAME=VALUE words of a kernel command line.
func commandLine(text string) map[string]string {
	options := map[string]string{}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		options[name] = value
	}
	return options
}

// loadModules loads what the initramfs brings, in the order of the names, in
// which each module comes after those it needs. A module that is built into
// this kernel is as good as loaded.
func loadModules() error {
	names, err := filepath.Glob(guestModules)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// mountCgroupV2 mounts the one hierarchy and hands the memory controller on. The
// others stay at the root: with the cpu controller, cgroups would get equal
// shares of the processor, and a victim in one of them would have to share with
// processes that grow in another cgroup instead of leaving first.
func mountCgroupV2(at string) error {
	if err := (mount{"cgroup2", at, "cgroup2", ""}).mount(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+memory"), 0)
}

// mountCgroupV1 mounts the memory controller and the freezer as hierarchies of
// their own and the rest as cgroup v2. A kernel without v1's memory controller
// gets it on v2, and the machine's facts say so. cpusets says that a scenario asks for them.
func mountCgroupV1(cpusets bool) error {
	if err := (mount{"tmpfs", "/sys/fs/cgroup", "tmpfs", "mode=755"}).mount(); err != nil {
		return err
	}
	warn(mount{"cgroup", "/sys/fs/cgroup/freezer", "cgroup", "freezer"}.mount())
	if cpusets {
		warn(mount{"cgroup", "/sys/fs/cgroup/cpuset", "cgroup", "cpuset"}.mount())
	}
	const unified = "/sys/fs/cgroup/unified"
	if err := (mount{"cgroup", "/sys/fs/cgroup/memory", "cgroup", "memory"}).mount(); err != nil {
		warn(err)
		return mountCgroupV2(unified)
	}
	return mount{"cgroup2", unified, "cgroup2", ""}.mount() // memory is not there to be handed on
}

// openChannel opens the serial line to the one who commands, without the
// terminal's habits: no echo, no line editing, no translation.
func openChannel(name string) (*os.File, error) {
	if name == "" {
		return nil, errors.New("the kernel command line has no oomlab.channel=DEVICE")
	}
	f, err := os.OpenFile(filepath.Join("/dev", name), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var ttyErr error
	err = raw.Control(func(fd uintptr) {
		t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if errors.Is(err, unix.ENOTTY) {
			return // a virtio port has no such habits
		}
		if err != nil {
			ttyErr = err
			return
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		ttyErr = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	})
	if err := errors.Join(err, ttyErr); err != nil {
		return nil, fmt.Errorf("channel %s: %w", name, err)
	}
	return f, nil
}
