package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// populateC takes as many bytes as its argument says, as fast as a process can be given
// memory, and exits.
const populateC = `#include <stdlib.h>
#include <sys/mman.h>
int main(int argc, char **argv) {
	void *p = mmap(0, strtoull(argv[1], 0, 0), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return p == MAP_FAILED;
}
`

// BenchmarkHold takes 4 GiB (or half of what is available) and exits: the stressor, a C
// program with MAP_POPULATE and stress-ng, in turn. It reports the medians of wall and CPU
// time of the stressor's runs in ms, and of the ratios to each of the others in the same
// round. What is not installed is left out.
func BenchmarkHold(b *testing.B) {
	size := min(4<<30, available(b)/2) / mib * mib
	bytes := strconv.FormatInt(size, 10)
	programs := map[string][]string{
		"stressor": {stressorBinary, "touch=" + strconv.FormatInt(size/mib, 10) + "Mi", "exit=0"},
	}
	if gcc, err := exec.LookPath("gcc"); err == nil {
		source, program := filepath.Join(b.TempDir(), "populate.c"), filepath.Join(b.TempDir(), "populate")
		if err := os.WriteFile(source, []byte(populateC), 0o600); err != nil {
			b.Fatal(err)
		}
		if out, err := exec.Command(gcc, "-O2", "-o", program, source).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		programs["C"] = []string{program, bytes}
	}
	if stressNG, err := exec.LookPath("stress-ng"); err == nil {
		programs["stress-ng"] = []string{stressNG, "-q", "--vm", "1", "--vm-bytes", bytes, "--vm-populate", "--vm-keep",
			"--vm-ops", "1", "--vm-method", "zero-one"}
	}
	type cost struct{ wall, cpu float64 } // ms
	var own cost
	ratios := map[string][]cost{}
	var all []cost
	for b.Loop() {
		for _, name := range []string{"stressor", "C", "stress-ng"} {
			argv, there := programs[name]
			if !there {
				continue
			}
			cmd := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
			begin := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%q: %v: %s", argv, err, out)
			}
			c := cost{ms(time.Since(begin)), ms(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())}
			if name == "stressor" {
				own = c
				all = append(all, c)
				continue
			}
			ratios[name] = append(ratios[name], cost{own.wall / c.wall, own.cpu / c.cpu})
		}
	}
	wall, cpu := func(c cost) float64 { return c.wall }, func(c cost) float64 { return c.cpu }
	b.ReportMetric(0, "ns/op") // of all programs together: it says nothing
	b.ReportMetric(median(all, wall), "wall-ms")
	b.ReportMetric(median(all, cpu), "cpu-ms")
	for name, r := range ratios {
		b.ReportMetric(median(r, wall), "wall/"+name)
		b.ReportMetric(median(r, cpu), "cpu/"+name)
	}
}

// BenchmarkRate takes memory at a rate for 10 seconds and reports by how many percent the
// time was off.
func BenchmarkRate(b *testing.B) {
	for _, rate := range []string{"1Mi", "100Mi"} {
		b.Run(rate, func(b *testing.B) {
			n, _ := strconv.Atoi(strings.TrimSuffix(rate, "Mi"))
			var off []float64
			for b.Loop() {
				var w worker
				w.fill = newPattern()
				step := profile.Step{Op: profile.Touch, Bytes: int64(10*n) * mib, Rate: int64(n) * mib}
				begin := now()
				if err := w.take(step); err != nil {
					b.Fatal(err)
				}
				off = append(off, max((float64(now()-begin)/10e9-1)*100, (1-float64(now()-begin)/10e9)*100))
				if err := w.mem.free(w.mem.held()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(median(off, func(x float64) float64 { return x }), "%off")
		})
	}
}

func available(b *testing.B) int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		b.Fatal(err)
	}
	return int64(info.Freeram) * int64(info.Unit)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median[T any](of []T, value func(T) float64) float64 {
	all := make([]float64, len(of))
	for i, x := range of {
		all[i] = value(x)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// TestPopulatedMemory: memory that the kernel populates is all there, page for page, and
// is given back like any other; where somebody could swap it out it is filled.
func TestPopulatedMemory(t *testing.T) {
	for _, op := range []profile.Op{profile.Touch, profile.Mlock, profile.Shmem} {
		t.Run(string(op), func(t *testing.T) {
			const size = 5*mib + 3*4096
			var m memory
			r, err := m.grow(op, size)
			if err != nil {
				t.Fatal(err)
			}
			r.populate()
			if r.held == 0 {
				t.Skip("this kernel has no MADV_POPULATE_WRITE")
			}
			if want := roundUp(size, pageSize); r.held != want {
				t.Errorf("%d bytes are held; want %d", r.held, want)
			}
			n, err := countPages(r.mem)
			if err != nil {
				t.Fatal(err)
			}
			if want := int64(len(r.mem)) / pageSize; n.present != want {
				t.Errorf("%d pages are there; want %d", n.present, want)
			}
			if err := m.free(2 * mib); err != nil {
				t.Fatal(err)
			}
			if got, want := m.held(), roundUp(size, pageSize)-2*mib; got != want {
				t.Errorf("%d bytes are held after 2 MiB were given back; want %d", got, want)
			}
		})
	}
	for content, want := range map[string]bool{profile.Zeros: true, profile.Random: false, profile.Text: false} {
		if got := populates(profile.Step{Op: profile.Touch, Content: content}); got != want {
			t.Errorf("%s is populated: %v; want %v", content, got, want)
		}
	}
}
