package kernels

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKernelTree: a tree means what was built in it last, with the modules that were built
// there, wherever they lie.
func TestKernelTree(t *testing.T) {
	tree := t.TempDir()
	t.Chdir(tree)
	writeFile(t, "Kbuild", nil)
	writeFile(t, "kernel/sched/core.c", nil) // a directory of this name has modules elsewhere
	if _, err := Resolve(t.Context(), ".", Options{Dir: t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "there is no kernel in that directory") || !errors.Is(err, ErrUnknown) {
		t.Errorf("nothing is built: %v", err)
	}
	writeFile(t, "arch/x86/boot/bzImage", bzImage("6.19.0-rc1-00042-gabcdef"))
	old := bzImage("6.18.0")
	writeFile(t, "arch/arm64/boot/Image", old)
	if err := os.Chtimes("arch/arm64/boot/Image", time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{".", tree, tree + "/", "../" + filepath.Base(tree)} {
		if !IsImage(spec) || Check(spec) != nil {
			t.Errorf("%s: image %v, %v", spec, IsImage(spec), Check(spec))
		}
		k, err := Resolve(t.Context(), spec, Options{Dir: t.TempDir()})
		if err != nil || k.Release != "6.19.0-rc1-00042-gabcdef" || k.ModulesDir != "" ||
			k.Image != filepath.Join(tree, "arch/x86/boot/bzImage") {
			t.Errorf("%s: %+v, %v", spec, k, err)
		}
	}

	writeFile(t, "mm/zsmalloc.ko", module(t, "vermagic=6.19.0-rc1-00042-gabcdef SMP \x00depends=\x00"))
	writeFile(t, "drivers/block/zram/zram.ko", module(t, "depends=zsmalloc\x00name=zram\x00"))
	writeFile(t, "drivers/old.ko", module(t, "vermagic=6.18.0 SMP \x00depends=\x00"))
	writeFile(t, "modules.builtin", []byte("kernel/lib/lzo/lzo.ko\n"))
	for _, order := range []string{
		"mm/zsmalloc.o\ndrivers/block/zram/zram.o\nfs/gone.o\ndrivers/old.o\n", // since 6.3
		"kernel/none.ko\nmm/zsmalloc.ko\ndrivers/block/zram/zram.ko\ndrivers/old.ko\n",
	} {
		writeFile(t, "modules.order", []byte(order))
		k, err := Resolve(t.Context(), ".", Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		modules, missing, err := k.Modules("zram", "lzo", "gone", "old")
		if err != nil || len(modules) != 2 || modules[0].Name != "zsmalloc" || modules[1].Name != "zram" ||
			!slices.Equal(missing, []string{"gone", "old"}) {
			t.Errorf("%q: %d modules, missing %q, %v", order, len(modules), missing, err)
		}
	}
}

// TestVersionBeforeDirectory: a directory of the name of a series hides no kernel.
func TestVersionBeforeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "6.12/Kbuild", nil)
	if IsImage("6.12") || !IsImage("./6.12") {
		t.Error("6.12 is a series, and ./6.12 a directory")
	}
}
