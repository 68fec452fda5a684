package kernels

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Architectures of guests, as Go and Debian call them.
const (
	AMD64 = "amd64"
	ARM64 = "arm64"
)

// flavour is a build that Debian makes of a kernel. A new one is a row.
type flavour struct {
	name string // behind the slash of a spec: 6.12/arm64-16k
	arch string
	// suffix ends the release: 6.12.118+deb13-arm64-16k. The cloud kernels have built in what
	// a guest needs.
	suffix string
}

var flavours = []flavour{
	{AMD64, AMD64, "cloud-amd64"},
	{ARM64, ARM64, "cloud-arm64"},
	{"arm64-16k", ARM64, "arm64-16k"}, // pages of 16 KiB
}

// Flavours are their names.
func Flavours() []string {
	var out []string
	for _, f := range flavours {
		out = append(out, f.name)
	}
	return out
}

// native is the flavour for this machine's processor.
func native() flavour {
	if i := slices.IndexFunc(flavours, func(f flavour) bool { return f.name == runtime.GOARCH }); i >= 0 {
		return flavours[i]
	}
	return flavours[0]
}

// split cuts a spec such as 6.12/arm64 into what names the version and the flavour. A spec
// that names none means this machine's, or that which its release ends in.
func split(spec string) (string, flavour) {
	if name, last, ok := strings.Cut(spec, "/"); ok {
		i := slices.IndexFunc(flavours, func(f flavour) bool { return f.name == last })
		if i >= 0 && kernelVersion.MatchString(name) {
			return name, flavours[i]
		}
	}
	return spec, flavourOf(spec)
}

// kernelVersion begins the name of a kernel that is no file.
var kernelVersion = regexp.MustCompile(`^v?\d+\.\d+(\.\d+)?([-+~].*)?$`)

// flavourOf is that of a release.
func flavourOf(release string) flavour {
	for _, f := range flavours {
		if strings.HasSuffix(release, "-"+f.suffix) {
			return f
		}
	}
	return native()
}

// named reports whether a spec names a kernel and its flavour, and is no path though it has
// a slash.
func named(spec string) bool {
	name, _ := split(spec)
	return name != spec
}

// Flavour is what a spec for the kernel has behind its version: "/arm64", or nothing for one
// of this machine's.
func (k Kernel) Flavour() string {
	if f := flavourOf(k.Release); f != native() {
		return "/" + f.name
	}
	return ""
}

// Of is the spec for a kernel of another architecture or page size: that of the flavour.
// One that names a file, or a flavour itself, stays.
func Of(spec, flavour string) string {
	if flavour == "" || named(spec) || IsImage(spec) {
		return spec
	}
	if spec == "" {
		spec = DefaultSeries
	}
	return spec + "/" + flavour
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
