package trace

import (
	"fmt"
	"slices"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Zone is a zone of memory that the allocation could have been served from, in pages.
type Zone struct {
	Node    int          `json:"node"`
	Name    string       `json:"name"`
	Free    kernel.Pages `json:"free_pages"`
	Min     kernel.Pages `json:"min_pages"`
	Low     kernel.Pages `json:"low_pages"`
	High    kernel.Pages `json:"high_pages"`
	Managed kernel.Pages `json:"managed_pages"`
}

// ZonesOf are the zones with memory that an allocation with this gfp mask may use:
// gfp_zone(), include/linux/gfp.h, and those below it. Nodes that a cpuset or a memory
// policy keeps out are among them.
func ZonesOf(z kernel.Zoneinfo, gfp uint32) []Zone {
	highest := kernel.GFPZone(uint64(gfp))
	var out []Zone
	for _, zone := range z.Zones {
		at := slices.Index(kernel.ZoneTypes, zone.Name)
		if at < 0 || at > highest || zone.Managed == 0 {
			continue
		}
		out = append(out, Zone{Node: zone.Node, Name: zone.Name, Free: zone.Free, Min: zone.Min, Low: zone.Low,
			High: zone.High, Managed: zone.Managed})
	}
	return out
}

// zones are the lines of the zones.
func (k Kill) zones() []string {
	var out []string
	for _, z := range k.Zones {
		low := ""
		if z.Free < z.Min {
			low = ", below min"
		}
		out = append(out, fmt.Sprintf("node %d %s: %d pages free of %d, min %d, low %d, high %d%s", z.Node, z.Name,
			z.Free, z.Managed, z.Min, z.Low, z.High, low))
	}
	if len(out) > 0 && k.ZonesNS != nil {
		out[0] += fmt.Sprintf(" (read %s after the kill)", time.Duration(*k.ZonesNS))
	}
	return out
}
