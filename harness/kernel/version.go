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

// Satisfies reports whether v meets a requirement: "6.12" or "== 6.12" means
// any 6.12, ">= 5.17", "> 5.17", "<= 6.1", "< 7.0"; several are joined by
// commas and must all hold. The error says what could not be read.
func Satisfies(v Version, requirement string) (bool, error) {
	all := true
	for one := range strings.SplitSeq(requirement, ",") {
		one = strings.TrimSpace(one)
		rest := strings.TrimLeft(one, "<>=")
		op := one[:len(one)-len(rest)]
		want, err := ParseVersion(rest)
		if err != nil {
			return false, fmt.Errorf("kernel requirement %q: %w", requirement, err)
		}
		got := v
		if strings.Count(rest, ".") < 2 {
			got.Patch = 0 // a series is meant
		}
		c := got.Compare(want)
		switch op {
		case "", "=", "==":
			all = all && c == 0
		case ">=":
			all = all && c >= 0
		case ">":
			all = all && c > 0
		case "<=":
			all = all && c <= 0
		case "<":
			all = all && c < 0
		default:
			return false, fmt.Errorf("kernel requirement %q: %q is no comparison; write >= 5.17", requirement, op)
		}
	}
	return all, nil
}
