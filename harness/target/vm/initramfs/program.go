package initramfs

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// maxProgram bounds what Programs packs: it all stays in the guest's memory.
const maxProgram = 1 << 30

// Programs are the host's files that are needed to run the named programs in a
// guest, at the paths they have on the host: the programs (looked up in PATH
// when the name has no slash), their interpreters, and the shared libraries
// that the dynamic linker will ask for. A directory is packed with everything
// in it. Symbolic links stay links.
//
// What a program opens by itself once it runs cannot be known; name it too.
func Programs(names []string, arch string) ([]File, error) {
	p := packer{seen: map[string]bool{}, arch: arch}
	if arch == "" {
		p.arch = runtime.GOARCH
	}
	for _, name := range names {
		file := name
		if !strings.ContainsRune(name, '/') {
			found, err := exec.LookPath(name)
			if err != nil {
				return nil, fmt.Errorf("program %s: %w; give its path", name, err)
			}
			file = found
		}
		abs, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		if err := p.add(abs); err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
	}
	if p.dynamic {
		// The cache tells the guest's dynamic linker about directories that are
		// not among its default ones. Without it those libraries are not found.
		if err := p.add("/etc/ld.so.cache"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return p.files, nil
}

// packer collects files. It is not safe for concurrent use.
type packer struct {
	files   []File
	seen    map[string]bool
	arch    string // of the guest; empty: this machine's
	size    int64
	dynamic bool
	dirs    []string // where the dynamic linker looks; read once
}

// add packs the file at an absolute path and all that it needs.
func (p *packer) add(name string) error {
	real, err := p.walk(name)
	if err != nil || p.seen[real] {
		return err
	}
	p.seen[real] = true
	st, err := os.Stat(real)
	if err != nil {
		return err
	}
	switch {
	case st.IsDir():
		return p.addDir(real, st)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a directory", real)
	}
	if p.size += st.Size(); p.size > maxProgram {
		return fmt.Errorf("%s: the files are more than 1Gi by now, and all of them would stay in the guest's "+
			"memory; name fewer", real)
	}
	data, err := os.ReadFile(real)
	if err != nil {
		return err
	}
	p.files = append(p.files, File{Name: real, Mode: st.Mode(), Data: data})
	switch {
	case bytes.HasPrefix(data, []byte("#!")):
		line, _, _ := bytes.Cut(data[2:], []byte("\n"))
		words := strings.Fields(string(line))
		if len(words) == 0 {
			return fmt.Errorf("%s: #! names no interpreter", real)
		}
		if err := p.add(words[0]); err != nil {
			return fmt.Errorf("interpreter of %s: %w", real, err)
		}
		// #!/usr/bin/env python3: the second word is what will run.
		if path.Base(words[0]) == "env" && len(words) > 1 && !strings.HasPrefix(words[1], "-") {
			found, err := exec.LookPath(words[1])
			if err != nil {
				return fmt.Errorf("interpreter of %s: %w", real, err)
			}
			return p.add(found)
		}
	case bytes.HasPrefix(data, []byte(elf.ELFMAG)):
		if err := p.addNeeded(real, data); err != nil {
			return fmt.Errorf("%s: %w", real, err)
		}
	}
	return nil
}

// runs are the machines whose programs run in a guest.
var runs = map[string][]elf.Machine{
	"amd64": {elf.EM_X86_64, elf.EM_386},
	"arm64": {elf.EM_AARCH64},
}

// walk packs every symbolic link on the way to name, and says where it ends.
func (p *packer) walk(name string) (string, error) {
	const maxLinks = 40 // as the kernel, see path_resolution(7)
	done, rest := "/", strings.TrimPrefix(path.Clean(name), "/")
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		here := path.Join(done, part)
		st, err := os.Lstat(here)
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			done = here
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: too many symbolic links", name)
		}
		to, err := os.Readlink(here)
		if err != nil {
			return "", err
		}
		if !p.seen[here] {
			p.seen[here] = true
			p.files = append(p.files, File{Name: here, Mode: fs.ModeSymlink | 0o777, Link: to})
		}
		if !path.IsAbs(to) {
			to = path.Join(done, to)
		}
		done, rest = "/", strings.TrimPrefix(path.Join(to, rest), "/")
	}
	return done, nil
}

func (p *packer) addDir(dir string, st fs.FileInfo) error {
	p.files = append(p.files, File{Name: dir, Mode: st.Mode()})
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.Type()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
			continue // means nothing in another machine
		}
		err := p.add(name)
		if errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink != 0 {
			continue // a dangling link stays dangling
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addNeeded packs the interpreter and the libraries that an ELF file names,
// found as ld.so(8) finds them.
func (p *packer) addNeeded(name string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if machines := runs[p.arch]; len(machines) > 0 && !slices.Contains(machines, f.Machine) {
		return fmt.Errorf("a program for %s, which does not run on %s", f.Machine, p.arch)
	}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			interp := make([]byte, prog.Filesz)
			if _, err := prog.ReadAt(interp, 0); err != nil {
				return err
			}
			p.dynamic = true
			if err := p.add(strings.TrimRight(string(interp), "\x00")); err != nil {
				return fmt.Errorf("dynamic linker: %w", err)
			}
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	var own []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			continue // a static program has no dynamic section
		}
		for _, value := range values {
			for dir := range strings.SplitSeq(value, ":") {
				dir = strings.NewReplacer("$ORIGIN", path.Dir(name), "${ORIGIN}", path.Dir(name)).Replace(dir)
				own = append(own, dir)
			}
		}
	}
	if p.dirs == nil {
		p.dirs = linkerDirs("/")
	}
	for _, library := range needed {
		found, err := findLibrary(library, f, slices.Concat(own, p.dirs))
		if err != nil {
			return err
		}
		if err := p.add(found); err != nil {
			return fmt.Errorf("library %s: %w", library, err)
		}
	}
	return nil
}

// findLibrary finds a library that fits the program: one directory may have
// libraries for other machines.
func findLibrary(library string, program *elf.File, dirs []string) (string, error) {
	if path.IsAbs(library) {
		return library, nil
	}
	for _, dir := range dirs {
		name := path.Join(dir, library)
		f, err := elf.Open(name)
		if err != nil {
			continue // not here, or a linker script
		}
		fits := f.Class == program.Class && f.Machine == program.Machine
		f.Close()
		if fits {
			return name, nil
		}
	}
	return "", fmt.Errorf("library %s is in none of %s", library, strings.Join(dirs, ", "))
}

// linkerDirs are the directories that the host's dynamic linker looks into:
// those of ld.so.conf and the ones that are built into it.
func linkerDirs(root string) []string {
	var dirs []string
	var read func(file string, depth int)
	read = func(file string, depth int) {
		f, err := os.Open(file)
		if err != nil || depth > 8 {
			return // no such file is as good as an empty one
		}
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			line, _, _ := strings.Cut(sc.Text(), "#")
			line = strings.TrimSpace(line)
			if pattern, ok := strings.CutPrefix(line, "include "); ok {
				pattern = strings.TrimSpace(pattern)
				if !path.IsAbs(pattern) {
					pattern = path.Join("/etc", pattern)
				}
				files, _ := filepath.Glob(path.Join(root, pattern))
				for _, file := range files {
					read(file, depth+1)
				}
			} else if path.IsAbs(line) {
				dirs = append(dirs, line)
			}
		}
	}
	read(path.Join(root, "/etc/ld.so.conf"), 0)
	return append(dirs, "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib",
		"/usr/lib")
}
