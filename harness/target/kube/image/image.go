// Package image makes what a node of a VM cluster boots from: a file system with
// the kubelet, the API server, etcd, containerd and runc, and the certificates
// of a cluster.
//
// The kubelet and the API server are built by make from the nested module
// harness/target/kube/node; the rest are packages of Debian, unpacked and not
// installed. oomlab's own agent and stressor are not in it: they come with each
// boot, so that an image outlives changes of oomlab.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// Format is raised whenever an image of an older oomlab would not do.
const Format = 2

// What a node is called and where it is.
const (
	NodeName  = "oomlab-node"
	Namespace = "oomlab"
	// The addresses are those of QEMU's user network.
	NodeIP    = "10.0.2.15"
	NodeSize  = "/24"
	Gateway   = "10.0.2.2"
	serviceIP = "10.96.0.1"
	APIPort   = 6443
	// A cluster of two nodes has a worker beside the one with the API server, and
	// a cable between them.
	WorkerName = "oomlab-node-2"
	LinkIP     = "10.77.0.1" // of the node with the API server, at the cable
	WorkerIP   = "10.77.0.2"
	LinkSize   = "/24" // of that network
)

// PKIFile is where the node has a certificate or a key.
func PKIFile(name string) string { return pkiDir + "/" + name }

// suite of Debian that the packages are from: the newest, for containerd 2.
const suite = "forky"

// packages are all that the node needs; what they depend on beside each other
// is for other ways to run them.
var packages = []string{"busybox-static", "containerd", "etcd-server", "libc6", "libgcc-s1", "libseccomp2", "runc"}

// Options say what an image is made of.
type Options struct {
	// Kubelet and APIServer are the programs, built for the node and static.
	Kubelet, APIServer string
	// Version is the release of Kubernetes that they are.
	Version string
	// Dir is where images are kept; empty: node/ in cache.Root.
	Dir      string
	Progress func(string) // may be nil
}

// Image is one that is there.
type Image struct {
	Dir string `json:"-"`
	// Sum tells it from others.
	Sum      string    `json:"sum"`
	Version  string    `json:"version"` // v1.36.3
	Packages []string  `json:"packages"`
	Made     time.Time `json:"made"`
	Format   int       `json:"format"` // 0: written by a version without checksums
	DiskSum  string    `json:"-"`      // checksum of Disk
}

// withSums is the current format: images have checksums.
const withSums = 1

// Disk is the file system's image.
func (i Image) Disk() string { return filepath.Join(i.Dir, diskFile) }

const (
	diskFile  = "disk.img"
	imageFile = "image.json"
)

// PKI is the contents of a certificate or key of the administrator, by name.
func (i Image) PKI() (ca, cert, key []byte, err error) {
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{caCert, &ca}, {adminCert, &cert}, {adminKey, &key}} {
		if *f.to, err = os.ReadFile(filepath.Join(i.Dir, "pki", f.name)); err != nil {
			return nil, nil, nil, err
		}
	}
	return ca, cert, key, nil
}

// ErrMissing says that there is no image.
var ErrMissing = errors.New("there is no node image on this machine; make node-image makes one")

// Open finds the image of this oomlab's format. An empty dir is node/ in
// cache.Root.
func Open(dir string) (Image, error) {
	dir, err := home(dir)
	if err != nil {
		return Image{}, err
	}
	i := Image{Dir: filepath.Join(dir, entry())}
	if _, err := os.Stat(i.Dir); errors.Is(err, os.ErrNotExist) {
		return i, fmt.Errorf("%w (looked in %s)", ErrMissing, i.Dir)
	}
	if err := i.read(); err != nil {
		return i, fmt.Errorf("%w; rebuild it with make node-image", err)
	}
	return i, nil
}

// read reads and verifies an image except for the content of its disk, which package vm
// verifies after copying it.
func (i *Image) read() error {
	if err := cache.ReadJSON(filepath.Join(i.Dir, imageFile), i); err != nil {
		return err
	}
	e, err := cache.Open(i.Dir)
	if errors.Is(err, cache.ErrUnsealed) && i.Format == 0 {
		if err := cache.Seal(i.Dir); err != nil {
			return err
		}
		e, err = cache.Open(i.Dir)
	}
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Verify(imageFile, "pki/"+caCert, "pki/"+adminCert, "pki/"+adminKey); err != nil {
		return err
	}
	disk, err := os.Stat(i.Disk())
	if err != nil {
		return err
	}
	want := e.Sum(diskFile)
	if disk.Size() != want.Size {
		return fmt.Errorf("%s is damaged: size is %d bytes, expected %d", i.Disk(), disk.Size(), want.Size)
	}
	i.DiskSum = want.Sum
	return nil
}

func home(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	root, err := cache.Root()
	return filepath.Join(root, "node"), err
}

// Home is the directory that images are kept in. It is made.
func Home() (string, error) {
	dir, err := home("")
	if err != nil {
		return "", err
	}
	return dir, cache.Dir(dir)
}

func entry() string { return "image-" + strconv.Itoa(Format) }

// diskSize is what the file system could grow to; what is not used takes no room.
const diskSize = 6 * kernel.GiB

// Make makes the image, unless there is one of the same inputs.
func Make(ctx context.Context, o Options) (Image, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	dir, err := home(o.Dir)
	if err != nil {
		return Image{}, err
	}
	if _, err := exec.LookPath("mke2fs"); err != nil {
		return Image{}, errors.New("mke2fs is not installed; install the package e2fsprogs")
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	cache.Sweep(dir)

	d := debian.Options{Dir: filepath.Join(dir, ".apt"), Progress: o.Progress}
	parts, size, err := find(ctx, d, packages)
	if err != nil {
		return Image{}, err
	}
	i := Image{Dir: filepath.Join(dir, entry()), Version: o.Version, Made: time.Now().UTC(), Format: withSums}
	for _, p := range parts {
		i.Packages = append(i.Packages, p.String())
	}
	if i.Sum, err = o.sum(parts); err != nil {
		return i, err
	}
	if have, err := Open(dir); err == nil && have.Sum == i.Sum {
		o.Progress("the node image is up to date")
		return have, nil
	}
	debs := filepath.Join(dir, ".apt", suite, "debs")
	files, err := d.Opened(suite).Download(ctx, debs, "the node's packages", size, parts)
	if err != nil {
		return i, fmt.Errorf("node image: %w", err)
	}
	err = cache.Publish(i.Dir, func(tmp string) error { return o.fill(ctx, tmp, i, files) })
	if err != nil {
		return i, fmt.Errorf("node image: %w", err)
	}
	if err := os.RemoveAll(debs); err != nil {
		return i, err
	}
	return Open(dir)
}

// find looks the packages up.
func find(ctx context.Context, d debian.Options, packages []string) (
	parts []debian.Part, size kernel.Bytes, err error) {
	mirrors, err := d.Mirrors()
	if err != nil {
		return nil, 0, err
	}
	if !mirrors.Serve(suite) {
		return nil, 0, fmt.Errorf("node image: apt has no source that could have %s", suite)
	}
	a, err := d.Open(ctx, suite, mirrors)
	if err != nil {
		return nil, 0, err
	}
	d.Progress("reading the package lists of " + suite)
	all, err := a.Packages(ctx, func(name string) bool { return slices.Contains(packages, name) })
	if err != nil {
		return nil, 0, fmt.Errorf("node image: %w", err)
	}
	for _, name := range packages {
		s, ok := all[name]
		if !ok {
			return nil, 0, fmt.Errorf("node image: %s has no package %s", suite, name)
		}
		n, err := strconv.ParseInt(s["Size"], 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("node image: package %s: size: %w", name, err)
		}
		parts, size = append(parts, debian.Part{Name: name, Version: s["Version"]}), size+kernel.Bytes(n)
	}
	return parts, size, nil
}

// sum is what the image depends on.
func (o Options) sum(parts []debian.Part) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, Format, o.Version, parts)
	for _, file := range slices.Sorted(slices.Values(staticNames())) {
		fmt.Fprintf(h, "%s\n%s\n", file, static[file])
	}
	for _, name := range []string{o.Kubelet, o.APIServer} {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("node image: %w; make node-image builds it", err)
		}
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// fill makes the cache entry.
func (o Options) fill(ctx context.Context, dir string, i Image, debs []string) error {
	root := filepath.Join(dir, "root")
	if err := makeRoot(ctx, root, debs, o); err != nil {
		return err
	}
	pki := filepath.Join(root, pkiDir)
	if err := makePKI(pki, i.Made); err != nil {
		return err
	}
	kept := filepath.Join(dir, "pki")
	if err := os.Mkdir(kept, 0o700); err != nil {
		return err
	}
	for _, name := range []string{caCert, adminCert, adminKey} {
		data, err := os.ReadFile(filepath.Join(pki, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(kept, name), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	o.Progress("making the file system")
	if err := makeDisk(ctx, root, filepath.Join(dir, diskFile)); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return cache.Write(filepath.Join(dir, imageFile), append(data, '\n'))
}

// makeDisk makes an ext4 file system that holds root. Without a journal: a node
// that is thrown away needs none.
func makeDisk(ctx context.Context, root, disk string) error {
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(disk, int64(diskSize)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0",
		"-E", "root_owner=0:0,lazy_itable_init=1", "-d", root, disk)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
