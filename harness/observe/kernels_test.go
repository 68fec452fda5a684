package observe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/selfboot"
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
	images, initramfs := selfboot.Images(t), selfboot.Initramfs(t)
	only, env := os.Getenv("OOMLAB_TEST_GUEST"), []string{"OOMLAB_TEST_TIER=3"}
	if only == "" {
		only = "^TestGuest"
	}
	recording := golden.Record()
	if recording {
		only, env = "^TestGuestRecord$", append(env, golden.Variable+"=recordings")
	}
	for _, image := range images {
		t.Run(filepath.Base(filepath.Dir(image)), func(t *testing.T) {
			text := selfboot.Run(t, image, initramfs, only, 5*time.Minute, env...)
			if recording {
				writeSamples(t, text)
			}
		})
	}
}
