package main

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// hugePage is the size of a huge page on x86-64, and on arm64 with 4 KiB pages.
const hugePage = 2 << 20

var pageSize = int64(unix.Getpagesize())

// roundUp makes an amount whole units.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// region is one piece of memory that is held. Held grows as it is taken and
// shrinks as it is given back; the rest of the mapping costs no memory.
type region struct {
	kind   profile.Op
	mem    []byte // nil for Write and Tmpfs: their pages are in the page cache alone
	held   int64  // of page tables: their own bytes, each page of which maps tableSpan
	fd     int    // of the file behind it, or -1
	shrink bool   // the file is ours: truncating it frees its pages
}

// memory is everything the process holds, in the order in which it was taken.
type memory struct {
	regions []*region
}

func (m *memory) held() int64 {
	var sum int64
	for _, r := range m.regions {
		sum += r.held
	}
	return sum
}

// grow makes a region of at most profile.LargestPiece for n more bytes of a kind. It
// takes no memory but the mapping.
func (m *memory) grow(kind profile.Op, n int64) (*region, error) {
	n = min(n, profile.LargestPiece)
	r := &region{kind: kind, fd: -1}
	var err error
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	switch kind {
	case profile.Shmem:
		if r.fd, err = unix.MemfdCreate("oomlab", unix.MFD_CLOEXEC); err != nil {
			return nil, fail("memfd_create", err)
		}
		r.shrink = true
		if err = unix.Ftruncate(r.fd, n); err != nil {
			return nil, fail("sizing a memfd to "+profile.Quantity(n), err)
		}
		flags = unix.MAP_SHARED
	case profile.Tables:
		return m.growTables(roundUp(n, pageSize))
	case profile.HugeTLB:
		n = roundUp(n, hugePage)
		flags |= unix.MAP_HUGETLB | unix.MAP_HUGE_2MB
	}
	if kind == profile.HugePages {
		r.mem, err = mapAligned(n)
	} else {
		r.mem, err = mapMemory(r.fd, n, unix.PROT_READ|unix.PROT_WRITE, flags)
	}
	if err == nil {
		err = advise(r)
	}
	if err != nil {
		if err == unix.ENOMEM && r.mem == nil && kind.Row().Committed() {
			err = errRefused
		}
		err = m.unmapped(n, err)
		if kind == profile.HugeTLB {
			err = errors.New(err.Error() + "; are there enough free pages in vm.nr_hugepages?")
		}
		return nil, err
	}
	m.regions = append(m.regions, r)
	return r, nil
}

// tableSpan is what one page table of the lowest level maps: 2 MiB with pages of 4 KiB.
var tableSpan = pageSize / 8 * pageSize

// growTables maps so much that reading a byte of each span takes n bytes of page tables. What
// is read is a page of zeros: on most machines the one that is nobody's; on some, whose kernel
// does not share it (mm_forbids_zeropage()), one of the process's own, which it gives back
// with [discard]. What cannot be written is promised to nobody.
func (m *memory) growTables(n int64) (*region, error) {
	r := &region{kind: profile.Tables, fd: -1}
	var err error
	r.mem, err = mapMemory(-1, n/pageSize*tableSpan, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err == nil {
		err = advise(r)
	}
	if err != nil {
		return nil, m.unmapped(n, err)
	}
	m.regions = append(m.regions, r)
	return r, nil
}

// discard gives pages back. The page table stays.
func discard(mem []byte) error {
	if err := unix.Madvise(mem, unix.MADV_DONTNEED); err != nil {
		return fail("madvise(MADV_DONTNEED)", err)
	}
	return nil
}

// size is what the region holds when all of it is taken.
func (r *region) size() int64 {
	if r.kind == profile.Tables {
		return int64(len(r.mem)) / tableSpan * pageSize
	}
	return int64(len(r.mem))
}

// unmapped says which mapping failed.
func (m *memory) unmapped(n int64, err error) error {
	return fail("mapping "+profile.Quantity(n)+" beside "+profile.Quantity(m.held())+" held", err)
}

// errRefused is the kernel's answer to a mapping that it has no memory to promise for.
var errRefused = errors.New(unix.ENOMEM.Error())

func mapMemory(fd int, n int64, prot, flags int) ([]byte, error) {
	p, err := unix.MmapPtr(fd, 0, nil, uintptr(n), prot, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// mapAligned maps n bytes that start at a huge page's boundary, so that every
// whole huge page of them can be one.
func mapAligned(n int64) ([]byte, error) {
	wide, err := mapMemory(-1, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	start := int64(uintptr(unsafe.Pointer(&wide[0])))
	skip := roundUp(start, hugePage) - start
	end := skip + roundUp(n, pageSize)
	return wide[skip : skip+n : skip+n], errors.Join(unmap(wide[:skip]), unmap(wide[end:]))
}

func unmap(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := unix.MunmapPtr(unsafe.Pointer(&b[0]), uintptr(len(b))); err != nil {
		return fail("munmap", err)
	}
	return nil
}

// advise makes a region's pages behave the same on every machine: small unless
// they are asked to be huge, and never merged by KSM. A kernel that was built
// without huge pages or without KSM answers EINVAL and needs no advice.
func advise(r *region) error {
	advice := []int{unix.MADV_NOHUGEPAGE, unix.MADV_UNMERGEABLE}
	switch r.kind {
	case profile.HugeTLB:
		return nil
	case profile.HugePages:
		advice[0] = unix.MADV_HUGEPAGE
	case profile.Mlock:
		// The lock is set before the pages are there, so that they can come
		// at a rate.
		if err := mlockOnFault(r.mem); err != nil {
			return err
		}
	}
	for _, a := range advice {
		if err := unix.Madvise(r.mem, a); err != nil && err != unix.EINVAL {
			return fail("madvise "+strconv.Itoa(a), err)
		}
	}
	return nil
}

// populatePiece is what populate asks for at a time, in bytes: with fewer pages the calls
// show beside the pages (BenchmarkHold), and with more the other threads learn late
// how much is held.
const populatePiece = 2 << 20

// populate has the kernel make the pages of a region, as page faults would one by one
// (mm/gup.c, faultin_page_range). Whatever it does not make, a page fault has to: Linux
// before 5.14 does not know the advice, and where a cgroup's OOM killer is disabled
// (cgroup v1) only a page fault waits for memory.
func (r *region) populate() {
	size := int64(len(r.mem)) / pageSize * pageSize
	for r.held < size {
		part := min(populatePiece, size-r.held)
		err := unix.Madvise(r.mem[r.held:r.held+part], unix.MADV_POPULATE_WRITE)
		if err != nil && err != unix.EINTR {
			return
		}
		if err == nil {
			r.held += part
		}
	}
}

func mlockOnFault(b []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MLOCK_ONFAULT)
	if errno != 0 {
		return fail("mlock2 of "+profile.Quantity(int64(len(b))), errno)
	}
	return nil
}

// pattern fills pages with bytes that do not compress, or zswap and zram would
// give back most of what is swapped out. Copying a prepared page costs little
// beside the page fault that the copy causes, and each page begins with eight
// bytes of its own, so that no two are the same to KSM.
//
// It is copied in halves: above 2048 bytes Go's memmove uses REP MOVS, which
// emulated CPUs carry out byte by byte.
type pattern struct {
	page []byte // as long as one of the machine's: what repeats in a page compresses
	text []byte
	seed uint64
}

func newPattern() *pattern {
	p := &pattern{page: make([]byte, pageSize), text: make([]byte, pageSize), seed: 0x9e3779b97f4a7c15}
	for i := 0; i < len(p.page); i += 8 {
		binary.LittleEndian.PutUint64(p.page[i:], p.next())
	}
	words := strings.Fields(vocabulary)
	for at := 0; at < len(p.text); {
		at += copy(p.text[at:], words[p.next()%uint64(len(words))])
		at += copy(p.text[at:], " ")
	}
	return p
}

// vocabulary is what text is made of.
const vocabulary = `a about after all allocate and any are as at available because before
between bytes cache called can charged choose counter does domain each enough every fault
for free from group has have highest if in into is it kernel kill large largest least limit
log may memory more most none not nothing number of on one only or order other out over
page pages parent process reclaim room same score second shared since small some swap table
than that the then there these they this those to total two under until up usage use victim
was what when where which who will with within without would zone`

// next is xorshift64.
func (p *pattern) next() uint64 {
	p.seed ^= p.seed << 13
	p.seed ^= p.seed >> 7
	p.seed ^= p.seed << 17
	return p.seed
}

// stamp makes the next copy of the page unlike all others.
func (p *pattern) stamp() { stamp(p.page, p.next()) }

func stamp(page []byte, n uint64) { binary.LittleEndian.PutUint64(page, n) }

// fill writes one page, of whatever size. It is a function that is called, not
// inlined: at its entry the Go scheduler can let another goroutine run, and a
// single page fault can take seconds in a cgroup above its memory.high.
//
//go:noinline
func (p *pattern) fill(page []byte, content string) {
	from := p.page
	switch content {
	case profile.Zeros:
		clear(page) // a write is what makes a page of it
		return
	case profile.Text:
		from = p.text
	}
	for len(page) > 0 {
		const half = 2048
		stamp(from, p.next())
		for at := 0; at < len(from); at += half {
			copy(page[at:at+half], from[at:at+half])
		}
		page = page[len(from):]
	}
}

// free gives back n bytes, last taken first. The last step of it may give back
// a whole huge page for a part of one.
func (m *memory) free(n int64) error {
	n = roundUp(n, pageSize)
	if held := m.held(); n > held {
		return errors.New("cannot give back " + profile.Quantity(n) + " of " + profile.Quantity(held))
	}
	for n > 0 {
		r := m.regions[len(m.regions)-1]
		part := min(n, r.held)
		if r.kind == profile.HugeTLB {
			part = min(roundUp(part, hugePage), r.held)
		}
		n -= part
		if err := r.cut(r.held - part); err != nil {
			return err
		}
		if r.held == 0 {
			if r.fd >= 0 {
				unix.Close(r.fd)
			}
			m.regions = m.regions[:len(m.regions)-1]
		}
	}
	return nil
}

// cut keeps the first n bytes of a region.
func (r *region) cut(n int64) error {
	if r.mem != nil {
		end := n
		if r.kind == profile.Tables {
			end = n / pageSize * tableSpan
		}
		if err := unmap(r.mem[end:]); err != nil {
			return err
		}
		r.mem = r.mem[:end]
	}
	r.held = n
	switch {
	case r.fd < 0:
	case r.shrink:
		if err := unix.Ftruncate(r.fd, n); err != nil {
			return fail("truncating to "+profile.Quantity(n), err)
		}
	default:
		// Clean pages of a file that is not ours leave the page cache.
		if err := unix.Fadvise(r.fd, n, 0, unix.FADV_DONTNEED); err != nil {
			return fail("posix_fadvise", err)
		}
	}
	return nil
}

// swapped is how many bytes of what is held are in swap, as far as the page
// table tells: shared memory's swapped pages are not seen.
func (m *memory) swapped() (int64, error) {
	var sum int64
	for _, r := range m.regions {
		if !r.swappable() {
			continue
		}
		n, err := countPages(r.mem[:r.held])
		if err != nil {
			return 0, err
		}
		sum += n.swapped * pageSize
	}
	return sum, nil
}

func (r *region) swappable() bool { return r.kind == profile.Touch || r.kind == profile.HugePages }

// pageOut asks for the first n bytes of what can be swapped.
func (m *memory) pageOut(n int64) error {
	for _, r := range m.regions {
		if !r.swappable() || n <= 0 {
			continue
		}
		part := r.mem[:min(n, r.held)]
		n -= int64(len(part))
		if err := unix.Madvise(part, unix.MADV_PAGEOUT); err != nil {
			return fail("madvise MADV_PAGEOUT of "+profile.Quantity(int64(len(part))), err)
		}
	}
	return nil
}

// openFile opens the file behind a step, or a temporary one that has no name.
func openFile(path string, flags int) (fd int, temporary bool, err error) {
	if path != "" {
		fd, err = retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0o600) })
		if err != nil {
			return -1, false, fail("opening "+path, err)
		}
		return fd, false, nil
	}
	dir := os.Getenv("OOMLAB_TMP")
	if dir == "" {
		dir = "/tmp"
	}
	const rw = unix.O_RDWR | unix.O_CLOEXEC
	fd, err = retry(func() (int, error) { return unix.Open(dir, rw|unix.O_TMPFILE, 0o600) })
	if err == unix.EOPNOTSUPP || err == unix.EISDIR {
		name := dir + "/oomlab-stressor." + strconv.Itoa(unix.Getpid()) + "." + strconv.FormatInt(now(), 36)
		fd, err = retry(func() (int, error) { return unix.Open(name, rw|unix.O_CREAT|unix.O_EXCL, 0o600) })
		if err == nil {
			err = unix.Unlink(name)
		}
	}
	if err != nil {
		return -1, false, fail("making a temporary file in "+dir, err)
	}
	return fd, true, nil
}

// countAll has the kernel count the pages that it has charged to this thread
// and not to the process yet. Up to Linux 6.1 a thread keeps the last 65 of them
// to itself, and oom_badness() does not see them; zap_pte_range()
// in mm/memory.c adds them (add_mm_rss_vec, sync_mm_rss) even where there is
// nothing to zap. Later kernels do nothing here.
func countAll() error {
	// Three pages, of which two neighbours share a page table: one is there, so
	// that the table is, and the other is given back without having been taken.
	mem, err := mapMemory(-1, 3*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fail("mapping a page", err)
	}
	if int64(uintptr(unsafe.Pointer(&mem[pageSize])))%hugePage == 0 {
		mem = mem[pageSize:]
	}
	mem[0] = 1
	if err := discard(mem[pageSize : 2*pageSize]); err != nil {
		return err
	}
	return nil
}
