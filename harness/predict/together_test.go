package predict

import "testing"

func TestTogether(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts []Range
		want  Range
	}{
		{"nothing", nil, Range{}},
		{"what is known adds up", []Range{{3, 3}, {4, 4}}, Range{7, 7}},
		{"one keeps its bounds", []Range{{10, 20}}, Range{10, 20}},
		{"two err to the same side less often", []Range{{0, 30}, {0, 40}}, Range{10, 60}},
		{"what is hardly known counts in full", []Range{{0, 1000}, {0, 30}, {0, 40}}, Range{10, 1060}},
		{"the middle stays where it is below zero", []Range{{-40, 0}, {-30, 0}}, Range{-60, -10}},
	} {
		if got := together(tt.parts...); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
