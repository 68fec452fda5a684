package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAStressorIsPutWhereItCanRun: a directory that is mounted noexec is left as it was.
func TestAStressorIsPutWhereItCanRun(t *testing.T) {
	withMounts(t, func() {
		noexec, dir := t.TempDir(), t.TempDir()
		if err := unix.Mount("none", noexec, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
			t.Error(err)
			return
		}
		first, second := filepath.Join(noexec, "oomlab"), filepath.Join(dir, "oomlab")
		if got, err := executable(first, second); got != second || err != nil {
			t.Errorf("%q, %v; want %s", got, err, second)
		}
		if _, err := os.Stat(first); !os.IsNotExist(err) {
			t.Errorf("%s was left behind: %v", first, err)
		}
		if got, err := executable(second, first); got != second || err != nil {
			t.Errorf("%q, %v; want %s", got, err, second)
		}
		if got, err := executable(first); err == nil {
			t.Errorf("%q can execute", got)
		}
	})
}

// withMounts calls f in a mount namespace of its own.
func withMounts(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends, with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Errorf("mount: %v", err)
			return
		}
		f()
	}()
	<-done
}
