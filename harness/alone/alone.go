// Package alone keeps tests of several packages apart that kill processes by the OOM
// killer, or count the kills of the whole machine: go test runs packages side by side.
package alone

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

var held struct {
	sync.Mutex
	tests int
	file  *os.File
}

// OnMachine waits until no test of another program is alone on this machine, and keeps
// it from them until the test ends. Tests of one program can have it together.
func OnMachine(t testing.TB) {
	t.Helper()
	held.Lock()
	defer held.Unlock()
	if held.tests == 0 {
		f, err := os.OpenFile(filepath.Join(os.TempDir(), "oomlab-test-kills.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for {
			if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		held.file = f
	}
	held.tests++
	t.Cleanup(func() {
		held.Lock()
		defer held.Unlock()
		if held.tests--; held.tests == 0 {
			held.file.Close()
		}
	})
}
