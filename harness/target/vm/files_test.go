package vm

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target"
)

// TestMakeFiles makes disks of the wanted size that hold an ext4 and take little room.
func TestMakeFiles(t *testing.T) {
	for _, size := range []kernel.Bytes{16 * kernel.MiB, 256 * kernel.MiB, 2 * kernel.GiB} {
		name := filepath.Join(t.TempDir(), "disk.img")
		err := makeFiles(name, size)
		if errors.Is(err, target.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		const superblock, magic = 1024, 0x38
		got := binary.LittleEndian.Uint16(data[superblock+magic:])
		if kernel.Bytes(len(data)) != size || got != 0xef53 {
			t.Errorf("a disk of %s has %d bytes and the magic number %#x", size, len(data), got)
		}
	}
}
