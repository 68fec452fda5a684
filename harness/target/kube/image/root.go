package image

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// pkiDir is where the node has its certificates.
const pkiDir = "/etc/kubernetes/pki"

// static are the files of the node that never differ.
var static = map[string]string{
	"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
	"/etc/group":  "root:x:0:\n",
	"/etc/hosts": "127.0.0.1 localhost\n" + NodeIP + " " + NodeName + "\n" +
		WorkerIP + " " + WorkerName + "\n",
	"/etc/nsswitch.conf":         "hosts: files\n",
	"/etc/resolv.conf":           "",
	"/etc/machine-id":            "6f6f6d6c61620000000000000000004e\n",
	"/etc/os-release":            "ID=oomlab\nNAME=oomlab\nPRETTY_NAME=\"oomlab node\"\nVERSION_ID=\"1\"\n",
	"/etc/kubernetes/kubelet.kc": kubeletAccess("127.0.0.1", kubeletCert, kubeletKey),
	"/etc/kubernetes/worker.kc":  kubeletAccess(LinkIP, workerCert, workerKey),
	// A network plugin that does not exist is enough for a node to be Ready:
	// all pods use the node's network.
	"/etc/cni/net.d/10-none.conflist": `{"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "none"}]}` + "\n",
}

func staticNames() []string {
	var out []string
	for name := range static {
		out = append(out, name)
	}
	return out
}

// kubeletAccess is the kubeconfig of a node's kubelet. The API server's
// certificate does not know the cable.
func kubeletAccess(server, cert, key string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: oomlab, cluster: {server: "https://%s:%d", tls-server-name: kubernetes, certificate-authority: %s}}]
users: [{name: kubelet, user: {client-certificate: %s, client-key: %s}}]
contexts: [{name: oomlab, context: {cluster: oomlab, user: kubelet}}]
current-context: oomlab
`, server, APIPort, PKIFile(caCert), PKIFile(cert), PKIFile(key))
}

// merged are the links of a system whose programs and libraries are in /usr.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// applets are the programs of busybox that the kubelet starts, and those that
// somebody wants who looks into a node.
var applets = []string{
	"mount", "umount", "sh", "cat", "ls", "ps", "grep", "dmesg", "tail", "head", "find", "sleep", "free", "top",
	"df", "wget", "dd", "sync",
}

// makeRoot lays out the node's files in root.
func makeRoot(ctx context.Context, root string, debs []string, o Options) error {
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64",
		"etc", "var/log", "var/lib", "root", "opt", "proc", "sys", "dev", "run", "tmp", "oomlab"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range merged {
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(root, "var/run")); err != nil {
		return err
	}
	for _, deb := range debs {
		o.Progress("unpacking " + filepath.Base(deb))
		err := debian.Unpack(ctx, deb, func(h *tar.Header, r io.Reader) error { return place(root, h, r) })
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(deb), err)
		}
	}
	for _, name := range applets {
		link := filepath.Join(root, "usr/bin", name)
		if err := os.Symlink("busybox", link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for from, to := range map[string]string{o.Kubelet: "kubelet", o.APIServer: "kube-apiserver"} {
		if err := copyProgram(filepath.Join(root, "usr/bin", to), from); err != nil {
			return err
		}
	}
	for name, text := range static {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return checkLibraries(root)
}

// unwanted are the parts of packages that a node does without.
var unwanted = []string{"usr/share", "usr/lib/systemd", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/locale",
	"etc/init.d", "etc/default", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d"}

// place puts one entry of a package into root. Old packages have bin and lib
// beside usr; here they are the same.
func place(root string, h *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(filepath.Clean("/"+h.Name), "/")
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains(merged, first) {
		name = "usr/" + name
	}
	for _, u := range unwanted {
		if name == u || strings.HasPrefix(name, u+"/") {
			return nil
		}
	}
	to := filepath.Join(root, name)
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(to, 0o755)
	case tar.TypeReg:
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return cache.Hint(errors.Join(err, f.Close()))
	case tar.TypeSymlink, tar.TypeLink:
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeLink {
			return os.Link(filepath.Join(root, filepath.Clean("/"+h.Linkname)), to)
		}
		err := os.Symlink(h.Linkname, to)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return fmt.Errorf("%s: a node has no use for an entry of type %q", h.Name, h.Typeflag)
}

func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return cache.Hint(errors.Join(err, out.Close()))
}

// checkLibraries finds programs whose libraries are not in root, which would
// show when a node does not boot.
func checkLibraries(root string) error {
	have := map[string]bool{}
	needs := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		have[d.Name()] = true
		if !d.Type().IsRegular() {
			return nil
		}
		head := make([]byte, 4)
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.ReadFull(f, head); err != nil || !bytes.Equal(head, []byte(elf.ELFMAG)) {
			return nil
		}
		e, err := elf.NewFile(f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		libraries, err := e.ImportedLibraries()
		if err != nil {
			return nil // static: it has no dynamic section
		}
		for _, l := range libraries {
			needs[l] = append(needs[l], strings.TrimPrefix(name, root))
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for library, programs := range needs {
		if !have[library] {
			errs = append(errs, fmt.Errorf("%s needs %s, which none of the packages has", programs[0], library))
		}
	}
	return errors.Join(errs...)
}
