package trace

import (
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

// TestZonesOf: an allocation may use its zone and those below, where there is memory.
func TestZonesOf(t *testing.T) {
	const text = `Node 0, zone      DMA
  pages free     10
        min      1
        low      2
        high     3
        managed  20
Node 0, zone    DMA32
  pages free     5
        min      6
        low      7
        high     8
        managed  30
Node 0, zone   Normal
  pages free     50
        min      6
        managed  300
Node 0, zone  Movable
  pages free     0
        managed  0
Node 0, zone   Device
  pages free     0
        managed  9
Node 1, zone  Movable
  pages free     70
        managed  80
`
	z, err := kernel.ParseZoneinfo(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		gfp  uint32
		want string
	}{
		{0xcc0, "DMA DMA32 Normal"},            // GFP_KERNEL
		{0xcc1, "DMA"},                         // GFP_KERNEL|GFP_DMA
		{0xcc4, "DMA DMA32"},                   // GFP_KERNEL|GFP_DMA32
		{0x100cc2, "DMA DMA32 Normal"},         // GFP_HIGHUSER
		{0x100cca, "DMA DMA32 Normal Movable"}, // GFP_HIGHUSER_MOVABLE
		{0xcc8, "DMA DMA32 Normal"},            // __GFP_MOVABLE alone is about grouping
	} {
		var names []string
		for _, zone := range ZonesOf(z, tt.gfp) {
			names = append(names, zone.Name)
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%#x: %s; want %s", tt.gfp, got, tt.want)
		}
	}
	after := int64(2e6)
	lines := Kill{Zones: ZonesOf(z, 0xcc4), ZonesNS: &after}.zones()
	want := []string{"node 0 DMA: 10 pages free of 20, min 1, low 2, high 3 (read 2ms after the kill)",
		"node 0 DMA32: 5 pages free of 30, min 6, low 7, high 8, below min"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q; want %q", lines, want)
	}
}
