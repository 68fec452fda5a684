// Package selfboot runs a test binary as the only program of virtual machines, so that
// tests of what touches a kernel run on other kernels. It is for tests only.
//
//	OOMLAB_TEST_IMAGES='/somewhere/*/vmlinuz' CGO_ENABLED=0 go test -run TestKernels ./harness/observe
package selfboot

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Images are the kernels that OOMLAB_TEST_IMAGES names, a pattern.
func Images(t *testing.T) []string {
	t.Helper()
	pattern := os.Getenv("OOMLAB_TEST_IMAGES")
	if pattern == "" {
		t.Skip("needs OOMLAB_TEST_IMAGES, a pattern of kernel images")
	}
	images, err := filepath.Glob(pattern)
	if err != nil || len(images) == 0 {
		t.Fatalf("OOMLAB_TEST_IMAGES=%s names no file (%v)", pattern, err)
	}
	return images
}

// Initramfs packs this test binary as init. It skips the test where that cannot run.
func Initramfs(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath(qemu); err != nil {
		t.Skipf("needs QEMU: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !static(t, self) {
		t.Skip("needs a static test binary: build with CGO_ENABLED=0")
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	initramfs := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(initramfs, archive(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return initramfs
}

const qemu = "qemu-system-x86_64"

// Run runs the tests whose names match pattern in a machine with that kernel, under
// emulation, and returns what the console showed. env is a list of NAME=VALUE.
func Run(t *testing.T, image, initramfs, pattern string, limit time.Duration, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var console bytes.Buffer
	// cx16 off: QEMU 7.2 emulates it wrongly for two CPUs.
	cmd := exec.CommandContext(ctx, qemu, "-M", "q35,accel=tcg", "-cpu", "max,-cx16", "-smp", "2", "-m", "512",
		"-nodefaults", "-display", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", image, "-initrd", initramfs,
		"-append", // no_timer_check: a busy host is late, and the kernel would panic over it.
		// What the kernel does not know goes to init: into its environment, or behind -- as arguments.
		"console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check "+strings.Join(env, " ")+
			" -- -test.v -test.timeout="+limit.String()+" -test.run="+pattern)
	cmd.Stdout, cmd.Stderr = &console, &console
	err := cmd.Run()
	text := strings.ReplaceAll(console.String(), "\r", "")
	if err != nil || !strings.Contains(text, "guest: exit 0\n") {
		t.Errorf("QEMU: %v; the tests in the machine did not pass", err)
	}
	t.Log(text)
	return text
}

// Main runs the tests; as PID 1 it mounts what they need and powers the machine off.
func Main(m *testing.M) int {
	if os.Getpid() != 1 {
		return m.Run()
	}
	mount()
	code := m.Run()
	fmt.Printf("guest: exit %d\n", code)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	return code
}

func mount() {
	os.Setenv("TMPDIR", "/")
	for _, m := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tracefs", "/sys/kernel/tracing"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			fmt.Printf("guest: mount %s: %v\n", m[1], err)
		}
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
		fmt.Printf("guest: %v\n", err)
	}
}

func static(t *testing.T, path string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// archive is an initramfs (cpio, "newc") with init and the directories that it
// mounts on.
func archive(init []byte) []byte {
	var b bytes.Buffer
	ino := 0
	add := func(name string, mode, major, minor int, data []byte) {
		ino++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
		pad := func() {
			for b.Len()%4 != 0 {
				b.WriteByte(0)
			}
		}
		pad()
		b.Write(data)
		pad()
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp"} {
		add(dir, 0o40755, 0, 0, nil)
	}
	add("dev/console", 0o20600, 5, 1, nil)
	add("init", 0o100755, 0, 0, init)
	add("TRAILER!!!", 0, 0, 0, nil)
	return b.Bytes()
}
