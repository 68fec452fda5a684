package kernels

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// Module is a kernel module, decompressed: kernels before 5.17 cannot load
// compressed ones, later ones only if they were built so.
type Module struct {
	Name string // as lsmod prints it: virtio_blk
	Data []byte
}

// Modules reads the named modules and all that they depend on, in an order in
// which they can be loaded. What is built into the kernel needs no module.
// Names that the kernel does not have at all are returned in missing.
//
// Dependencies are read from the modules themselves (depends= in .modinfo):
// packages do not contain modules.dep, which depmod makes at installation.
func (k Kernel) Modules(names ...string) (modules []Module, missing []string, err error) {
	if k.ModulesDir == "" {
		return nil, slices.Clone(names), nil
	}
	files, err := moduleFiles(k.ModulesDir)
	if err != nil {
		return nil, nil, fmt.Errorf("modules of %s: %w", k.Release, err)
	}
	builtin, err := builtinModules(k.ModulesDir)
	if err != nil {
		return nil, nil, fmt.Errorf("modules of %s: %w", k.Release, err)
	}
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = moduleName(name)
		if done[name] || builtin[name] {
			return nil
		}
		done[name] = true
		file, ok := files[name]
		if !ok {
			missing = append(missing, name)
			return nil
		}
		data, err := readModule(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		magic, depends, err := modinfo(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		// In a tree it may be of an earlier build, and the kernel would refuse it.
		if release, _, ok := strings.Cut(magic, " "); ok && release != k.Release {
			missing = append(missing, name)
			return nil
		}
		for _, d := range depends {
			if err := add(d); err != nil {
				return err
			}
		}
		modules = append(modules, Module{Name: name, Data: data})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, nil, fmt.Errorf("modules of %s: %w", k.Release, err)
		}
	}
	return modules, missing, nil
}

// moduleName is how the kernel calls the module in a file: dashes and
// underscores are the same, and one name.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func moduleFiles(dir string) (map[string]string, error) {
	if exists(filepath.Join(dir, "arch")) { // a tree, not what make modules_install writes
		return orderedModules(dir)
	}
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(d.Name(), ".ko") {
			files[moduleName(file)] = file
		}
		return err
	})
	return files, err
}

func builtinModules(dir string) (map[string]bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	builtin := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return builtin, nil
}

func readModule(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch path.Ext(file) {
	case ".ko":
		return data, nil
	case ".xz":
		r, err = xz.NewReader(bytes.NewReader(data))
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(data))
	default:
		return nil, fmt.Errorf("compressed in a way that is not understood; .ko, .ko.xz and .ko.gz are")
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// modinfo reads from a module vermagic=, which begins with the release of the kernel that it
// was built for, and the names in depends=.
func modinfo(module []byte) (magic string, depends []string, err error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return "", nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return "", nil, errors.New("no .modinfo section: not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return "", nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		switch key, value, _ := strings.Cut(string(field), "="); {
		case key == "vermagic":
			magic = value
		case key == "depends" && value != "":
			depends = strings.Split(value, ",")
		}
	}
	return magic, depends, nil
}
