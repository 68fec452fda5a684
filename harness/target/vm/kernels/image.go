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

// Offsets in an Image of arm64, from Documentation/arch/arm64/booting.rst.
const (
	offARMMagic  = 0x38 // "ARM\x64"
	armHeaderEnd = 0x40
)

// IsImage reports whether spec means a file, or a kernel tree that has one, as [Resolve] takes it.
func IsImage(spec string) bool {
	info, err := os.Stat(spec)
	if strings.ContainsRune(spec, '/') || spec == "." || spec == ".." {
		return !named(spec)
	}
	return err == nil && (info.Mode().IsRegular() || !kernelVersion.MatchString(spec) && isTree(spec))
}

// Check says why spec cannot mean a kernel, before anything is fetched for it.
// nil: it may, or is empty.
func Check(spec string) error {
	if spec == "" {
		return nil
	}
	if IsImage(spec) {
		if name, last, _ := strings.Cut(spec, "/"); kernelVersion.MatchString(name) && last != "" && !exists(spec) {
			return unknownError{fmt.Errorf("%q: there is no flavour %s of kernels; write one of %s", spec, last,
				strings.Join(Flavours(), ", "))}
		}
		return CheckImage(spec)
	}
	name, _ := split(spec)
	if _, err := kernel.ParseVersion(name); err != nil {
		return unknownError{fmt.Errorf(
			"%q is not a kernel; write a version such as 6.12 or 6.12.107, or the path of a bzImage or of a kernel "+
				"tree", spec)}
	}
	return nil
}

// CheckImage says why path is neither a kernel that QEMU can boot nor a kernel tree with
// one, or nil. A file that is there and can be read, but is no kernel, is an ErrUnknown.
func CheckImage(path string) error {
	file, _, err := imageOf(path)
	if err == nil {
		_, err = imageHeader(file)
	}
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
	if archOf(head) == "" {
		hint := "a bzImage of x86 or an Image of arm64 is wanted (below arch/ of a build, or a /boot/vmlinuz)"
		switch {
		case bytes.HasPrefix(head, []byte("\x7fELF")):
			hint = "this is an ELF file such as vmlinux; " + hint
		case bytes.HasPrefix(head, []byte("MZ\x00\x00zimg")):
			hint = "this is vmlinuz.efi, which only firmware unpacks; " + hint
		}
		return nil, unknownError{fmt.Errorf("kernel %s: is not a kernel image: it has neither a HdrS header nor the "+
			"magic of arm64; %s", file, hint)}
	}
	return head, nil
}

// archOf is the architecture of the image that begins with head; empty: it is none.
func archOf(head []byte) string {
	switch {
	case len(head) >= headerEnd && head[offBootFlag] == 0x55 && head[offBootFlag+1] == 0xaa &&
		bytes.Equal(head[offHeader:offHeader+4], []byte("HdrS")):
		return AMD64
	case len(head) >= armHeaderEnd && bytes.Equal(head[offARMMagic:armHeaderEnd-4], []byte("ARM\x64")):
		return ARM64
	}
	return ""
}

// imageRelease reads what uname -r will say from an image, and its architecture.
func imageRelease(file string) (release, arch string, err error) {
	head, err := imageHeader(file)
	if err != nil {
		return "", "", err
	}
	arch = archOf(head)
	text := ""
	if arch == ARM64 {
		text, err = banner(file)
	} else if at := int(binary.LittleEndian.Uint16(head[offVersionPtr:])) + 0x200; at != 0x200 && at < len(head) {
		version, _, _ := bytes.Cut(head[at:], []byte{0})
		text = string(version)
	}
	if err != nil {
		return "", "", err
	}
	if release, _, _ = strings.Cut(text, " "); release == "" {
		return "", "", fmt.Errorf("kernel %s: the image does not say its version", file)
	}
	return release, arch, nil
}

// banner is what stands behind "Linux version " in an image that is not compressed, as
// linux_banner in init/version-timestamp.c has it, or empty. An image of arm64 has no
// other place for it.
func banner(file string) (string, error) {
	const mark, most = "Linux version ", 256
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf, []byte(mark)); i >= 0 && (len(buf)-i >= most || err != nil) {
			rest := buf[i+len(mark) : min(len(buf), i+most)]
			// linux_proc_banner has %s there
			if len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
				return string(rest), nil
			}
			buf = buf[i+len(mark):]
			continue
		}
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("kernel %w", err)
		}
		if cap(buf)-len(buf) < 64<<10 {
			buf = append(make([]byte, 0, 1<<20), buf[max(0, len(buf)-most-len(mark)):]...)
		}
	}
}
