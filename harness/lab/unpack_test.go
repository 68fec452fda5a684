package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/target/vm/cache/cachetest"
)

// TestUnpack: what is executed is what oomlab carries, to the byte.
func TestUnpack(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	t.Setenv("OOMLAB_CACHE", root)
	data := []byte("#!/bin/sh\nexit 0\n")
	var said []string
	log := func(s string) { said = append(said, s) }
	for name, damage := range map[string]func(file string) error{
		"unpacked first":   func(string) error { return nil },
		"truncated":        func(file string) error { return os.Truncate(file, 5) },
		"changed":          func(file string) error { return os.WriteFile(file, []byte("#!/bin/sh\nexit 1\n"), 0o700) },
		"not a program":    func(file string) error { return os.Chmod(file, 0o600) },
		"gone":             func(file string) error { return os.Rename(file, filepath.Join(root, "x")) },
		"removed with all": func(string) error { return os.RemoveAll(root) },
	} {
		file, err := unpack("stressor", data, log)
		if err == nil {
			err = damage(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		said = nil
		again, err := unpack("stressor", data, log)
		if err != nil || again != file {
			t.Errorf("%s: %s, %v", name, again, err)
		}
		got, err := os.ReadFile(file)
		info, statErr := os.Stat(file)
		if err != nil || statErr != nil || string(got) != string(data) || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %q, %v, %v", name, got, err, info)
		}
		damaged := name == "truncated" || name == "changed" || name == "not a program"
		if text := strings.Join(said, "; "); damaged != strings.HasSuffix(text, "is damaged and is unpacked again") {
			t.Errorf("%s: said %q", name, text)
		}
		cachetest.Private(t, root)
	}
}
