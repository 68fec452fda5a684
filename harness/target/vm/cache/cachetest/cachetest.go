// Package cachetest checks caches in the tests of the packages that fill them.
package cachetest

import (
	"io/fs"
	"path/filepath"
	"testing"
)

// Private fails the test for everything in a cache that has group or other
// permissions, except for programs, which have mode 0711 (see package cache).
func Private(t testing.TB, dir string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		mode := info.Mode().Perm()
		if program := !d.IsDir() && mode == 0o711; mode&0o077 != 0 && !program {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%s: %d files and directories, %v", dir, seen, err)
	}
}
