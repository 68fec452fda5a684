package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
	"github.com/oomlab/oomlab/harness/target/vm/initramfs"
	"github.com/oomlab/oomlab/harness/target/vm/userland"
)

// A guest with a userland.
const (
	userlandMemory = kernel.GiB
	// systemd takes 40 s of an emulated processor, services of packages more, and the
	// machine may have other things to do
	userlandBootWait = 15 * time.Minute
	// userlandFiles is where the guest finds the user's own files, see package guest.
	userlandFiles = "/oomlab/files"
)

// userlandModules are what a guest needs of its kernel to reach the disk.
var userlandModules = []string{"virtio_pci", "virtio_blk", "ext4"}

// engineFiles is what a guest needs for the engine of containers that a package has.
type engineFiles struct {
	modules []string
	files   map[string]string
}

// engines are those that a guest is prepared for. Containers there have no network: it
// would take more modules than all the rest.
var engines = map[string]engineFiles{
	"podman":    {modules: []string{"overlay"}},
	"docker.io": {[]string{"overlay"}, map[string]string{"/etc/docker/daemon.json": `{"bridge": "none", "iptables": false}`}},
}

// withUserland makes a machine one with a userland, which is made first if it is not
// there. Commands are the user's own: those with a path of this machine are copied.
func (l *Lab) withUserland(ctx context.Context, o vm.Options, spec userland.Spec,
	commands []string) (vm.Options, error) {
	if o.CgroupVersion == 1 {
		return o, &target.Missing{What: "cgroup v2 for a userland: systemd does not run on v1",
			Hint: "leave out --cgroup 1 or --userland"}
	}
	if o.Kernel.Arch != debian.Arch {
		return o, &target.Missing{What: "a kernel of " + debian.Arch + " for a userland, which is made of packages " +
			"for that; " + o.Kernel.Release + " is of " + o.Kernel.Arch, Hint: "leave out --arch or --userland"}
	}
	u, err := l.userland(ctx, spec)
	if err != nil {
		return o, err
	}
	o.Memory = max(o.Memory, userlandMemory)
	o.Disk, o.DiskSum, o.BootWait = u.Disk(), u.DiskSum, userlandBootWait
	o.Modules = append(o.Modules, userlandModules...)
	o.Words = append(o.Words, "oomlab.userland="+spec.Name, "systemd.unit=oomlab.target")
	for _, name := range slices.Sorted(maps.Keys(engines)) {
		if e := engines[name]; slices.Contains(spec.Packages, name) {
			o.Modules = append(o.Modules, e.modules...)
			for _, path := range slices.Sorted(maps.Keys(e.files)) {
				o.Files = append(o.Files, initramfs.Regular(userlandFiles+path, []byte(e.files[path]), false))
			}
		}
	}
	for _, name := range commands {
		files, err := ownFile(name)
		if err != nil {
			return o, err
		}
		o.Files = append(o.Files, files...)
	}
	return o, nil
}

// userland is the one for a spec. A lab's jobs wait for one that is being made.
func (l *Lab) userland(ctx context.Context, spec userland.Spec) (userland.Userland, error) {
	u, err := userland.Find("", spec)
	if err == nil {
		return u, nil
	}
	if !errors.Is(err, userland.ErrMissing) {
		l.o.Log(fmt.Sprintf("the userland %s cannot be used and is made again: %v", spec, err))
	}
	u, err = userland.Make(ctx, spec, false, userland.Options{Progress: l.o.Log})
	if errors.Is(err, debian.ErrNoPackage) {
		return u, &target.Missing{What: err.Error(), Hint: "apt-cache search finds packages"}
	}
	return u, err
}

// ownFile is a program of the user's own that no package has: a path of this machine
// outside of where packages put theirs. Its interpreter and its libraries are those of
// the userland.
func ownFile(name string) ([]initramfs.File, error) {
	if !strings.ContainsRune(name, '/') {
		return nil, nil
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(abs, dir) && !strings.HasPrefix(abs, "/usr/local/") {
			return nil, nil
		}
	}
	data, err := os.ReadFile(abs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a package may have it
	}
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	return []initramfs.File{initramfs.Regular(userlandFiles+abs, data, true)}, nil
}

// spec is the userland that a scenario gets in a VM; its name is empty where it gets
// none.
func (l *Lab) spec(s scenario.Scenario) userland.Spec {
	if s.Needs.Userland != "" {
		return userland.Spec{Name: s.Needs.Userland, Packages: s.Packages()}
	}
	return userland.Spec{Name: l.o.Userland}
}
