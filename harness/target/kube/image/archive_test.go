package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadArchive(t *testing.T) {
	own := func() []byte {
		var b bytes.Buffer
		if err := WriteImages(&b, []byte("agent"), []byte("stressor")); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}()
	images := NameImages([]byte("agent"), []byte("stressor"))
	for _, c := range []struct {
		name  string
		data  []byte
		names []string
		err   string // a part of it
	}{
		{"docker's", own, []string{images.Agent, images.Pause, images.Stressor}, ""},
		{"the OCI's", archiveOf(t, map[string]string{"oci-layout": "{}", "index.json": `{"manifests": [
			{"annotations": {"io.containerd.image.name": "registry.example/a:1", "org.opencontainers.image.ref.name": "1"}},
			{"annotations": {"org.opencontainers.image.ref.name": "b:2"}}, {}]}`}), []string{"b:2", "registry.example/a:1"}, ""},
		{"both", archiveOf(t, map[string]string{
			"index.json":    `{"manifests": [{"annotations": {"io.containerd.image.name": "a:1"}}]}`,
			"manifest.json": `[{"Config": "c", "RepoTags": ["a:1"], "Layers": []}]`,
		}), []string{"a:1"}, ""},
		{"with a directory before them", archiveOf(t, map[string]string{
			"./manifest.json": `[{"RepoTags": ["a:1"]}]`}), []string{"a:1"}, ""},
		{"packed", packed(t, own), []string{images.Agent, images.Pause, images.Stressor}, ""},
		{"a part of what was packed", packed(t, own)[:100], nil, "unexpected EOF"},
		{"another tar file", archiveOf(t, map[string]string{"a": "b"}), nil, "no archive of container images"},
		{"no tar file", []byte(strings.Repeat("text\n", 200)), nil, "no archive of container images"},
		{"nothing", nil, nil, "no archive of container images"},
		{"a broken manifest", archiveOf(t, map[string]string{"manifest.json": "{]"}), nil, "manifest.json of the archive"},
		{"a part of one", own[:len(own)/2], nil, "no archive of container images"},
	} {
		file := filepath.Join(t.TempDir(), "images.tar")
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := ReadArchive(file)
		if c.err == "" && (err != nil || !slices.Equal(names, c.names)) {
			t.Errorf("%s: %q, %v; want %q", c.name, names, err, c.names)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v; want %q", c.name, names, err, c.err)
		}
	}
	if _, err := ReadArchive(t.TempDir()); err == nil || errors.Is(err, ErrNoArchive) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadArchive("/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func packed(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzReadArchive: whatever a file has in it, reading it ends without a panic, and what is
// said of it is names or an error.
func FuzzReadArchive(f *testing.F) {
	f.Add(archiveOf(f, map[string]string{"manifest.json": `[{"RepoTags": ["a:1"]}]`}))
	f.Add(archiveOf(f, map[string]string{"index.json": `{"manifests": [{"annotations": {"a": "b"}}]}`}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if names, err := readArchive(bytes.NewReader(data)); err != nil && names != nil {
			t.Errorf("%q and %v", names, err)
		}
	})
}

func archiveOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
