//go:build !js

// Command oomlab-page makes one HTML file that explains kernel logs in a browser.
//
//	go run ./cmd/oomlab-page FILE
//
// The file has everything in it: the half of oomlab that reads and explains logs, built
// for js/wasm, compressed; the styles; a script. It asks nobody for anything, and its
// Content-Security-Policy forbids it to.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/oomlab/oomlab/harness/explain/view"
)

//go:embed page.html
var source string

//go:embed page.css
var style string

//go:embed page.js
var script string

const self = "github.com/oomlab/oomlab/cmd/oomlab-page"

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: oomlab-page FILE")
		os.Exit(64)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "oomlab-page:", err)
		os.Exit(70)
	}
}

func run(name string) error {
	program, err := build()
	if err != nil {
		return err
	}
	root, err := command("go", "env", "GOROOT")
	if err != nil {
		return err
	}
	support, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	if err := pack(&packed, program); err != nil {
		return err
	}
	var page bytes.Buffer
	if err := assemble(&page, string(support)+script, packed.Bytes()); err != nil {
		return err
	}
	fmt.Printf("%s: %.2f MiB; wasm %.2f MiB, compressed %.2f MiB\n", name, mib(page.Len()), mib(len(program)),
		mib(packed.Len()))
	return os.WriteFile(name, page.Bytes(), 0o644)
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// build makes the program for the browser.
func build() (program []byte, err error) {
	dir, err := os.MkdirTemp("", "oomlab-page-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "oomlab.wasm")
	_, err = command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file, self)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func command(argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return out, nil
}

func pack(w io.Writer, data []byte) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = z.Write(data)
	return errors.Join(err, z.Close())
}

// assemble writes the page. Only this script and these styles may run in it.
func assemble(w io.Writer, script string, program []byte) error {
	t, err := template.New("").Parse(source)
	if err != nil {
		return err
	}
	if strings.Contains(script, "</script") {
		return errors.New("the script would end its own element")
	}
	styles := view.Style() + style
	return t.Execute(w, struct {
		Policy  string
		Style   template.CSS
		Script  template.JS
		Program template.HTML
	}{
		Policy: fmt.Sprintf("default-src 'none'; connect-src 'none'; form-action 'none'; base-uri 'none'; "+
			"img-src data:; style-src %s; script-src %s 'wasm-unsafe-eval'", hash(styles), hash(script)),
		Style: template.CSS(styles), Script: template.JS(script),
		Program: template.HTML(base64.StdEncoding.EncodeToString(program)),
	})
}

// hash is what a Content-Security-Policy calls an element by.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
