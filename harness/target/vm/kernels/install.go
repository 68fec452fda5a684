package kernels

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// install downloads the packages of an offer and puts the kernel into dir.
func install(ctx context.Context, offer Offer, dir string, o Options) error {
	e := entry{Suite: offer.Suite, Format: format}
	for _, p := range offer.parts {
		e.Packages = append(e.Packages, p.String())
	}
	apt := o.debian(flavourOf(offer.Release).arch).Opened(offer.Suite)
	files, err := apt.Download(ctx, o.debsDir(offer), offer.Release, offer.Size, offer.parts)
	if err != nil {
		return err
	}
	if len(files) != len(offer.parts) {
		return fmt.Errorf("%d files were downloaded where %d packages were asked for: %s", len(files),
			len(offer.parts), strings.Join(e.Packages, " "))
	}
	for _, file := range files {
		o.Progress("unpacking " + filepath.Base(file))
		if err := unpack(ctx, file, offer.Release, dir); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	if err := os.RemoveAll(o.debsDir(offer)); err != nil {
		return err
	}
	if err := CheckImage(filepath.Join(dir, "vmlinuz")); err != nil {
		return fmt.Errorf("the packages %s hold no kernel: %w", strings.Join(e.Packages, " "), err)
	}
	e.Kernel = Kernel{
		Version: offer.Version,
		Release: offer.Release,
		Arch:    flavourOf(offer.Release).arch,
		Image:   "vmlinuz",
		Source:  fmt.Sprintf("Debian %s %s", offer.Suite, offer.Package),
	}
	for name, field := range map[string]*string{"modules": &e.Kernel.ModulesDir, "config": &e.Kernel.Config} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			*field = name
		}
	}
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return cache.Write(filepath.Join(dir, packageFile), append(data, '\n'))
}

// unpack copies from a package what a kernel needs: image, configuration and
// modules.
func unpack(ctx context.Context, deb, release, dir string) error {
	return debian.Unpack(ctx, deb, func(h *tar.Header, content io.Reader) error {
		to := place(h.Name, release)
		if h.Typeflag != tar.TypeReg || to == "" {
			return nil
		}
		return write(filepath.Join(dir, to), content)
	})
}

// place says where in the cache entry a package's file belongs; empty: nowhere.
// Since Debian 13 /lib is written as usr/lib; since 6.19 image and configuration
// may be beside the modules.
func place(name, release string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if rest, ok := strings.CutPrefix(name, "boot/"); ok {
		switch rest {
		case "vmlinuz-" + release:
			return "vmlinuz"
		case "config-" + release:
			return "config"
		}
		return ""
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/"+release+"/")
	switch {
	case !ok:
		return ""
	case rest == "vmlinuz", rest == "config":
		return rest
	case strings.HasPrefix(rest, "kernel/"), rest == "modules.builtin", rest == "modules.order":
		return "modules/" + rest
	}
	return ""
}

func write(name string, r io.Reader) error {
	f, err := cache.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// WithModules is a spec for the bzImage at path with the modules in dir: what
// make modules_install puts into lib/modules/RELEASE.
func WithModules(path, dir string) string { return path + modulesOption + dir }

const modulesOption = ",modules="

// fromFile is the kernel in a bzImage. Its modules are in the directory that the
// spec names, or those of the kernel tree that it names, or else in a directory modules
// beside it, or they are the machine's own if that runs the same release. A kernel without modules boots;
// what needs one (zram, a swap disk) is then lacking.
func fromFile(spec string) (Kernel, error) {
	file, modules, named := strings.Cut(spec, modulesOption)
	if named {
		if _, err := os.Stat(filepath.Join(modules, "kernel")); err != nil {
			return Kernel{}, unknownError{fmt.Errorf("modules %s: there is no directory kernel in it; name "+
				"lib/modules/RELEASE as make modules_install writes it", modules)}
		}
	}
	file, tree, err := imageOf(file)
	if err == nil {
		err = CheckImage(file)
	}
	if err != nil {
		return Kernel{}, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return Kernel{}, err
	}
	release, arch, err := imageRelease(abs)
	if err != nil {
		return Kernel{}, err
	}
	version, err := kernel.ParseVersion(release)
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", file, err)
	}
	k := Kernel{Version: version, Release: release, Arch: arch, Image: abs, Source: "file " + abs}
	if named {
		k.ModulesDir, err = filepath.Abs(modules)
		return k, err
	}
	if tree != "" && exists(filepath.Join(tree, orderFile)) {
		k.ModulesDir, err = filepath.Abs(tree)
		return k, err
	}
	for _, dir := range []string{filepath.Join(filepath.Dir(abs), "modules"), "/lib/modules/" + release} {
		if _, err := os.Stat(filepath.Join(dir, "kernel")); err == nil {
			k.ModulesDir = dir
			break
		}
	}
	return k, nil
}
