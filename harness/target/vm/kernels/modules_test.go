package kernels

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// module is an ELF file with a .modinfo section, and nothing else.
func module(t *testing.T, modinfo string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: uint64(64 + len(modinfo) + len(names)), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	for _, part := range []any{
		header, []byte(modinfo), []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(modinfo))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(modinfo)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	zsmalloc := module(t, "license=GPL\x00depends=\x00")
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(zsmalloc); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"mm/zsmalloc.ko.xz":          packed.Bytes(),
		"drivers/block/zram/zram.ko": module(t, "depends=zsmalloc,lzo-rle,crc32c\x00name=zram\x00"),
		"crypto/lzo-rle.ko":          module(t, "name=lzo_rle\x00"),
		"drivers/broken.ko":          []byte("\x7fELF, more or less"),
		"drivers/packed.ko.zst":      []byte("zstd"),
	} {
		writeFile(t, filepath.Join(dir, "kernel", name), data)
	}
	writeFile(t, filepath.Join(dir, "modules.builtin"),
		[]byte("kernel/crypto/crc32c.ko\nkernel/drivers/virtio/virtio.ko\n"))
	k := Kernel{Release: "6.12.0", ModulesDir: dir}

	modules, missing, err := k.Modules("lzo-rle", "zram", "virtio", "absent")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range modules {
		names = append(names, m.Name)
	}
	if want := []string{"lzo_rle", "zsmalloc", "zram"}; !reflect.DeepEqual(names, want) {
		t.Errorf("load %q, want %q", names, want)
	}
	if !bytes.Equal(modules[1].Data, zsmalloc) {
		t.Error("zsmalloc is not what was packed")
	}
	if want := []string{"absent"}; !reflect.DeepEqual(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	for name, want := range map[string]string{
		"broken": "drivers/broken.ko: ",
		"packed": "compressed in a way that is not understood",
	} {
		if _, _, err := k.Modules(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, missing, err := (Kernel{}).Modules("zram"); err != nil || len(missing) != 1 {
		t.Errorf("a kernel without modules misses %q, %v", missing, err)
	}
}
