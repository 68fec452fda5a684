// Package userland makes the root file systems that guests with a userland boot:
// Debian with systemd, and the packages that a scenario asks for.
//
// A userland is made once for each set of packages, by mmdebstrap from the mirror
// that the machine's apt uses, and kept in the cache as the image of a disk. Neither
// a kernel nor anything of oomlab's is in it: they come with each boot, so that a
// userland outlives changes of oomlab.
package userland

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// Format is raised whenever a userland of an older oomlab would not do.
const Format = 1

// distribution is what a userland is made of. A new one is a row of known and a name
// in scenario.Userlands.
type distribution struct {
	suites   []string // the first one has the packages, the others updates of them
	packages []string // beside the essential ones
}

var known = map[string]distribution{
	"debian": {
		suites:   []string{"trixie", "trixie-security"},
		packages: []string{"dbus", "kmod", "procps", "systemd-sysv", "udev"},
	},
}

// Names are those of all userlands.
func Names() []string { return slices.Sorted(maps.Keys(known)) }

// Spec says which userland is wanted.
type Spec struct {
	Name     string   // as in Names
	Packages []string // beside those that every userland of the name has
}

func (s Spec) String() string {
	if len(s.Packages) == 0 {
		return s.Name
	}
	return s.Name + " with " + strings.Join(s.sorted(), ", ")
}

func (s Spec) sorted() []string {
	return slices.Compact(slices.Sorted(slices.Values(s.Packages)))
}

// all are the packages to install.
func (s Spec) all() []string { return slices.Concat(known[s.Name].packages, s.sorted()) }

// entry is the name of the cache entry.
func (s Spec) entry() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %q %q %q", Format, s.Name, known[s.Name], s.sorted(), configuration)
	return s.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// Userland is one that is there.
type Userland struct {
	Dir      string       `json:"-"`
	DiskSum  string       `json:"-"` // checksum of Disk
	Size     kernel.Bytes `json:"-"` // what it takes of the cache
	Format   int          `json:"format"`
	Name     string       `json:"name"`
	Packages []string     `json:"packages"` // asked for
	Versions []string     `json:"versions"` // NAME=VERSION of everything in it
	Made     time.Time    `json:"made"`
}

// Spec is what it was made for.
func (u Userland) Spec() Spec { return Spec{u.Name, u.Packages} }

// Disk is the image of its disk.
func (u Userland) Disk() string { return filepath.Join(u.Dir, diskFile) }

const (
	diskFile     = "disk.img"
	userlandFile = "userland.json"
)

// ErrMissing says that a userland was not made yet.
var ErrMissing = errors.New("there is no such userland on this machine")

// home is where userlands are kept.
func home(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	root, err := cache.Root()
	return filepath.Join(root, "userland"), err
}

// Find is the userland for a spec, if it was made. An empty dir is userland/ in
// cache.Root.
func Find(dir string, s Spec) (Userland, error) {
	dir, err := home(dir)
	if err != nil {
		return Userland{}, err
	}
	return read(filepath.Join(dir, s.entry()))
}

// read reads and verifies an entry except for the content of its disk, which package
// vm verifies after copying it.
func read(dir string) (Userland, error) {
	u := Userland{Dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return u, fmt.Errorf("%w (looked for %s)", ErrMissing, dir)
	}
	e, err := cache.Open(dir)
	if err != nil {
		return u, err
	}
	defer e.Close()
	if err := e.Verify(userlandFile); err != nil {
		return u, err
	}
	if err := e.ReadJSON(userlandFile, &u); err != nil {
		return u, err
	}
	disk, err := os.Stat(u.Disk())
	if err != nil {
		return u, err
	}
	want := e.Sum(diskFile)
	if disk.Size() != want.Size {
		return u, fmt.Errorf("%s is damaged: size is %d bytes, expected %d", u.Disk(), disk.Size(), want.Size)
	}
	u.DiskSum, u.Size = want.Sum, cache.Allocated(dir)
	return u, nil
}

// Pruned is one entry that was removed from the cache, or would be.
type Pruned struct {
	Name string
	Why  string
	Size kernel.Bytes
}

// List is every userland in the cache, oldest first, and the entries that no scenario
// gets any more: of another format of oomlab's, or damaged.
func List(dir string) (good []Userland, bad []Pruned, err error) {
	dir, err = home(dir)
	if err != nil {
		return nil, nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		u, err := read(name)
		switch {
		case err != nil:
			bad = append(bad, Pruned{filepath.Base(name), err.Error(), cache.Allocated(name)})
		case known[u.Name].packages == nil || u.Spec().entry() != filepath.Base(name):
			bad = append(bad, Pruned{filepath.Base(name), "another version of oomlab made it", u.Size})
		default:
			good = append(good, u)
		}
	}
	slices.SortFunc(good, func(a, b Userland) int { return a.Made.Compare(b.Made) })
	return good, bad, nil
}

// Prune removes what no scenario gets any more, with all every userland.
func Prune(dir string, all, dryRun bool) ([]Pruned, error) {
	dir, err := home(dir)
	if err != nil {
		return nil, err
	}
	good, out, err := List(dir)
	if err != nil {
		return nil, err
	}
	for _, u := range good {
		if all {
			out = append(out, Pruned{filepath.Base(u.Dir), "all are to go", u.Size})
		}
	}
	if dryRun {
		return out, nil
	}
	var errs []error
	done := out[:0:0]
	for _, p := range out {
		if err := cache.Remove(filepath.Join(dir, p.Name)); err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", p.Name, err))
			continue
		}
		done = append(done, p)
	}
	return done, errors.Join(errs...)
}
