package kernel

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// lineBuffers are reused: a ranking reads thousands of small files.
var lineBuffers = sync.Pool{New: func() any { return new([4096]byte) }}

// eachLine calls f for every line of r that is not blank, and wraps an error
// of f with the file's name, the line number and the line.
func eachLine(file string, r io.Reader, f func(line string) error) error {
	sc := bufio.NewScanner(r)
	buf := lineBuffers.Get().(*[4096]byte)
	defer lineBuffers.Put(buf)
	sc.Buffer(buf[:0], 1<<20)
	n := 0
	for sc.Scan() {
		n++
		line := sc.Text()
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("%s:%d: %q: %w", file, n, line, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: after line %d: %w", file, n, err)
	}
	return nil
}

// keyValues reads a flat keyed file of cgroupfs or procfs: one "name number"
// on each line. A name that comes twice is an error: the file is not what the
// caller took it for.
func keyValues(file string, r io.Reader) (map[string]uint64, error) {
	values := make(map[string]uint64)
	err := eachLine(file, r, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("want a name and a number, have %d fields", len(fields))
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is not a number", fields[0], fields[1])
		}
		if _, twice := values[fields[0]]; twice {
			return fmt.Errorf("%s comes twice", fields[0])
		}
		values[fields[0]] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// need gives the value of a name that every kernel prints.
func need(file string, values map[string]uint64, name string) (uint64, error) {
	n, ok := values[name]
	if !ok {
		return 0, fmt.Errorf("%s: no %s; is this the right file?", file, name)
	}
	return n, nil
}

// optional gives the value of a name that some kernels do not print.
func optional(values map[string]uint64, name string) *uint64 {
	if n, ok := values[name]; ok {
		return &n
	}
	return nil
}

// kilobytes reads an amount as procfs prints it: "1234 kB".
func kilobytes(s string) (Bytes, error) {
	digits, ok := strings.CutSuffix(strings.TrimSpace(s), "kB")
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if !ok || err != nil || n < 0 || n > 1<<52 {
		return 0, fmt.Errorf("%q is not an amount such as 1234 kB", strings.TrimSpace(s))
	}
	return Bytes(n) * KiB, nil
}
