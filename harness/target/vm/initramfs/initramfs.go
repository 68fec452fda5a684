// Package initramfs writes the file system that a guest starts with: a cpio
// archive in the format "newc", which the kernel unpacks by itself (see
// Documentation/driver-api/early-userspace/buffer-format.rst).
//
// The same files always give the same bytes, so that an archive can be part of
// the key of a snapshot.
package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is one entry of the archive.
type File struct {
	Name string      // absolute path in the guest
	Mode fs.FileMode // type and permissions
	Data []byte      // of a regular file
	Link string      // target of a symbolic link
	Dev  [2]uint32   // major and minor number of a device
}

// Regular is an ordinary file; it may be executed when exec is set.
func Regular(name string, data []byte, exec bool) File {
	mode := fs.FileMode(0o644)
	if exec {
		mode = 0o755
	}
	return File{Name: name, Mode: mode, Data: data}
}

// Base is what every guest needs before it has mounted anything: the mount
// points, and the console that the kernel opens for init.
func Base() []File {
	out := []File{
		{Name: "/dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Dev: [2]uint32{5, 1}},
		{Name: "/dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Dev: [2]uint32{1, 3}},
		{Name: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
	for _, dir := range []string{"/proc", "/sys", "/run", "/root", "/etc"} {
		out = append(out, File{Name: dir, Mode: fs.ModeDir | 0o755})
	}
	return out
}

// Write writes the archive. Directories that are not among the files are made,
// with mode 0755; the first of two files with one name wins. The kernel wants
// directories before what is in them, and gets everything in that order.
func Write(w io.Writer, files []File) error {
	entries := map[string]File{}
	for _, f := range files {
		name := path.Clean(f.Name)
		if !path.IsAbs(f.Name) || name == "/" {
			return fmt.Errorf("initramfs: %q is not an absolute path of a file", f.Name)
		}
		if _, ok := entries[name]; !ok {
			entries[name] = f
		}
	}
	for name := range entries {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if f, ok := entries[dir]; ok && !f.Mode.IsDir() {
				return fmt.Errorf("initramfs: %s is in %s, which is not a directory", name, dir)
			}
			if _, ok := entries[dir]; !ok {
				entries[dir] = File{Name: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	// A directory's name is a prefix of the names in it, so it comes first.
	slices.Sort(names)

	buf := bufio.NewWriterSize(w, 1<<20)
	for i, name := range names {
		if err := writeEntry(buf, i+1, name, entries[name]); err != nil {
			return fmt.Errorf("initramfs: %s: %w", name, err)
		}
	}
	if err := writeEntry(buf, 0, "/TRAILER!!!", File{}); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return buf.Flush()
}

func writeEntry(w *bufio.Writer, ino int, name string, f File) error {
	data := f.Data
	if f.Mode&fs.ModeSymlink != 0 {
		data = []byte(f.Link)
	}
	if int64(len(data)) > 1<<32-1 {
		return fmt.Errorf("%d bytes are more than the format can hold", len(data))
	}
	name = strings.TrimPrefix(name, "/")
	nlink := 1
	if f.Mode.IsDir() {
		nlink = 2
	}
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		ino, unixMode(f.Mode), 0, 0, nlink, 0, len(data),
		0, 0, f.Dev[0], f.Dev[1], len(name)+1, 0)
	w.WriteString(name)
	pad(w, 110+len(name), 1) // the header has 110 bytes, the name ends with a zero
	w.Write(data)
	return pad(w, len(data), 0)
}

// pad writes at least atLeast zeros and goes on to the next multiple of four.
func pad(w *bufio.Writer, written, atLeast int) error {
	n := atLeast + (4-(written+atLeast)%4)%4
	_, err := w.Write(make([]byte, n))
	return err
}

// unixMode is st_mode as inode(7) has it.
func unixMode(mode fs.FileMode) uint32 {
	out := uint32(mode.Perm())
	for _, bit := range []struct {
		goBit fs.FileMode
		unix  uint32
	}{
		{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000},
	} {
		if mode&bit.goBit != 0 {
			out |= bit.unix
		}
	}
	switch {
	case mode.IsDir():
		return out | 0o040000
	case mode&fs.ModeSymlink != 0:
		return out | 0o120000
	case mode&fs.ModeCharDevice != 0:
		return out | 0o020000
	case mode&fs.ModeDevice != 0:
		return out | 0o060000
	}
	return out | 0o100000
}
