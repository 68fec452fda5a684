package kernels

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// downloads is how many kernels are downloaded at a time: unpacking one while
// another arrives is worth it, burdening a mirror is not.
const downloads = 2

// Fetch downloads the newest kernel that spec means, unless that very one is
// cached already.
func Fetch(ctx context.Context, spec string, o Options) (Kernel, error) {
	all, err := FetchAll(ctx, []string{spec}, o)
	if err != nil {
		return Kernel{}, err
	}
	return all[0], nil
}

// FetchAll is Fetch for several kernels: each list of packages is read once, two
// are downloaded at a time, and one that cannot be had does not keep the others
// back. The kernels are in the order of specs; those that failed are zero, and
// the error joins why. A download that is cut short goes on where it stopped when
// it is asked for again.
func FetchAll(ctx context.Context, specs []string, o Options) ([]Kernel, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		name, _ := split(spec)
		if _, err := kernel.ParseVersion(name); err != nil {
			return nil, unknownError{fmt.Errorf("kernel %w, or a path to a bzImage", err)}
		}
	}
	unlock, err := cache.Lock(ctx, filepath.Join(o.Dir, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("fetch kernels: %w", err)
	}
	defer unlock()
	cache.Sweep(o.Dir)

	lists, gone := suiteLists{}, map[string]error{}
	for {
		before := len(gone)
		out, err := o.fetchRound(ctx, specs, lists, gone)
		if len(gone) == before {
			return out, err
		}
		o.Progress("the mirror lists what it has no more (404), looking for the next one: " +
			strings.Join(slices.Sorted(maps.Keys(gone)), ", "))
	}
}

// fetchRound fetches what specs mean, without the releases that are gone from the mirror
// though its lists have them. It adds those that it finds gone, where specs may mean others.
func (o Options) fetchRound(
	ctx context.Context, specs []string, lists suiteLists, gone map[string]error,
) ([]Kernel, error) {
	out := make([]Kernel, len(specs))
	errs := make([]error, len(specs))
	wanted := map[string]Offer{} // by release: two specs may mean one kernel
	var missing []Offer
	at := make([]string, len(specs))
	for i, spec := range specs {
		offer, err := lists.find(ctx, spec, gone, o)
		if err != nil {
			errs[i] = fmt.Errorf("fetch kernel %s: %w", spec, errors.Join(err, goneOf(spec, gone)))
			continue
		}
		at[i] = offer.Release
		if _, known := wanted[offer.Release]; known {
			continue
		}
		wanted[offer.Release] = offer
		if _, err := o.verified(offer.Release); err != nil {
			missing = append(missing, offer)
			if _, none := os.Lstat(filepath.Join(o.Dir, offer.Release)); none == nil && o.told != offer.Release {
				o.tell(offer.Release, err)
			}
		}
	}
	if err := o.room(missing); err != nil {
		return out, errors.Join(append(errs, err)...)
	}
	failed := fetchOffers(ctx, missing, o)
	for i, release := range at {
		if release == "" {
			continue
		}
		if err := failed[release]; err != nil {
			if strings.Contains(err.Error(), notFound) {
				gone[release] = err
			}
			errs[i] = fmt.Errorf("fetch kernel %s: %w", release, err)
			continue
		}
		e, err := load(filepath.Join(o.Dir, release))
		out[i], errs[i] = e.Kernel, err
	}
	return out, errors.Join(errs...)
}

// notFound is what apt says of a package that the lists have and the mirror has not.
const notFound = "404  Not Found"

// goneOf is why a release that spec means could not be had; nil: none was tried.
func goneOf(spec string, gone map[string]error) error {
	for _, release := range slices.Sorted(maps.Keys(gone)) {
		if v, err := kernel.ParseVersion(release); err == nil && matches(spec, v, release) {
			return gone[release]
		}
	}
	return nil
}

// fetchOffers downloads and unpacks kernels, and returns why some are not there,
// by release.
func fetchOffers(ctx context.Context, all []Offer, o Options) map[string]error {
	failed := map[string]error{}
	var mu, telling sync.Mutex
	if tell := o.Progress; tell != nil {
		o.Progress = func(text string) {
			telling.Lock()
			defer telling.Unlock()
			tell(text)
		}
	}
	var wg sync.WaitGroup
	next := make(chan Offer)
	for range min(downloads, len(all)) {
		wg.Go(func() {
			for offer := range next {
				err := cache.Publish(filepath.Join(o.Dir, offer.Release),
					func(tmp string) error { return install(ctx, offer, tmp, o) })
				if err != nil {
					mu.Lock()
					failed[offer.Release] = err
					mu.Unlock()
				}
			}
		})
	}
	for _, offer := range all {
		next <- offer
	}
	close(next)
	wg.Wait()
	return failed
}

// suiteLists are the offers of suites whose lists were read, by architecture and suite, or why
// they could not be.
type suiteLists map[string]suiteList

type suiteList struct {
	offers []Offer
	err    error
}

// offers is that of the package, but asks for each suite once.
func (l suiteLists) offers(ctx context.Context, names []string, arch string, o Options) ([]Offer, error) {
	var out []Offer
	var problems []error
	for _, name := range names {
		known, ok := l[arch+" "+name]
		if !ok {
			known.offers, known.err = offers(ctx, []string{name}, arch, o)
			if ctx.Err() != nil {
				return out, known.err
			}
			l[arch+" "+name] = known
		}
		out, problems = append(out, known.offers...), append(problems, known.err)
	}
	sortOffers(out)
	return out, errors.Join(problems...)
}
