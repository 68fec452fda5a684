package initramfs

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// entry is one file as a reader of the format sees it.
type entry struct {
	name string
	mode uint64
	data string
	dev  [2]uint64
}

// read is a second implementation of the format, from buffer-format.rst, so that
// a mistake in the writer is not repeated in its test.
func read(t *testing.T, b []byte) []entry {
	t.Helper()
	var out []entry
	for at := 0; ; {
		if len(b)-at < 110 || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at offset %d of %d", at, len(b))
		}
		var f [13]uint64
		for i := range f {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			f[i] = n
		}
		size, nameSize := int(f[6]), int(f[11])
		name := string(b[at+110 : at+110+nameSize-1])
		if b[at+110+nameSize-1] != 0 {
			t.Fatalf("%q does not end with a zero", name)
		}
		at += (110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			if at != len(b) {
				t.Errorf("%d bytes after the trailer", len(b)-at)
			}
			return out
		}
		out = append(out, entry{name, f[1], string(b[at : at+size]), [2]uint64{f[9], f[10]}})
		at += (size + 3) &^ 3
	}
}

func TestWrite(t *testing.T) {
	files := append(Base(),
		Regular("/oomlab/modules/00-zram.ko", []byte("12345"), false), // needs padding
		Regular("/init", []byte("agent"), true),
		File{Name: "/lib64", Mode: fs.ModeSymlink | 0o777, Link: "usr/lib64"},
		Regular("/init", []byte("a second one"), true),
	)
	var b bytes.Buffer
	if err := Write(&b, files); err != nil {
		t.Fatal(err)
	}
	got := map[string]entry{}
	seen := []string{""}
	for _, e := range read(t, b.Bytes()) {
		dir, _, _ := cutLast(e.name)
		if !slices.Contains(seen, dir) {
			t.Errorf("%s comes before its directory", e.name)
		}
		seen = append(seen, e.name)
		got[e.name] = e
	}
	for _, want := range []entry{
		{name: "init", mode: 0o100755, data: "agent"},
		{name: "oomlab", mode: 0o040755},
		{name: "oomlab/modules", mode: 0o040755},
		{name: "oomlab/modules/00-zram.ko", mode: 0o100644, data: "12345"},
		{name: "lib64", mode: 0o120777, data: "usr/lib64"},
		{name: "tmp", mode: 0o041777},
		{name: "dev/console", mode: 0o020600, dev: [2]uint64{5, 1}},
		{name: "dev/null", mode: 0o020666, dev: [2]uint64{1, 3}},
	} {
		if got[want.name] != want {
			t.Errorf("%s is %+v, want %+v", want.name, got[want.name], want)
		}
	}
	slices.Reverse(files[:len(files)-1]) // the second /init stays second
	var again bytes.Buffer
	if err := Write(&again, files); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
		t.Errorf("the same files in another order give another archive (%v)", err)
	}
}

func cutLast(name string) (dir, base string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func TestWriteRefuses(t *testing.T) {
	for _, test := range []struct {
		files []File
		want  string
	}{
		{[]File{Regular("init", nil, true)}, `"init" is not an absolute path`},
		{[]File{Regular("/", nil, true)}, `"/" is not an absolute path of a file`},
		{[]File{Regular("/a", nil, false), Regular("/a/b", nil, false)}, "/a/b is in /a, which is not a directory"},
	} {
		if err := Write(&bytes.Buffer{}, test.files); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
	}
}

// TestProgramsMatchTheDynamicLinker compares with what ldd finds, which asks the
// host's own dynamic linker.
func TestProgramsMatchTheDynamicLinker(t *testing.T) {
	out, err := exec.Command("ldd", "/bin/ls").Output()
	if err != nil {
		t.Skipf("needs ldd and a dynamically linked /bin/ls: %v", err)
	}
	files, err := Programs([]string{"/bin/ls"}, "")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	packed := map[string]File{}
	for _, f := range files {
		packed[f.Name] = f
	}
	for line := range strings.Lines(string(out)) {
		i := strings.IndexByte(line, '/')
		if i < 0 {
			continue // the vdso
		}
		library, _, _ := strings.Cut(line[i:], " ")
		real, err := filepath.EvalSymlinks(library)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := packed[real]; !ok {
			t.Errorf("%s (%s) is missing in %s", library, real, root)
		}
	}
	for _, name := range []string{"/lib64", "/bin"} {
		to, err := os.Readlink(name)
		if err == nil && packed[name].Link != to {
			t.Errorf("%s is packed as %+v, want a link to %s", name, packed[name], to)
		}
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	write := func(name, text string, mode fs.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(script, "#!/usr/bin/env sh\n", 0o755)
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o750); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(tree, "data"), "data", 0o640)
	for from, to := range map[string]string{"good": "data", "dangling": "nowhere", "self": "."} {
		if err := os.Symlink(to, filepath.Join(tree, from)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Programs([]string{script, tree}, "")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]string{}
	for _, f := range files {
		byName[f.Name] = fmt.Sprint(f.Mode, " ", f.Link)
	}
	env, err := filepath.EvalSymlinks("/usr/bin/env")
	if err != nil {
		t.Skip("needs /usr/bin/env")
	}
	found, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs sh")
	}
	sh, err := filepath.EvalSymlinks(found)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{script, env, sh} {
		if _, ok := byName[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for name, want := range map[string]string{
		tree:                            "drwxr-x--- ",
		filepath.Join(tree, "data"):     "-rw-r----- ",
		filepath.Join(tree, "good"):     "Lrwxrwxrwx data",
		filepath.Join(tree, "self"):     "Lrwxrwxrwx .",
		filepath.Join(tree, "dangling"): "Lrwxrwxrwx nowhere",
	} {
		if got := byName[name]; got != want {
			t.Errorf("%s is packed as %q, want %q", name, got, want)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, files); err != nil {
		t.Errorf("what was packed cannot be written: %v", err)
	}
}

func TestProgramsRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("#!\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "lost")
	if err := os.WriteFile(lost, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	header := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)           // 64-bit, of no segments
	header[16], header[18], header[19], header[20], header[52] = 2, 0xf3, 0, 1, 64 // EM_RISCV
	if err := os.WriteFile(foreign, header, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		foreign:                "a program for EM_RISCV, which does not run on " + runtime.GOARCH,
		"no-such-program-here": "give its path",
		"/no/such/program":     "no such file",
		empty:                  "#! names no interpreter",
		lost:                   "interpreter of " + lost,
		"/dev/null":            "neither a file nor a directory",
	} {
		if _, err := Programs([]string{name}, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
}

// TestALibraryForAnotherMachineIsPassedOver: multilib systems have 32-bit
// libraries of the same name.
func TestALibraryForAnotherMachineIsPassedOver(t *testing.T) {
	// A header of a 32-bit shared object, all that findLibrary looks at.
	header, err := hex.DecodeString("7f454c46010101000000000000000000" + "0300030001000000" +
		strings.Repeat("00", 12) + "0000000034002000000028000000" + "0000")
	if err != nil {
		t.Fatal(err)
	}
	wrong := t.TempDir()
	if err := os.WriteFile(filepath.Join(wrong, "libx.so"), header, 0o644); err != nil {
		t.Fatal(err)
	}
	program := &elf.File{FileHeader: elf.FileHeader{Class: elf.ELFCLASS64, Machine: elf.EM_X86_64}}
	if name, err := findLibrary("libx.so", program, []string{wrong}); err == nil {
		t.Errorf("found %s, a 32-bit library, for a 64-bit program", name)
	}
	if name, err := findLibrary("libx.so",
		&elf.File{FileHeader: elf.FileHeader{Class: elf.ELFCLASS32, Machine: elf.EM_386}},
		[]string{wrong}); err != nil {
		t.Errorf("%s: %v: the test's header is not what it should be", name, err)
	}
}
