package kernels

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
)

// TestFetchFromTheMirror downloads the kernels named in OOMLAB_TEST_KERNELS
// (such as "5.10 6.12") into the cache and boots none of them.
func TestFetchFromTheMirror(t *testing.T) {
	specs := strings.Fields(os.Getenv("OOMLAB_TEST_KERNELS"))
	if len(specs) == 0 {
		t.Skip("set OOMLAB_TEST_KERNELS to the kernels to download, such as \"5.10 6.12\"")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	o := Options{Progress: func(s string) { t.Log(s) }}
	for _, spec := range specs {
		k, err := Fetch(ctx, spec, o)
		if err != nil {
			t.Errorf("Fetch(%s): %v", spec, err)
			continue
		}
		if !matches(spec, k.Version, k.Release) {
			t.Errorf("Fetch(%s) gave %s, %s", spec, k.Version, k.Release)
		}
		// The image's own name for itself is what uname -r will say.
		release, arch, err := imageRelease(k.Image)
		if err != nil || release != k.Release || arch != k.Arch {
			t.Errorf("%s says it is release %q, %v; the package says %s", k.Image, release, err, k.Release)
		}
		again, err := Resolve(ctx, k.Release, o)
		if err != nil || again != k {
			t.Errorf("Resolve(%s) = %+v, %v; want what Fetch gave: %+v", k.Release, again, err, k)
		}
		if k.Version == (kernel.Version{}) || k.ModulesDir == "" {
			t.Errorf("incomplete: %+v", k)
		}
		t.Logf("%+v", k)
	}
}
