package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

func TestPreempt(t *testing.T) {
	for _, tt := range []struct{ version, file, want string }{
		{"#1 SMP Debian 5.10.262-1 (2026-07-31)", "", "voluntary"},
		{"#1 SMP PREEMPT_RT Debian 6.1.192-2", "", "full"},
		{"#1 SMP PREEMPT_DYNAMIC Debian 6.12.118-1", "", ""},
		{"#1 SMP PREEMPT_DYNAMIC Debian 6.12.118-1", "none (voluntary) full \n", "voluntary"},
		{"#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1", "none voluntary full (lazy) \n", "lazy"},
		{"#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1", "none voluntary full lazy\n", ""},
	} {
		root := t.TempDir()
		if tt.file != "" {
			dir := filepath.Join(root, "sys/kernel/debug/sched")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "preempt"), []byte(tt.file), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := Root(root).preempt(tt.version); got != tt.want {
			t.Errorf("%s with %q: %q, want %q", tt.version, tt.file, got, tt.want)
		}
	}
}

// Refused is no; given up is neither yes nor no.
func TestCgroupThatWasNotMade(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("permission denied"), "no"},
		{fmt.Errorf("%w: awaited for 1m0s", ErrUnfinished), "unsure"},
		{nil, "unsure"},
	} {
		got := Root("testdata/linux-6.12-v2").abilities(kernel.Machine{}, Cgroup{},
			Options{CgroupErr: tt.err})[kernel.AbilityMemcg]
		if got.Is != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got.Is, tt.want)
		}
	}
}
