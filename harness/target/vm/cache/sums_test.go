package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// entry publishes an entry with a small file, one in a directory, a program and
// one with holes.
func entry(t testing.TB, dir string) {
	t.Helper()
	err := Publish(dir, func(tmp string) error {
		ram, err := Create(filepath.Join(tmp, "ram"))
		if err != nil {
			return err
		}
		for at, text := range map[int64]string{chunk - 3: "across two chunks", 5*chunk + 7: "in the middle"} {
			if _, err := ram.WriteAt([]byte(text), at); err != nil {
				return err
			}
		}
		return errors.Join(ram.Truncate(9*chunk+100), ram.Close(),
			os.Mkdir(filepath.Join(tmp, "modules"), 0o755),
			os.WriteFile(filepath.Join(tmp, "modules/a.ko"), []byte("a module"), 0o644),
			os.WriteFile(filepath.Join(tmp, "program"), []byte("a program"), 0o755),
			os.WriteFile(filepath.Join(tmp, "empty"), nil, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsFound: everything that happens to a file of an entry.
func TestDamageIsFound(t *testing.T) {
	write := func(name, text string, at int64) func(dir string) error {
		return func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE, 0o600)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte(text), at)
			return errors.Join(err, f.Close())
		}
	}
	truncate := func(name string, size int64) func(dir string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
	}
	replace := func(name string, with func(file string) error) func(dir string) error {
		return func(dir string) error {
			file := filepath.Join(dir, name)
			return errors.Join(os.Remove(file), with(file))
		}
	}
	text := func(text string) func(file string) error {
		return func(file string) error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	remove := func(name string) func(dir string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for name, test := range map[string]struct {
		damage func(dir string) error
		want   string // behind the entry's directory
	}{
		"none":              {func(string) error { return nil }, ""},
		"a hole was filled": {write("ram", "\x00\x00", 3*chunk), ""},
		"truncated": {truncate("ram", 5*chunk),
			fmt.Sprintf("/ram is damaged: size is %d bytes, expected %d", 5*chunk, 9*chunk+100)},
		"truncated to nothing": {truncate("program", 0), "/program is damaged: size is 0 bytes, expected 9"},
		"grown":                {truncate("empty", 1), "/empty is damaged: size is 1 bytes, expected 0"},
		"one bit":              {write("ram", "\x01", 9*chunk+99), "/ram is damaged: checksum mismatch"},
		"one byte less":        {write("ram", "\x00", 5*chunk+7), "/ram is damaged: checksum mismatch"},
		"moved by a chunk": {func(dir string) error {
			return errors.Join(write("ram", strings.Repeat("\x00", 13), 5*chunk+7)(dir),
				write("ram", "in the middle", 6*chunk+7)(dir))
		}, "/ram is damaged: checksum mismatch"},
		"in a directory": {write("modules/a.ko", "x", 0), "/modules/a.ko is damaged: checksum mismatch"},
		"gone":           {remove("modules/a.ko"), "/modules/a.ko is damaged: missing"},
		"one too many":   {write("modules/b.ko", "x", 0), "/modules/b.ko is damaged: unexpected file"},
		"a link": {replace("program", func(file string) error {
			return os.Symlink("/etc/passwd", file)
		}), "path escapes"},
		"a FIFO": {replace("program", func(file string) error {
			return syscall.Mkfifo(file, 0o600)
		}), "/program is damaged: not a regular file"},
		"sums gone":      {remove(sumsFile), " is damaged: no checksums"},
		"sums truncated": {truncate(sumsFile, 40), "/sums.json is damaged: unexpected EOF"},
		"sums empty":     {truncate(sumsFile, 0), "/sums.json is damaged: EOF"},
		"sums of zeros":  {write(sumsFile, "\x00\x00", 0), "/sums.json is damaged: invalid character"},
		"sums null":      {replace(sumsFile, text("null")), " is damaged: unexpected file"},
		"a sum changed": {func(dir string) error {
			return edit(filepath.Join(dir, sumsFile), `"size":9,`, `"size":8,`)
		}, "/program is damaged: size is 9 bytes, expected 8"},
	} {
		dir := filepath.Join(t.TempDir(), "entry")
		entry(t, dir)
		if err := test.damage(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err := Verify(dir)
		said := strings.Contains(fmt.Sprint(err), test.want) && strings.Contains(fmt.Sprint(err), dir)
		if (err == nil) != (test.want == "") || err != nil && !said {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if errors.Is(err, ErrUnsealed) != (name == "sums gone") {
			t.Errorf("%s: unsealed: %v", name, err)
		}
		entry(t, dir) // what is damaged can be made again
		if err := Verify(dir); err != nil {
			t.Errorf("%s: made again: %v", name, err)
		}
	}
	if err := Verify(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an entry that is not there: %v", err)
	}
}

func edit(file, from, to string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := strings.Replace(string(data), from, to, 1)
	if text == string(data) {
		return fmt.Errorf("%s has no %q", file, from)
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

// TestAnOpenEntryStaysTheSame though another gets its name.
func TestAnOpenEntryStaysTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "entry")
	publish := func(text string) {
		t.Helper()
		err := Publish(dir, func(tmp string) error {
			return os.WriteFile(filepath.Join(tmp, "file"), []byte(text), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("first")
	e, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	f, err := e.File("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	publish("another")
	if got, err := new(summer).sum(f); err != nil || got != e.Sum("file") {
		t.Errorf("an open file is another one now: %v", err)
	}
	if err := e.Verify("file"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("the replaced entry has the file of the other: %v", err)
	}
	if err := Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestAnEntryHasFilesOnly(t *testing.T) {
	parent := t.TempDir()
	err := Publish(filepath.Join(parent, "entry"), func(tmp string) error {
		return os.Symlink("/etc", filepath.Join(tmp, "link"))
	})
	if err == nil || !strings.Contains(err.Error(), "only files and directories") || len(names(t, parent)) > 0 {
		t.Errorf("error %v, left %q", err, names(t, parent))
	}
}

// TestADiskThatFillsUp at any moment leaves nothing that is believed, and no
// leftovers. The disk is a tmpfs of so many pages, in a mount namespace of a
// process of its own.
func TestADiskThatFillsUp(t *testing.T) {
	if r := role(); len(r) > 0 {
		fillUp(t, r[1])
		return
	}
	cmd := child(t, "fills", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

func fillUp(t *testing.T, at string) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	full, made := 0, 0
	for pages := 1; pages <= 48; pages++ {
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size="+strconv.Itoa(pages*os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
		dir, file := filepath.Join(at, "entry"), filepath.Join(at, "file.json")
		err := Publish(dir, func(tmp string) error {
			for n := range 3 {
				f, err := Create(filepath.Join(tmp, strconv.Itoa(n)))
				if err != nil {
					return err
				}
				_, err = f.Write(make([]byte, 50_000))
				if err := errors.Join(err, f.Close()); err != nil {
					return err
				}
			}
			return nil
		})
		switch verified := Verify(dir); {
		case err == nil && verified == nil:
			made++
		case errors.Is(err, syscall.ENOSPC) && strings.Contains(err.Error(), "free some space") &&
			errors.Is(verified, fs.ErrNotExist):
			full++
		default:
			t.Errorf("%d pages: published %v, verified %v", pages, err, verified)
		}
		old := Write(file, []byte(`{"a": 1}`))
		long := Write(file, []byte(`{"a": 2, "b": "`+strings.Repeat("x", 5000)+`"}`))
		var v struct {
			A int
			B string
		}
		err = ReadJSON(file, &v)
		if want := map[bool]int{true: 1, false: 2}[long != nil]; old == nil && (err != nil || v.A != want) {
			t.Errorf("%d pages: read %d, %v, want %d", pages, v.A, err, want)
		}
		for _, name := range names(t, at) {
			if name != "entry" && name != "file.json" {
				t.Errorf("%d pages: %s was left", pages, name)
			}
		}
		if err := syscall.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
	}
	if full < 30 || made < 5 {
		t.Errorf("%d times full, %d entries made", full, made)
	}
	t.Logf("%d times full, %d entries made", full, made)
}

// TestAMakerThatFails at any byte leaves nothing.
func TestAMakerThatFails(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "entry")
	broken := errors.New("the disk caught fire")
	for n := range 64 {
		err := Publish(dir, func(tmp string) error {
			return errors.Join(os.WriteFile(filepath.Join(tmp, "file"), make([]byte, n), 0o600), broken)
		})
		if !errors.Is(err, broken) || len(names(t, parent)) > 0 {
			t.Fatalf("at byte %d: %v, left %q", n, err, names(t, parent))
		}
	}
}

// BenchmarkVerify is what a start of a guest with 512Mi pays: 130Mi of its memory
// are not holes.
func BenchmarkVerify(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "entry")
	const full = 130 << 20
	err := Publish(dir, func(tmp string) error {
		f, err := Create(filepath.Join(tmp, "ram"))
		if err != nil {
			return err
		}
		data := make([]byte, full)
		for i := range data {
			data[i] = byte(i >> 3)
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Truncate(512<<20), f.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(full)
	for b.Loop() {
		if err := Verify(dir); err != nil {
			b.Fatal(err)
		}
	}
}
