package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// KindDisk is the disk of a VM in which kind creates clusters: Debian with Docker, kind
// and a node image.
type KindDisk struct {
	Dir     string    `json:"-"`
	DiskSum string    `json:"-"`
	Version string    `json:"version"` // of the node image's Kubernetes
	Made    time.Time `json:"made"`
}

// Disk is the image of the disk.
func (k KindDisk) Disk() string { return filepath.Join(k.Dir, diskFile) }

// kindEntry is raised whenever a disk of an older oomlab would not do.
const (
	kindEntry = "kind-1"
	kindFile  = "kind.json"
)

// ErrNoKind says that there is no such disk.
var ErrNoKind = errors.New("there is no disk with kind on this machine; make kind-disk makes one")

// OpenKind finds the disk. An empty dir is node/ in cache.Root.
func OpenKind(dir string) (KindDisk, error) {
	dir, err := home(dir)
	if err != nil {
		return KindDisk{}, err
	}
	k := KindDisk{Dir: filepath.Join(dir, kindEntry)}
	if _, err := os.Stat(k.Dir); errors.Is(err, os.ErrNotExist) {
		return k, ErrNoKind
	}
	e, err := cache.Open(k.Dir)
	if err == nil {
		defer e.Close()
		err = errors.Join(e.Verify(kindFile), e.ReadJSON(kindFile, &k))
	}
	if err != nil {
		return k, fmt.Errorf("%w; rebuild it with make kind-disk", err)
	}
	want := e.Sum(diskFile)
	if disk, err := os.Stat(k.Disk()); err != nil || disk.Size() != want.Size {
		return k, errors.Join(fmt.Errorf("%s is damaged; rebuild it with make kind-disk", k.Disk()), err)
	}
	k.DiskSum = want.Sum
	return k, nil
}

// KeepKind moves a disk into the cache.
func KeepKind(ctx context.Context, dir, disk, version string) (KindDisk, error) {
	dir, err := home(dir)
	if err != nil {
		return KindDisk{}, err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return KindDisk{}, err
	}
	defer unlock()
	cache.Sweep(dir)
	err = cache.Publish(filepath.Join(dir, kindEntry), func(tmp string) error {
		to := filepath.Join(tmp, diskFile)
		if err := os.Rename(disk, to); err != nil {
			return fmt.Errorf("%w; it must be on the file system of the cache", err)
		}
		if err := os.Chmod(to, 0o600); err != nil {
			return err
		}
		made := time.Now().UTC().Truncate(time.Second)
		data, err := json.MarshalIndent(KindDisk{Version: version, Made: made}, "", "  ")
		if err != nil {
			return err
		}
		return cache.Write(filepath.Join(tmp, kindFile), append(data, '\n'))
	})
	if err != nil {
		return KindDisk{}, err
	}
	return OpenKind(dir)
}

// The suite of the VM and of kind's base image. containerd and runc are of a newer one,
// for containerd 2.
var (
	kindSuites   = []string{"trixie", "trixie-security"}
	kindPackages = []string{"containerd", "runc"}
)

// GetKindPackages puts what make kind-disk needs of Debian into dir: the apt sources of
// the suite, and containerd and runc in debs/.
func GetKindPackages(ctx context.Context, dir string, progress func(string)) error {
	d := debian.Options{Dir: filepath.Join(dir, "apt"), Progress: progress}
	mirrors, err := d.Mirrors()
	if err != nil {
		return err
	}
	if !mirrors.Serve(kindSuites[0]) {
		return fmt.Errorf("apt has no source that could have %s", kindSuites[0])
	}
	sources := []byte(mirrors.Sources(kindSuites...))
	if err := cache.Write(filepath.Join(dir, "debian.sources"), sources); err != nil {
		return err
	}
	parts, size, err := find(ctx, d, kindPackages)
	if err != nil {
		return err
	}
	_, err = d.Opened(suite).Download(ctx, filepath.Join(dir, "debs"), "containerd and runc", size, parts)
	return err
}
