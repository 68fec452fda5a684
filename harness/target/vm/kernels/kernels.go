// Package kernels finds kernels to boot: by the name people use for them, in a
// cache, in the Debian archive, or in a file.
//
// Kernels are downloaded by the machine's own apt, from the mirror that the
// machine already uses, into a state directory of their own: signatures are
// checked, and nothing of the machine's apt is changed.
package kernels

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// Kernel is a kernel that can be booted.
type Kernel struct {
	// Version is the upstream version, which for some releases is not in their
	// name: Debian's 5.10.0-46-cloud-amd64 is a 5.10.251.
	Version kernel.Version `json:"version"`
	Release string         `json:"release"` // what uname -r will say
	Arch    string         `json:"arch"`    // amd64, arm64
	Image   string         `json:"image"`   // bzImage, or Image of arm64
	// ModulesDir holds the kernel's modules; empty when there are none.
	ModulesDir string `json:"modules_dir,omitempty"`
	Config     string `json:"config,omitempty"` // file with the build configuration
	Source     string `json:"source"`           // where it comes from, for a reader
}

// Offer is a kernel that can be fetched.
type Offer struct {
	Version kernel.Version `json:"version"`
	Release string         `json:"release"`
	Suite   string         `json:"suite"`
	Package string         `json:"package"` // NAME=VERSION, as apt takes it
	Size    kernel.Bytes   `json:"size"`    // of the download
	Lacks   []string       `json:"lacks,omitempty"`

	parts []debian.Part
}

// compareOffers orders offers from the worst to the best of what one spec may
// mean: complete ones last, and of those the newest.
func compareOffers(a, b Offer) int {
	return cmp.Or(cmp.Compare(len(b.Lacks), len(a.Lacks)), a.Version.Compare(b.Version))
}

// Options say where kernels are kept and where they come from.
type Options struct {
	// Dir is the cache; empty: kernels/ in cache.Root.
	Dir string
	// AptDir is where the machine's apt is configured; empty: /etc/apt.
	AptDir string
	// Mirror replaces the machine's own Debian mirror; empty:
	// $OOMLAB_DEBIAN_MIRROR. It is needed where apt has no Debian source, such
	// as on Ubuntu.
	Mirror string
	// Keyring checks Mirror's signatures; empty: what apt trusts.
	Keyring string
	// Progress is told what is going on, one thing at a time; it may be nil.
	Progress func(string)

	told string // a damaged kernel that was reported to Progress
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		root, err := cache.Root()
		if err != nil {
			return o, err
		}
		o.Dir = filepath.Join(root, "kernels")
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o, nil
}

// debian are the options for the packages that kernels of an architecture come in.
func (o Options) debian(arch string) debian.Options {
	return debian.Options{Dir: filepath.Join(o.Dir, aptDir(arch)), Arch: arch, AptDir: o.AptDir, Mirror: o.Mirror,
		Keyring: o.Keyring, Progress: o.Progress}
}

// aptDir is where apt's private state is for an architecture.
func aptDir(arch string) string {
	if arch == AMD64 {
		return ".apt"
	}
	return ".apt-" + arch
}

// debsDir is where the packages of a kernel are downloaded to. It outlives a
// download that was cut short, so that the next one goes on there.
func (o Options) debsDir(offer Offer) string {
	return filepath.Join(o.Dir, aptDir(flavourOf(offer.Release).arch), offer.Suite, "debs", offer.Release)
}

// unpackedPart is how much more room a kernel takes than its download: the
// packages are there while they are unpacked, and modules stay compressed.
const unpackedPart = 3

// room says whether kernels fit on the disk of the cache, before anything is
// downloaded, and how much is free.
func (o Options) room(offers []Offer) error {
	if len(offers) == 0 {
		return nil
	}
	var size kernel.Bytes
	for _, offer := range offers {
		size += offer.Size
	}
	what := offers[0].Package
	if len(offers) > 1 {
		what = fmt.Sprintf("%d kernels", len(offers))
	}
	free, err := cache.Room(o.Dir, what, size*unpackedPart)
	if err == nil || free > 0 {
		o.Progress(fmt.Sprintf("fetching %s: %s to download, %s free in %s", what, size.Human(), free.Human(), o.Dir))
	}
	return err
}

// suites are the Debian releases that can hold a kernel that is of use, oldest
// first. A suite with "-security" is on the security mirror, which has the
// newest kernels of a release.
var suites = []string{
	"bullseye", "bullseye-security",
	"bookworm", "bookworm-security", "bookworm-backports",
	"trixie", "trixie-security", "trixie-backports",
	"forky", "sid",
}

// ErrUnknown is wrapped by every error that means that the name or the file does
// not stand for a kernel: another name would do.
var ErrUnknown = errors.New("the mirror has no such kernel")

// unknownError is an ErrUnknown with a text of its own.
type unknownError struct{ error }

func (e unknownError) Is(target error) bool { return target == ErrUnknown }
func (e unknownError) Unwrap() error        { return e.error }

var seriesSpec = regexp.MustCompile(`^v?\d+\.\d+$`)

// matches reports whether spec means the kernel: a series (6.12), a version
// (6.12.95), or a release with or without what the packager appended, each of the flavour
// that it names, or of this machine's.
func matches(spec string, v kernel.Version, release string) bool {
	spec, f := split(strings.TrimPrefix(spec, "v"))
	if f != flavourOf(release) {
		return false
	}
	if seriesSpec.MatchString(spec) {
		return v.Series() == spec
	}
	return spec == v.String() || spec == release ||
		strings.HasPrefix(release, spec+"+") || strings.HasPrefix(release, spec+"-")
}

// Resolve finds the kernel that spec means:
//
//	6.12                   the newest cached one of a series
//	6.12.95, a release     just that one
//	6.12/arm64             of another architecture, 6.12/arm64-16k with other pages
//	./arch/x86/boot/bzImage  a file; with a slash in it, or an existing one; see [WithModules]
//	. or linux/            a kernel tree, or the directory of O=: what was built there last
//	(empty)                the newest cached one of [DefaultSeries]
//
// A kernel that is missing from the cache, or damaged, is fetched. For an empty spec
// the result is of another series only if the default one is not available, and then
// Progress is told.
func Resolve(ctx context.Context, spec string, o Options) (Kernel, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Kernel{}, err
	}
	if strings.ContainsRune(spec, '/') && !named(spec) || strings.Contains(spec, modulesOption) {
		return fromFile(spec)
	}
	all, err := o.entries()
	if err != nil {
		return Kernel{}, err
	}
	asked := spec
	spec = cmp.Or(spec, DefaultSeries)
	for _, c := range slices.Backward(all) {
		if !matches(spec, c.Version, c.Release) {
			continue
		}
		k, err := o.verified(c.Release)
		if err == nil {
			return k, nil
		}
		o.tell(c.Release, err) // an older one would be no substitute
		o.told = c.Release
		break
	}
	if !seriesSpec.MatchString(spec) && !named(spec) {
		if IsImage(spec) {
			return fromFile(spec)
		}
	}
	k, err := Fetch(ctx, spec, o)
	if err != nil && asked == "" && ctx.Err() == nil {
		return o.instead(all, err)
	}
	if err == nil && o.told != "" && o.told != k.Release { // the mirror has another one now
		err = cache.Remove(filepath.Join(o.Dir, o.told))
	}
	return k, err
}

// Offered are the newest kernels of every series in every suite that the mirror
// has, oldest first. Suites that the mirror lacks are left out; when it has
// none, the error says why.
func Offered(ctx context.Context, o Options) ([]Offer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(o.Dir, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("list kernels: %w", err)
	}
	defer unlock()
	all, err := offers(ctx, suites, native().arch, o)
	if len(all) == 0 && err != nil {
		return nil, fmt.Errorf("list kernels: %w", err)
	}
	best := map[string]Offer{}
	for _, offer := range all { // the best ones are last, and stay
		best[offer.Version.Series()+" "+flavourOf(offer.Release).name+" "+offer.Suite] = offer
	}
	newest := slices.SortedFunc(maps.Values(best), func(a, b Offer) int {
		return cmp.Or(a.Version.Compare(b.Version), strings.Compare(a.Suite, b.Suite))
	})
	return newest, o.remember(newest)
}

// DefaultSeries is the series of the kernel that is booted where none is asked for:
// that of Debian stable. It does not depend on what was fetched before.
const DefaultSeries = "6.12"

// homes are the suites where a series lives; series that are not named live in
// trixie-backports. They only save downloading the lists of the others: a kernel
// that is not in its home is looked for everywhere.
var homes = map[string][]string{
	"5.10": {"bullseye", "bullseye-security"},
	"6.1":  {"bookworm", "bookworm-security", "bullseye-security"},
	"6.12": {"trixie", "trixie-security", "bookworm-security", "bookworm-backports"},
}

// find chooses the newest kernel that spec means, of those that are not gone.
func (l suiteLists) find(ctx context.Context, spec string, gone map[string]error, o Options) (Offer, error) {
	first := []string{"trixie-backports"}
	name, f := split(spec)
	if v, err := kernel.ParseVersion(name); err == nil && homes[v.Series()] != nil {
		first = homes[v.Series()]
	}
	rest := slices.DeleteFunc(slices.Clone(suites), func(s string) bool { return slices.Contains(first, s) })

	var all []Offer
	for _, group := range [][]string{first, rest} {
		found, err := l.offers(ctx, group, f.arch, o)
		if len(all)+len(found) == 0 && err != nil {
			// Asking a mirror that does not answer for eight more suites would
			// only repeat the wait.
			return Offer{}, fmt.Errorf("the mirror cannot be read: %w\nhint: until that works, give the path of a "+
				"bzImage", err)
		}
		for _, offer := range slices.Backward(found) {
			if gone[offer.Release] == nil && matches(spec, offer.Version, offer.Release) {
				return offer, nil
			}
		}
		all = append(all, found...)
	}
	return Offer{}, unknown(spec, all)
}

// unknown says what would have been found instead of spec.
func unknown(spec string, all []Offer) error {
	name, f := split(spec)
	want, _ := kernel.ParseVersion(name)
	all = slices.DeleteFunc(all, func(o Offer) bool { return flavourOf(o.Release) != f })
	distance := func(v kernel.Version) int {
		// A kernel of the same series is nearer than any other series.
		d := (v.Major-want.Major)*1_000_000 + (v.Minor-want.Minor)*10_000
		if d == 0 {
			d = v.Patch - want.Patch
		}
		return max(d, -d)
	}
	slices.SortStableFunc(all, func(a, b Offer) int { return cmp.Compare(distance(a.Version), distance(b.Version)) })
	var near []string
	for _, offer := range all {
		name := offer.Version.Series()
		if name == want.Series() {
			name = offer.Release
		}
		if !slices.Contains(near, name) {
			near = append(near, name)
		}
		if len(near) == 4 {
			break
		}
	}
	return fmt.Errorf("%w; the nearest it has are %s; or give a path to a bzImage", ErrUnknown,
		strings.Join(near, ", "))
}
