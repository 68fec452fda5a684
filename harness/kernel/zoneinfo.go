package kernel

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Zoneinfo is /proc/zoneinfo, zone by zone, with the sums that a prediction
// of a host-wide OOM needs. All numbers are pages.
type Zoneinfo struct {
	Zones []Zone
	// Min, Low and High are the sums of the zones' watermarks, Managed that of
	// their managed pages: MemTotal, except for what was taken since boot.
	Min, Low, High, Managed Pages
	// FreePCP is what processors keep on lists of their own, which is free and in no
	// zone's Free; nor in MemFree.
	FreePCP Pages
	// Nodes is the number of NUMA nodes that have managed pages.
	Nodes int
}

// Zone is one zone of one node.
type Zone struct {
	Node                                  int
	Name                                  string
	Free, Min, Low, High                  Pages
	Spanned, Present, Managed             Pages
	FreePCP                               Pages  // on lists of the processors
	ActiveAnon, InactiveAnon, Unevictable *Pages // nil where the kernel does not print them per zone
}

// ParseZoneinfo reads /proc/zoneinfo (mm/vmstat.c, zoneinfo_show_print). It
// takes the zones' own numbers and what is on the per-CPU lists, and leaves the per-node
// ones.
func ParseZoneinfo(r io.Reader) (Zoneinfo, error) {
	var z Zoneinfo
	var zone *Zone
	perCPU := false
	err := eachLine("zoneinfo", r, func(line string) error {
		fields := strings.Fields(line)
		if fields[0] == "Node" {
			if len(fields) != 4 || fields[2] != "zone" {
				return errors.New(`want "Node N, zone NAME"`)
			}
			node, err := strconv.Atoi(strings.TrimSuffix(fields[1], ","))
			if err != nil {
				return fmt.Errorf("%q is not a node's number", fields[1])
			}
			z.Zones = append(z.Zones, Zone{Node: node, Name: fields[3]})
			zone, perCPU = &z.Zones[len(z.Zones)-1], false
			return nil
		}
		if zone == nil {
			return errors.New("comes before the first zone; is this /proc/zoneinfo?")
		}
		if fields[0] == "pagesets" {
			perCPU = true
		}
		if perCPU { // which have high: lines of their own
			if len(fields) == 2 && fields[0] == "count:" {
				n, err := zonePages(fields)
				if err != nil {
					return err
				}
				zone.FreePCP += n
			}
			return nil
		}
		if len(fields) == 3 && fields[0] == "pages" && fields[1] == "free" {
			fields = fields[1:]
		}
		if len(fields) != 2 {
			return nil
		}
		to := map[string]*Pages{
			"free": &zone.Free, "min": &zone.Min, "low": &zone.Low, "high": &zone.High,
			"spanned": &zone.Spanned, "present": &zone.Present, "managed": &zone.Managed,
		}[fields[0]]
		optional := map[string]**Pages{
			"nr_zone_active_anon": &zone.ActiveAnon, "nr_zone_inactive_anon": &zone.InactiveAnon,
			"nr_zone_unevictable": &zone.Unevictable,
		}[fields[0]]
		if to == nil && optional == nil {
			return nil
		}
		n, err := zonePages(fields)
		if err != nil {
			return err
		}
		if to != nil {
			*to = n
		} else {
			*optional = &n
		}
		return nil
	})
	if err != nil {
		return Zoneinfo{}, err
	}
	if len(z.Zones) == 0 {
		return Zoneinfo{}, errors.New("zoneinfo: no zones; is this /proc/zoneinfo?")
	}
	nodes := make(map[int]bool)
	for _, zone := range z.Zones {
		z.Min, z.Low, z.High, z.Managed = z.Min+zone.Min, z.Low+zone.Low, z.High+zone.High, z.Managed+zone.Managed
		z.FreePCP += zone.FreePCP
		if zone.Managed > 0 {
			nodes[zone.Node] = true
		}
	}
	z.Nodes = len(nodes)
	return z, nil
}

// zonePages reads a line of a name and a number of pages.
func zonePages(fields []string) (Pages, error) {
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number of pages", strings.TrimSuffix(fields[0], ":"), fields[1])
	}
	return Pages(n), nil
}

// ZoneTypes is enum zone_type of include/linux/mmzone.h, in its order.
var ZoneTypes = []string{"DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"}

// The bits of a gfp_mask that select zones, include/linux/gfp_types.h. They are the lowest
// ones, and the same in all kernels.
const (
	gfpDMA     = 1 << 0
	gfpHighMem = 1 << 1
	gfpDMA32   = 1 << 2
	GFPMovable = 1 << 3
)

// GFPZone is the highest zone that a request may use, by its place in ZoneTypes:
// gfp_zone(), include/linux/gfp.h.
func GFPZone(mask uint64) int {
	switch {
	case mask&gfpDMA != 0:
		return 0
	case mask&gfpDMA32 != 0:
		return 1
	case mask&gfpHighMem != 0 && mask&GFPMovable != 0:
		return 4
	case mask&gfpHighMem != 0:
		return 3
	}
	return 2
}
