package agent

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// A swap is the swap space that a plan asks for, and where it is made.
type swap struct {
	kind string
	path string // the device or file
	size kernel.Bytes
}

// The places of a zram device.
const (
	zramDevice = "/dev/zram0"
	zramSysfs  = "/sys/block/zram0"
)

// planSwap finds the place for a plan's swap space. It changes nothing.
func planSwap(root probe.Root, scratch, base string, p *plan.Swap) (*swap, error) {
	if p == nil {
		return nil, nil
	}
	s := &swap{kind: p.Kind, size: p.Size}
	switch p.Kind {
	case "disk":
		device, ok := root.BootParameter("oomlab.swap")
		if !ok {
			return nil, &Refusal{What: "a disk to swap to", Hint: "use --target vm, which adds one, or kind: file"}
		}
		if !root.Has(device) {
			return nil, &Refusal{
				What: "the disk to swap to, " + device,
				Hint: "the kernel has no virtio_pci or no virtio_blk: " +
					"give it its modules (--modules), or build them in",
			}
		}
		s.path = device
	case "zram":
		if !root.Has(zramSysfs) {
			return nil,
				&Refusal{What: "zram; there is no " + zramSysfs, Hint: "load the module zram, or use kind: disk"}
		}
		s.path = zramDevice
	case "file":
		s.path = filepath.Join(scratch, base+".swap")
	default:
		return nil, fmt.Errorf("plan: swap kind %q is not disk, zram or file", p.Kind)
	}
	return s, nil
}

// undo lists what on changes, in the order of the changes.
func (s *swap) undo() []plan.Undo {
	if s == nil {
		return nil
	}
	var list []plan.Undo
	switch s.kind {
	case "file":
		list = append(list, plan.Undo{Op: undoUnlink, Path: s.path})
	case "zram":
		list = append(list, plan.Undo{Op: undoWrite, Path: zramSysfs + "/reset", Value: "1"})
	}
	return append(list, plan.Undo{Op: undoSwapoff, Path: s.path})
}

// on makes the swap space and switches it on.
func (s *swap) on() error {
	if s == nil {
		return nil
	}
	var err error
	switch s.kind {
	case "file":
		err = makeSwapFile(s.path, s.size)
	case "zram":
		err = writeFile(zramSysfs+"/disksize", strconv.FormatInt(int64(s.size), 10))
	}
	if err == nil {
		err = makeSwap(s.path, s.size)
	}
	if err == nil {
		err = swapon(s.path)
	}
	if errors.Is(err, unix.EINVAL) && s.kind == "file" {
		return fmt.Errorf("%w; the file system of %s cannot hold a swap file", err, filepath.Dir(s.path))
	}
	return err
}

// SwapOn makes a swap file and switches it on, for good.
func SwapOn(path string, size int64) error {
	return (&swap{kind: "file", path: path, size: kernel.Bytes(size)}).on()
}

// makeSwapFile makes a file without holes: the kernel swaps to its blocks and
// passes the file system by (mm/swapfile.c, setup_swap_extents).
func makeSwapFile(path string, size kernel.Bytes) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(size))
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = io.CopyN(f, zeros{}, int64(size))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("make a swap file of %s: %s: %w", size, path, err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// makeSwap writes the header of a swap space, as mkswap does. The kernel uses
// one page less than the size, which is the header's (include/linux/swap.h,
// union swap_header).
func makeSwap(path string, size kernel.Bytes) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	room, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if kernel.Bytes(room) < size {
		return fmt.Errorf("%s has %s; a swap space of %s was asked for", path, kernel.Bytes(room), size)
	}
	page := os.Getpagesize()
	header := swapHeader(page, int64(size)/int64(page))
	if _, err := f.WriteAt(header, 0); err != nil {
		return err
	}
	return f.Sync()
}

func swapHeader(page int, pages int64) []byte {
	h := make([]byte, page)
	binary.NativeEndian.PutUint32(h[1024:], 1)               // version
	binary.NativeEndian.PutUint32(h[1028:], uint32(pages-1)) // last page
	rand.Read(h[1036:1052])                                  // uuid; it never fails
	copy(h[page-10:], "SWAPSPACE2")
	return h
}

func swapon(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return fmt.Errorf("swapon %s: %w", path, errno)
	}
	return nil
}

func swapoff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return fmt.Errorf("swapoff %s: %w", path, errno)
	}
	return nil
}
