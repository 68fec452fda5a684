package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

func TestArgv(t *testing.T) {
	base := config{
		QEMU: "qemu-system-x86_64", Board: boards[0], Accel: TCG, Memory: 512 * kernel.MiB, CPUs: 1,
		Kernel: "/cache/kernel", Initrd: "/cache/initrd",
		RAM: []string{"/cache/ram", "/cache/ram1"}, Console: "/run/console.txt",
	}
	arm64 := kernels.Kernel{Arch: kernels.ARM64}
	for _, test := range []struct {
		name   string
		change func(*config)
		o      Options
	}{
		{name: "boot"},
		{name: "restore", change: func(c *config) { c.Private, c.Incoming = true, true }},
		{name: "restore-read-only", change: func(c *config) { c.Private, c.Incoming, c.ReadOnly = true, true, true }},
		{name: "kvm", change: func(c *config) { c.Accel, c.CPUs = KVM, 2 }},
		{
			name:   "swap",
			change: func(c *config) { c.Swap = "/runs/7, again/swap.img" }, // a comma in a path
			o:      Options{SwapDisk: kernel.GiB},
		},
		{
			name: "files", // on a slow disk, beside swap
			change: func(c *config) {
				c.Disk, c.DiskWrite, c.Swap = "/cache/disk.img", 20*kernel.MiB, "/runs/7/swap.img"
			},
			o: Options{SwapDisk: kernel.GiB, FilesDisk: 2 * kernel.GiB},
		},
		{
			name: "nodes", // restored, with v1's cpusets
			change: func(c *config) {
				c.Nodes, c.Private, c.Incoming = []kernel.Bytes{256 * kernel.MiB, 256 * kernel.MiB}, true, true
			},
			o: Options{CgroupVersion: 1, Cpusets: true},
		},
		{name: "cgroup1", o: Options{CgroupVersion: 1}},
		{
			name: "node", // of a cluster, restored
			change: func(c *config) {
				c.Private, c.Incoming, c.CPUs = true, true, 2
				c.Disk, c.Throwaway, c.GuestPort, c.HostPort = "/cache/disk.img", true, 6443, 41000
			},
			o: Options{Words: []string{"oomlab.node=1"}},
		},
		{
			name:   "arm64",
			change: func(c *config) { c.QEMU, c.Board = "qemu-system-aarch64", boardOf(arm64) },
			o:      Options{Kernel: arm64},
		},
		{name: "counted", change: func(c *config) { c.Counted, c.CPUs = true, 2 }},
		{name: "linked", change: func(c *config) {
			c.GuestPort, c.HostPort, c.Link = 6443, 41000,
				"52:54:00:00:4e:01"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := base
			if test.change != nil {
				test.change(&c)
			}
			c.Cmdline = cmdline(test.o)
			got := strings.Join(argv(c), "\n") + "\n"
			golden.File(t, filepath.Join("testdata", "argv", test.name+".txt"), []byte(got))
		})
	}
}

// TestRestoringBootsTheSameMachine: QEMU refuses a state, or worse, accepts it,
// when the machine that loads it is not the one that saved it.
func TestRestoringBootsTheSameMachine(t *testing.T) {
	c := config{QEMU: "qemu", Board: boards[0], Accel: TCG, Memory: 256 * kernel.MiB, CPUs: 2, Kernel: "k", Initrd: "i",
		RAM:     []string{"r", "r1"},
		Console: "c", Swap: "s", Disk: "d"}
	for _, nodes := range [][]kernel.Bytes{nil, {192 * kernel.MiB, 64 * kernel.MiB}} {
		c.Nodes, c.Private, c.Incoming, c.Throwaway = nodes, false, false, false
		boot := argv(c)
		c.Private, c.Incoming, c.Throwaway = true, true, true
		restore := argv(c)
		for i, word := range restore {
			word = strings.Replace(word, "share=off", "share=on", 1)
			restore[i] = strings.Replace(word, "snapshot=on", "snapshot=off", 1)
		}
		if want := append(slices.Clone(boot), "-S", "-incoming", "defer"); !slices.Equal(restore, want) {
			t.Errorf("restored with %q,\nwant %q", restore, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	base := func() *VM {
		return &VM{
			o:       Options{Memory: 512 * kernel.MiB, CPUs: 1, CgroupVersion: 2, QEMU: "qemu"},
			version: "QEMU 7.2", kernelSum: "k", initrdSum: "i", runDir: "/a",
		}
	}
	want := base().identity(TCG)
	same := base()
	same.runDir, same.o.Kernel.Image, same.o.QEMU = "/b", "/elsewhere/vmlinuz", "/usr/bin/qemu"
	if got := same.identity(TCG); got != want {
		t.Error("where files lie changes the identity of a snapshot")
	}
	seen := map[string]string{want: "nothing"}
	for name, change := range map[string]func(*VM){
		"memory":  func(v *VM) { v.o.Memory *= 2 },
		"CPUs":    func(v *VM) { v.o.CPUs = 2 },
		"cgroup":  func(v *VM) { v.o.CgroupVersion = 1 },
		"nodes":   func(v *VM) { v.o.Nodes = []kernel.Bytes{256 * kernel.MiB, 256 * kernel.MiB} },
		"nodes 2": func(v *VM) { v.o.Nodes = []kernel.Bytes{192 * kernel.MiB, 320 * kernel.MiB} },
		"cpusets": func(v *VM) { v.o.CgroupVersion, v.o.Cpusets = 1, true },
		"swap":    func(v *VM) { v.o.SwapDisk = kernel.GiB },
		"swap 2":  func(v *VM) { v.o.SwapDisk = 2 * kernel.GiB },
		"disk":    func(v *VM) { v.o.Disk, v.o.DiskSum = "/a/disk", "d" },
		"disk 2":  func(v *VM) { v.o.Disk, v.o.DiskSum = "/a/disk", "d2" },
		"files":   func(v *VM) { v.o.FilesDisk = kernel.GiB },
		"files 2": func(v *VM) { v.o.FilesDisk = 2 * kernel.GiB },
		"slow":    func(v *VM) { v.o.FilesDisk, v.o.DiskWrite = kernel.GiB, kernel.MiB },
		"port":    func(v *VM) { v.o.Port = 6443 },
		"words":   func(v *VM) { v.o.Words = []string{"oomlab.node=1"} },
		"QEMU":    func(v *VM) { v.version = "QEMU 8" },
		"kernel":  func(v *VM) { v.kernelSum = "k2" },
		"initrd":  func(v *VM) { v.initrdSum = "i2" },
		"sums":    func(v *VM) { v.kernelSum, v.initrdSum = "ki", "" },
		"and KVM": nil,
	} {
		v, accel := base(), TCG
		if change != nil {
			change(v)
		} else {
			accel = KVM
		}
		key := v.identity(accel)
		if other, ok := seen[key]; ok {
			t.Errorf("changing %s gives the same identity as changing %s", name, other)
		}
		seen[key] = name
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct {
		available kernel.Bytes
		cpus      int
		memory    kernel.Bytes
		want      int
	}{
		// (24Gi - 1Gi) / (512Mi + 150Mi) = 35, but there are 2 processors.
		{24 * kernel.GiB, 2, 512 * kernel.MiB, 2},
		// (4Gi - 1Gi) / (512Mi + 150Mi) = 3072/662 = 4.
		{4 * kernel.GiB, 16, 512 * kernel.MiB, 4},
		{4 * kernel.GiB, 16, 2 * kernel.GiB, 1},
		// Less than the reserve: one guest gets its chance.
		{512 * kernel.MiB, 16, 512 * kernel.MiB, 1},
	} {
		if got := Fit(test.available, test.cpus, test.memory); got != test.want {
			t.Errorf("Fit(%s, %d, %s) = %d, want %d", test.available, test.cpus, test.memory, got, test.want)
		}
	}
	n, err := FitHere(512 * kernel.MiB)
	if err != nil || n < 1 {
		t.Errorf("FitHere = %d, %v", n, err)
	}
}

// TestCopySparse: a disk's copy has the same bytes and takes no more room.
func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 20
	for _, at := range []int64{0, 5 << 20, 40 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil { // ends in a hole
		t.Fatal(err)
	}
	if err := copyFile(to, from); err != nil {
		t.Fatal(err)
	}
	a, errA := hashFile(from)
	b, errB := hashFile(to)
	if errA != nil || errB != nil || a != b {
		t.Errorf("the copy differs: %v, %v", errA, errB)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(to, &st); err != nil || st.Size != size || st.Blocks*512 > size/4 {
		t.Errorf("the copy has %d bytes and takes %d, %v", st.Size, st.Blocks*512, err)
	}
}

func TestOpensReadOnly(t *testing.T) {
	for version, want := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)": false,
		"QEMU emulator version 8.1.5":                                    false,
		"QEMU emulator version 8.2.0":                                    true,
		"QEMU emulator version 10.0.8 (Debian 1:10.0.8+ds-0+deb13u1+b3)": true,
		"something else": false,
		"":               false,
	} {
		if got := opensReadOnly(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}
