package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.tar")
	err := run(out, strings.NewReader(
		`[{"tags": ["r.io/one:1", "r.io/two:2"], "entrypoint": ["/p"], "files": {"/usr/p": "`+program+`"}, "links": {"/q": "usr/p"}}, {"tags": ["r.io/three:3"], "files": {"/p": "`+program+`"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, out)
	if files[0].name != "repositories" || files[1].name != "manifest.json" {
		t.Errorf("begins with %s and %s", files[0].name, files[1].name)
	}
	var repositories map[string]map[string]string
	if err := json.Unmarshal(files[0].data, &repositories); err != nil || repositories["r.io/two"]["2"] == "" ||
		repositories["r.io/three"]["3"] == "" {
		t.Errorf("repositories are %s, %v", files[0].data, err)
	}
	var manifests []manifest
	if err := json.Unmarshal(files[1].data, &manifests); err != nil || len(manifests) != 2 {
		t.Fatalf("manifests are %s, %v", files[1].data, err)
	}
	for _, f := range files {
		if f.name != manifests[0].Layers[0] {
			continue
		}
		layer := tar.NewReader(bytes.NewReader(f.data))
		var names []string
		for h, err := layer.Next(); err == nil; h, err = layer.Next() {
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != "usr/ usr/p q" {
			t.Errorf("the layer holds %s", got)
		}
	}
	for in, want := range map[string]string{
		`[{"tags": ["r.io/one"]}]`: "has no tag", `[{"tag": 1}]`: "unknown field",
		`[{"tags": ["a:1"], "files": {"/p": "/none"}}]`: "no such file",
	} {
		err := run(filepath.Join(dir, "bad.tar"), strings.NewReader(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
}

type entry struct {
	name string
	data []byte
}

func read(t *testing.T, file string) (all []entry) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{h.Name, data})
	}
}
