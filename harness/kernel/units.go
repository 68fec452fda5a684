package kernel

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is an amount of memory in bytes.
type Bytes int64

// Pages is an amount of memory in pages of the machine that is talked about.
// Scores are in pages too, and may be negative.
type Pages int64

// The binary units that scenario files and reports use.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// DefaultPageSize is the page size of x86-64, and of most other machines.
const DefaultPageSize Bytes = 4096

// Pages says how many whole pages of pageSize bytes b covers, rounded up, as
// the kernel charges memory.
func (b Bytes) Pages(pageSize Bytes) Pages {
	if pageSize <= 0 {
		pageSize = DefaultPageSize
	}
	return Pages((b + pageSize - 1) / pageSize)
}

// Bytes says how many bytes p pages of pageSize bytes are.
func (p Pages) Bytes(pageSize Bytes) Bytes {
	if pageSize <= 0 {
		pageSize = DefaultPageSize
	}
	return Bytes(p) * pageSize
}

// String writes b as a Kubernetes quantity with the largest binary suffix that
// keeps it whole: 64Mi, 1536Ki, 100.
func (b Bytes) String() string {
	suffixes := []struct {
		size Bytes
		name string
	}{{TiB, "Ti"}, {GiB, "Gi"}, {MiB, "Mi"}, {KiB, "Ki"}}
	for _, s := range suffixes {
		if b != 0 && b%s.size == 0 {
			return strconv.FormatInt(int64(b/s.size), 10) + s.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Human writes b for a reader, with one decimal and a binary suffix: 216.3Mi.
// It loses precision; use String where the value is read back.
func (b Bytes) Human() string {
	abs := b
	if abs < 0 {
		abs = -abs
	}
	switch {
	case abs >= GiB:
		return trimZero(float64(b)/float64(GiB)) + "Gi"
	case abs >= MiB:
		return trimZero(float64(b)/float64(MiB)) + "Mi"
	case abs >= KiB:
		return trimZero(float64(b)/float64(KiB)) + "Ki"
	}
	return strconv.FormatInt(int64(b), 10)
}

func trimZero(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// quantity suffixes of Kubernetes, in the order they are tried.
var quantitySuffixes = []struct {
	name  string
	scale float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50}, {"Ei", 1 << 60},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18},
}

// ParseBytes reads a Kubernetes quantity as a number of bytes: "64Mi", "200M",
// "1.5Gi", "4096". Fractions of a byte are rounded up, as Kubernetes does.
// Negative amounts, exponents and the milli suffix are refused: no amount of
// memory is written with them.
//
// The error says what was read and what would have been understood.
func ParseBytes(s string) (Bytes, error) {
	in := s
	scale := 1.0
	for _, q := range quantitySuffixes {
		if rest, ok := strings.CutSuffix(s, q.name); ok {
			s, scale = rest, q.scale
			break
		}
	}
	if s == "" || strings.Trim(s, "0123456789.") != "" || strings.Count(s, ".") > 1 || s == "." {
		return 0, fmt.Errorf("%q is not a quantity of memory; write bytes or a suffix such as 64Mi, 1.5Gi, 200M", in)
	}
	if scale == 1 || !strings.Contains(s, ".") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err == nil && float64(n)*scale < math.MaxInt64 {
			return Bytes(n * int64(scale)), nil
		}
		if err == nil {
			return 0, fmt.Errorf("%q is more memory than a machine can have", in)
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a quantity of memory; write bytes or a suffix such as 64Mi, 1.5Gi, 200M", in)
	}
	f = math.Ceil(f * scale)
	if f >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more memory than a machine can have", in)
	}
	return Bytes(f), nil
}

// HighestFirst orders scores of oom_badness() from the highest down, as cmp.Compare
// does the other way round; those of tasks that were not scored, nil, come last.
func HighestFirst(x, y *int64) int {
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return cmp.Compare(*y, *x)
}
