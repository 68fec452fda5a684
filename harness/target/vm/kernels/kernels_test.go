package kernels

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/cache/cachetest"
)

// bzImage is the least that counts as a kernel.
func bzImage(release string) []byte {
	b := make([]byte, 1024)
	b[offBootFlag], b[offBootFlag+1] = 0x55, 0xaa
	copy(b[offHeader:], "HdrS")
	b[offVersionPtr], b[offVersionPtr+1] = 0x00, 0x01 // 0x100 + 0x200
	copy(b[0x300:], release+" (builder@test) #1 SMP\x00")
	return b
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAKernelFromAFile(t *testing.T) {
	dir := t.TempDir()
	image := writeFile(t, filepath.Join(dir, "bzImage"), bzImage("6.18.0-rc1+"))
	k, err := Resolve(t.Context(), image, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	want := Kernel{Version: kernel.Version{Major: 6, Minor: 18}, Release: "6.18.0-rc1+", Arch: AMD64, Image: image,
		Source: "file " + image}
	if k != want {
		t.Errorf("got %+v, want %+v", k, want)
	}
	writeFile(t, filepath.Join(dir, "modules", "kernel", "x.ko"), nil)
	if k, err := Resolve(t.Context(), image, Options{Dir: t.TempDir()}); err != nil ||
		k.ModulesDir != filepath.Join(dir, "modules") {
		t.Errorf("modules in %q, %v", k.ModulesDir, err)
	}
	writeFile(t, filepath.Join(dir, "mine", "kernel", "x.ko"), nil)
	if k, err := Resolve(t.Context(), WithModules(image, filepath.Join(dir, "mine")),
		Options{Dir: t.TempDir()}); err != nil || k.ModulesDir != filepath.Join(dir, "mine") || k.Image != image {
		t.Errorf("modules that are named: %+v, %v", k, err)
	}
	text := writeFile(t, filepath.Join(dir, "README"), []byte("This is no kernel."))
	elf := writeFile(t, filepath.Join(dir, "vmlinux"), append([]byte("\x7fELF"), make([]byte, 2048)...))
	short := writeFile(t, filepath.Join(dir, "short"), bzImage("6.18.0")[:0x300])
	for spec, want := range map[string]string{
		text:                       "is not a kernel image: it has neither a HdrS header nor the magic of arm64",
		elf:                        "this is an ELF file such as vmlinux",
		short:                      "does not say its version",
		dir:                        "there is no kernel in that directory",
		os.DevNull:                 "is not a regular file",
		filepath.Join(dir, "gone"): "there is no such file",

		WithModules(image, dir): "there is no directory kernel in it",
	} {
		_, err := Resolve(t.Context(), spec, Options{Dir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", spec, err, want)
		}
		if unknown := spec != short; errors.Is(err, ErrUnknown) != unknown {
			t.Errorf("%s: ErrUnknown is %v, want %v", spec, !unknown, unknown)
		}
	}
}

func TestMatches(t *testing.T) {
	v := kernel.Version{Major: 5, Minor: 10, Patch: 262}
	const release = "5.10.0-46-cloud-amd64"
	for spec, want := range map[string]bool{
		"5.10": true, "v5.10": true, "5.10.262": true, release: true, "5.10.0-46": true,
		"5.1": false, "5.10.26": false, "5.10.0-4": false, "6.10": false, "5": false,
	} {
		if got := matches(spec, v, release); got != want {
			t.Errorf("%s means %s (%s): %v, want %v", spec, release, v, got, want)
		}
	}
}

func TestUnknownNamesTheNearest(t *testing.T) {
	var all []Offer
	for _, release := range []string{"5.10.262", "6.1.192", "6.12.90", "6.12.95", "6.16.12", "7.3.4"} {
		v, err := kernel.ParseVersion(release)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Offer{Version: v, Release: release + "-cloud-amd64"})
	}
	for spec, want := range map[string]string{
		"6.13":    "6.12, 6.16, 6.1, 7.3",
		"6.12.94": "6.12.95-cloud-amd64, 6.12.90-cloud-amd64, 6.16, 6.1",
	} {
		err := unknown(spec, slices.Clone(all))
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "the nearest it has are "+want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
}

// mirror is a Debian mirror in a directory, for one suite.
type mirror struct {
	t     *testing.T
	dir   string
	index strings.Builder
}

// add builds a package with dpkg-deb.
func (m *mirror) add(name, version, depends string, files map[string][]byte) (deb string) {
	m.t.Helper()
	tree := m.t.TempDir()
	for file, data := range files {
		writeFile(m.t, filepath.Join(tree, file), data)
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: test "+
		"<test@mirror.test>\nDepends: %s\nDescription: test\n", name, version, depends)
	writeFile(m.t, filepath.Join(tree, "DEBIAN", "control"), []byte(control))
	base := fmt.Sprintf("%s_%s_amd64.deb", name, version)
	deb = filepath.Join(m.dir, base)
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree,
		deb).CombinedOutput(); err != nil {
		m.t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	data, err := os.ReadFile(deb)
	if err != nil {
		m.t.Fatal(err)
	}
	fmt.Fprintf(&m.index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, base, len(data), sha256.Sum256(data))
	return deb
}

// publish writes the lists of a suite that has what was added since the last one.
func (m *mirror) publish(suite string) {
	m.t.Helper()
	index := []byte(m.index.String())
	m.index.Reset()
	dists := filepath.Join(m.dir, "dists", suite)
	writeFile(m.t, filepath.Join(dists, "main/binary-amd64/Packages"), index)
	release := fmt.Sprintf("Origin: test\nSuite: %s\nCodename: %s\nDate: Sun, 01 Nov 2026 00:00:00 "+
		"UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		suite, suite, sha256.Sum256(index), len(index))
	writeFile(m.t, filepath.Join(dists, "Release"), []byte(release))
}

// newMirror is an empty mirror, and options that use it and a cache of their own.
func newMirror(t *testing.T) (*mirror, Options) {
	t.Helper()
	for _, name := range []string{"apt-get", "apt-config", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s, as Debian has it", name)
		}
	}
	m := &mirror{t: t, dir: t.TempDir()}
	conf := t.TempDir()
	writeFile(t, filepath.Join(conf, "sources.list"), []byte("deb [trusted=yes] copy:"+m.dir+" trixie main\n"))
	return m, Options{Dir: filepath.Join(t.TempDir(), "kernels"), AptDir: conf}
}

func TestFetch(t *testing.T) {
	m, o := newMirror(t)
	// Up to 6.18: everything in one package. The older one comes last.
	for _, v := range []string{"6.12.95", "6.12.9"} {
		release := v + "+deb13-cloud-amd64"
		m.add("linux-image-"+release, v+"-1", "kmod, linux-base-"+release+" (= "+v+"-1)", map[string][]byte{
			"boot/vmlinuz-" + release:                                    bzImage(release),
			"boot/config-" + release:                                     []byte("CONFIG_MEMCG=y\n"),
			"boot/System.map-" + release:                                 []byte("not wanted"),
			"usr/lib/modules/" + release + "/kernel/mm/zsmalloc.ko.xz":   []byte("module"),
			"usr/lib/modules/" + release + "/modules.builtin":            []byte("kernel/x.ko\n"),
			"usr/lib/modules/0.0.0-other/kernel/mm/of-another-kernel.ko": []byte("module"),
		})
	}
	m.publish("trixie")

	// From 7.2 on: parts, of which linux-base is not on this mirror any more.
	const split = "7.3.4+deb13-cloud-amd64"
	depends := ""
	for _, name := range []string{"base", "binary", "modules"} {
		depends += fmt.Sprintf("linux-%s-%s (= 7.3.4-1), ", name, split)
	}
	m.add("linux-image-"+split, "7.3.4-1", strings.TrimSuffix(depends, ", "), nil)
	m.add("linux-binary-"+split, "7.3.4-1", "kmod", map[string][]byte{"usr/lib/modules/" + split +
		"/vmlinuz": bzImage(split)})
	m.add("linux-modules-"+split, "7.3.4-1", "kmod", map[string][]byte{"usr/lib/modules/" + split +
		"/kernel/a.ko.xz": []byte("module")})
	// One that lost the kernel itself, and one of another kind.
	m.add("linux-image-6.19.1+deb13-cloud-amd64", "6.19.1-1", "linux-binary-6.19.1+deb13-cloud-amd64 (= 6.19.1-1)", nil)
	m.add("linux-image-6.19.1+deb13-rt-amd64", "6.19.1-1", "kmod", nil)
	m.publish("trixie-backports")

	k, err := Resolve(t.Context(), "6.12", o)
	if err != nil {
		t.Fatal(err)
	}
	const release = "6.12.95+deb13-cloud-amd64"
	entry := filepath.Join(o.Dir, release)
	want := Kernel{
		Version: kernel.Version{Major: 6, Minor: 12, Patch: 95}, Release: release, Arch: AMD64,
		Image: entry + "/vmlinuz", ModulesDir: entry + "/modules", Config: entry + "/config",
		Source: "Debian trixie linux-image-" + release + "=6.12.95-1",
	}
	if k != want {
		t.Errorf("got %+v\nwant %+v", k, want)
	}
	var files []string
	err = filepath.Walk(entry, func(name string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			files = append(files, strings.TrimPrefix(name, entry))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/config", "/modules/kernel/mm/zsmalloc.ko.xz", "/modules/modules.builtin", "/package.json",
		"/sums.json", "/vmlinuz"}; !slices.Equal(files, want) {
		t.Errorf("the entry has %q, want %q", files, want)
	}

	k, err = Fetch(t.Context(), "7.3.4", o)
	if err != nil || k.Release != split || k.Config != "" || k.ModulesDir == "" {
		t.Errorf("got %+v, %v", k, err)
	}
	list, err := List(o)
	if err != nil || len(list) != 2 || list[0].Release != release || list[1].Release != split {
		t.Errorf("cached %+v, %v", list, err)
	}
	offered, err := Offered(t.Context(), o)
	if err != nil || len(offered) != 2 || offered[0].Release != release || offered[1].Release != split {
		t.Errorf("offered %+v, %v", offered, err)
	}
	if _, err := Resolve(t.Context(), "6.19", o); !errors.Is(err, ErrUnknown) ||
		!strings.Contains(err.Error(), "nearest it has are 6.12, 7.3") {
		t.Errorf("6.19: %v, want an ErrUnknown", err)
	}
	cachetest.Private(t, o.Dir)
}

// TestTheDefault is of one series, whatever was fetched before.
func TestTheDefault(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.1.192", 0)
	m.publish("bookworm")
	m.debian("6.12.95", 0)
	m.publish("trixie")
	m.debian("7.3.4", 0)
	m.publish("trixie-backports")
	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	if _, err := FetchAll(t.Context(), []string{"6.1", "7.3"}, o); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is cached
		if k, err := Resolve(t.Context(), "", o); err != nil || k.Version.String() != "6.12.95" {
			t.Errorf("the default is %+v, %v", k, err)
		}
		if err := os.RemoveAll(m.dir); err != nil {
			t.Fatal(err)
		}
	}
	rows, _, err := Rows(true, o)
	if err != nil || len(rows) != 3 || rows[0].Default || !rows[1].Default || rows[2].Default {
		t.Errorf("listed %+v, %v", rows, err)
	}
	// Where it cannot be had the one that is booted is named.
	if err := cache.Remove(filepath.Join(o.Dir, rows[1].Release)); err != nil {
		t.Fatal(err)
	}
	said = nil
	k, err := Resolve(t.Context(), "", o)
	want := "the default kernel is not available, booting 7.3.4+deb13-cloud-amd64 instead: " +
		"fetch kernel 6.12: the mirror cannot be read"
	if err != nil || k.Version.String() != "7.3.4" || !strings.HasPrefix(said[len(said)-1], want) {
		t.Errorf("booted %s, %v, said %q; want %q", k.Release, err, said, want)
	}
}

// TestADamagedKernel is never booted, and never does another one in silence.
func TestADamagedKernel(t *testing.T) {
	const release = "6.12.95+deb13-cloud-amd64"
	m, o := newMirror(t)
	m.debian("6.12.90", 0)
	m.add("linux-image-"+release, "6.12.95-1", "kmod", map[string][]byte{
		"boot/vmlinuz-" + release:                     bzImage(release),
		"usr/lib/modules/" + release + "/kernel/a.ko": []byte("module"),
	})
	m.publish("trixie")
	if _, err := FetchAll(t.Context(), []string{"6.12.90", "6.12.95"}, o); err != nil {
		t.Fatal(err)
	}
	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	n := 0
	replace := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, name), []byte(text)) }
	}
	other := `{"version": {"Major": 6, "Minor": 12, "Patch": 95}, "release": "6.12.90+deb13-cloud-amd64",
		"image": "vmlinuz"}`
	for name, test := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"package.json of rubbish": {replace(packageFile, "rubbish"), "package.json: invalid character"},
		"an empty package.json":   {replace(packageFile, ""), "package.json: EOF"},
		"package.json of another": {replace(packageFile, other), `package.json: release is "6.12.90`},
		"package.json of nothing": {replace(packageFile, "{}"), `package.json: release is ""`},
		"package.json with much more": {replace(packageFile, `{"evil": 1}`),
			`package.json: json: unknown field "evil"`},
		"package.json without image": {replace(packageFile, `{"release": "`+release+`"}`),
			"image or version is missing"},
		"package.json leads out": {replace(packageFile,
			strings.NewReplacer("6.12.90", "6.12.95", "vmlinuz", "../x").Replace(other)),
			`"../x" is outside of the entry`},
		"half an image":     {replace("vmlinuz", "half"), "vmlinuz is damaged: size is 4 bytes, expected 1024"},
		"another image":     {replace("vmlinuz", string(bzImage("6.12.90"))), "vmlinuz is damaged: checksum mismatch"},
		"half a module":     {replace("modules/kernel/a.ko", "m"), "a.ko is damaged: size is 1 bytes, expected 6"},
		"a module too many": {replace("modules/kernel/b.ko", "m"), "b.ko is damaged: unexpected file"},
		"no checksums": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "sums.json")); err != nil {
				t.Fatal(err)
			}
		}, "no checksums"},
		"no image": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "vmlinuz")); err != nil {
				t.Fatal(err)
			}
		}, "vmlinuz: no such file"},
	} {
		dir := filepath.Join(o.Dir, release)
		test.damage(t, dir)
		said = nil
		spec := []string{"", "6.12", release}[n%3]
		n++
		k, err := Resolve(t.Context(), spec, o)
		if err != nil || k.Release != release {
			t.Errorf("%s, %q: %+v, %v", name, spec, k, err)
		}
		text := strings.Join(said, "\n")
		if !strings.Contains(text, test.want) || strings.Count(text, "is downloaded again") != 1 {
			t.Errorf("%s, %q: said %q, want %q once", name, spec, text, test.want)
		}
		if k, err := o.verified(release); err != nil {
			t.Errorf("%s, %q: it was not mended: %+v, %v", name, spec, k, err)
		}
	}
	// Without a mirror nothing else is booted in its place.
	writeFile(t, filepath.Join(o.Dir, release, packageFile), []byte("rubbish"))
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	if k, err := Resolve(t.Context(), "6.12", o); err == nil {
		t.Errorf("booted %s", k.Release)
	}
}

// TestAnOldEntry was made by an oomlab that took no checksums. They are taken when
// it is used.
func TestAnOldEntry(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	const release = "6.12.95-old"
	dir := filepath.Join(o.Dir, release)
	writeFile(t, filepath.Join(dir, packageFile),
		[]byte(`{"version": {"Major": 6, "Minor": 12, "Patch": 95}, "release": "`+release+
			`", "image": "vmlinuz", "packages": ["x=1"]}`))
	writeFile(t, filepath.Join(dir, "vmlinuz"), bzImage(release))
	if k, err := Resolve(t.Context(), release, o); err != nil || k.Release != release {
		t.Fatalf("%+v, %v", k, err)
	}
	if err := cache.Verify(dir); err != nil {
		t.Error(err)
	}
	cachetest.Private(t, dir)
}

func TestFetchFails(t *testing.T) {
	const release = "6.12.95+deb13-cloud-amd64"
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, m *mirror, deb string, o *Options)
		spec  string
		want  string
	}{
		{
			name: "what was downloaded is not what was signed",
			spoil: func(t *testing.T, m *mirror, deb string, o *Options) {
				data, err := os.ReadFile(deb)
				if err != nil {
					t.Fatal(err)
				}
				data[len(data)/2] ^= 1
				writeFile(t, deb, data)
			},
			want: "Hash Sum mismatch",
		},
		{
			name:  "the mirror cannot be reached",
			spoil: func(t *testing.T, m *mirror, deb string, o *Options) { os.RemoveAll(m.dir) },
			want:  "trixie: apt-get: exit status 100: Failed to fetch",
		},
		{
			name: "apt has no Debian source",
			spoil: func(t *testing.T, m *mirror, deb string, o *Options) {
				writeFile(t, filepath.Join(o.AptDir, "sources.list"), []byte("deb copy:"+m.dir+" noble main\n"))
			},
			want: "has no source of a Debian release; set OOMLAB_DEBIAN_MIRROR",
		},
		{
			name: "the lists are not signed",
			spoil: func(t *testing.T, m *mirror, deb string, o *Options) {
				writeFile(t, filepath.Join(o.AptDir, "sources.list"), []byte("deb copy:"+m.dir+" trixie main\n"))
			},
			want: "is not signed",
		},
		{name: "no version", spec: "newest", want: `"newest" is not a kernel release`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, o := newMirror(t)
			deb := m.add("linux-image-"+release, "6.12.95-1", "kmod",
				map[string][]byte{"boot/vmlinuz-" + release: bzImage(release)})
			m.publish("trixie")
			if test.spoil != nil {
				test.spoil(t, m, deb, &o)
			}
			spec := test.spec
			if spec == "" {
				spec = "6.12"
			}
			// One reason for each suite where 6.12 lives, not for all there are.
			if k, err := Fetch(t.Context(), spec, o); err == nil || !strings.Contains(err.Error(), test.want) ||
				strings.Contains(err.Error(), "sid: ") {
				t.Errorf("got %+v, error %v, want %q", k, err, test.want)
			}
			left, err := filepath.Glob(filepath.Join(o.Dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range left {
				if base := filepath.Base(name); base != ".apt" && base != ".lock" {
					t.Errorf("%s was left in the cache", base)
				}
			}
		})
	}
}

func TestApackageWithoutAKernel(t *testing.T) {
	m, o := newMirror(t)
	const release = "6.12.95+deb13-cloud-amd64"
	m.add("linux-image-"+release, "6.12.95-1", "kmod", map[string][]byte{"boot/vmlinuz-" + release: []byte("empty")})
	m.publish("trixie")
	if _, err := Fetch(t.Context(), "6.12", o); err == nil || !strings.Contains(err.Error(), "hold no kernel") {
		t.Errorf("error %v", err)
	}
	if list, err := List(o); err != nil || len(list) > 0 {
		t.Errorf("cached %+v, %v", list, err)
	}
}
