// Package unpack opens what kernel logs are packed in: compressed files, tar
// archives, base64, UTF-16, and text that was set for a page. What is no log at all is one clear error.
//
// Nothing unpacked is held: [Open] gives a reader. How much memory a decoder may
// take and how far it may expand its input are bounded.
package unpack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	stdunicode "unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
)

const (
	peek     = 4 << 10
	maxDepth = 4 // of packings in each other: UTF-16 in a tar.gz is three
	// maxMemory is what a decoder may ask for; zstd --long=27 needs it.
	maxMemory = 128 << 20
)

// Beyond freely unpacked bytes, nothing may grow more than maxRatio times. Logs
// shrink to a tenth or a hundredth.
var (
	freely   int64 = 4 << 30
	maxRatio int64 = 1000
)

// An Error says why something is not read, and the way out.
type Error struct {
	What, Hint string
	Err        error // of the decoder, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return e.What
}

func (e *Error) Unwrap() error { return e.Err }

// forms are the packings that are read. To read another, add a row.
var forms = []struct {
	name string
	is   func(head []byte) bool
	open func(r io.Reader, depth int) (io.Reader, error)
}{
	{"gzip", begins("\x1f\x8b\x08"), func(r io.Reader, _ int) (io.Reader, error) { return gzip.NewReader(r) }},
	{"zstd", begins("\x28\xb5\x2f\xfd"), openZstd},
	{"xz", begins("\xfd7zXZ\x00"), openXZ},
	{"bzip2", isBzip2, func(r io.Reader, _ int) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"tar", isTar, openTar},
	{"UTF-16", begins("\xff\xfe"), wideText(unicode.LittleEndian)},
	{"UTF-16", begins("\xfe\xff"), wideText(unicode.BigEndian)},
	{"UTF-16", func(head []byte) bool { return alternates(head, 1) }, wideText(unicode.LittleEndian)},
	{"UTF-16", func(head []byte) bool { return alternates(head, 0) }, wideText(unicode.BigEndian)},
	{"UTF-8", isSet, openSet},
	{"base64", isBase64(base64.StdEncoding), fromBase64(base64.StdEncoding)},
	{"base64", isBase64(base64.URLEncoding), fromBase64(base64.URLEncoding)},
	{"base64", isDataURL, openDataURL},
}

// others are what people mistake for a log, or mistake one for.
var others = []struct {
	magic, what, hint string
}{
	{"LPKSHHRH", "a file of the systemd journal", "journalctl --file FILE -k | oomlab explain"},
	{"\x7fELF", "an executable", ""},
	{"MZ", "a Windows executable", ""},
	{"\xcf\xfa\xed\xfe", "a macOS executable", ""},
	{"\xca\xfe\xba\xbe", "a macOS executable or a Java class", ""},
	{"PK\x03\x04", "a zip archive", "unpack it, and name the log in it"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name the log in it"},
	{"Rar!", "a RAR archive", "unpack it, and name the log in it"},
	{"\x04\x22\x4d\x18", "an lz4 file", "lz4cat FILE | oomlab explain"},
	{"KDUMP   ", "a dump of the kernel's memory", "crash prints its log with the command log"},
	{"!<arch>\n", "an archive of object files or a Debian package", ""},
	{"\x89PNG", "an image", "copy the text, or read the log on the machine: journalctl -k"},
	{"\xff\xd8\xff", "an image", "copy the text, or read the log on the machine: journalctl -k"},
	{"GIF8", "an image", "copy the text, or read the log on the machine: journalctl -k"},
	{"%PDF", "a PDF document", "copy its text into a file"},
	{"SQLite format 3", "a database", ""},
}

// Open gives the text in r, whatever it is packed in. Errors that follow from what
// is in r are an [*Error]; those of reading r are its own.
func Open(r io.Reader) (io.Reader, error) { return open(r, 0) }

func open(r io.Reader, depth int) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(peek)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, f := range forms {
		if !f.is(head) {
			continue
		}
		if depth == maxDepth {
			return nil, &Error{What: fmt.Sprintf("it is packed more than %d times", maxDepth)}
		}
		counted := &counter{r: in}
		inner, err := f.open(counted, depth)
		if err != nil {
			return nil, damaged(f.name, err)
		}
		return open(&bounded{name: f.name, r: inner, in: counted}, depth+1)
	}
	for _, o := range others {
		if bytes.HasPrefix(head, []byte(o.magic)) {
			return nil, notALog(o.what, o.hint)
		}
	}
	if !isText(head) {
		return nil, notALog("binary data", "")
	}
	return in, nil
}

func notALog(what, hint string) error {
	if hint == "" {
		hint = "a kernel log is text: dmesg, journalctl -k, /var/log/kern.log"
	}
	return &Error{What: "this is " + what + ", not a log", Hint: hint}
}

func damaged(name string, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return &Error{What: "the " + name + " data is cut or damaged", Err: err}
}

func begins(magic string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }
}

func isBzip2(head []byte) bool {
	return len(head) > 10 && string(head[:3]) == "BZh" && string(head[4:10]) == "1AY&SY"
}

func isTar(head []byte) bool { return len(head) > 262 && string(head[257:262]) == "ustar" }

// alternates reports whether every second byte, from the given one on, is zero:
// UTF-16 without its mark.
func alternates(head []byte, from int) bool {
	pairs, zero := min(len(head), 512)/2, 0
	for i := range pairs {
		if head[2*i+1-from] == 0 {
			return false
		}
		if head[2*i+from] == 0 {
			zero++
		}
	}
	return pairs >= 8 && zero*10 >= pairs*9
}

// isText reports whether the start of a file can be a log's. Serial consoles and
// crashes leave control characters and runs of zero bytes in text.
func isText(head []byte) bool {
	if bytes.HasPrefix(head, []byte("__CURSOR=")) { // journalctl -o export: binary fields
		return true
	}
	control, zero, runs := 0, 0, 0
	for i, c := range head {
		switch {
		case c == 0:
			if zero++; i > 0 && head[i-1] != 0 {
				runs++
			}
		case c >= ' ' && c != 0x7f:
		case bytes.IndexByte([]byte("\a\b\t\n\v\f\r\x1b\x1e"), c) < 0:
			control++
		}
	}
	return control*50 <= len(head)-zero && (runs <= 16 || zero*10 < len(head))
}

func openZstd(r io.Reader, _ int) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxMemory), zstd.WithDecoderMaxMemory(1<<62))
	if err != nil {
		return nil, err
	}
	return d, nil
}

func openXZ(r io.Reader, _ int) (io.Reader, error) {
	return xz.NewReader(r, maxMemory) // unlike other decoders it bounds its dictionary
}

// setting is what programs put into text so that it is set well: soft hyphens, places
// where a word may break, and marks of direction. No kernel prints any of it.
var setting = runes.In(&stdunicode.RangeTable{
	R16: []stdunicode.Range16{
		{Lo: 0xad, Hi: 0xad, Stride: 1}, {Lo: 0x200b, Hi: 0x200f, Stride: 1}, {Lo: 0x2060, Hi: 0x2060, Stride: 1},
	},
	LatinOffset: 1,
})

// widths are blanks of a width of their own. A no-break space is none of them: it can be
// part of a name.
func widths(r rune) rune {
	if r != 0xa0 && stdunicode.Is(stdunicode.Zs, r) {
		return ' '
	}
	return r
}

// isSet reports whether text came through a program that sets it.
func isSet(head []byte) bool {
	if bytes.HasPrefix(head, []byte("__CURSOR=")) || len(head) < 3 {
		return false
	}
	for cut := range utf8.UTFMax { // the last letter may be cut
		if whole := head[:max(0, len(head)-cut)]; utf8.Valid(whole) {
			return bytes.ContainsFunc(whole, func(r rune) bool { return setting.Contains(r) || widths(r) != r })
		}
	}
	return false
}

func openSet(r io.Reader, _ int) (io.Reader, error) {
	return transform.NewReader(r, transform.Chain(runes.Remove(setting), runes.Map(widths))), nil
}

// isBase64 reports whether all there is is base64, in lines of one length or a single
// one, and text or packed in it. Hexadecimal numbers have the same letters.
func isBase64(letters *base64.Encoding) func(head []byte) bool {
	return func(head []byte) bool {
		code := strings.NewReplacer("\r", "", "\n", "").Replace(string(head))
		if len(code) < 60 {
			return false
		}
		inner, err := letters.DecodeString(code[:len(code)&^3])
		if err != nil || bytes.IndexByte(head[:60], '\n') >= 0 {
			return false
		}
		for cut := range utf8.UTFMax {
			if utf8.Valid(inner[:len(inner)-cut]) && isText(inner) {
				return true
			}
		}
		return begins("\x1f\x8b\x08")(inner) || begins("\x28\xb5\x2f\xfd")(inner)
	}
}

func fromBase64(letters *base64.Encoding) func(io.Reader, int) (io.Reader, error) {
	return func(r io.Reader, _ int) (io.Reader, error) { return base64.NewDecoder(letters, r), nil }
}

// dataURL is the length of "data:text/plain;base64," at the start of head, or 0.
func dataURL(head []byte) int {
	const mark = ";base64,"
	if i := bytes.Index(head[:min(len(head), 128)], []byte(mark)); i > 0 && bytes.HasPrefix(head, []byte("data:")) {
		return i + len(mark)
	}
	return 0
}

func isDataURL(head []byte) bool {
	n := dataURL(head)
	return n > 0 && isBase64(base64.StdEncoding)(head[n:])
}

func openDataURL(r io.Reader, depth int) (io.Reader, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(128)
	if err != nil {
		return nil, err
	}
	if _, err := in.Discard(dataURL(head)); err != nil {
		return nil, err
	}
	return fromBase64(base64.StdEncoding)(in, depth)
}

func wideText(order unicode.Endianness) func(io.Reader, int) (io.Reader, error) {
	return func(r io.Reader, _ int) (io.Reader, error) {
		return transform.NewReader(r, unicode.UTF16(order, unicode.UseBOM).NewDecoder()), nil
	}
}

// openTar gives the texts in an archive, one after the other.
func openTar(r io.Reader, depth int) (io.Reader, error) {
	return &archive{tar: tar.NewReader(r), depth: depth}, nil
}

type archive struct {
	tar     *tar.Reader
	depth   int
	member  io.Reader // nil: the next is to be opened
	newline bool      // to be given before the next member
}

func (a *archive) Read(p []byte) (int, error) {
	for {
		if a.newline && len(p) > 0 {
			a.newline = false
			p[0] = '\n'
			return 1, nil
		}
		if a.member == nil {
			h, err := a.tar.Next()
			if err != nil {
				return 0, err
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			a.member, err = open(a.tar, a.depth+1)
			if e := (*Error)(nil); errors.As(err, &e) {
				a.member = nil // not a log, as most of a support archive
				continue
			}
			if err != nil {
				return 0, err
			}
		}
		n, err := a.member.Read(p)
		if errors.Is(err, io.EOF) {
			a.member, a.newline, err = nil, true, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded stops what expands beyond all measure, and names the decoder in its
// errors.
type bounded struct {
	name string
	r    io.Reader
	in   *counter
	n    int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > freely && b.n/maxRatio > b.in.n:
		return 0, &Error{What: fmt.Sprintf("the %s data expands more than %d times", b.name, maxRatio),
			Hint: "no log does; unpack it yourself if it is one"}
	case err != nil && !errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, damaged(b.name, err)
	}
	return n, err
}
