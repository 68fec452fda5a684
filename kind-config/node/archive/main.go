// Command archive writes container images to an archive, as docker save does. It reads
// what they are made of as JSON from standard input:
//
//	[{"tags": ["docker.io/library/x:1"], "entrypoint": ["/x"], "files": {"/x": "bin/x"}, "tree": "x.tar"}]
//
// An image has one layer: the entries of the tar archive tree, if there is one, and the
// files, each at its path and executable, and symbolic links.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

type image struct {
	Tags       []string          `json:"tags"`
	Entrypoint []string          `json:"entrypoint"`
	Files      map[string]string `json:"files"`
	Links      map[string]string `json:"links"`
	Tree       string            `json:"tree"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: archive OUT.tar < images.json")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

func run(to string, in io.Reader) (err error) {
	var images []image
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(&images); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f, images)
}

// manifest is one entry of manifest.json.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// write writes the archive. The entry repositories comes first: kind build node-image
// takes from it which images there are, and of manifest.json only the first one.
func write(to io.Writer, images []image) error {
	repositories := map[string]map[string]string{}
	blobs := map[string][]byte{}
	var manifests []manifest
	for _, i := range images {
		layer, err := i.layer()
		if err != nil {
			return fmt.Errorf("%s: %w", i.Tags, err)
		}
		config, err := i.config(layer)
		if err != nil {
			return err
		}
		m := manifest{digest(config) + ".json", i.Tags, []string{digest(layer) + "/layer.tar"}}
		blobs[m.Config], blobs[m.Layers[0]] = config, layer
		manifests = append(manifests, m)
		for _, tag := range i.Tags {
			at := strings.LastIndexByte(tag, ':')
			if at < 0 {
				return fmt.Errorf("%s has no tag", tag)
			}
			if repositories[tag[:at]] == nil {
				repositories[tag[:at]] = map[string]string{}
			}
			repositories[tag[:at]][tag[at+1:]] = digest(config)
		}
	}
	w := tar.NewWriter(to)
	for _, v := range []struct {
		name string
		v    any
	}{{"repositories", repositories}, {"manifest.json", manifests}} {
		data, err := json.Marshal(v.v)
		if err != nil {
			return err
		}
		if err := put(w, v.name, data, 0o644); err != nil {
			return err
		}
	}
	var names []string
	for name := range blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := put(w, name, blobs[name], 0o644); err != nil {
			return err
		}
	}
	return w.Close()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func put(w *tar.Writer, name string, data []byte, mode int64) error {
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// layer is the image's only layer, a tar archive.
func (i image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if i.Tree != "" {
		if err := copyTree(w, i.Tree); err != nil {
			return nil, err
		}
	}
	var names []string
	for name := range i.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		data, err := os.ReadFile(i.Files[name])
		if err != nil {
			return nil, err
		}
		if dir := strings.TrimPrefix(path.Dir(name), "/"); dir != "" && i.Tree == "" {
			if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := put(w, strings.TrimPrefix(name, "/"), data, 0o755); err != nil {
			return nil, err
		}
	}
	for name, target := range i.Links {
		h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// copyTree copies a tar archive without its devices.
func copyTree(w *tar.Writer, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}

// config is the image's configuration.
func (i image) config(layer []byte) ([]byte, error) {
	return json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Entrypoint": i.Entrypoint,
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
}
