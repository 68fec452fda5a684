package explain

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// pageSize finds the size of a page where the report prints one amount twice,
// in pages and in kB: in the victim's row and its kill line, and in the memory
// of a machine. from says how it is known; empty: the report does not tell.
func pageSize(r oomlog.Report) (size kernel.Bytes, from string) {
	for _, k := range r.Killed() {
		for _, t := range r.Tasks {
			// a cut or damaged row has few digits and fits by chance
			if t.TGID == k.PID && k.TotalVMKB != nil && t.TotalVM > 64 {
				if size, ok := ratio(*k.TotalVMKB, t.TotalVM); ok {
					return size, "total_vm of the victim, in its row and in its kill line"
				}
			}
		}
	}
	if r.Mem == nil {
		return 0, ""
	}
	for _, key := range []string{"active_anon", "inactive_anon", "active_file", "inactive_file"} {
		kb := uint64(0)
		for _, n := range r.Mem.Nodes {
			kb += min(n.KB[key], 1<<50)
		}
		if pages := r.Mem.Pages[key]; pages > 64 {
			if size, ok := ratio(kb, pages); ok {
				return size, key + ", in pages and in kB"
			}
		}
	}
	if ram := r.Mem.PagesRAM; ram != nil && *ram > 64 {
		kb := uint64(0)
		for _, z := range r.Mem.Zones {
			if z.Present != nil {
				kb += min(*z.Present, 1<<50)
			}
		}
		if size, ok := ratio(kb, *ram); ok {
			return size, "pages RAM, and the memory present in the zones"
		}
	}
	return 0, ""
}

// ratio is how many bytes a page has if so many kB are so many pages.
func ratio(kb uint64, pages kernel.Pages) (kernel.Bytes, bool) {
	for size := uint64(4); size <= 256; size *= 2 {
		if kb == uint64(pages)*size {
			return kernel.Bytes(size) * kernel.KiB, true
		}
	}
	return 0, false
}
