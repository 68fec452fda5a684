package observe

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

	"github.com/oomlab/oomlab/harness/golden"
)

// TestKernels runs the TestGuest tests on other kernels, under emulation, with
// this test binary as the only program of the machine.
//
//	OOMLAB_TEST_IMAGES='/somewhere/*/vmlinuz' CGO_ENABLED=0 go test -run TestKernels ./harness/observe
//
// OOMLAB_TEST_GUEST is a pattern of tests, if not all are wanted. With
// OOMLAB_UPDATE=recordings the samples in testdata are recorded anew; a second
// "go test" with it then writes what they mean.
func TestKernels(t *testing.T) {
	pattern := os.Getenv("OOMLAB_TEST_IMAGES")
	if pattern == "" {
		t.Skip("needs OOMLAB_TEST_IMAGES, a pattern of kernel images")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skipf("needs QEMU: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !static(t, self) {
		t.Skip("needs a static test binary: build with CGO_ENABLED=0")
	}
	images, err := filepath.Glob(pattern)
	if err != nil || len(images) == 0 {
		t.Fatalf("OOMLAB_TEST_IMAGES=%s names no file (%v)", pattern, err)
	}
	initramfs := filepath.Join(t.TempDir(), "initramfs")
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(initramfs, archive(program), 0o600); err != nil {
		t.Fatal(err)
	}
	only, env := os.Getenv("OOMLAB_TEST_GUEST"), "OOMLAB_TEST_TIER=3"
	if only == "" {
		only = "^TestGuest"
	}
	recording := golden.Record()
	if recording {
		only, env = "^TestGuestRecord$", env+" "+golden.Variable+"=recordings"
	}
	for _, image := range images {
		t.Run(filepath.Base(filepath.Dir(image)), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var console bytes.Buffer
			// cx16 off: QEMU 7.2 emulates it wrongly for two CPUs.
			cmd := exec.CommandContext(ctx, qemu, "-M", "q35,accel=tcg", "-cpu", "max,-cx16", "-smp", "2", "-m", "512",
				"-nodefaults", "-display", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
				"-kernel", image, "-initrd", initramfs,
				"-append", // no_timer_check: a busy host is late, and the kernel would panic over it.
				// What the kernel does not know goes to init: into its environment, or behind -- as arguments.
				"console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check "+env+" -- -test.v "+
					"-test.run="+only)
			cmd.Stdout, cmd.Stderr = &console, &console
			err := cmd.Run()
			text := strings.ReplaceAll(console.String(), "\r", "")
			if err != nil || !strings.Contains(text, "guest: exit 0\n") {
				t.Errorf("QEMU: %v; the tests in the machine did not pass", err)
			}
			t.Log(text)
			if recording {
				writeSamples(t, text)
			}
		})
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
