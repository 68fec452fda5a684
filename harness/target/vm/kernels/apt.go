package kernels

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// offers are all kernels in the given suites, oldest first. A suite that cannot
// be read does not hide the others; its reason is in the error.
func offers(ctx context.Context, names []string, arch string, o Options) ([]Offer, error) {
	mirrors, err := o.debian(arch).Mirrors()
	if err != nil {
		return nil, err
	}
	var all []Offer
	var problems []error
	for _, name := range names {
		if !mirrors.Serve(name) {
			problems = append(problems, fmt.Errorf("%s: apt has no such source", name))
			continue
		}
		o.Progress("reading the package lists of " + name)
		a, err := o.debian(arch).Open(ctx, name, mirrors)
		if err != nil {
			return all, err
		}
		found, err := offersIn(ctx, a, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		all = append(all, found...)
	}
	sortOffers(all)
	return all, errors.Join(problems...)
}

func sortOffers(all []Offer) { slices.SortStableFunc(all, compareOffers) }

// offersIn brings the lists of a suite up to date and reads the kernels in them.
func offersIn(ctx context.Context, a *debian.Apt, suite string) ([]Offer, error) {
	packages, err := a.Packages(ctx, kernelPackage.MatchString)
	if err != nil {
		return nil, err
	}
	return kernelsIn(packages, suite), nil
}

// kernelPackage are the names of the packages of the flavours' kernels. Signed and
// unsigned builds hold the same kernel; the signed ones have the plain name.
var kernelPackage = func() *regexp.Regexp {
	var suffixes []string
	for _, f := range flavours {
		suffixes = append(suffixes, f.suffix)
	}
	return regexp.MustCompile(`^linux-(image|binary|modules|base)-(\d.*-(?:` + strings.Join(suffixes, "|") + `))$`)
}()

// kernelsIn follows every image package to the packages that hold its parts.
// Up to 6.18 the image package has them all; from 6.19 on the kernel itself is
// in linux-binary and the modules are in linux-modules.
//
// Debian removes a superseded version's parts at different times. Without
// linux-binary there is no kernel. Without linux-base there is only no build
// configuration, and without linux-modules the kernel boots but has no modules.
func kernelsIn(packages map[string]debian.Stanza, suite string) []Offer {
	var out []Offer
	for name, s := range packages {
		m := kernelPackage.FindStringSubmatch(name)
		if m[1] != "image" {
			continue
		}
		version, err := kernel.ParseVersion(s["Version"])
		if err != nil {
			continue
		}
		offer := Offer{Version: version, Release: m[2], Suite: suite, Package: name + "=" + s["Version"]}
		bootable := true
		wanted := []string{name}
		for len(wanted) > 0 {
			name, wanted = wanted[0], wanted[1:]
			s, ok := packages[name]
			if !ok {
				switch kernelPackage.FindStringSubmatch(name)[1] {
				case "binary":
					bootable = false
				case "modules":
					offer.Lacks = append(offer.Lacks, "modules")
				}
				continue
			}
			p := debian.Part{Name: name, Version: s["Version"]}
			if slices.Contains(offer.parts, p) {
				continue
			}
			size, err := strconv.ParseInt(s["Size"], 10, 64)
			if err != nil {
				bootable = false // a record that is cut short
				continue
			}
			offer.parts, offer.Size = append(offer.parts, p), offer.Size+kernel.Bytes(size)
			for dependency := range strings.SplitSeq(s["Depends"], ",") {
				dependency, _, _ = strings.Cut(strings.TrimSpace(dependency), " ")
				if d := kernelPackage.FindStringSubmatch(dependency); d != nil && d[2] == m[2] {
					wanted = append(wanted, dependency)
				}
			}
		}
		if bootable {
			out = append(out, offer)
		}
	}
	slices.SortFunc(out, func(a, b Offer) int { return strings.Compare(a.Package, b.Package) })
	return out
}
