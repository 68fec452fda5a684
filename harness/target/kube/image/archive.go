package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ErrNoArchive says that a file is no archive of images that a container runtime imports.
var ErrNoArchive = errors.New("it is no archive of container images: a tar file with manifest.json or index.json")

// Bounds of what is read of an archive that somebody else wrote.
const (
	maxManifest = 4 << 20
	maxEntries  = 1 << 16
	maxUnpacked = 64 << 30 // gzip makes a thousandth of zeros
)

// OpenArchive opens an archive of images, one that gzip has packed, too.
func OpenArchive(file string) (io.ReadCloser, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	begin := bufio.NewReader(f)
	if magic, err := begin.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return opened{begin, f}, nil
	}
	unpacked, err := gzip.NewReader(begin)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened{io.LimitReader(unpacked, maxUnpacked), f}, nil
}

// opened is what a file contains.
type opened struct {
	io.Reader
	io.Closer
}

// ReadArchive gives the names of the images in an archive, as docker save (manifest.json)
// and the OCI (index.json) have them. Whether the images themselves are right is for the
// runtime to say.
func ReadArchive(file string) ([]string, error) {
	f, err := OpenArchive(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readArchive(f)
}

func readArchive(archive io.Reader) (names []string, err error) {
	found := false
	r := tar.NewReader(archive)
	for range maxEntries {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoArchive, err)
		}
		name := path.Clean(h.Name)
		if name != "manifest.json" && name != "index.json" {
			continue
		}
		found = true
		data, err := io.ReadAll(io.LimitReader(r, maxManifest))
		if err == nil {
			names, err = namesIn(names, data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s of the archive: %w", name, err)
		}
	}
	if !found {
		return nil, ErrNoArchive
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// namesIn adds the names of either file: a list in Docker's, an object in the OCI's.
func namesIn(names []string, data []byte) ([]string, error) {
	var docker tarball.Manifest
	if err := json.Unmarshal(data, &docker); err == nil {
		for _, d := range docker {
			names = append(names, d.RepoTags...)
		}
		return names, nil
	}
	var oci struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(data, &oci); err != nil {
		return nil, err
	}
	for _, m := range oci.Manifests {
		for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
			if name := m.Annotations[key]; name != "" {
				names = append(names, name)
				break
			}
		}
	}
	return names, nil
}
