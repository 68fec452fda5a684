package image

import (
	"archive/tar"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/cache/cachetest"
)

// TestImages reads the archive as a container runtime does.
func TestImages(t *testing.T) {
	agent, stressor := []byte("the agent"), []byte("the stressor")
	var archive, again bytes.Buffer
	if err := errors.Join(WriteImages(&archive, agent, stressor), WriteImages(&again, agent, stressor)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Error("the same binaries give different bytes, and with them different snapshots")
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	images := NameImages(agent, stressor)
	for ref, want := range map[string]struct {
		entrypoint string
		files      map[string]string
	}{
		images.Pause:    {"/oomlab-stressor hold", map[string]string{"tmp/": "", "oomlab-stressor": "the stressor"}},
		images.Stressor: {"/oomlab-stressor", map[string]string{"tmp/": "", "oomlab-stressor": "the stressor"}},
		images.Agent: {"/oomlab-agent", map[string]string{"tmp/": "", "oomlab-agent": "the agent",
			"oomlab-stressor": "the stressor"}},
	} {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		img, err := tarball.Image(open, &tag)
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		config, err := img.ConfigFile()
		if err != nil || strings.Join(config.Config.Entrypoint, " ") != want.entrypoint || config.OS != "linux" {
			t.Errorf("%s: %v, starts %q on %s", ref, err, config.Config.Entrypoint, config.OS)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%s: %d layers, %v", ref, len(layers), err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(data)
		}
		if len(got) != len(want.files) {
			t.Errorf("%s has %v, want %v", ref, got, want.files)
		}
		for file, data := range want.files {
			if got[file] != data {
				t.Errorf("%s: %s is %q, want %q", ref, file, got[file], data)
			}
		}
	}
	if other := NameImages(agent, []byte("another")); other.Stressor == images.Stressor || other.Agent == images.Agent {
		t.Error("another stressor is called the same")
	}
}

// TestPKI lets a client and a server of the cluster meet.
func TestPKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if err := makePKI(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, caCert))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the authority's certificate cannot be read")
	}
	pair := func(cert, key string) tls.Certificate {
		p, err := tls.LoadX509KeyPair(filepath.Join(dir, cert), filepath.Join(dir, key))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair(serverCert, serverKey)}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	who := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			who <- err.Error()
			return
		}
		defer c.Close()
		if err := c.(*tls.Conn).Handshake(); err != nil {
			who <- err.Error()
			return
		}
		s := c.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject
		who <- s.CommonName + " of " + strings.Join(s.Organization, ",")
	}()
	c, err := tls.Dial("tcp", l.Addr().String(),
		&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair(kubeletCert, kubeletKey)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := <-who, "system:node:"+NodeName+" of system:nodes"; got != want {
		t.Errorf("the API server sees %q, want %q", got, want)
	}
	if st, err := os.Stat(filepath.Join(dir, adminKey)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the administrator's key: %v, %v", st.Mode(), err)
	}
}

func TestPlace(t *testing.T) {
	root := t.TempDir()
	for _, h := range []*tar.Header{
		{Name: "./bin/a", Typeflag: tar.TypeReg, Mode: 0o755, Size: 1},
		{Name: "./usr/bin/b", Typeflag: tar.TypeSymlink, Linkname: "a"},
		{Name: "./usr/share/doc/a", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
		{Name: "../../etc/c", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
	} {
		if err := place(root, h, strings.NewReader("x")); err != nil {
			t.Errorf("%s: %v", h.Name, err)
		}
	}
	var got []string
	filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(name, root))
		}
		return err
	})
	if want := "/etc/c /usr/bin/a /usr/bin/b"; strings.Join(got, " ") != want {
		t.Errorf("placed %q, want %s", got, want)
	}
	if err := place(root, &tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock}, nil); err == nil ||
		!strings.Contains(err.Error(), "has no use for") {
		t.Errorf("a device: %v", err)
	}
}

func TestCheckLibraries(t *testing.T) {
	root := t.TempDir()
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("needs a shell that is linked dynamically")
	}
	if err := os.WriteFile(filepath.Join(root, "sh"), sh, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkLibraries(root); err == nil ||
		!strings.Contains(err.Error(), "/sh needs libc.so.6, which none of the packages has") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "libc.so.6"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkLibraries(root); err != nil {
		t.Errorf("with the library: %v", err)
	}
}

// TestOpen: what is damaged is said, with what to do.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "make node-image") {
		t.Errorf("got %v", err)
	}
	made := Image{Sum: "ab", Version: "v1.36.3", Format: withSums}
	publish := func() {
		t.Helper()
		err := cache.Publish(filepath.Join(dir, entry()), func(tmp string) error {
			data, err := json.Marshal(made)
			if err != nil {
				return err
			}
			return errors.Join(makePKI(filepath.Join(tmp, "pki"), time.Now()),
				os.WriteFile(filepath.Join(tmp, imageFile), data, 0o644),
				os.WriteFile(filepath.Join(tmp, diskFile), []byte("a disk"), 0o644))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	publish()
	cachetest.Private(t, filepath.Join(dir, entry()))
	i, err := Open(dir)
	if err != nil || i.Version != made.Version || i.Sum != made.Sum {
		t.Fatalf("got %+v, %v", i, err)
	}
	if sum, err := cache.SumFile(i.Disk()); err != nil || sum.Sum != i.DiskSum {
		t.Errorf("the disk's checksum is %+v, %v; want %q", sum, err, i.DiskSum)
	}
	for name, want := range map[string]string{
		imageFile:    "image.json: invalid character",
		diskFile:     "disk.img is damaged: size is 7 bytes, expected 6",
		"sums.json":  "sums.json is damaged: invalid character",
		"pki/ca.crt": "pki/ca.crt is damaged: size is 7 bytes",
	} {
		publish()
		if err := os.WriteFile(filepath.Join(i.Dir, name), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		if text := fmt.Sprint(err); !strings.Contains(text, want) ||
			!strings.HasSuffix(text, "; rebuild it with make node-image") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	// An image without checksums is an older oomlab's, if it says so.
	publish()
	if err := os.Remove(filepath.Join(i.Dir, "sums.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no checksums") {
		t.Errorf("without its checksums: %v", err)
	}
	old := []byte(`{"sum": "ab", "version": "v1", "packages": null}`)
	if err := os.WriteFile(filepath.Join(i.Dir, imageFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if old, err := Open(dir); err != nil || old.DiskSum != i.DiskSum {
		t.Errorf("an older oomlab's: %+v, %v", old, err)
	}
}

// TestTraceImage: a runtime finds oomlab in the archive, under the name that was asked
// for, and the digests are those of what is in it.
func TestTraceImage(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var archive, again bytes.Buffer
	err = WriteTraceImage(&archive, program, TraceImage)
	if errors.Is(err, ErrNotStatic) {
		t.Skip("the test itself stands for oomlab, and was linked to libraries")
	}
	if err != nil || WriteTraceImage(&again, program, TraceImage) != nil ||
		!bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Fatalf("%v; the same program has to give the same bytes", err)
	}
	tag, err := name.NewTag(TraceImage)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil { // layers, config and digests, each against the others
		t.Error(err)
	}
	config, err := img.ConfigFile()
	if err != nil || strings.Join(config.Config.Entrypoint, " ") != OomlabPath || config.OS != "linux" ||
		config.Architecture != runtime.GOARCH {
		t.Errorf("%v, starts %q on %s %s", err, config.Config.Entrypoint, config.OS, config.Architecture)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	layer, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	found := false
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == OomlabPath[1:] {
			data, err := io.ReadAll(r)
			found = err == nil && bytes.Equal(data, program) && h.Mode == 0o755
		}
	}
	if !found {
		t.Error("the layer does not have the program")
	}
}

// TestTraceImageRefusesWhatCannotRun alone, and names that are none.
func TestTraceImageRefusesWhatCannotRun(t *testing.T) {
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skipf("needs a program that is linked to libraries: %v", err)
	}
	if err := WriteTraceImage(io.Discard, shell, TraceImage); !errors.Is(err, ErrNotStatic) {
		t.Errorf("/bin/sh alone: %v", err)
	}
	if err := WriteTraceImage(io.Discard, []byte("#!/bin/sh"), TraceImage); err == nil {
		t.Error("a script alone is no image")
	}
	if err := WriteTraceImage(io.Discard, shell, "Not A Name"); err == nil {
		t.Error("that is no name of an image")
	}
}
