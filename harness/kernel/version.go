package kernel

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a kernel release reduced to the numbers that order it. The zero
// Version means that the release is not known.
//
// Versions name ranges in documentation and choose which kernel to boot. What
// a kernel can do is probed, never concluded from its version, because
// distributions backport.
type Version struct {
	Major, Minor, Patch int
}

// ParseVersion reads the leading numbers of a release such as
// "6.12.107+deb13-cloud-amd64", "6.18.0-rc1" or "5.10".
func ParseVersion(release string) (Version, error) {
	var v Version
	rest := strings.TrimPrefix(strings.TrimSpace(release), "v")
	for i, field := range []*int{&v.Major, &v.Minor, &v.Patch} {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits > 6 {
			if i == 2 {
				break // 6.18-rc1 has no patch level
			}
			return Version{}, fmt.Errorf("%q is not a kernel release; write one like 6.12 or 6.12.107", release)
		}
		*field, _ = strconv.Atoi(rest[:digits])
		rest = rest[digits:]
		if !strings.HasPrefix(rest, ".") {
			if i == 0 {
				return Version{}, fmt.Errorf("%q is not a kernel release; write one like 6.12 or 6.12.107", release)
			}
			break
		}
		rest = rest[1:]
	}
	return v, nil
}

// Compare orders versions: -1 if v is older than w, 0 if equal, +1 if newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Compare(Version{Major: major, Minor: minor}) >= 0
}

// Series is the version without its patch level, as kernels are talked about.
func (v Version) Series() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}
