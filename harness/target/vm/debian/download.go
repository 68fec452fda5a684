package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// AptHelper is apt's own tool that downloads one file, goes on where an earlier
// download of it stopped, and checks what it got.
const AptHelper = "/usr/lib/apt/apt-helper"

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

// Download brings packages into dir and returns their files, in the order of
// parts where the mirror's checksums are known. Signatures are those of the
// lists, which hold the checksum that each file is compared with. What is in dir
// of an earlier download that was cut short is gone on with.
//
// what is how the packages are called while they arrive, size how much they are
// together; 0: unknown.
func (a *Apt) Download(ctx context.Context, dir, what string, size kernel.Bytes, parts []Part) ([]string, error) {
	if err := cache.Dir(dir); err != nil {
		return nil, err
	}
	argv := []string{"apt-get", "-q", "download"}
	for _, p := range parts {
		argv = append(argv, p.String())
	}
	done := a.watch(dir, what, size)
	defer done()
	// not in dir: apt-get removes what it finds of the files there
	list, err := a.run(ctx, a.dir, append(argv, "--print-uris")...)
	if err != nil {
		return nil, err
	}
	wanted := archives(string(list))
	if _, err := os.Stat(AptHelper); err != nil || len(wanted) != len(parts) {
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
		if _, err := a.run(ctx, dir, AptHelper, "download-file", w.uri, file, w.hash); err != nil {
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
func (a *Apt) watch(dir, what string, size kernel.Bytes) (done func()) {
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
			if size <= 0 {
				continue
			}
			got := DiskUsage(dir)
			if tenth := int64(got) * 10 / int64(size); tenth > told && tenth < 10 {
				told = tenth
				a.progress(fmt.Sprintf("%s: %s of %s (%d %%)", what, got.Human(), size.Human(), tenth*10))
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// DiskUsage is the sizes of all files below a directory. What cannot be read
// counts as nothing.
func DiskUsage(dir string) kernel.Bytes {
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
