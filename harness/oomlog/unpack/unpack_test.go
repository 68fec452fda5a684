package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/oomlab/oomlab/harness/allocs"
)

const log = "[  100.000001] app invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\r\n" +
	"[  100.000002] näme and 火\n"

func packed(t testing.TB, open func(io.Writer) (io.WriteCloser, error), text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gz(w io.Writer) (io.WriteCloser, error)  { return gzip.NewWriter(w), nil }
func zst(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func xzs(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }

func wide(text, mark string, low int) string {
	var b strings.Builder
	b.WriteString(mark)
	for _, u := range utf16.Encode([]rune(text)) {
		pair := [2]byte{byte(u >> 8), byte(u)}
		b.WriteByte(pair[low])
		b.WriteByte(pair[1-low])
	}
	return b.String()
}

func broken(text string, width int, end string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + end)
		text = text[width:]
	}
	return b.String() + text + end
}

func tarOf(t testing.TB, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: "var/log/x", Mode: 0o644, Size: int64(len(m)),
			Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bzip2ed is log, made by bzip2(1): the standard library only reads it.
const bzip2ed = "testdata/log.bz2"

func samples(t testing.TB) map[string]string {
	bz, err := os.ReadFile(filepath.FromSlash(bzip2ed))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"plain": log, "gzip": packed(t, gz, log), "zstd": packed(t, zst, log), "xz": packed(t, xzs, log),
		"bzip2": string(bz), "two of gzip": packed(t, gz, log[:20]) + packed(t, gz, log[20:]),
		"UTF-16": wide(log, "\xff\xfe", 1), "UTF-16, big": wide(log, "\xfe\xff", 0),
		"UTF-16, no mark": wide(log, "", 1), "UTF-16, big, no mark": wide(log, "", 0),
		"zstd of UTF-16": packed(t, zst, wide(log, "\xff\xfe", 1)),
		"base64":         base64.StdEncoding.EncodeToString([]byte(log)),
		"base64, broken": broken(base64.StdEncoding.EncodeToString([]byte(log)), 76, "\r\n"),
		"base64 of gzip": broken(base64.StdEncoding.EncodeToString([]byte(packed(t, gz, log))), 76, "\n"),
		"base64url":      base64.URLEncoding.EncodeToString([]byte(packed(t, gz, log))),
		"data URL":       "data:text/plain;charset=utf-8;base64," + base64.StdEncoding.EncodeToString([]byte(log)),
		"set":            strings.NewReplacer("-", "-\u200b", "_", "_\u00ad", "app", "\u200eapp\u2060").Replace(log),
		"wide blanks":    strings.ReplaceAll(log, " ", "\u2007"),
		"tar":            tarOf(t, "\x7fELF\x02", log), "tar.gz of gz": packed(t, gz,
			tarOf(t, packed(t, gz, log), "\x89PNG")),
	}
}

func TestOpen(t *testing.T) {
	for name, data := range samples(t) {
		r, err := Open(strings.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(r)
		if want := log; err != nil || strings.TrimRight(string(got), "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestText: what crashes and consoles leave in a log does not make it binary.
func TestText(t *testing.T) {
	for name, text := range map[string]string{
		"no-break blanks": strings.ReplaceAll(log, " ", "\u00a0"),
		"hexadecimal":     strings.Repeat("0123456789abcdef", 8) + "\n",
		"empty":           "", "short": "x", "Latin-1": strings.Repeat("n\xe4me \xfc\n", 500),
		"a hole": strings.Repeat("\x00", 2*peek) + log, "a hole in it": log + strings.Repeat("\x00", 3000) + log,
		"console": strings.Repeat("\x1b[32m[ 1.5] \x1b[0mok\a\b\r\n", 99),
		"export":  strings.Repeat("__CURSOR=s\nMESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00a\nb\xff\x01\n\n", 9),
	} {
		r, err := Open(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); string(got) != text || err != nil {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(text), err)
		}
	}
}

func TestNotALog(t *testing.T) {
	random := make([]byte, 9000)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(random)
	deep := log
	for range maxDepth + 1 {
		deep = packed(t, gz, deep)
	}
	for data, want := range map[string]string{
		"\x7fELF\x02\x01":        "this is an executable, not a log",
		"LPKSHHRH\x00":           "this is a file of the systemd journal, not a log",
		"PK\x03\x04\x14":         "this is a zip archive, not a log",
		string(random):           "this is binary data, not a log",
		"\x1f\x8b\x08 no":        "the gzip data is cut or damaged: unexpected EOF",
		deep:                     "it is packed more than 4 times",
		packed(t, gz, "\x7fELF"): "this is an executable, not a log",
	} {
		_, err := Open(strings.NewReader(data))
		if e := (*Error)(nil); !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.20q: %v, want %s", data, err, want)
		}
	}
	for _, o := range others {
		if _, err := Open(strings.NewReader(o.magic + "\x00")); err == nil || !strings.Contains(err.Error(), o.what) {
			t.Errorf("%s: %v", o.what, err)
		}
	}
}

// TestCut: what is there is given, then the error.
func TestCut(t *testing.T) {
	long := strings.Repeat(log, 5000)
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){"gzip": gz, "zstd": zst, "xz": xzs} {
		data := packed(t, open, long)
		r, err := Open(strings.NewReader(data[:len(data)-8]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if e := (*Error)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), name+" data is cut") ||
			!strings.HasPrefix(long, string(got)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestBounded: a few bytes cannot keep a reader busy for long.
func TestBounded(t *testing.T) {
	defer func(n int64) { freely = n }(freely)
	freely = 1 << 20
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){"gzip": gz, "zstd": zst, "xz": xzs} {
		data := packed(t, open, strings.Repeat("\x00", 32<<20))
		r, err := Open(strings.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err == nil || !strings.Contains(err.Error(), "expands more than 1000 times") || n > 16<<20 {
			t.Errorf("%s: %d bytes of %d, %v", name, n, len(data), err)
		}
	}
}

// FuzzOpen: no input makes a decoder fail in another way than by an error, take
// much memory or expand without end.
func FuzzOpen(f *testing.F) {
	for _, data := range samples(f) {
		f.Add([]byte(data))
	}
	defer func(n int64) { freely = n }(freely)
	freely = 1 << 20
	f.Fuzz(func(t *testing.T, data []byte) {
		allocs.Within(t, 4000, len(data)+300<<10, func() {
			r, err := Open(bytes.NewReader(data))
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, r)
			if n > 2*freely && n > 2*maxRatio*int64(len(data)) {
				t.Fatalf("%d bytes of %d", n, len(data))
			}
		})
	})
}
