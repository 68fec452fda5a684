package kernels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Offsets in a bzImage, from Documentation/arch/x86/boot.rst, "The Real-Mode
// Kernel Header".
const (
	offBootFlag   = 0x1fe // 0xaa55
	offHeader     = 0x202 // "HdrS"
	offVersionPtr = 0x20e // of the version string, less 0x200
	headerEnd     = 0x210
)

// IsImage reports whether spec means a file, as [Resolve] takes it.
func IsImage(spec string) bool {
	info, err := os.Stat(spec)
	return strings.ContainsRune(spec, '/') || err == nil && info.Mode().IsRegular()
}

// Check says why spec cannot mean a kernel, before anything is fetched for it.
// nil: it may, or is empty.
func Check(spec string) error {
	if spec == "" {
		return nil
	}
	if IsImage(spec) {
		return CheckImage(spec)
	}
	if _, err := kernel.ParseVersion(spec); err != nil {
		return unknownError{fmt.Errorf(
			"%q is not a kernel; write a version such as 6.12 or 6.12.107, or a path to a bzImage", spec)}
	}
	return nil
}

// CheckImage says why file is not a kernel that QEMU can boot, or nil. A file
// that is there and can be read, but is no kernel, is an ErrUnknown.
func CheckImage(file string) error {
	_, err := imageHeader(file)
	return err
}

func imageHeader(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, unknownError{fmt.Errorf("kernel %s: there is no such file; write a series such as 6.12, a "+
				"release, or the path of a bzImage", file)}
		}
		return nil, fmt.Errorf("kernel %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() {
		return nil, unknownError{fmt.Errorf("kernel %s: is not a regular file; the path of a bzImage is wanted", file)}
	}
	// The version string lies in the setup code, at most 64 sectors of it.
	head := make([]byte, 65*512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("kernel %s: %w", file, err)
	}
	head = head[:n]
	if n < headerEnd || head[offBootFlag] != 0x55 || head[offBootFlag+1] != 0xaa ||
		!bytes.Equal(head[offHeader:offHeader+4], []byte("HdrS")) {
		hint := "an x86 bzImage is wanted (arch/x86/boot/bzImage of a build, or a /boot/vmlinuz)"
		if bytes.HasPrefix(head, []byte("\x7fELF")) {
			hint = "this is an ELF file such as vmlinux; " + hint
		}
		return nil, unknownError{fmt.Errorf("kernel %s: is not a kernel image: it has no HdrS header; %s", file, hint)}
	}
	return head, nil
}

// imageRelease reads what uname -r will say from a bzImage.
func imageRelease(file string) (string, error) {
	head, err := imageHeader(file)
	if err != nil {
		return "", err
	}
	at := int(binary.LittleEndian.Uint16(head[offVersionPtr:])) + 0x200
	if at == 0x200 || at >= len(head) {
		return "", fmt.Errorf("kernel %s: the image does not say its version", file)
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	if release == "" {
		return "", fmt.Errorf("kernel %s: the image does not say its version", file)
	}
	return release, nil
}
