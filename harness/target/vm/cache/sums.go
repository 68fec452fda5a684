package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/host"
)

// sumsFile holds the checksums of an entry's other files.
const sumsFile = "sums.json"

// A Sum is the size of a file and the CRC-32C of its data and where it lies. It detects
// truncation and accidental damage, but no deliberate changes; the modes of the cache
// prevent these. Processors compute CRC-32C ten times faster than SHA-256.
type Sum struct {
	Size int64  `json:"size"`
	Sum  string `json:"sum"`
}

type sums struct {
	Files map[string]Sum `json:"files"`
}

// ErrUnsealed means that an entry has no checksums. Older versions of oomlab created
// such entries.
var ErrUnsealed = errors.New("no checksums")

// chunk is the unit in which zeros are left out.
const chunk = 256 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [chunk]byte
)

// summer computes sums. It is not safe for concurrent use.
type summer struct{ buf [chunk]byte }

// sum reads a file except for its holes. Chunks of zeros do not count, so that a hole
// and allocated zeros give the same sum.
func (s *summer) sum(f *os.File) (Sum, error) {
	info, err := f.Stat()
	if err != nil {
		return Sum{}, err
	}
	out := Sum{Size: info.Size()}
	crc := uint32(0)
	for at := int64(0); at < out.Size; at += chunk {
		data, err := host.SeekData(f, at)
		if errors.Is(err, io.EOF) {
			break // only a hole follows
		}
		if err != nil {
			return out, err
		}
		at = data / chunk * chunk
		part := s.buf[:min(chunk, out.Size-at)]
		if _, err := f.ReadAt(part, at); err != nil && !errors.Is(err, io.EOF) {
			return out, err
		}
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		crc = crc32.Update(crc, castagnoli, binary.AppendUvarint(nil, uint64(at)))
		crc = crc32.Update(crc, castagnoli, part)
	}
	out.Sum = fmt.Sprintf("%08x", crc)
	return out, nil
}

// SumFile computes the checksum of a file.
func SumFile(name string) (Sum, error) {
	f, err := os.Open(name)
	if err != nil {
		return Sum{}, err
	}
	defer f.Close()
	return new(summer).sum(f)
}

// Seal writes the checksums of all files in dir, makes them private, and flushes them
// to disk.
func Seal(dir string) error {
	all := sums{Files: map[string]Sum{}}
	var s summer
	var dirs []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return fmt.Errorf("%s: an entry holds only files and directories", name)
		}
		if err := private(name, d); err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, name)
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == sumsFile {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if all.Files[rel], err = s.sum(f); err != nil {
			return err
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	for _, name := range dirs {
		if err := syncDir(name); err != nil {
			return err
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return Write(filepath.Join(dir, sumsFile), data)
}

// An Entry is an open entry. It refers to the same directory even after the entry was
// replaced or removed.
type Entry struct {
	dir  string
	root *os.Root
	sums map[string]Sum
}

// Open opens an entry and reads its checksums. The error is an fs.ErrNotExist if there
// is no entry; any other error means that it has to be rebuilt.
func Open(dir string) (*Entry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	e := &Entry{dir: dir, root: root}
	if err := e.readSums(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Entry) readSums() error {
	if _, err := e.root.Lstat(sumsFile); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is damaged: %w", e.dir, ErrUnsealed)
	}
	var s sums
	err := e.ReadJSON(sumsFile, &s)
	e.sums = s.Files
	return err
}

// ReadJSON is [ReadJSON] of a file of the entry.
func (e *Entry) ReadJSON(name string, v any) error {
	f, err := e.File(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := readJSON(f, v); err != nil {
		return e.damaged(name, err.Error())
	}
	return nil
}

func (e *Entry) damaged(name, why string) error {
	return fmt.Errorf("%s is damaged: %s", filepath.Join(e.dir, name), why)
}

// Close closes the entry.
func (e *Entry) Close() error { return e.root.Close() }

// Dir is the path with which the entry was opened.
func (e *Entry) Dir() string { return e.dir }

// Remove deletes the entry, unless its path refers to another one by now.
func (e *Entry) Remove() error {
	mine, err := e.root.Stat(".")
	if err != nil {
		return err
	}
	if named, err := os.Stat(e.dir); err != nil || !os.SameFile(mine, named) {
		return nil
	}
	return Remove(e.dir)
}

// Directory is the entry's directory, for a child process.
func (e *Entry) Directory() (*os.File, error) { return e.root.Open(".") }

// File opens a file of the entry for reading.
func (e *Entry) File(name string) (*os.File, error) {
	// O_NONBLOCK: opening a FIFO would block
	f, err := e.root.OpenFile(name, os.O_RDONLY|host.NonBlock, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.dir, err)
	}
	return f, nil
}

// Sum is the recorded checksum of a file.
func (e *Entry) Sum(name string) Sum { return e.sums[name] }

// Verify compares the named files, or all if none is named, with the checksums. It
// returns the first difference.
func (e *Entry) Verify(names ...string) error {
	var s summer
	for _, name := range names {
		if err := e.verify(&s, name); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		return nil
	}
	seen := 0
	err := fs.WalkDir(e.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", e.dir, err)
		case d.IsDir() || name == sumsFile:
			return nil
		}
		seen++
		return e.verify(&s, name)
	})
	if err != nil || seen == len(e.sums) {
		return err
	}
	for name := range e.sums {
		if _, err := e.root.Lstat(name); err != nil {
			return e.damaged(name, "missing")
		}
	}
	return nil
}

func (e *Entry) verify(s *summer, name string) error {
	want, ok := e.sums[name]
	if !ok {
		return e.damaged(name, "unexpected file")
	}
	f, err := e.File(name)
	if errors.Is(err, fs.ErrNotExist) {
		return e.damaged(name, "missing")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return e.damaged(name, "not a regular file")
	} else if info.Size() != want.Size {
		return e.damaged(name, fmt.Sprintf("size is %d bytes, expected %d", info.Size(), want.Size))
	}
	got, err := s.sum(f)
	if err != nil {
		return e.damaged(name, err.Error())
	}
	if got != want {
		return e.damaged(name, "checksum mismatch")
	}
	return nil
}

// Verify compares the entry dir with its checksums. The error is an fs.ErrNotExist if
// there is no entry.
func Verify(dir string) error {
	e, err := Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(e.Verify(), e.Close())
}
