package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// residency is how much of what is held the kernel shows.
type residency struct {
	resident int64 // in RAM or in swap
	overhead int64 // resident set beside what is held
}

// pageCounts are numbers of page table entries, from /proc/self/pagemap
// (Documentation/admin-guide/mm/pagemap.rst).
type pageCounts struct{ present, swapped int64 }

// measure looks at the page tables, not at the counters of /proc/self/status:
// up to Linux 6.15 those lag behind.
func (m *memory) measure() (residency, error) {
	var res residency
	rss, err := rollupRSS()
	if err != nil {
		return res, err
	}
	res.overhead = rss
	for _, r := range m.regions {
		if r.kind == profile.Tables { // they are in no resident set
			res.resident += r.held
			continue
		}
		if r.mem != nil {
			n, err := countPages(r.mem[:r.held])
			if err != nil {
				return res, err
			}
			if r.kind != profile.HugeTLB { // not part of a resident set
				res.overhead -= n.present * pageSize
			}
			if !r.inPageCache() {
				res.resident += (n.present + n.swapped) * pageSize
			}
		}
		if r.inPageCache() {
			n, err := r.cached()
			if err != nil {
				return res, err
			}
			res.resident += n
		}
	}
	return res, nil
}

// inPageCache reports whether the pages are counted where their file keeps them.
func (r *region) inPageCache() bool {
	return r.kind == profile.File || r.kind == profile.Write || r.kind == profile.Tmpfs
}

// mustStay reports whether the kernel has no way to take the regions' pages so
// that measure would miss them: then everything held has to be resident.
func (m *memory) mustStay() (bool, error) {
	var shared bool
	for _, r := range m.regions {
		row := r.kind.Row()
		if row.Memory == profile.PageCache {
			return false, nil
		}
		shared = shared || row.InTmpfs()
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return false, fail("sysinfo", err)
	}
	// Swapped shared memory has no page table entry that says so.
	return !shared || info.Totalswap == 0, nil
}

// scratch is used for one reading at a time, on the main thread.
var scratch [4096]byte

func countPages(b []byte) (pageCounts, error) {
	var n pageCounts
	if len(b) == 0 {
		return n, nil
	}
	fd, err := retry(func() (int, error) { return unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return n, fail("opening /proc/self/pagemap", err)
	}
	defer unix.Close(fd)
	const entry = 8
	at := int64(uintptr(unsafe.Pointer(&b[0]))) / pageSize * entry
	left := int64(len(b)) / pageSize * entry
	for left > 0 {
		part := scratch[:min(left, int64(len(scratch)))]
		got, err := retry(func() (int, error) { return unix.Pread(fd, part, at) })
		if err == nil && (got == 0 || got%entry != 0) {
			err = errors.New("a short read of " + strconv.Itoa(got) + " bytes")
		}
		if err != nil {
			return n, fail("reading /proc/self/pagemap", err)
		}
		for i := 0; i < got; i += entry {
			const present, swapped = 1 << 63, 1 << 62
			switch bits := binary.LittleEndian.Uint64(part[i:]); {
			case bits&present != 0:
				n.present++
			case bits&swapped != 0:
				n.swapped++
			}
		}
		at += int64(got)
		left -= int64(got)
	}
	return n, nil
}

// cached is how many bytes of a file region are in the page cache.
func (r *region) cached() (int64, error) {
	mem := r.mem
	if mem == nil {
		var err error
		// A mapping that is never touched: mincore wants an address.
		if mem, err = mapMemory(r.fd, r.held, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return 0, fail("mapping the file to count its pages", err)
		}
		defer unmap(mem)
	}
	var sum int64
	for off := int64(0); off < r.held; {
		pages := min((r.held-off+pageSize-1)/pageSize, int64(len(scratch)))
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[off])),
			uintptr(pages*pageSize), uintptr(unsafe.Pointer(&scratch)))
		if errno != 0 {
			return 0, fail("mincore", errno)
		}
		for _, b := range scratch[:pages] {
			sum += int64(b&1) * pageSize
		}
		off += pages * pageSize
	}
	return sum, nil
}

// rollupRSS is the resident set, counted by walking the page tables.
func rollupRSS() (int64, error) {
	const path = "/proc/self/smaps_rollup"
	text, err := readFile(path)
	if err != nil {
		return 0, fail("reading "+path, err)
	}
	_, rest, found := bytes.Cut(text, []byte("\nRss:"))
	number, _, unit := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte(" kB"))
	kb, err := strconv.ParseInt(string(number), 10, 64)
	if !found || !unit || err != nil {
		return 0, errors.New(path + " has no line Rss: with a number of kB")
	}
	return kb << 10, nil
}
