package kernels

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// Pruned is one thing that was removed from the cache, or would be.
type Pruned struct {
	Name string       `json:"name"`
	Why  string       `json:"why"`
	Size kernel.Bytes `json:"size"`
}

// PruneOptions say what goes. The zero value removes what nothing asks for any
// more: older versions of a series, entries that cannot be read, downloads that
// were cut short.
type PruneOptions struct {
	// Specs are kernels to remove, as [Resolve] takes them; with one, nothing
	// else is removed. All is every kernel.
	Specs []string
	All   bool
	// DryRun removes nothing.
	DryRun bool
}

// Prune removes kernels from the cache and says which. A kernel that another
// oomlab boots just then is gone for the next boot only: the file stays open.
func Prune(ctx context.Context, p PruneOptions, o Options) ([]Pruned, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	unlock, err := cache.Lock(ctx, filepath.Join(o.Dir, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("prune kernels: %w", err)
	}
	defer unlock()
	all, err := prunable(p, o)
	if err != nil || p.DryRun {
		return all, err
	}
	var errs []error
	done := all[:0:0]
	for _, x := range all {
		if err := cache.Remove(filepath.Join(o.Dir, x.Name)); err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", x.Name, err))
			continue
		}
		done = append(done, x)
	}
	return done, errors.Join(errs...)
}

func prunable(p PruneOptions, o Options) ([]Pruned, error) {
	cached, err := List(o)
	if err != nil {
		return nil, err
	}
	var out []Pruned
	add := func(name, why string) {
		out = append(out, Pruned{name, why, debian.DiskUsage(filepath.Join(o.Dir, name))})
	}
	if len(p.Specs) > 0 {
		for _, spec := range p.Specs {
			n := len(out)
			for _, k := range cached {
				name := filepath.Base(filepath.Dir(k.Image))
				if matches(spec, k.Version, k.Release) &&
					!slices.ContainsFunc(out, func(x Pruned) bool { return x.Name == name }) {
					add(name, "asked for")
				}
			}
			if len(out) == n {
				return nil, unknownError{fmt.Errorf("no cached kernel is %s; oomlab kernels list shows them", spec)}
			}
		}
		return out, nil
	}
	newest := map[string]string{} // by series and flavour
	kind := func(k Kernel) string { return k.Version.Series() + "/" + flavourOf(k.Release).name }
	for _, k := range cached { // oldest first
		newest[kind(k)] = k.Release
	}
	known := map[string]bool{}
	for _, k := range cached {
		name := filepath.Base(filepath.Dir(k.Image))
		known[name] = true
		switch n := newest[kind(k)]; {
		case p.All:
			add(name, "all are to go")
		case n != k.Release:
			add(name, "there is "+n)
		}
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !known[e.Name()] {
			add(e.Name(), "it cannot be read")
		}
	}
	debs, err := filepath.Glob(filepath.Join(o.Dir, ".apt*", "*", "debs", "*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range debs {
		name, err := filepath.Rel(o.Dir, dir)
		if err != nil {
			return nil, err
		}
		add(name, "a download that was cut short")
	}
	return out, nil
}

// Size is how much room a cached kernel takes.
func (k Kernel) Size() kernel.Bytes { return debian.DiskUsage(filepath.Dir(k.Image)) }
