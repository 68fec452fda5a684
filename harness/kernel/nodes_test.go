package kernel

import (
	"slices"
	"testing"
)

func TestNodes(t *testing.T) {
	for _, tt := range []struct {
		text, again string
		want        Nodes
	}{
		{"0", "0", Nodes{0}}, {"0-1", "0-1", Nodes{0, 1}}, {"3,0-1,1", "0-1,3", Nodes{0, 1, 3}},
		{"", "", nil}, {"1-0", "", nil}, {"-1", "", nil}, {"0,", "", nil}, {"x", "", nil}, {"0-99999", "", nil},
	} {
		got, err := ParseNodes(tt.text)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) || got.String() != tt.again {
			t.Errorf("%q is %v %q, %v; want %v", tt.text, got, got, err, tt.want)
		}
	}
	a := Nodes{0, 1, 3}
	if !slices.Equal(a.And(Nodes{1, 2, 3}), Nodes{1, 3}) || a.Within(Nodes{0, 1}) ||
		!a.Within(Nodes{0, 1, 2, 3}) || a.Has(2) {
		t.Error("sets of nodes are no sets")
	}
}

func TestMemoryOfNodes(t *testing.T) {
	z := Zoneinfo{Zones: []Zone{{Node: 1, Present: 7, Managed: 6, Free: 5, Min: 1},
		{Node: 0, Present: 3, Managed: 3, Free: 2, Min: 1},
		{Node: 0, Present: 4, Managed: 4, Free: 4, Min: 2}, {Node: 2, Present: 0}}}
	want := []NodeMemory{{Node: 0, Present: 7, Managed: 7, Free: 6, Min: 3},
		{Node: 1, Present: 7, Managed: 6, Free: 5, Min: 1}}
	if got := z.Memory(); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
