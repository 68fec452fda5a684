// Package kindconfig holds the clusters that oomlab makes with kind, one to a
// file, and the manifests for clusters that it did not make.
//
// They are tested by kind's own types in a module of their own, check.
package kindconfig

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed *.yaml manifests
var files embed.FS

// ErrUnknown is wrapped by every error about a name that is not here.
var ErrUnknown = errors.New("no such kind configuration")

// Names are the clusters that there are.
func Names() []string { return names(".") }

// Manifests are the manifests that there are, in the order in which they are
// applied.
func Manifests() []string {
	out := names("manifests")
	slices.SortStableFunc(out, func(a, b string) int { // what others are in comes first
		return place(a) - place(b)
	})
	return out
}

func place(name string) int { return slices.Index([]string{"namespace", "rbac", "node-agent"}, name) }

func names(dir string) []string {
	entries, _ := fs.ReadDir(files, dir) // an embedded file system has no way to fail
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			out = append(out, name)
		}
	}
	return out
}

// Cluster is the file of a cluster, as kind create cluster --config takes it.
func Cluster(name string) ([]byte, error) { return read(".", name, Names()) }

// Manifest is a file for kubectl apply.
func Manifest(name string) ([]byte, error) { return read("manifests", name, Manifests()) }

func read(dir, name string, known []string) ([]byte, error) {
	if !slices.Contains(known, name) {
		return nil, fmt.Errorf("%w: %q; there are %s", ErrUnknown, name, strings.Join(known, ", "))
	}
	return files.ReadFile(path.Join(dir, name+".yaml"))
}
