package profile

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// suffixes of Kubernetes quantities, largest unit of each kind first.
var suffixes = []struct {
	name string
	size int64
}{
	{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1},
}

// parseQuantity reads what package kernel reads in scenarios, which the stressor
// does not link. Fractions become whole bytes, rounded up.
func parseQuantity(s string) (int64, error) {
	for _, suffix := range suffixes {
		number, ok := strings.CutSuffix(s, suffix.name)
		if !ok {
			continue
		}
		if strings.Trim(number, "0123456789.") != "" {
			break
		}
		if n, err := strconv.ParseInt(number, 10, 64); err == nil && n <= math.MaxInt64/suffix.size {
			return n * suffix.size, nil
		}
		f, err := strconv.ParseFloat(number, 64)
		bytes := math.Ceil(f * float64(suffix.size))
		if err != nil || bytes >= math.MaxInt64 {
			break
		}
		return int64(bytes), nil
	}
	return 0, errors.New(strconv.Quote(s) + " is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M")
}

// Quantity writes an amount with the largest binary suffix that keeps it whole.
func Quantity(n int64) string {
	for _, suffix := range suffixes[:4] {
		if n != 0 && n%suffix.size == 0 {
			return strconv.FormatInt(n/suffix.size, 10) + suffix.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseDuration reads a Go duration as milliseconds.
func parseDuration(s string) (int64, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond {
		return 0, errors.New(strconv.Quote(s) + " is not a time; write 500ms or 1h")
	}
	return d.Milliseconds(), nil
}

func duration(ms int64) string {
	if ms%1000 == 0 {
		return strconv.FormatInt(ms/1000, 10) + "s"
	}
	return strconv.FormatInt(ms, 10) + "ms"
}
