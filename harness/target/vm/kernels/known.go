package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// offeredFile remembers what the mirror offered when it was last asked.
const offeredFile = "offered.json"

// remembered is offeredFile.
type remembered struct {
	Asked  time.Time `json:"asked"`
	Offers []Offer   `json:"offers"`
}

// remember keeps what the mirror offers, so that kernels can be listed and
// ranges of them be named without asking it again.
func (o Options) remember(all []Offer) error {
	data, err := json.MarshalIndent(remembered{time.Now().UTC().Truncate(time.Second), all}, "", " ")
	if err != nil {
		return err
	}
	return cache.Write(filepath.Join(o.Dir, offeredFile), data)
}

// Remembered are the offers that the mirror made when it was last asked, by
// [Offered], and when that was. A mirror that was never asked made none.
func Remembered(o Options) ([]Offer, time.Time, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, time.Time{}, err
	}
	var r remembered
	err = cache.ReadJSON(filepath.Join(o.Dir, offeredFile), &r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w; oomlab kernels list --offered writes it anew", err)
	}
	return r.Offers, r.Asked, nil
}

// Known are the versions of all kernels that are cached or that the mirror is
// known to offer, newest first. Nobody is asked.
func Known(o Options) ([]kernel.Version, error) {
	cached, err := List(o)
	if err != nil {
		return nil, err
	}
	offers, _, err := Remembered(o)
	if err != nil {
		return nil, err
	}
	var out []kernel.Version
	add := func(v kernel.Version) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for _, k := range cached {
		add(k.Version)
	}
	for _, offer := range offers {
		add(offer.Version)
	}
	slices.SortFunc(out, func(a, b kernel.Version) int { return b.Compare(a) })
	return out, nil
}

// Row is a kernel that can be had: cached, offered, or both.
type Row struct {
	Version string         `json:"version"`
	Release string         `json:"release"`
	State   string         `json:"state"`             // cached, offered
	Default bool           `json:"default,omitempty"` // it is booted where none is asked for
	Suite   string         `json:"suite,omitempty"`
	Size    kernel.Bytes   `json:"size"` // on the disk, or of the download
	Source  string         `json:"source,omitempty"`
	Image   string         `json:"image,omitempty"` // of a cached one
	Lacks   []string       `json:"lacks,omitempty"`
	version kernel.Version // what it is sorted by
}

// Rows are all kernels that are cached and, unless only those are wanted, the
// offers that the mirror made when it was last asked, by version. asked is when
// that was; zero: it was not, or offers are not wanted.
func Rows(cachedOnly bool, o Options) (rows []Row, asked time.Time, err error) {
	all, err := List(o)
	if err != nil {
		return nil, asked, err
	}
	newest := -1 // default
	for _, k := range all {
		rows = append(rows, Row{
			Version: k.Version.String(), Release: k.Release, State: "cached", Size: k.Size(),
			Source: k.Source, Image: k.Image, version: k.Version,
		})
		if matches(DefaultSeries, k.Version, k.Release) {
			newest = len(rows) - 1
		}
	}
	if newest >= 0 {
		rows[newest].Default = true
	}
	var offers []Offer
	if !cachedOnly {
		if offers, asked, err = Remembered(o); err != nil {
			return nil, asked, err
		}
	}
	for _, o := range offers {
		if i := slices.IndexFunc(rows, func(r Row) bool { return r.Release == o.Release }); i >= 0 {
			rows[i].Suite = strings.TrimPrefix(rows[i].Suite+", "+o.Suite, ", ")
			continue
		}
		rows = append(rows, Row{
			Version: o.Version.String(), Release: o.Release, State: "offered", Suite: o.Suite,
			Size: o.Size, Lacks: o.Lacks, version: o.Version,
		})
	}
	slices.SortStableFunc(rows, func(x, y Row) int { return x.version.Compare(y.version) })
	return rows, asked, nil
}
