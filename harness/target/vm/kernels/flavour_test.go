package kernels

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// TestFlavours: a spec means kernels of the flavour that it names or that its release ends
// in, and else of this machine's.
func TestFlavours(t *testing.T) {
	v := kernel.Version{Major: 6, Minor: 12, Patch: 118}
	here := native().name
	releases := map[string]string{
		AMD64: "6.12.118+deb13-cloud-amd64", ARM64: "6.12.118+deb13-cloud-arm64", "arm64-16k": "6.12.118+deb13-arm64-16k",
	}
	for spec, want := range map[string]string{
		"6.12": here, "v6.12": here, "6.12.118": here, "6.12.118+deb13": here,
		"6.12/amd64": AMD64, "6.12/arm64": ARM64, "6.12.118/arm64": ARM64, "6.12/arm64-16k": "arm64-16k",
		releases[ARM64]: ARM64, releases["arm64-16k"]: "arm64-16k", releases[AMD64]: AMD64,
		"6.12/riscv64": "", "6.1/arm64": "", "6.12/arm": "",
	} {
		for name, release := range releases {
			if got := matches(spec, v, release); got != (name == want) {
				t.Errorf("%s means %s: %v", spec, release, got)
			}
		}
	}
	for spec, want := range map[string]string{
		"": DefaultSeries + "/arm64", "6.1": "6.1/arm64", "6.1/arm64-16k": "6.1/arm64-16k", "./bzImage": "./bzImage",
	} {
		if got := Of(spec, ARM64); got != want {
			t.Errorf("Of(%q) = %q, want %q", spec, got, want)
		}
	}
	if err := Check("6.12/arm64"); err != nil {
		t.Error(err)
	}
	if err := Check("6.12/riscv64"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a flavour that there is not: %v", err)
	}
}

// image is the head of an Image of arm64, with the banner some way in.
func image(release string, at int) []byte {
	b := make([]byte, at+400)
	copy(b[offARMMagic:], "ARM\x64")
	copy(b[at/2:], "Linux version %s (%s)\n") // linux_proc_banner
	copy(b[at:], "Linux version "+release+" (builder@test) #1 SMP\n")
	return b
}

// TestAnImageOfARM64 says its release wherever the banner is, at the edge of what is read at
// a time as well.
func TestAnImageOfARM64(t *testing.T) {
	const release = "6.12.1-test-arm64"
	for _, at := range []int{1 << 10, 1<<20 - 7, 1<<20 + 3, 5<<20 - 20} {
		file := writeFile(t, filepath.Join(t.TempDir(), "Image"), image(release, at))
		k, err := Resolve(t.Context(), file, Options{Dir: t.TempDir()})
		if err != nil || k.Release != release || k.Arch != ARM64 {
			t.Errorf("at %d: %+v, %v", at, k, err)
		}
	}
	for name, of := range map[string]struct {
		data []byte
		want string
	}{
		"Image":       {bytes.Replace(image(release, 4096), []byte("Linux version "+release), nil, 1), "does not say"},
		"vmlinuz.efi": {append([]byte("MZ\x00\x00zimg"), make([]byte, 4096)...), "which only firmware unpacks"},
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), name), of.data)
		if _, err := Resolve(t.Context(), file, Options{}); err == nil || !strings.Contains(err.Error(), of.want) {
			t.Errorf("%s: %v, want %q", name, err, of.want)
		}
	}
}
