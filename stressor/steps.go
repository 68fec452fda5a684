package main

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// worker carries out a profile's steps, on the main thread.
type worker struct {
	mem  memory
	fill *pattern
	kids *family
}

// do carries out one step. It returns when the step is done, which for an
// endless one is never.
func (w *worker) do(s profile.Step) error {
	carryOut := action(s.Op)
	if carryOut == nil {
		return errors.New("no step is called " + strconv.Quote(string(s.Op)))
	}
	// Page cache is charged, too, and a charge that finds nothing to reclaim
	// invokes the OOM killer, whatever it is for.
	if s.Op.Row().Takes() {
		back, err := standBack()
		if err != nil {
			return err
		}
		defer back()
	}
	return carryOut(w, s)
}

// action is what a step does; nil for those that end a profile.
func action(op profile.Op) func(*worker, profile.Step) error {
	switch op {
	case profile.Touch, profile.Shmem, profile.Mlock, profile.HugePages, profile.HugeTLB, profile.Tables:
		return (*worker).take
	case profile.Map:
		return (*worker).reserve
	case profile.File:
		return (*worker).file
	case profile.Write:
		return (*worker).write
	case profile.Tmpfs:
		return (*worker).tmpfs
	case profile.SwapOut:
		return (*worker).swapOut
	case profile.Free:
		return (*worker).free
	case profile.Leak:
		return (*worker).leak
	case profile.Sawtooth:
		return (*worker).sawtooth
	case profile.Sleep:
		return (*worker).sleep
	case profile.Fork:
		return (*worker).fork
	case profile.Wait:
		return (*worker).wait
	}
	return nil
}

func (w *worker) free(s profile.Step) error { return w.mem.free(s.Bytes) }

func (w *worker) leak(s profile.Step) error {
	return w.take(profile.Step{Op: profile.Touch, Bytes: math.MaxInt64 - pageSize, Rate: s.Rate})
}

func (w *worker) sawtooth(s profile.Step) error {
	for {
		if err := w.take(profile.Step{Op: profile.Touch, Bytes: s.Bytes, Rate: s.Rate}); err != nil {
			return err
		}
		if err := w.mem.free(s.Bytes); err != nil {
			return err
		}
	}
}

func (w *worker) sleep(s profile.Step) error {
	sleepUntil(now() + s.DurationMS*1e6)
	return nil
}

func (w *worker) fork(s profile.Step) error { return w.kids.fork(s.Name) }
func (w *worker) wait(s profile.Step) error { return w.kids.wait(s.Name) }

// take maps and writes memory.
func (w *worker) take(s profile.Step) error {
	unit := pageSize
	if s.Op == profile.HugeTLB {
		unit = hugePage
	}
	pace := newPace(s.Rate)
	for left := roundUp(s.Bytes, unit); left > 0; {
		r, err := w.mem.grow(s.Op, left)
		if err != nil {
			return err
		}
		left -= r.size()
		if s.Rate == 0 && populates(s) {
			r.populate()
		}
		err = pace.over(r, r.size(), func() error {
			if r.kind == profile.Tables {
				at := r.held / pageSize * tableSpan
				lastRead = r.mem[at]
				return discard(r.mem[at : at+pageSize])
			}
			w.fill.fill(r.mem[r.held:r.held+pageSize], s.Content)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// populates says whether the kernel may make the pages of a step, which are zeros then:
// what they hold is of no matter where there is no swap that could compress it.
func populates(s profile.Step) bool {
	switch s.Op {
	case profile.Touch, profile.Mlock, profile.Shmem:
		return s.Content == profile.Zeros || s.Content == "" && !swapIsOn()
	}
	return false
}

// swapIsOn reads /proc/swaps, which has a line of titles. Where it cannot be read there
// may be some.
func swapIsOn() bool {
	text, err := readFile("/proc/swaps")
	return err != nil || bytes.Count(text, []byte("\n")) > 1
}

// reserve maps memory and touches none of it. It stays mapped until the process ends:
// nothing is held of it that could be given back.
func (w *worker) reserve(s profile.Step) error {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	_, err := unix.MmapPtr(-1, 0, nil, uintptr(roundUp(s.Bytes, pageSize)), unix.PROT_READ|unix.PROT_WRITE, flags)
	switch err {
	case nil:
		return nil
	case unix.ENOMEM:
		err = errRefused
	}
	return w.mem.unmapped(s.Bytes, err)
}

// file maps a file and reads a byte of each page. A temporary file's pages are
// written to its disk first, so that they are clean when they are read.
func (w *worker) file(s profile.Step) error {
	fd, temporary, err := openFile(s.Path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	// What fails is followed by exit: nothing is closed or unmapped for it.
	size := roundUp(s.Bytes, pageSize)
	if temporary {
		for range size / pageSize {
			if err := w.writePage(fd); err != nil {
				return err
			}
		}
		if err := unix.Fsync(fd); err != nil {
			return fail("writing a temporary file to its disk", err)
		}
	} else if size, err = sizeOf(fd, size); err != nil {
		return fail(s.Path, err)
	}
	if size == 0 {
		return unix.Close(fd)
	}
	r := &region{kind: profile.File, fd: fd, shrink: temporary}
	if r.mem, err = mapMemory(fd, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fail("mapping "+profile.Quantity(size)+" of a file", err)
	}
	w.mem.regions = append(w.mem.regions, r)
	return newPace(s.Rate).over(r, size, func() error {
		lastRead = r.mem[r.held]
		return nil
	})
}

// lastRead keeps the compiler from leaving the reads out.
//
//lint:ignore U1000 it is written, and that is all
var lastRead byte

// sizeOf checks that a file has that many bytes. Zero means all of them.
func sizeOf(fd int, want int64) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fail("fstat", err)
	}
	size := roundUp(st.Size, pageSize)
	if want > size {
		return 0, errors.New("it has " + profile.Quantity(st.Size) + ", not " + profile.Quantity(want))
	}
	if want == 0 {
		return size, nil
	}
	return want, nil
}

// tmpfs writes a file that stays when the process is gone: who gave its path removes it.
func (w *worker) tmpfs(s profile.Step) error {
	if s.Path == "" {
		s.Path = "/dev/shm/oomlab-stressor." + strconv.Itoa(unix.Getpid()) + "." + strconv.FormatInt(now(), 36)
	}
	return w.write(s)
}

// write puts pages into the page cache and leaves them dirty.
func (w *worker) write(s profile.Step) error {
	fd, _, err := openFile(s.Path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	size := roundUp(s.Bytes, pageSize)
	if size == 0 {
		return unix.Close(fd)
	}
	// A named file too is ours to truncate: opening it did.
	r := &region{kind: s.Op, fd: fd, shrink: true}
	w.mem.regions = append(w.mem.regions, r)
	return newPace(s.Rate).over(r, size, func() error { return w.writePage(fd) })
}

// writePage appends one page to a file.
func (w *worker) writePage(fd int) error {
	for left := pageSize; left > 0; left -= int64(len(w.fill.page)) {
		w.fill.stamp()
		if err := writeAll(fd, w.fill.page[:]); err != nil {
			return fail("writing a file", err)
		}
	}
	return nil
}

// swapOut asks the kernel to reclaim what is held, first taken first, until that
// much more of it is in swap. The kernel leaves out pages that wait in
// another CPU's batch for the LRU (mm/swap.c), so each round runs on the next
// CPU, whose batch madvise drains; it gives up when a round on each of them
// brought nothing.
func (w *worker) swapOut(s profile.Step) error {
	before, err := w.mem.swapped()
	if err != nil {
		return err
	}
	want := roundUp(s.Bytes, pageSize)
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fail("sched_getaffinity", err)
	}
	defer unix.SchedSetaffinity(0, &all)
	done := int64(0)
	for idle, cpu := 0, 0; done < want && idle < all.Count(); cpu++ {
		if cpu %= len(all) * 64; !all.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return fail("sched_setaffinity to CPU "+strconv.Itoa(cpu), err)
		}
		if err := w.mem.pageOut(before + want); err != nil {
			return err
		}
		after, err := w.mem.swapped()
		if err != nil {
			return err
		}
		idle++
		if after-before > done {
			done, idle = after-before, 0
		}
	}
	if done < want {
		return errors.New("only " + profile.Quantity(done) + " of " + profile.Quantity(want) +
			" went to swap; is there swap space, and does memory.swap.max allow it?")
	}
	return nil
}

// pace spreads pages over time. Pacing is what a rate asks for: it does not
// wait for anything else.
type pace struct {
	chunk int64 // bytes that are taken between two looks at the clock
	rate  int64 // bytes a second; 0: no pace
	start int64
	sum   int64
}

func newPace(rate int64) *pace {
	// Chunks that last about 20 ms, and are at most 64 pages.
	chunk := 64 * pageSize
	if rate > 0 {
		chunk = min(chunk, max(rate/50/pageSize, 1)*pageSize)
	}
	return &pace{chunk: chunk, rate: rate, start: now()}
}

// over takes the pages of a region up to size, one call of page for each.
func (p *pace) over(r *region, size int64, page func() error) error {
	for r.held < size {
		part := min(p.chunk, size-r.held)
		for end := r.held + part; r.held < end; r.held += pageSize {
			if err := page(); err != nil {
				return err
			}
		}
		p.did(part)
	}
	return nil
}

// did counts what was taken and returns when the next chunk is due. A chunk
// that came late does not delay the next: the rate holds on average.
func (p *pace) did(n int64) {
	if p.rate == 0 {
		runtime.Gosched()
		return
	}
	p.sum += n
	due := p.start + int64(float64(p.sum)/float64(p.rate)*1e9)
	if due <= now() {
		runtime.Gosched()
		return
	}
	sleepUntil(due)
}
