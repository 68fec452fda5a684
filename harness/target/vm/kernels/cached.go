package kernels

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// packageFile describes a cache entry.
const packageFile = "package.json"

// format is the current one: entries have checksums.
const format = 1

// entry is package.json of a cache entry. The name of its directory is the kernel's
// release. Paths are relative, so that a cache can be copied.
type entry struct {
	Kernel
	Suite    string   `json:"suite"`
	Packages []string `json:"packages"`
	Format   int      `json:"format"` // 0: written by a version without checksums
}

// List returns the cached kernels, oldest first, without entries that cannot be read.
func List(o Options) ([]Kernel, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	var out []Kernel
	all, err := o.entries()
	for _, c := range all {
		if c.damage == nil {
			out = append(out, c.Kernel)
		}
	}
	return out, err
}

// cached is a kernel in the cache. One whose entry cannot be read has its release, the
// version that the release begins with, and the reason.
type cached struct {
	Kernel
	damage error
}

// entries returns all cached kernels, oldest first.
func (o Options) entries() ([]cached, error) {
	dirs, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []cached
	for _, d := range dirs {
		version, err := kernel.ParseVersion(d.Name())
		if !d.IsDir() || err != nil {
			continue
		}
		e, err := load(filepath.Join(o.Dir, d.Name()))
		if err != nil {
			e.Kernel = Kernel{Release: d.Name(), Version: version}
		}
		out = append(out, cached{e.Kernel, err})
	}
	slices.SortFunc(out, func(a, b cached) int {
		return cmp.Or(a.Version.Compare(b.Version), strings.Compare(a.Release, b.Release))
	})
	return out, nil
}

// load reads the description of one entry.
func load(dir string) (entry, error) {
	file := filepath.Join(dir, packageFile)
	var e entry
	if err := cache.ReadJSON(file, &e); err != nil {
		return e, err
	}
	if e.Release != filepath.Base(dir) {
		return e, fmt.Errorf("%s: release is %q, expected %q", file, e.Release, filepath.Base(dir))
	}
	if e.Image == "" || e.Version == (kernel.Version{}) {
		return e, fmt.Errorf("%s: image or version is missing", file)
	}
	e.Arch = flavourOf(e.Release).arch // entries that an older oomlab made do not say it
	for _, path := range []*string{&e.Image, &e.ModulesDir, &e.Config} {
		if *path == "" {
			continue
		}
		if !filepath.IsLocal(*path) {
			return e, fmt.Errorf("%s: %q is outside of the entry", file, *path)
		}
		*path = filepath.Join(dir, *path)
		if _, err := os.Stat(*path); err != nil {
			return e, err
		}
	}
	return e, nil
}

// verified returns the kernel of an entry after comparing its files with their
// checksums. Entries of older versions get checksums now.
func (o Options) verified(release string) (Kernel, error) {
	dir := filepath.Join(o.Dir, release)
	e, err := load(dir)
	if err != nil {
		return Kernel{}, err
	}
	if err = cache.Verify(dir); errors.Is(err, cache.ErrUnsealed) && e.Format == 0 {
		if err = cache.Seal(dir); cache.CannotWrite(err) {
			err = nil // a read-only cache stays without
		}
	}
	return e.Kernel, err
}

// tell reports a damaged kernel to Progress.
func (o Options) tell(release string, why error) {
	o.Progress(fmt.Sprintf("the cached kernel %s is damaged and is downloaded again: %v", release, why))
}

// instead returns the newest cached kernel, for when the default one cannot be had.
func (o Options) instead(all []cached, why error) (Kernel, error) {
	for _, c := range slices.Backward(all) {
		if flavourOf(c.Release) != native() {
			continue
		}
		if k, err := o.verified(c.Release); err == nil {
			reason, _, _ := strings.Cut(why.Error(), "\n")
			o.Progress(fmt.Sprintf("the default kernel is not available, booting %s instead: %s", k.Release, reason))
			return k, nil
		}
	}
	return Kernel{}, why
}
