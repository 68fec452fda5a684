package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// aptHelper is apt's own tool that downloads one file, goes on where an earlier
// download of it stopped, and checks what it got.
const aptHelper = "/usr/lib/apt/apt-helper"

// archive is a package's file on the mirror, as apt-get download --print-uris
// prints it from the signed lists.
type archive struct {
	uri, name, hash string
	size            int64
}

var archiveLine = regexp.MustCompile(`(?m)^'([^']+)' (\S+) (\d+) (SHA(?:256|512):[0-9a-f]+)$`)

func archives(text string) []archive {
	var out []archive
	for _, m := range archiveLine.FindAllStringSubmatch(text, -1) {
		size, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil || strings.ContainsRune(m[2], '/') {
			continue
		}
		out = append(out, archive{m[1], m[2], m[4], size})
	}
	return out
}

// debsDir is where the packages of a kernel are downloaded to. It outlives a
// download that was cut short, so that the next one goes on there.
func (o Options) debsDir(offer Offer) string {
	return filepath.Join(o.Dir, ".apt", offer.Suite, "debs", offer.Release)
}

// download brings the packages of an offer and returns their files. Signatures
// are those of the lists, which hold the checksum that each file is compared
// with.
func (a *apt) download(ctx context.Context, offer Offer, o Options) ([]string, error) {
	dir := o.debsDir(offer)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, cache.Hint(err)
	}
	argv := []string{"apt-get", "-q", "download"}
	for _, p := range offer.parts {
		argv = append(argv, p.name+"="+p.version)
	}
	done := o.watch(dir, offer)
	defer done()
	// not in dir: apt-get removes what it finds of the files there
	list, err := a.run(ctx, a.dir, append(argv, "--print-uris")...)
	if err != nil {
		return nil, err
	}
	wanted := archives(string(list))
	if _, err := os.Stat(aptHelper); err != nil || len(wanted) != len(offer.parts) {
		// an apt without its helper, or a mirror without checksums it knows: all of it anew
		if _, err := a.run(ctx, dir, argv...); err != nil {
			return nil, err
		}
		return filepath.Glob(filepath.Join(dir, "*.deb"))
	}
	var files []string
	for _, w := range wanted {
		file := filepath.Join(dir, w.name)
		files = append(files, file)
		if _, err := a.run(ctx, dir, aptHelper, "download-file", w.uri, file, w.hash); err != nil {
			if strings.Contains(err.Error(), "Hash Sum mismatch") {
				// what is there is of no use to the next attempt
				err = errors.Join(err, os.RemoveAll(file), os.RemoveAll(file+".FAILED"))
			}
			return nil, err
		}
	}
	return files, nil
}

// watch tells how far a download is, every tenth of it, until done is called.
func (o Options) watch(dir string, offer Offer) (done func()) {
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		told := int64(0)
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			if offer.Size <= 0 {
				continue
			}
			got := diskUsage(dir)
			if tenth := int64(got) * 10 / int64(offer.Size); tenth > told && tenth < 10 {
				told = tenth
				o.Progress(fmt.Sprintf("%s: %s of %s (%d %%)", offer.Release, got.Human(), offer.Size.Human(), tenth*10))
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// diskUsage is the sizes of all files below a directory. What cannot be read
// counts as nothing.
func diskUsage(dir string) kernel.Bytes {
	var n kernel.Bytes
	// the errors are of files that were removed meanwhile
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += kernel.Bytes(info.Size())
		}
		return nil
	})
	return n
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
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return cache.Hint(err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(o.Dir, &fs); err != nil {
		return fmt.Errorf("%s: %w", o.Dir, err)
	}
	free := kernel.Bytes(fs.Bavail) * kernel.Bytes(fs.Bsize)
	what := offers[0].Package
	if len(offers) > 1 {
		what = fmt.Sprintf("%d kernels", len(offers))
	}
	o.Progress(fmt.Sprintf("fetching %s: %s to download, %s free in %s", what, size.Human(), free.Human(), o.Dir))
	if need := size * unpackedPart; need > free {
		return fmt.Errorf("%s: %w", o.Dir, cache.Hint(fmt.Errorf("%w: %s needs about %s, and %s is free", syscall.ENOSPC, what, need.Human(), free.Human())))
	}
	return nil
}
